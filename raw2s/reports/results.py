"""The results table: one row for each experiment, system, seed and test item; its contract.

Columns: experiment, kind ("classification" or "generation"), seed, system (display name), role
("weak", "ceiling" or "student"), strategy (machine name), item (id), prediction, gold, malformed,
and the counts c0..c5. Classification: c0 is 1 for a right answer, 0 for a wrong one. Generation:
the word TP, FP, FN and the char TP, FP, FN of SLU-F1. Systems are shown in order of appearance.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

COUNTS = ("c0", "c1", "c2", "c3", "c4", "c5")
COLUMNS = (
    "experiment",
    "kind",
    "seed",
    "system",
    "role",
    "strategy",
    "item",
    "prediction",
    "gold",
    "malformed",
    *COUNTS,
)
COUNTS_OF_KIND = {"classification": ["c0"], "generation": list(COUNTS)}
ROLES = ("weak", "ceiling", "student")


def check_results(results: pd.DataFrame) -> None:
    """Check the contract of the results table.

    Raises:
        ValueError: no rows, a missing column, an unknown kind or role, an experiment of two kinds
            or with two ceilings, a system of two roles or strategies, an item that a system has
            twice for a seed or lacks, a count that is missing, or a count of right answers that is
            neither 0 nor 1.
    """
    missing = [column for column in COLUMNS if column not in results.columns]
    if missing:
        raise ValueError(f"results lacks the columns {missing}; it has {list(results.columns)}")
    if results.empty:
        raise ValueError("results has 0 rows")
    _check_values(results, "kind", tuple(COUNTS_OF_KIND))
    _check_values(results, "role", ROLES)
    for experiment, rows in results.groupby("experiment", sort=False):
        _check_experiment(str(experiment), rows)


def _check_values(results: pd.DataFrame, column: str, allowed: tuple[str, ...]) -> None:
    bad = ~results[column].isin(allowed).to_numpy()
    if bad.any():
        first = int(np.argmax(bad))
        raise ValueError(
            f"results[{column!r}] is {results[column].iloc[first]!r} in row {first}, "
            f"expected one of {list(allowed)}"
        )


def _check_experiment(experiment: str, rows: pd.DataFrame) -> None:
    where = f"results of experiment {experiment!r}"
    kinds = list(rows["kind"].unique())
    if len(kinds) > 1:
        raise ValueError(f"{where} are of {len(kinds)} kinds: {kinds}")
    ceilings = list(rows.loc[rows["role"] == "ceiling", "system"].unique())
    if len(ceilings) > 1:
        raise ValueError(f"{where} have {len(ceilings)} ceilings: {ceilings}")
    for column in ("role", "strategy"):
        several = rows.groupby("system", sort=False)[column].nunique()
        if (several != 1).any():
            name = several[several != 1].index[0]
            raise ValueError(f"{where}: system {name!r} has {several[name]} values of {column}")
    twice = rows.duplicated(["system", "seed", "item"]).to_numpy()
    if twice.any():
        row = rows.iloc[int(np.argmax(twice))]
        raise ValueError(
            f"{where}: system {row['system']!r}, seed {row['seed']} has item {row['item']!r} twice"
        )
    for seed, of_seed in rows.groupby("seed", sort=False):
        taught = of_seed["role"] != "weak"
        items = set(of_seed.loc[taught, "item"] if taught.any() else of_seed["item"])
        for (system, role), of_system in of_seed.groupby(["system", "role"], sort=False):
            answered = set(of_system["item"])
            if role == "weak" and not answered & items:
                # A file of labels answers no test: it is judged on the rows that it labels.
                continue
            absent = sorted(items - answered, key=str)
            if absent:
                raise ValueError(
                    f"{where}: system {system!r}, seed {seed} lacks {len(absent)} of "
                    f"{len(items)} items, first {absent[0]!r}"
                )
    _check_counts(where, kinds[0], rows)


def _check_counts(where: str, kind: str, rows: pd.DataFrame) -> None:
    counts = rows[COUNTS_OF_KIND[kind]].to_numpy(dtype=np.float64)
    bad = ~(np.isfinite(counts) & (counts >= 0)).all(axis=1)
    if kind == "classification":
        bad |= ~np.isin(counts[:, 0], (0.0, 1.0))
    if bad.any():
        first = int(np.argmax(bad))
        row = rows.iloc[first]
        expected = "0 or 1" if kind == "classification" else "numbers >= 0"
        raise ValueError(
            f"{where}: system {row['system']!r}, seed {row['seed']}, item {row['item']!r} has "
            f"counts {counts[first].tolist()}, expected {expected}"
        )
