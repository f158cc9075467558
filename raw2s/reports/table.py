"""The summary: one row for each experiment and system, from the results table alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from raw2s.evaluation.pgr import pgr
from raw2s.evaluation.slu_f1 import f1_of
from raw2s.evaluation.statistics import Floats, Interval, Metric, bootstrap, paired_bootstrap
from raw2s.reports import cells
from raw2s.reports.results import COUNTS_OF_KIND, check_results

if TYPE_CHECKING:
    from rich.table import Table

SUMMARY_COLUMNS = (
    "experiment",
    "kind",
    "system",
    "role",
    "strategy",
    "seeds",
    "items",
    "tested",
    "score_mean",
    "score_std",
    "score_low",
    "score_high",
    "pgr_mean",
    "pgr_std",
    "pgr_note",
    "gap",
    "best_weak",
    "diff",
    "diff_low",
    "diff_high",
    "malformed",
    "answers",
)

_ROLE_STYLES = {"weak": "dim", "ensemble": "", "ceiling": "bold", "student": ""}


@dataclass(frozen=True)
class System:
    """One system of one experiment."""

    name: str
    role: str
    strategy: str
    scores: dict[int, float]
    """Accuracy or SLU-F1 by seed."""
    items: pd.DataFrame
    """A row for each item: its counts and its number of answers, summed over seeds."""
    malformed: int
    answers: int

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.scores.values())))

    def at(self, seed: int) -> float:
        """The score with this seed; the mean over the seeds present where it has not run."""
        return self.scores.get(seed, self.mean)


def summarise(
    results: pd.DataFrame, *, n_resamples: int = 2000, confidence: float = 0.95
) -> pd.DataFrame:
    """Summarise the results table (see `raw2s.reports.results` for its columns).

    Returns:
        One row for each experiment and system, in order of appearance:

        - experiment, kind, system, role, strategy; seeds (their number), items (distinct test
          items), answers (rows) and malformed (answers that could not be read).
        - tested: whether it has answered the test. A file of labels has not: it is judged on the
          rows that it labels and takes no part in pgr, gap and best_weak.
        - score_mean and score_std over seeds: accuracy or SLU-F1, in [0, 1]; std with n - 1, NaN
          for one seed. score_low, score_high: bootstrap interval of the pooled score.
        - pgr_mean, pgr_std over seeds, for students only, each seed against the ceiling and the
          tested weak models of that seed (their mean over seeds where that seed has not run). NaN
          with the reason in pgr_note if it is undefined for any seed.
        - gap: score_mean minus the mean of the tested weak models' score_mean (not for weak
          models).
        - best_weak: the tested weak model with the highest score_mean; diff, diff_low, diff_high:
          the pooled score minus that model's, with a paired bootstrap interval (NaN for weak
          models).

    Pooling concatenates the seeds. An item's answers under several seeds are not independent, so a
    resample draws an item with all of its seeds.

    Raises:
        ValueError: the results table breaks its contract.
    """
    check_results(results)
    rows: list[dict[str, Any]] = []
    for experiment, table in results.groupby("experiment", sort=False):
        kind = str(table["kind"].iloc[0])
        for row in _experiment_rows(kind, table, n_resamples, confidence):
            rows.append({"experiment": experiment, "kind": kind, **row})
    return pd.DataFrame(rows, columns=list(SUMMARY_COLUMNS))


def write_csv(summary: pd.DataFrame, path: str | Path) -> None:
    """Write the summary as CSV; an undefined PGR is the word "undefined" in pgr_mean."""
    table = summary.copy()
    undefined = (table["role"] == "student") & table["pgr_mean"].isna()
    table["pgr_mean"] = table["pgr_mean"].astype(object)
    table.loc[undefined, "pgr_mean"] = cells.UNDEFINED
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False)


def terminal_table(summary: pd.DataFrame) -> Table:
    """The summary for a terminal of 80 columns or more, one section for each experiment.

    It shows a part of the columns; the CSV file and the page have them all.
    """
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    experiments = list(summary["experiment"].unique())
    table = Table(title=str(experiments[0]) if len(experiments) == 1 else None, box=SIMPLE)
    table.add_column("System")
    for header in ("Score", "PGR", "Gap"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("vs best weak", justify="right")
    for experiment in experiments:
        if len(experiments) > 1:
            table.add_section()
            table.add_row(Text(str(experiment), style="bold"))
        for _, row in summary[summary["experiment"] == experiment].iterrows():
            texts = dict(zip(cells.HEADERS, cells.row_texts(row), strict=True))
            table.add_row(
                *(Text(texts[str(column.header)]) for column in table.columns),
                style=_ROLE_STYLES[row["role"]],
            )
    malformed = f"{summary['malformed'].sum()} of {summary['answers'].sum()} answers malformed."
    notes = [*cells.pgr_notes(summary), *cells.untested_notes(summary), malformed]
    table.caption = Text("\n".join(notes))
    return table


def _experiment_rows(
    kind: str, table: pd.DataFrame, n_resamples: int, confidence: float
) -> list[dict[str, Any]]:
    metric = metric_of(kind)
    systems = systems_of(kind, table)
    weak = [system for system in systems if system.role == "weak"]
    ceiling = next((system for system in systems if system.role == "ceiling"), None)
    others = [system for system in systems if system.role != "weak"]
    # A file of labels shares no item with those that have taken the test.
    untested = [
        system.name
        for system in weak
        if others and all(_shared(system, other).empty for other in others)
    ]
    tested = [system for system in weak if system.name not in untested]
    best = max(tested, key=lambda system: system.mean) if tested else None
    rows: list[dict[str, Any]] = []
    for system in systems:
        score = bootstrap(
            metric, system.items.to_numpy(), n_resamples=n_resamples, confidence=confidence
        )
        row = {
            "system": system.name,
            "role": system.role,
            "strategy": system.strategy,
            "seeds": len(system.scores),
            "items": len(system.items),
            "tested": system.name not in untested,
            "score_mean": system.mean,
            "score_std": _std(list(system.scores.values())),
            "score_low": score.low,
            "score_high": score.high,
            "pgr_note": "",
            "best_weak": best.name if best else "",
            "malformed": system.malformed,
            "answers": system.answers,
        }
        if system.role == "student":
            row |= _pgr_over_seeds(system, tested, ceiling)
        if system.role != "weak" and best is not None:
            row["gap"] = system.mean - float(np.mean([model.mean for model in tested]))
            found = difference(metric, system, best, n_resamples, confidence)
            row |= {"diff": found.difference, "diff_low": found.low, "diff_high": found.high}
        rows.append(row)
    return rows


def metric_of(kind: str) -> Metric:
    """Accuracy or SLU-F1 of mean rows of `System.items`."""
    return _share_right if kind == "classification" else _slu_f1


def _share_right(means: Floats) -> Floats:
    return means[:, 0] / means[:, -1]


def _slu_f1(means: Floats) -> Floats:
    """SLU-F1 of mean rows of the six counts and a column that is not used, (r, 7) -> (r,)."""
    return f1_of(means[:, :6])


def systems_of(kind: str, table: pd.DataFrame) -> list[System]:
    """The systems of one experiment's rows of the results table, in order of appearance."""
    return [_system(kind, str(name), rows) for name, rows in table.groupby("system", sort=False)]


