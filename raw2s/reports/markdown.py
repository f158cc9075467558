"""The summary as Markdown, to paste into a page or a pull request."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from raw2s.reports import cells

_SHOWN = ("System", "Score", "95 % interval", "PGR", "Gap", "vs best weak")
_METRICS = {"classification": "Accuracy", "generation": "SLU-F1"}


def write_markdown(summary: pd.DataFrame, path: Path) -> None:
    """Write one table for each experiment, and why a PGR is undefined where it is."""
    parts = []
    for experiment, rows in summary.groupby("experiment", sort=False):
        score = _METRICS[rows["kind"].iloc[0]]
        lines = [f"**{experiment}**", "", _line(score if h == "Score" else h for h in _SHOWN)]
        lines.append(_line("---" if h == "System" else "---:" for h in _SHOWN))
        for _, row in rows.iterrows():
            texts = dict(zip(cells.HEADERS, cells.row_texts(row), strict=True))
            lines.append(_line(texts[header] for header in _SHOWN))
        parts += ["\n".join(lines), *cells.pgr_notes(rows)]
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _line(texts: Iterable[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"
