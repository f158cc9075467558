"""The report of a study: its table as CSV, and all of it as Markdown and as a page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from raw2s.reports import cells as summary_cells
from raw2s.reports.agreement import agreement_caption, weak_agreements
from raw2s.reports.bridge import BRIDGE_LEGEND, bridge_html
from raw2s.reports.elements import Row, escape, figure, how_it_was_run, page, sortable_table
from raw2s.reports.parts import PARTS_LEGEND, parts_html, summarise_parts
from raw2s.reports.run.plots import agreement_heatmap
from raw2s.reports.study import cells as study_cells
from raw2s.reports.study.comparison import Cell, seed_scores, study_table
from raw2s.reports.study.markdown import study_markdown
from raw2s.reports.study.plots import standalone, study_figure
from raw2s.reports.table import write_csv


def write_study(
    folder: str | Path,
    *,
    title: str,
    question: str,
    command: str,
    results: pd.DataFrame,
    cells: Sequence[Cell],
    axis: str,
    costs: pd.DataFrame,
    bridge: pd.DataFrame,
    reports: str,
    details: Mapping[str, Any],
) -> None:
    """Write study.md, study.csv, study.svg and study.html into a local folder, making it.

    Args:
        folder: where to.
        title: heading of the page.
        question: what the study asks.
        command: what made it.
        results: the results table of all experiments, see `raw2s.reports.results`.
        cells: what each experiment is; tasks and variants are shown in this order.
        axis: what the variants differ in; "" for a study without variants.
        costs: see `raw2s.reports.study.comparison.study_table`.
        bridge: as `raw2s.reports.bridge.summarise_bridge` gives it; may lack experiments.
        reports: relative path of the run's folder, which holds its report.html; "" for no link.
        details: fills "How it was run", as `raw2s.reports.elements.how_it_was_run` says.

    Raises:
        ValueError: as `study_table` says, or a cell has a variant without an axis or no variant
            although there is one.
    """
    for index, cell in enumerate(cells):
        if bool(cell.variant) != bool(axis):
            raise ValueError(f"cells[{index}] has variant {cell.variant!r}, the axis is {axis!r}")
    table = study_table(results, cells, costs)
    scores = seed_scores(results)
    parts = summarise_parts(results)
    # The same weak models in every variant would fill the page.
    agreements = {} if axis else weak_agreements(results, table)
    bridge = pd.DataFrame([vars(cell) for cell in cells]).merge(bridge, on="experiment")
    svg = study_figure(table, scores, axis)
    text = study_markdown(
        title=title,
        question=question,
        command=command,
        table=table,
        scores=scores,
        parts=parts,
        bridge=bridge,
        agreements=agreements,
        axis=axis,
        reports=reports,
    )
    tasks = list(table.groupby("task", sort=False))
    sections = [_overview(table, question, svg, axis, reports)]
    sections += [
        _task(
            f"task-{n}",
            str(task),
            rows,
            scores,
            parts,
            bridge[bridge["task"] == task],
            agreements,
            axis,
        )
        for n, (task, rows) in enumerate(tasks)
    ]
    # With an end of line it is a block, which holds a long command.
    sections.append(how_it_was_run({"command": f"{command.strip()}\n", **details}))
    links = [(f"task-{n}", str(task)) for n, (task, _) in enumerate(tasks)]
    whole = page(title, [*links, ("run", "How it was run")], sections)
    Path(folder).mkdir(parents=True, exist_ok=True)
    write_csv(table, Path(folder) / "study.csv")
    (Path(folder) / "study.md").write_text(text, encoding="utf-8")
    (Path(folder) / "study.svg").write_text(standalone(svg), encoding="utf-8")
    (Path(folder) / "study.html").write_text(whole, encoding="utf-8")


def _overview(table: pd.DataFrame, question: str, svg: str, axis: str, reports: str) -> str:
    sizes = " ".join([study_cells.size_note(table), *study_cells.seeds_note(table)])
    findings = [study_cells.finding(rows, axis) for _, rows in table.groupby("task", sort=False)]
    caption = (
        f"Scores by {axis}, mean ± standard deviation over seeds."
        if axis
        else "Large dots: mean ± standard deviation over seeds; below them a dot for each seed."
    )
    text = [f"<p>{escape(question)}</p>", f'<p class="soft">{escape(sizes)}</p>']
    text += [f"<p>{escape(finding)}</p>" for finding in findings]
    text.append(figure("bars", svg, caption))
    if reports:
        text.append(f'<p><a href="{escape(f"{reports}/report.html")}">Report of the run</a></p>')
    return "<section>" + "\n".join(text) + "</section>"


def _task(
    anchor: str,
    task: str,
    of_task: pd.DataFrame,
    scores: pd.DataFrame,
    parts: pd.DataFrame,
    bridge: pd.DataFrame,
    agreements: Mapping[str, pd.DataFrame],
    axis: str,
) -> str:
    text = [f'<section id="{anchor}"><h2>{escape(task)}</h2>']
    if axis:
        columns = [("", head) for head in study_cells.score_columns(of_task, axis)]
        text.append(sortable_table(columns, study_cells.score_rows(of_task), text_columns=[0]))
        if changes := study_cells.change_rows(of_task):
            text.append(_narrow(study_cells.change_columns(of_task, axis), changes))
    for variant, rows in of_task.groupby("variant", sort=False):
        if axis:
            text.append(f"<h3>{escape(f'{axis}: {variant}')}</h3>")
        text.append(_systems(rows))
        notes = [*summary_cells.pgr_notes(rows), *summary_cells.untested_notes(rows)]
        text += [f"<p>{escape(note)}</p>" for note in notes]
        of_parts = parts[parts["experiment"] == rows["experiment"].iloc[0]]
        if len(of_parts):
            text += ["<h3>In and out of distribution</h3>", parts_html(of_parts)]
        matrix = agreements.get(str(rows["experiment"].iloc[0]))
        if matrix is not None:
            text.append("<h3>Agreement of the weak models</h3>")
            text.append(figure("heat", agreement_heatmap(matrix), agreement_caption(rows, matrix)))
        of_seeds = scores[scores["experiment"] == rows["experiment"].iloc[0]]
        by_seed = study_cells.seed_rows(rows, of_seeds)
        if by_seed:
            columns = [("", head) for head in study_cells.seed_columns(of_seeds)]
            text += ["<h3>Seed by seed</h3>", sortable_table(columns, by_seed, text_columns=[0])]
    if len(bridge):
        text += ["<h3>The bridge: what it takes for granted</h3>", bridge_html(bridge, axis)]
    legends = [study_cells.legend(of_task)]
    if parts["experiment"].isin(of_task["experiment"]).any():
        legends.append(PARTS_LEGEND)
    if len(bridge):
        legends.append(BRIDGE_LEGEND)
    text += [f'<p class="soft">{escape(legend)}</p>' for legend in legends]
    return "\n".join([*text, "</section>"])


def _systems(rows: pd.DataFrame) -> str:
    """A row for each system of one experiment."""
    body = [
        Row(row["role"], study_cells.row_texts(row), study_cells.sort_values(row))
        for _, row in rows.iterrows()
    ]
    return _narrow(study_cells.COLUMNS, body)


def _narrow(heads: Sequence[str], rows: Iterable[Row]) -> str:
    """A table of differences, the systems in its first column."""
    body = []
    for row in rows:
        name, *numbers = row.texts
        # In narrow columns a line may end before a ± and before a verdict, nowhere else.
        hard = [text.replace(" ", "\u00a0") for text in numbers]
        texts = [name, *(text.replace("\u00a0±", " ±").replace("]\u00a0", "] ") for text in hard)]
        body.append(replace(row, texts=texts))
    table = sortable_table([("", head) for head in heads], body, text_columns=[0])
    return f'<div class="narrow">{table}</div>'
