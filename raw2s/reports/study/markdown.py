"""A study as Markdown, to paste into a page or a pull request."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from raw2s.reports import cells
from raw2s.reports.agreement import agreement_caption
from raw2s.reports.bridge import BRIDGE_LEGEND, bridge_markdown
from raw2s.reports.markdown import markdown_table
from raw2s.reports.parts import PARTS_LEGEND, parts_markdown
from raw2s.reports.study import cells as study_cells


def study_markdown(
    *,
    title: str,
    question: str,
    command: str,
    table: pd.DataFrame,
    scores: pd.DataFrame,
    parts: pd.DataFrame,
    bridge: pd.DataFrame,
    agreements: Mapping[str, pd.DataFrame],
    axis: str,
    reports: str,
) -> str:
    """The study as text; `table` is of `raw2s.reports.study.comparison.study_table`, `scores` of
    `seed_scores` there, `parts` of `raw2s.reports.parts.summarise_parts`, `bridge` of
    `raw2s.reports.bridge.summarise_bridge` with each row's task and variant, `agreements` of
    `raw2s.reports.agreement.weak_agreements`, the rest as in
    `raw2s.reports.study.html.write_study`."""
    text = [f"# {title}", question, f"```\n{command.strip()}\n```"]
    text += [" ".join([study_cells.size_note(table), *study_cells.seeds_note(table)])]
    text.append("![Scores of each system](study.svg)")
    for task, of_task in table.groupby("task", sort=False):
        text.append(f"## {task}")
        if axis:
            heads = study_cells.score_columns(of_task, axis)
            text.append(
                markdown_table(heads, [list(row.texts) for row in study_cells.score_rows(of_task)])
            )
            if changes := study_cells.change_rows(of_task):
                heads = study_cells.change_columns(of_task, axis)
                text.append(markdown_table(heads, [list(row.texts) for row in changes]))
        for variant, rows in of_task.groupby("variant", sort=False):
            if axis:
                text.append(f"### {task}, {axis}: {variant}")
            texts = [study_cells.row_texts(row) for _, row in rows.iterrows()]
            text += [markdown_table(list(study_cells.COLUMNS), texts), *cells.pgr_notes(rows)]
            text += cells.untested_notes(rows)
            of_parts = parts[parts["experiment"] == rows["experiment"].iloc[0]]
            if len(of_parts):
                text += ["**In and out of distribution**", *parts_markdown(of_parts)]
            matrix = agreements.get(str(rows["experiment"].iloc[0]))
            if matrix is not None:
                lines = [[str(name), *map(cells.number, row)] for name, row in matrix.iterrows()]
                text.append("**Agreement of the weak models**")
                text.append(markdown_table(["", *map(str, matrix.columns)], lines))
                text.append(agreement_caption(rows, matrix))
            of_seeds = scores[scores["experiment"] == rows["experiment"].iloc[0]]
            by_seed = study_cells.seed_rows(rows, of_seeds)
            if by_seed:
                heads = study_cells.seed_columns(of_seeds)
                text.append(markdown_table(heads, [list(row.texts) for row in by_seed]))
        of_bridge = bridge[bridge["task"] == task]
        if len(of_bridge):
            heading = "**The bridge: what it takes for granted**"
            text += [heading, bridge_markdown(of_bridge, axis), BRIDGE_LEGEND]
        text += [study_cells.finding(of_task, axis), study_cells.legend(of_task)]
        if parts["experiment"].isin(of_task["experiment"]).any():
            text.append(PARTS_LEGEND)
    if reports:
        text.append(f"[Report of the run]({reports}/report.html)")
    return "\n\n".join(text) + "\n"
