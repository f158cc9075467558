"""A study in numbers: each student against the best weak model, Naive and the best student."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from raw2s.evaluation.statistics import TOLD_APART, Interval
from raw2s.reports.table import System, difference, metric_of, summarise, systems_of

AUXILIARY = " + aux"
"""In the name of a student that is trained with the auxiliary confidence loss."""
BETTER, WORSE, INSIDE_THE_NOISE = "better", "worse", "inside the noise"

MEAN_WEAK, BEST_WEAK = "Weak models, mean", "Weak models, best"

_NUMBERS = (
    "weak_seed_diff",
    "weak_seed_error",
    "naive_diff",
    "naive_low",
    "naive_high",
    "naive_seed_diff",
    "naive_seed_error",
    "best_diff",
    "best_low",
    "best_high",
    "best_seed_diff",
    "best_seed_error",
)
_TEXTS = ("verdict_weak", "naive", "verdict_naive", "best", "verdict_best")
_NOTHING: dict[str, Any] = dict.fromkeys(_NUMBERS, math.nan) | dict.fromkeys(_TEXTS, "")


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

    A difference is of pooled scores, with a paired bootstrap interval over items. Besides, with d_s
    the difference with seed s, over the n seeds that both have: mean d_s and its standard error
    (std of d with n - 1, over sqrt(n)), NaN for less than 2 seeds. A weak model that ran with one
    seed is the same for every seed.

    Returns:
        What `raw2s.reports.table.summarise` gives, and

        - weak_seed_diff, weak_seed_error, verdict_weak: against best_weak (not for weak models).
        - naive, for students: the first student whose strategy is "naive", among those with the
          auxiliary loss for a student that has it, among those without for one that has not; the
          first of all where there is none such; "" without any. naive_diff, naive_low, naive_high,
          naive_seed_diff, naive_seed_error, verdict_naive: against it.
        - best, for students: the student with the highest score_mean; best_diff and so on.

        A verdict is "inside the noise" if the interval covers 0, or if mean d_s does not lie 2
        standard errors or more to the same side of 0; else "better" or "worse". It is "" where
        nothing is compared, so of a student with itself.

    Raises:
        ValueError: the results table breaks its contract.
    """
    summary = summarise(results, n_resamples=n_resamples, confidence=confidence)
    rows = []
    for experiment, of_experiment in summary.groupby("experiment", sort=False):
        kind = str(of_experiment["kind"].iloc[0])
        systems = systems_of(kind, results[results["experiment"] == experiment])
        named = {system.name: system for system in systems}
        students = [system for system in systems if system.role == "student"]
        for row in of_experiment.to_dict("records"):
            system = named[row["system"]]
            found = {str(key): value for key, value in row.items()} | _NOTHING
            if not math.isnan(row["diff"]):
                interval = Interval(row["diff"], row["diff_low"], row["diff_high"])
                found |= _verdict("weak", interval, system, named[row["best_weak"]])
            for key, other in _rivals(system, students).items():
                found[key] = other.name
                if other is not system:
                    interval = difference(metric_of(kind), system, other, n_resamples, confidence)
                    found |= _numbers(key, interval) | _verdict(key, interval, system, other)
            rows.append(found)
    return pd.DataFrame(rows)