def _system(kind: str, name: str, rows: pd.DataFrame) -> System:
    counts = rows[["seed", "item", *COUNTS_OF_KIND[kind]]].assign(answers=1.0)
    return System(
        name=name,
        role=str(rows["role"].iloc[0]),
        strategy=str(rows["strategy"].iloc[0]),
        scores=score_by_seed(kind, rows),
        items=counts.drop(columns="seed").groupby("item", sort=True).sum().astype(np.float64),
        malformed=int(rows["malformed"].astype(bool).sum()),
        answers=len(rows),
    )


def score_by_seed(kind: str, rows: pd.DataFrame) -> dict[int, float]:
    """Accuracy or SLU-F1 of one system's rows of the results table, for each seed."""
    columns = COUNTS_OF_KIND[kind]
    metric = metric_of(kind)
    return {
        int(seed): float(metric(means.to_numpy(np.float64)[None])[0])
        for seed, part in rows.groupby("seed")
        for means in [part[columns].assign(answers=1.0).mean()]
    }


def _std(values: list[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def _pgr_over_seeds(student: System, weak: list[System], ceiling: System | None) -> dict[str, Any]:
    if ceiling is None:
        return {"pgr_note": "the results have no ceiling"}
    if not weak:
        return {"pgr_note": "no weak model answered the test"}
    values: list[float] = []
    reasons: dict[str, list[int]] = {}
    for seed, score in student.scores.items():
        result = pgr({model.name: model.at(seed) for model in weak}, ceiling.at(seed), score)
        if result.value is None:
            reasons.setdefault(result.reason, []).append(seed)
        else:
            values.append(result.value)
    if reasons:
        notes = [
            f"{reason} (seed {', '.join(str(seed) for seed in seeds)})"
            for reason, seeds in reasons.items()
        ]
        return {"pgr_note": "; ".join(notes)}
    return {"pgr_mean": float(np.mean(values)), "pgr_std": _std(values)}


def _shared(one: System, other: System) -> pd.Index:
    """The items that both answered."""
    return one.items.index.intersection(other.items.index)


def difference(
    metric: Metric, system: System, other: System, n_resamples: int, confidence: float
) -> Interval:
    """The pooled score of a system minus that of another, on the items that both answered.

    Raises:
        ValueError: they have no item in common.
    """
    shared = _shared(system, other)
    if shared.empty:
        raise ValueError(f"systems {system.name!r} and {other.name!r} have no test item in common")
    return paired_bootstrap(
        metric,
        system.items.loc[shared].to_numpy(),
        other.items.loc[shared].to_numpy(),
        n_resamples=n_resamples,
        confidence=confidence,
    )
