"""The summary of one experiment on a page: its table, and what the columns mean."""

from __future__ import annotations

import pandas as pd

from raw2s.reports import cells
from raw2s.reports.elements import Row, sortable_table


def results_table(summary: pd.DataFrame) -> str:
    """The systems of one experiment, a row each of `raw2s.reports.table.summarise`."""
    rows = [
        Row(row["role"], cells.row_texts(row), cells.sort_values(row))
        for _, row in summary.iterrows()
    ]
    columns = [("", header) for header in cells.HEADERS]
    return sortable_table(columns, rows, text_columns=range(cells.TEXT_COLUMNS))


def legend(summary: pd.DataFrame) -> str:
    """What the columns of `results_table` mean."""
    score = "accuracy" if summary["kind"].iloc[0] == "classification" else "SLU-F1"
    text = (
        f"Score: {score}, mean ± standard deviation over seeds. 95 % interval: bootstrap over test "
        "items, seeds pooled. PGR: mean over the weak models of (score − weak) / (ceiling − weak). "
        "Gap: score − mean of the weak models."
    )
    best = str(summary["best_weak"].iloc[0])
    if best:
        text += f" Best weak model: {best}; the difference to it has a paired bootstrap interval."
    text += " Malformed: answers that could not be read, of all answers."
    return " ".join([text, *cells.untested_notes(summary)])
