"""The report as one self-contained page: no external resources, light and dark, sortable tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from raw2s.reports import cells
from raw2s.reports.agreement import agreement_caption
from raw2s.reports.bridge import BRIDGE_LEGEND, bridge_html
from raw2s.reports.elements import (
    Row,
    escape,
    facts,
    figure,
    how_it_was_run,
    page,
    pairs,
    sortable_table,
)
from raw2s.reports.parts import PARTS_LEGEND, parts_html
from raw2s.reports.run import uncertainty_cells
from raw2s.reports.run.plots import (
    agreement_heatmap,
    labelling_timeline,
    reliability_panels,
    score_bars,
)
from raw2s.reports.summary import legend, results_table


def write_html(
    path: str | Path,
    *,
    title: str,
    summary: pd.DataFrame,
    uncertainty: pd.DataFrame,
    parts: pd.DataFrame,
    bridge: pd.DataFrame,
    reliability: pd.DataFrame,
    agreement: Mapping[str, pd.DataFrame],
    spans: Sequence[Mapping[str, Any]],
    details: Mapping[str, Any],
) -> None:
    """Write the page of `render_html` to a local file, making its folder."""
    text = render_html(
        title=title,
        summary=summary,
        uncertainty=uncertainty,
        parts=parts,
        bridge=bridge,
        reliability=reliability,
        agreement=agreement,
        spans=spans,
        details=details,
    )
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding="utf-8")


def render_html(
    *,
    title: str,
    summary: pd.DataFrame,
    uncertainty: pd.DataFrame,
    parts: pd.DataFrame,
    bridge: pd.DataFrame,
    reliability: pd.DataFrame,
    agreement: Mapping[str, pd.DataFrame],
    spans: Sequence[Mapping[str, Any]],
    details: Mapping[str, Any],
) -> str:
    """The page as text; every value from outside is escaped.

    Args:
        title: heading of the page.
        summary: as `raw2s.reports.table.summarise` gives it; one section for each experiment.
        uncertainty: as `raw2s.reports.run.uncertainty.summarise_uncertainty` gives it.
        parts: as `raw2s.reports.parts.summarise_parts` gives it.
        bridge: as `raw2s.reports.bridge.summarise_bridge` gives it; may lack experiments.
        reliability: as `raw2s.reports.run.reliability.reliability` gives it.
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
        ("bridge", bridge["experiment"].to_list()),
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
    sections = []
    for name, anchor in anchors.items():
        of_experiment = [span for span in spans if str(span["experiment"]) == name]
        sections.append(
            _experiment(
                name,
                anchor,
                summary[summary["experiment"] == name],
                uncertainty[uncertainty["experiment"] == name],
                parts[parts["experiment"] == name],
                bridge[bridge["experiment"] == name],
                reliability[reliability["experiment"] == name],
                agreement.get(name),
                of_experiment,
            )
        )
    sections.append(_counted(details.get("counts", {})))
    sections.append(how_it_was_run({k: v for k, v in details.items() if k != "counts"}))
    return page(title, links, sections)


def _experiment(
    name: str,
    anchor: str,
    summary: pd.DataFrame,
    uncertainty: pd.DataFrame,
    parts: pd.DataFrame,
    bridge: pd.DataFrame,
    reliability: pd.DataFrame,
    agreement: pd.DataFrame | None,
    spans: Sequence[Mapping[str, Any]],
) -> str:
    section = [f'<section id="{anchor}"><h2>{escape(name)}</h2>', _facts(summary)]
    section.append(results_table(summary))
    section += [f"<p>{escape(note)}</p>" for note in cells.pgr_notes(summary)]
    section.append(f'<p class="soft">{escape(legend(summary))}</p>')
    section.append("<h3>Scores</h3>")
    section.append(figure("bars", score_bars(summary), _error_bar_caption(summary)))
    if len(parts):
        section += ["<h3>In and out of distribution</h3>", parts_html(parts)]
        section.append(f'<p class="soft">{escape(PARTS_LEGEND)}</p>')
    if len(bridge):
        section += ["<h3>The bridge: what it takes for granted</h3>", bridge_html(bridge)]
        section.append(f'<p class="soft">{escape(BRIDGE_LEGEND)}</p>')
    if len(uncertainty):
        section.append(_uncertainty(uncertainty, reliability))
    if agreement is not None:
        caption = agreement_caption(summary, agreement)
        section.append("<h3>Agreement of the weak models</h3>")
        section.append(figure("heat", agreement_heatmap(agreement), caption))
    if spans:
        caption = (
            "One line for each actor, one colour for each weak model: from when it is ready with "
            "its model to its last label. Where lines overlap in time, the models are up at once. "
            "Of a run that was killed and went on, the time between shows as well."
        )
        section.append("<h3>Labelling timeline</h3>")
        section.append(figure("timeline", labelling_timeline(spans), caption))
    section.append("</section>")
    return "\n".join(section)


def _facts(summary: pd.DataFrame) -> str:
    """Floor, ceiling and the best student, before the table."""
    tested = summary[summary["tested"]]
    scores = {
        role: tested.loc[tested["role"] == role, "score_mean"] for role in ("weak", "ceiling")
    }
    students = summary[summary["role"] == "student"]
    found: list[tuple[str, str]] = []
    if len(scores["weak"]):
        found.append(("Floor, mean of the weak models", cells.number(scores["weak"].mean())))
    if len(scores["ceiling"]):
        found.append(("Ceiling", cells.number(scores["ceiling"].mean())))
    if len(students):
        best = students.iloc[int(students["score_mean"].to_numpy().argmax())]
        found.append((f"Best student: {best['system']}", cells.number(best["score_mean"])))
        found.append(("Its PGR", cells.pgr_text(best)))
    return facts(found)


def _uncertainty(uncertainty: pd.DataFrame, reliability: pd.DataFrame) -> str:
    rows = []
    for _, row in uncertainty.iterrows():
        # In narrow columns a line may end before a ±, not after it.
        texts = [text.replace("± ", "±\u00a0") for text in uncertainty_cells.row_texts(row)]
        rows.append(Row(row["role"], texts, uncertainty_cells.sort_values(row)))
    table = sortable_table(
        uncertainty_cells.COLUMNS, rows, text_columns=range(uncertainty_cells.TEXT_COLUMNS)
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
