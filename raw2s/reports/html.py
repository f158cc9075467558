"""The report as one self-contained page: no external resources, light and dark, sortable tables."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd

from raw2s.reports import cells
from raw2s.reports.plots import agreement_heatmap, labelling_timeline, score_bars


def write_html(
    path: str | Path,
    *,
    title: str,
    summary: pd.DataFrame,
    agreement: Mapping[str, pd.DataFrame],
    spans: Sequence[Mapping[str, Any]],
    details: Mapping[str, Any],
) -> None:
    """Write the page of `render_html` to a local file, making its folder."""
    page = render_html(
        title=title, summary=summary, agreement=agreement, spans=spans, details=details
    )
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(page, encoding="utf-8")


def render_html(
    *,
    title: str,
    summary: pd.DataFrame,
    agreement: Mapping[str, pd.DataFrame],
    spans: Sequence[Mapping[str, Any]],
    details: Mapping[str, Any],
) -> str:
    """The page as text; every value from outside is escaped.

    Args:
        title: heading of the page.
        summary: as `raw2s.reports.table.summarise` gives it; one section for each experiment.
        agreement: for an experiment, its weak models' agreement matrix; may lack experiments.
        spans: {experiment, model, actor, start, end} of the labelling actors, in seconds.
        details: "counts" ({heading: {what: number}}) fills "What was counted". Everything else
            fills "How it was run": a mapping is a table ("stages": {stage: seconds} is shown as
            durations), a text of several lines a block ("config"), any other value a line.

    Raises:
        ValueError: no rows in summary, or agreement or spans of an experiment that it lacks.
    """
    experiments = [str(name) for name in summary["experiment"].unique()]
    if not experiments:
        raise ValueError("summary has 0 rows")
    for name, keys in (
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
    parts = [f"<header><h1>{_escape(title)}</h1>", "<nav>"]
    parts += [f'<a href="#{anchor}">{_escape(name)}</a>' for anchor, name in links]
    parts += ["</nav></header>", "<main>"]
    for name, anchor in anchors.items():
        of_experiment = [span for span in spans if str(span["experiment"]) == name]
        rows = summary[summary["experiment"] == name]
        parts.append(_experiment(name, anchor, rows, agreement.get(name), of_experiment))
    parts += [_counted(details.get("counts", {})), _run(details), "</main>"]
    template = resources.files("raw2s.reports").joinpath("page.html").read_text(encoding="utf-8")
    return Template(template).substitute(title=_escape(title), body="\n".join(parts))


def _escape(value: object) -> str:
    return html.escape(str(value))


def _experiment(
    name: str,
    anchor: str,
    summary: pd.DataFrame,
    agreement: pd.DataFrame | None,
    spans: Sequence[Mapping[str, Any]],
) -> str:
    parts = [f'<section id="{anchor}"><h2>{_escape(name)}</h2>', _facts(summary)]
    parts.append(_results_table(summary))
    parts += [f"<p>{_escape(note)}</p>" for note in cells.pgr_notes(summary)]
    parts.append(f'<p class="soft">{_escape(_legend(summary))}</p>')
    parts.append("<h3>Scores</h3>")
    parts.append(_figure("bars", score_bars(summary), _error_bar_caption(summary)))
    if agreement is not None:
        caption = (
            "Share of items on which two weak models give the same answer."
            if summary["kind"].iloc[0] == "classification"
            else "Mean over items of 1 − edit distance / longer length of two models' answers."
        )
        parts.append("<h3>Agreement of the weak models</h3>")
        parts.append(_figure("heat", agreement_heatmap(agreement), caption))
    if spans:
        caption = (
            "One line for each actor, one colour for each weak model: from when it is ready with "
            "its model to its last label. Where lines overlap in time, the models are up at once."
        )
        parts.append("<h3>Labelling timeline</h3>")
        parts.append(_figure("timeline", labelling_timeline(spans), caption))
    parts.append("</section>")
    return "\n".join(parts)


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
    items = "".join(f"<div><dt>{_escape(k)}</dt><dd>{_escape(v)}</dd></div>" for k, v in facts)
    return f'<dl class="facts">{items}</dl>'


def _results_table(summary: pd.DataFrame) -> str:
    heads = "".join(
        f"<th{_number_class(position)}><button>{_escape(header)}</button></th>"
        for position, header in enumerate(cells.HEADERS)
    )
    rows: list[str] = []
    for _, row in summary.iterrows():
        filled = zip(cells.row_texts(row), cells.sort_values(row), strict=True)
        texts = "".join(
            f'<td{_number_class(position)} data-value="{_escape(_sort_key(value))}">'
            f"{_escape(text)}</td>"
            for position, (text, value) in enumerate(filled)
        )
        rows.append(f'<tr class="{_escape(row["role"])}">{texts}</tr>')
    return (
        '<div class="scroll"><table class="results wide">'
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _number_class(position: int) -> str:
    return "" if position < cells.TEXT_COLUMNS else ' class="number"'


def _sort_key(value: str | float) -> str:
    return "" if isinstance(value, float) and math.isnan(value) else str(value)


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


def _figure(kind: str, svg: str, caption: str) -> str:
    return (
        f'<figure class="{kind}"><div class="scroll">{svg}</div>'
        f"<figcaption>{_escape(caption)}</figcaption></figure>"
    )


def _counted(counts: Mapping[str, Mapping[str, Any]]) -> str:
    parts = ['<section id="counted"><h2>What was counted</h2>']
    if not counts:
        parts.append('<p class="soft">No counts were recorded.</p>')
    parts.append('<div class="columns">')
    parts += [_pairs(heading, values) for heading, values in counts.items()]
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
            tables.append(_pairs("Time of each stage", durations))
        elif isinstance(value, Mapping):
            tables.append(_pairs(heading, value))
        elif "\n" in str(value):
            blocks.append(f"<h3>{_escape(heading)}</h3><pre>{_escape(value)}</pre>")
        else:
            lines[heading] = value
    if lines:
        tables.insert(0, _pairs("Run", lines))
    return "\n".join(
        [
            '<section id="run"><h2>How it was run</h2><div class="columns">',
            *tables,
            "</div>",
            *blocks,
            "</section>",
        ]
    )


def _pairs(heading: str, values: Mapping[str, Any]) -> str:
    rows = "".join(
        f'<tr><td>{_escape(key)}</td><td class="number">{_escape(_count(value))}</td></tr>'
        for key, value in values.items()
    )
    return f'<div><h3>{_escape(heading)}</h3><div class="scroll"><table>{rows}</table></div></div>'


def _count(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
