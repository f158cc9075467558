"""The text of each cell of the table of uncertainty and calibration."""

from __future__ import annotations

import pandas as pd

from raw2s.reports import cells
from raw2s.reports.run.uncertainty import VALUES

OWN = "AUROC by its own"
PLAIN = "AUROC by the plain ensemble's"
COLUMNS = (
    ("", "System"),
    ("", "Accuracy"),
    ("", "ECE"),
    ("", "Brier"),
    ("", "NLL"),
    (OWN, "1\u00a0−\u00a0max\u00a0p"),
    (OWN, "entropy"),
    (OWN, "vacuity"),
    (OWN, "mutual information"),
    (PLAIN, "entropy"),
    (PLAIN, "mutual information"),
)
"""Group and header of each column; the values are in the order of VALUES."""
TEXT_COLUMNS = 1
"""How many of the first columns are text; the others are numbers."""
LEGEND = (
    "ECE: expected calibration error, 15 bins. Brier: squared error summed over classes, 0 to 2. "
    "NLL: mean −log p of the true class, in nats. AUROC: how often a wrong answer is more "
    "uncertain than a right one, 0.5 for a guess; by the system's own uncertainty, or by that of "
    "the plain ensemble (the weak models' mean) on the same items. Vacuity, K / α₀, needs a "
    "student's Dirichlet distribution; mutual information needs that, or an ensemble's members. "
    "Mean ± standard deviation over seeds."
)


def row_texts(row: pd.Series) -> list[str]:
    """One text for each of COLUMNS, from a row of `summarise_uncertainty`."""
    values = [cells.plus_minus(row[f"{name}_mean"], row[f"{name}_std"]) for name in VALUES]
    return [str(row["system"]), *values]


def sort_values(row: pd.Series) -> list[str | float]:
    """What each cell of `row_texts` sorts by; NaN where it has no value."""
    return [str(row["system"]), *(float(row[f"{name}_mean"]) for name in VALUES)]


def notes(uncertainty: pd.DataFrame) -> list[str]:
    """One sentence for each distinct reason why values of an experiment are missing."""
    each = uncertainty.assign(note=uncertainty["note"].str.split("; ")).explode("note")
    noted = each[each["note"] != ""].groupby(["experiment", "note"], sort=False)
    sentences = []
    for (experiment, note), rows in noted:
        what, why = str(note).split(": ", 1)
        sentence = f"{what} in {experiment} ({', '.join(rows['system'])}): {why}."
        sentences.append(sentence[0].upper() + sentence[1:])
    return sentences