def study_table(results: pd.DataFrame, cells: Sequence[Cell], costs: pd.DataFrame) -> pd.DataFrame:
    """`compare` of the experiments of a study, in the order of its cells, with what they cost.

    Args:
        results: the results table; other experiments in it are left out.
        cells: what each experiment is.
        costs: experiment, system, own_seconds, all_seconds, tokens; a row that is absent is NaN.

    Returns:
        task, variant, the columns of `compare`, own_seconds, all_seconds, tokens.

    Raises:
        ValueError: no cells, a cell that is given twice or whose experiment has no results, a
            system with two costs, or results that break their contract.
    """
    if not cells:
        raise ValueError("cells has 0 entries")
    known = set(results["experiment"])
    seen: set[tuple[str, str]] = set()
    for index, cell in enumerate(cells):
        if cell.experiment not in known:
            raise ValueError(f"cells[{index}]: experiment {cell.experiment!r} has no results")
        if (cell.task, cell.variant) in seen:
            raise ValueError(f"cells[{index}]: {cell.task!r}, {cell.variant!r} is given twice")
        seen.add((cell.task, cell.variant))
    of_study = pd.DataFrame([vars(cell) for cell in cells])
    compared = compare(results[results["experiment"].isin(of_study["experiment"])])
    table = of_study.merge(compared, on="experiment", validate="1:m")
    table = table.merge(costs, on=["experiment", "system"], how="left", validate="1:1")
    return table[["task", "variant", *table.columns.drop(["task", "variant"])]]


def score_lines(table: pd.DataFrame) -> pd.DataFrame:
    """The scores of one task over its variants, from `study_table`.

    The weak models, which differ from variant to variant, are two lines: their mean, without
    deviation, and the best one.

    Returns:
        system, role, variant, score_mean, score_std; systems in the order of a table of systems.
    """
    weak = table[(table["role"] == "weak") & table["tested"]]
    best = weak[weak["system"] == weak["best_weak"]].assign(system=BEST_WEAK)
    mean = weak.groupby("variant", sort=False, as_index=False)["score_mean"].mean()
    mean = mean.assign(system=MEAN_WEAK, role="weak", score_std=math.nan)
    others = table[table["role"] != "weak"]
    # A student that only later variants have comes after the ceiling all the same.
    students = others["role"] == "student"
    lines = pd.concat([mean, best, others[~students], others[students]], ignore_index=True)
    return lines[["system", "role", "variant", "score_mean", "score_std"]]


def seed_scores(results: pd.DataFrame) -> pd.DataFrame:
    """The score of each experiment, system and seed: these columns and score, in [0, 1]."""
    rows = [
        {"experiment": experiment, "system": system.name, "seed": seed, "score": score}
        for experiment, table in results.groupby("experiment", sort=False)
        for system in systems_of(str(table["kind"].iloc[0]), table)
        for seed, score in system.scores.items()
    ]
    return pd.DataFrame(rows)


def _rivals(system: System, students: Sequence[System]) -> dict[str, System]:
    """The student's naive, if there is one, and the best student; nothing for other roles."""
    if system.role != "student":
        return {}
    rivals = {"best": max(students, key=lambda student: student.mean)}
    naives = [student for student in students if student.strategy == "naive"]
    if naives:
        auxiliary = AUXILIARY in system.name
        alike = [naive for naive in naives if (AUXILIARY in naive.name) == auxiliary]
        rivals["naive"] = (alike or naives)[0]
    return rivals


def _numbers(key: str, interval: Interval) -> dict[str, Any]:
    names = (f"{key}_diff", f"{key}_low", f"{key}_high")
    return dict(zip(names, (interval.difference, interval.low, interval.high), strict=True))


def _verdict(key: str, interval: Interval, system: System, other: System) -> dict[str, Any]:
    constant = other.role == "weak" and len(other.scores) == 1
    seeds = [seed for seed in system.scores if constant or seed in other.scores]
    d = np.array([system.scores[seed] - other.at(seed) for seed in seeds])
    several = len(d) > 1
    mean = float(d.mean()) if several else math.nan
    error = float(d.std(ddof=1)) / math.sqrt(len(d)) if several else math.nan
    side = math.copysign(1.0, interval.difference)
    if interval.low <= 0 <= interval.high or side * mean < TOLD_APART * error:
        verdict = INSIDE_THE_NOISE
    else:
        verdict = BETTER if side > 0 else WORSE
    return {f"{key}_seed_diff": mean, f"{key}_seed_error": error, f"verdict_{key}": verdict}
