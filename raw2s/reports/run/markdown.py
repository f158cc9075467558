"""The results of a run as Markdown, to paste into a page or a pull request."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from raw2s.reports import cells
from raw2s.reports.markdown import markdown_table
from raw2s.reports.run import parts as in_parts
from raw2s.reports.run import uncertainty_cells

_SHOWN = ("System", "Score", "95 % interval", "PGR", "Gap", "vs best weak")
_METRICS = {"classification": "Accuracy", "generation": "SLU-F1"}


def write_markdown(
    summary: pd.DataFrame, uncertainty: pd.DataFrame, by_part: pd.DataFrame, path: Path
) -> None:
    """Write for each experiment its scores, those of the test's parts if it has any and, in
    classification, its uncertainty and calibration; and why a value is undefined where one is."""
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
            texts = [in_parts.row_texts(system) for system in in_parts.systems(of_parts)]
            heads = [f"{group} {header}".strip() for group, header in in_parts.COLUMNS]
            parts += [
                f"**{experiment}**: in and out of distribution",
                markdown_table(heads, texts),
                *in_parts.notes(of_parts),
            ]
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
