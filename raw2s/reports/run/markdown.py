"""The results of a run as Markdown, to paste into a page or a pull request."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from raw2s.reports import cells
from raw2s.reports.bridge import BRIDGE_LEGEND, bridge_markdown
from raw2s.reports.markdown import markdown_table
from raw2s.reports.parts import parts_markdown
from raw2s.reports.run import uncertainty_cells

_SHOWN = ("System", "Score", "95 % interval", "PGR", "Gap", "vs best weak")
_METRICS = {"classification": "Accuracy", "generation": "SLU-F1"}


def write_markdown(
    summary: pd.DataFrame,
    uncertainty: pd.DataFrame,
    by_part: pd.DataFrame,
    bridge: pd.DataFrame,
    path: Path,
) -> None:
    """Write for each experiment its scores, those of the test's parts if it has any, what was
    measured of the bridge if anything was and, in classification, its uncertainty and calibration;
    and why a value is undefined where one is."""
    parts = []
    for experiment, rows in summary.groupby("experiment", sort=False):
        score = _METRICS[rows["kind"].iloc[0]]
        texts = [
            [dict(zip(cells.HEADERS, cells.row_texts(row), strict=True))[h] for h in _SHOWN]
            for _, row in rows.iterrows()
        ]
        heads = [score if header == "Score" else header for header in _SHOWN]
        parts += [f"**{experiment}**", markdown_table(heads, texts), *cells.pgr_notes(rows)]
        parts += cells.untested_notes(rows)
        of_parts = by_part[by_part["experiment"] == experiment]
        if len(of_parts):
            parts.append(f"**{experiment}**: in and out of distribution")
            parts += parts_markdown(of_parts)
        of_bridge = bridge[bridge["experiment"] == experiment]
        if len(of_bridge):
            heading = f"**{experiment}**: the bridge, what it takes for granted"
            parts += [heading, bridge_markdown(of_bridge), BRIDGE_LEGEND]
        calibrated = uncertainty[uncertainty["experiment"] == experiment]
        if len(calibrated):
            texts = [uncertainty_cells.row_texts(row) for _, row in calibrated.iterrows()]
            heads = [f"{group} {header}".strip() for group, header in uncertainty_cells.COLUMNS]
            parts += [
                f"**{experiment}**: uncertainty and calibration",
                markdown_table(heads, texts),
                *uncertainty_cells.notes(calibrated),
            ]
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
