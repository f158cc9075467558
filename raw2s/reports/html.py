"""The report as one self-contained page: no external resources, light and dark, sortable tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd

from raw2s.reports import cells, uncertainty_cells
from raw2s.reports import parts as in_parts
from raw2s.reports.elements import Row, escape, figure, pairs, sortable_table
from raw2s.reports.plots import (
    agreement_heatmap,
    labelling_timeline,
    reliability_panels,
    score_bars,
)


def write_html(
    path: str | Path,
    *,
    title: str,
    summary: pd.DataFrame,
    uncertainty: pd.DataFrame,
    parts: pd.DataFrame,
    reliability: pd.DataFrame,
    agreement: Mapping[str, pd.DataFrame],
    spans: Sequence[Mapping[str, Any]],
    details: Mapping[str, Any],
) -> None:
    """Write the page of `render_html` to a local file, making its folder."""
    page = render_html(
        title=title,
        summary=summary,
        uncertainty=uncertainty,
        parts=parts,
        reliability=reliability,
        agreement=agreement,
        spans=spans,
        details=details,
    )
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(page, encoding="utf-8")


def render_html(
    *,
    title: str,
    summary: pd.DataFrame,
    uncertainty: pd.DataFrame,
    parts: pd.DataFrame,
    reliability: pd.DataFrame,
    agreement: Mapping[str, pd.DataFrame],
    spans: Sequence[Mapping[str, Any]],
    details: Mapping[str, Any],
) -> str:
    """The page as text; every value from outside is escaped.

    Args:
        title: heading of the page.
        summary: as `raw2s.reports.table.summarise` gives it; one section for each experiment.
        uncertainty: as `raw2s.reports.uncertainty.summarise_uncertainty` gives it.
        parts: as `raw2s.reports.parts.summarise_parts` gives it.
        reliability: as `raw2s.reports.reliability.reliability` gives it.
        agreement: for an experiment, its weak models' agreement matrix; may lack experiments.
        spans: {experiment, model, actor, start, end} of the labelling actors, in seconds.
        details: "counts" ({heading: {what: number}}) fills "What was counted". Everything else
            fills "How it was run": a mapping is a table ("stages": {stage: seconds} is shown as
            durations), a text of several lines a block ("config"), any other value a line.

    Raises:
        ValueError: no rows in summary, or another part is of an experiment that it lacks.
    """
    experiments = [str(name) for name in summary["experiment"].unique()]
    if not experiments:
        raise ValueError("summary has 0 rows")
    for name, keys in (
        ("uncertainty", uncertainty["experiment"].to_list()),
        ("parts", parts["experiment"].to_list()),
        ("reliability", reliability["experiment"].to_list()),
        ("agreement", list(agreement)),
        ("spans", [str(span["experiment"]) for span in spans]),
    ):
        strange = [key for key in keys if key not in experiments]
        if strange:
            raise ValueError(
                f"{name} is of experiment {strange[0]!r}; summary has the experiments {experiments}"
            )
    anchors = {name: f"experiment-{position + 1}" for position, name in enumerate(experiments)}
    links = [(anchor, name) for name, anchor in anchors.items()]
    links += [("counted", "What was counted"), ("run", "How it was run")]
    page = [f"<header><h1>{escape(title)}</h1>", "<nav>"]
    page += [f'<a href="#{anchor}">{escape(name)}</a>' for anchor, name in links]
    page += ["</nav></header>", "<main>"]
    for name, anchor in anchors.items():
        of_experiment = [span for span in spans if str(span["experiment"]) == name]
        page.append(
            _experiment(
                name,
                anchor,
                summary[summary["experiment"] == name],
                uncertainty[uncertainty["experiment"] == name],
                parts[parts["experiment"] == name],
                reliability[reliability["experiment"] == name],
                agreement.get(name),
                of_experiment,
            )
        )
    page += [_counted(details.get("counts", {})), _run(details), "</main>"]
    template = resources.files("raw2s.reports").joinpath("page.html").read_text(encoding="utf-8")
    return Template(template).substitute(title=escape(title), body="\n".join(page))


def _experiment(
    name: str,
    anchor: str,
    summary: pd.DataFrame,
    uncertainty: pd.DataFrame,
    parts: pd.DataFrame,
    reliability: pd.DataFrame,
    agreement: pd.DataFrame | None,
    spans: Sequence[Mapping[str, Any]],
) -> str:
    section = [f'<section id="{anchor}"><h2>{escape(name)}</h2>', _facts(summary)]
    section.append(_results_table(summary))
    section += [f"<p>{escape(note)}</p>" for note in cells.pgr_notes(summary)]
    section.append(f'<p class="soft">{escape(_legend(summary))}</p>')
    section.append("<h3>Scores</h3>")
    section.append(figure("bars", score_bars(summary), _error_bar_caption(summary)))
    if len(parts):
        section += ["<h3>In and out of distribution</h3>", _parts(parts)]
    if len(uncertainty):
        section.append(_uncertainty(uncertainty, reliability))
    if agreement is not None:
        caption = (
            "Share of items on which two weak models give the same answer."
            if summary["kind"].iloc[0] == "classification"
            else "Mean over items of 1 − edit distance / longer length of two models' answers."
        )
        section.append("<h3>Agreement of the weak models</h3>")
        section.append(figure("heat", agreement_heatmap(agreement), caption))
    if spans:
        caption = (
            "One line for each actor, one colour for each weak model: from when it is ready with "
            "its model to its last label. Where lines overlap in time, the models are up at once."
        )
        section.append("<h3>Labelling timeline</h3>")
        section.append(figure("timeline", labelling_timeline(spans), caption))
    section.append("</section>")
    return "\n".join(section)


def _facts(summary: pd.DataFrame) -> str:
    """Floor, ceiling and the best student, before the table."""
    scores = {
        role: summary.loc[summary["role"] == role, "score_mean"] for role in ("weak", "ceiling")
    }
    students = summary[summary["role"] == "student"]
    facts: list[tuple[str, str]] = []
    if len(scores["weak"]):
        facts.append(("Floor, mean of the weak models", cells.number(scores["weak"].mean())))
    if len(scores["ceiling"]):
        facts.append(("Ceiling", cells.number(scores["ceiling"].mean())))
    if len(students):
        best = students.iloc[int(students["score_mean"].to_numpy().argmax())]
        facts.append((f"Best student: {best['system']}", cells.number(best["score_mean"])))
        facts.append(("Its PGR", cells.pgr_text(best)))
    items = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts)
    return f'<dl class="facts">{items}</dl>'


def _results_table(summary: pd.DataFrame) -> str:
    rows = [
        Row(row["role"], cells.row_texts(row), cells.sort_values(row))
        for _, row in summary.iterrows()
    ]
    columns = [("", header) for header in cells.HEADERS]
    return sortable_table(columns, rows, text_columns=cells.TEXT_COLUMNS)


def _parts(parts: pd.DataFrame) -> str:
    rows = [
        Row(
            next(iter(system.values()))["role"],
            in_parts.row_texts(system),
            in_parts.sort_values(system),
        )
        for system in in_parts.systems(parts)
    ]
    table = sortable_table(in_parts.COLUMNS, rows, text_columns=in_parts.TEXT_COLUMNS)
    return f'{table}<p class="soft">{escape(in_parts.LEGEND)}</p>'


def _uncertainty(uncertainty: pd.DataFrame, reliability: pd.DataFrame) -> str:
    rows = []
    for _, row in uncertainty.iterrows():
        # In narrow columns a line may end before a ±, not after it.
        texts = [text.replace("± ", "±\u00a0") for text in uncertainty_cells.row_texts(row)]
        rows.append(Row(row["role"], texts, uncertainty_cells.sort_values(row)))
    table = sortable_table(
        uncertainty_cells.COLUMNS, rows, text_columns=uncertainty_cells.TEXT_COLUMNS
    )
    caption = (
        "Reliability. A dot is a bin of the top probability, its area the share of the answers; "
        "its line to the diagonal is the gap between accuracy and confidence. Seeds pooled."
    )
    return "\n".join(
        [
            "<h3>Uncertainty and calibration</h3>",
            f'<div class="narrow">{table}</div>',
            *(f"<p>{escape(note)}</p>" for note in uncertainty_cells.notes(uncertainty)),
            f'<p class="soft">{escape(uncertainty_cells.LEGEND)}</p>',
            figure("panels", reliability_panels(reliability), caption),
        ]
    )


def _legend(summary: pd.DataFrame) -> str:
    score = "accuracy" if summary["kind"].iloc[0] == "classification" else "SLU-F1"
    text = (
        f"Score: {score}, mean ± standard deviation over seeds. 95 % interval: bootstrap over test "
        "items, seeds pooled. PGR: mean over the weak models of (score − weak) / (ceiling − weak). "
        "Gap: score − mean of the weak models."
    )
    best = str(summary["best_weak"].iloc[0])
    if best:
        text += f" Best weak model: {best}; the difference to it has a paired bootstrap interval."
    return text + " Malformed: answers that could not be read, of all answers."


def _error_bar_caption(summary: pd.DataFrame) -> str:
    alone = summary["seeds"] == 1
    if alone.all():
        return "Error bars: 95 % bootstrap interval over test items."
    text = "Error bars: standard deviation over seeds"
    return text + ("; 95 % bootstrap interval for systems with one seed." if alone.any() else ".")


def _counted(counts: Mapping[str, Mapping[str, Any]]) -> str:
    parts = ['<section id="counted"><h2>What was counted</h2>']
    if not counts:
        parts.append('<p class="soft">No counts were recorded.</p>')
    parts.append('<div class="columns">')
    parts += [pairs(heading, values) for heading, values in counts.items()]
    parts.append("</div></section>")
    return "\n".join(parts)


def _run(details: Mapping[str, Any]) -> str:
    lines: dict[str, Any] = {}
    tables: list[str] = []
    blocks: list[str] = []
    for key, value in details.items():
        heading = key.replace("_", " ").capitalize()
        if key == "counts":
            continue
        if key == "stages":
            durations = {stage: _duration(float(seconds)) for stage, seconds in value.items()}
            tables.append(pairs("Time of each stage", durations))
        elif isinstance(value, Mapping):
            tables.append(pairs(heading, value))
        elif "\n" in str(value):
            blocks.append(f"<h3>{escape(heading)}</h3><pre>{escape(value)}</pre>")
        else:
            lines[heading] = value
    if lines:
        tables.insert(0, pairs("Run", lines))
    return "\n".join(
        [
            '<section id="run"><h2>How it was run</h2><div class="columns">',
            *tables,
            "</div>",
            *blocks,
            "</section>",
        ]
    )


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
