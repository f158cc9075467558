"""A study in numbers: every student against the best weak model, Naive and the best student."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from raw2s.evaluation.statistics import Interval
from raw2s.reports.results import check_results
from raw2s.reports.sweep import TOLD_APART
from raw2s.reports.table import System, difference, metric_of, summarise, systems_of

AUXILIARY = " + aux"
"""In the name of a student that is trained with the auxiliary confidence loss."""
BETTER, WORSE, INSIDE_THE_NOISE = "better", "worse", "inside the noise"
COST_COLUMNS = ("own_seconds", "all_seconds", "tokens")


@dataclass(frozen=True)
class Cell:
    """One experiment of a study."""

    experiment: str
    """Its name in the results table."""
    task: str
    """What it is a variant of."""
    variant: str
    """Which variant; "" where the study has none."""


def compare(
    results: pd.DataFrame, *, n_resamples: int = 2000, confidence: float = 0.95
) -> pd.DataFrame:
    """Compare the systems of each experiment of a results table (see `raw2s.reports.results`).

    A difference is of pooled scores, with a paired bootstrap interval over items. Besides, over n
    seeds that two systems share, with d_s the difference of their scores with seed s: mean d_s and
    its standard error (std with n - 1, over sqrt(n)), NaN for less than 2 seeds. A weak model of
    one seed is the same in every seed.

    Returns:
        What `raw2s.reports.table.summarise` gives, and

        - weak_seed_diff, weak_seed_error, verdict_weak: against the best weak model (not for weak
          models).
        - naive: the student that this student is compared with: the first whose strategy is
          "naive", with the auxiliary loss for a student that has it, without for one that has not,
          whichever there is if only one is; "" if there is none. naive_diff, naive_low, naive_high,
          naive_seed_diff, naive_seed_error, verdict_naive.
        - best: the student with the highest score_mean, for students; verdict_best: against it.

        A verdict is "inside the noise" if the interval covers 0, or if mean d_s is not at least 2
        standard errors to the same side; else "better" or "worse". It is "" where nothing is
        compared and for a system against itself.

    Raises:
        ValueError: the results table breaks its contract.
    """
    summary = summarise(results, n_resamples=n_resamples, confidence=confidence)
    rows: list[dict[str, Any]] = []
    for experiment, table in results.groupby("experiment", sort=False):
        kind = str(table["kind"].iloc[0])
        systems = {system.name: system for system in systems_of(kind, table)}
        of_experiment = summary[summary["experiment"] == experiment]
        naives = [
            system
            for system in systems.values()
            if system.role == "student" and system.strategy == "naive"
        ]
        students = [system for system in systems.values() if system.role == "student"]
        best = max(students, key=lambda student: student.mean, default=None)
        for summarised in of_experiment.to_dict("records"):
            system = systems[summarised["system"]]
            row = {"experiment": experiment, "system": system.name, **_NOTHING}
            if not math.isnan(summarised["diff"]):
                found = Interval(*(summarised[key] for key in ("diff", "diff_low", "diff_high")))
                row |= _verdict("weak", found, system, systems[summarised["best_weak"]])
            if system.role == "student" and best is not None:
                row["best"] = best.name
                for key, other in (("naive", _naive_of(system, naives)), ("best", best)):
                    if other is None:
                        continue
                    row[key] = other.name
                    if other is system:
                        continue
                    found = difference(metric_of(kind), system, other, n_resamples, confidence)
                    row |= _verdict(key, found, system, other)
                    row |= {
                        f"{key}_diff": found.difference,
                        f"{key}_low": found.low,
                        f"{key}_high": found.high,
                    }
            rows.append(row)
    return summary.merge(pd.DataFrame(rows), on=["experiment", "system"], validate="1:1")
