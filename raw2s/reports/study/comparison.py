"""A study in numbers: each student against the best weak model, Naive and the best student."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from raw2s.evaluation.statistics import Interval, standard_error, with_seed_noise
from raw2s.reports.table import System, difference, metric_of, summarise, systems_of

BETTER, WORSE, INSIDE_THE_NOISE = "better", "worse", "inside the noise"

MEAN_WEAK, BEST_WEAK = "Weak models, mean", "Weak models, best"

_RESAMPLES, _CONFIDENCE = 2000, 0.95


def _columns(rival: str) -> list[str]:
    """What a comparison with a rival is told in: numbers, and the verdict last."""
    return [
        *(f"{rival}_{what}" for what in ("diff", "low", "high", "seed_error")),
        f"verdict_{rival}",
    ]


_NOTHING: dict[str, Any] = {
    column: "" if column.startswith("verdict") else math.nan
    for rival in ("weak", "naive", "best")
    for column in _columns(rival)
} | {"naive": "", "best": ""}


@dataclass(frozen=True)
class Cell:
    """One experiment of a study."""

    experiment: str
    """Its name in the results table."""
    task: str
    """What it is a variant of."""
    variant: str
    """Which variant; "" where the study has none."""
    naives: Mapping[str, str] = field(default_factory=dict)
    """The Naive Multi-Weak student that each student is compared with, by name."""


def compare(
    results: pd.DataFrame,
    naives: Mapping[str, Mapping[str, str]],
    *,
    n_resamples: int = _RESAMPLES,
    confidence: float = _CONFIDENCE,
) -> pd.DataFrame:
    """Compare the systems of each experiment of a results table (see `raw2s.reports.results`).

    A difference is of pooled scores. Its interval is one over items (paired bootstrap) and over
    the seeds that both have (see `with_seed_noise`); over items alone where that is one seed. A
    weak model that ran with one seed is the same for every seed.

    Args:
        results: the results table.
        naives: by experiment and student, the student that is its Naive Multi-Weak.
        n_resamples: of the bootstrap.
        confidence: of the intervals, in (0, 1).

    Returns:
        What `raw2s.reports.table.summarise` gives, and

        - weak_diff, weak_low, weak_high, weak_seed_error (standard error of the difference over
          seeds, NaN for less than 2), verdict_weak: against best_weak (not for weak models).
        - naive, for students: the one in `naives`; "" without any. naive_diff and so on.
        - best, for students: the student with the highest score_mean; best_diff and so on.

        A verdict is "inside the noise" if the interval covers 0, else "better" or "worse". It is ""
        where nothing is compared, so of a student with itself.

    Raises:
        ValueError: the results table breaks its contract.
        KeyError: `naives` names a student that is not there.
    """
    summary = summarise(results, n_resamples=n_resamples, confidence=confidence)
    rows = []
    for experiment, of_experiment in summary.groupby("experiment", sort=False):
        kind = str(of_experiment["kind"].iloc[0])
        systems = systems_of(kind, results[results["experiment"] == experiment])
        named = {system.name: system for system in systems}
        students = [system for system in systems if system.role == "student"]
        best = max(students, key=lambda student: student.mean, default=None)
        for row in of_experiment.to_dict("records"):
            system = named[row["system"]]
            found = {str(key): value for key, value in row.items()} | _NOTHING
            if not math.isnan(row["diff"]):
                items = Interval(row["diff"], row["diff_low"], row["diff_high"])
                found |= _compared("weak", items, system, named[row["best_weak"]], confidence)
            rivals: dict[str, System] = {}
            if system.role == "student" and best is not None:
                rivals["best"] = best
                if naive := naives.get(str(experiment), {}).get(system.name):
                    rivals["naive"] = named[naive]
            for key, other in rivals.items():
                found[key] = other.name
                if other is not system:
                    items = difference(metric_of(kind), system, other, n_resamples, confidence)
                    found |= _compared(key, items, system, other, confidence)
            rows.append(found)
    return pd.DataFrame(rows)


def study_table(results: pd.DataFrame, cells: Sequence[Cell], costs: pd.DataFrame) -> pd.DataFrame:
    """`compare` of the experiments of a study, in the order of its cells, with what they cost.

    Args:
        results: the results table; other experiments in it are left out.
        cells: what each experiment is.
        costs: experiment, system, own_seconds, all_seconds, tokens; a row that is absent is NaN.

    Returns:
        task, variant, the columns of `compare`, own_seconds, all_seconds, tokens, and first_diff
        and so on: against the same student (or ensemble) in the first variant of its task, where
        both have answered the same items and not as one and the same model would.

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
    of_study = pd.DataFrame([vars(cell) for cell in cells]).drop(columns="naives")
    compared = compare(
        results[results["experiment"].isin(of_study["experiment"])],
        {cell.experiment: cell.naives for cell in cells},
    )
    table = of_study.merge(compared, on="experiment", validate="1:m")
    table = table.merge(costs, on=["experiment", "system"], how="left", validate="1:1")
    changes = _changes(results, cells)
    table = table.merge(changes, on=["experiment", "system"], how="left", validate="1:1")
    table["verdict_first"] = table["verdict_first"].fillna("")
    return table[["task", "variant", *table.columns.drop(["task", "variant"])]]


def _changes(results: pd.DataFrame, cells: Sequence[Cell]) -> pd.DataFrame:
    """What `study_table` says of first_diff and so on: experiment, system, and these."""
    rows = []
    taught = results[results["role"].isin(("student", "ensemble"))]
    firsts: dict[str, dict[str, tuple[System, set[Any]]]] = {}
    for cell in cells:
        systems = {}
        for name, answers in taught[taught["experiment"] == cell.experiment].groupby("system"):
            kind = str(answers["kind"].iloc[0])
            [system] = systems_of(kind, answers)
            asked = set(zip(answers["seed"], answers["item"], answers["gold"], strict=True))
            systems[str(name)] = (system, asked)
        first = firsts.setdefault(cell.task, systems)
        for name, (system, questions) in systems.items():
            other, same = first.get(name, (system, questions))
            # The first itself, or a student that the variants have in common.
            if questions != same or system.items.equals(other.items):
                continue
            items = difference(metric_of(kind), system, other, _RESAMPLES, _CONFIDENCE)
            told = _compared("first", items, system, other, _CONFIDENCE)
            rows.append({"experiment": cell.experiment, "system": name} | told)
    return pd.DataFrame(rows, columns=["experiment", "system", *_columns("first")])


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


def _compared(
    key: str, items: Interval, system: System, other: System, confidence: float
) -> dict[str, Any]:
    constant = other.role == "weak" and len(other.scores) == 1
    seeds = [seed for seed in system.scores if constant or seed in other.scores]
    differences = [system.scores[seed] - other.at(seed) for seed in seeds]
    found = with_seed_noise(items, differences, confidence)
    if found.low <= 0 <= found.high:
        verdict = INSIDE_THE_NOISE
    else:
        verdict = BETTER if found.difference > 0 else WORSE
    return {
        f"{key}_diff": found.difference,
        f"{key}_low": found.low,
        f"{key}_high": found.high,
        f"{key}_seed_error": standard_error(differences),
        f"verdict_{key}": verdict,
    }
