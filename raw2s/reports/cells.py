"""The text of each cell of the summary, the same in the terminal and on the page."""

from __future__ import annotations

import math

import pandas as pd

UNDEFINED = "undefined"
NONE = "–"
MINUS = "−"
INFINITE = "∞"
HEADERS = (
    "System",
    "Role",
    "Score",
    "95 % interval",
    "PGR",
    "Gap",
    "vs best weak",
    "Seeds",
    "Malformed",
)
TEXT_COLUMNS = 2
"""How many of the first columns are text; the others are numbers."""


def row_texts(row: pd.Series) -> list[str]:
    """One text for each of HEADERS, from a row of the summary."""
    return [
        str(row["system"]),
        str(row["role"]),
        plus_minus(row["score_mean"], row["score_std"]),
        interval(row["score_low"], row["score_high"]),
        pgr_text(row),
        signed(row["gap"]),
        difference(row["diff"], row["diff_low"], row["diff_high"]),
        str(int(row["seeds"])),
        f"{int(row['malformed'])} / {int(row['answers'])}",
    ]


def sort_values(row: pd.Series) -> list[str | float]:
    """What each cell of `row_texts` sorts by; NaN where it has no value."""
    return [
        str(row["system"]),
        str(row["role"]),
        float(row["score_mean"]),
        float(row["score_low"]),
        float(row["pgr_mean"]),
        float(row["gap"]),
        float(row["diff"]),
        float(row["seeds"]),
        float(row["malformed"]) / float(row["answers"]),
    ]


def number(value: float) -> str:
    """Three decimals with a true minus sign; a dash for NaN, ∞ for infinity."""
    if value == math.inf:
        return INFINITE
    return NONE if math.isnan(value) else f"{value:.3f}".replace("-", MINUS)


def signed(value: float) -> str:
    """Three decimals, always with a sign; a dash for NaN."""
    return NONE if math.isnan(value) else f"{value:+.3f}".replace("-", MINUS)


def plus_minus(mean: float, std: float) -> str:
    """Mean ± standard deviation; the mean alone where one seed gives no deviation."""
    return number(mean) if math.isnan(std) else f"{number(mean)} ± {number(std)}"


def interval(low: float, high: float) -> str:
    """[low, high]; a dash for NaN."""
    return NONE if math.isnan(low) else f"[{number(low)}, {number(high)}]"


def difference(value: float, low: float, high: float) -> str:
    """A signed difference and its interval; a dash for NaN."""
    return NONE if math.isnan(value) else f"{signed(value)} [{signed(low)}, {signed(high)}]"


def pgr_text(row: pd.Series) -> str:
    """The PGR of a student, the word "undefined" where it has none, a dash for other roles."""
    if row["role"] != "student":
        return NONE
    if math.isnan(row["pgr_mean"]):
        return UNDEFINED
    return plus_minus(row["pgr_mean"], row["pgr_std"])


def pgr_notes(summary: pd.DataFrame) -> list[str]:
    """One sentence for each distinct reason why PGRs of an experiment are undefined."""
    noted = summary[summary["pgr_note"] != ""]
    return [
        f"PGR undefined in {experiment} ({', '.join(rows['system'])}): {note}."
        for (experiment, note), rows in noted.groupby(["experiment", "pgr_note"], sort=False)
    ]


def untested_notes(summary: pd.DataFrame) -> list[str]:
    """One sentence that names the files of labels, which have not answered the test, if any."""
    names = list(dict.fromkeys(summary.loc[~summary["tested"], "system"]))
    if not names:
        return []
    told = "File of labels" if len(names) == 1 else "Files of labels"
    return [f"{told}, scored on split B, not in floor, gap or PGR: {', '.join(names)}."]
