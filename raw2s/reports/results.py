"""The results table: one row for each experiment, system, seed and test item; its contract.

Columns: experiment, kind ("classification" or "generation"), seed, system (display name), role
("weak", "ensemble" of experts, "ceiling" or "student"), strategy (machine name), item (id), part
("easy" or "hard" of the test, "" in random order), prediction, gold, malformed, probabilities,
concentration and the counts c0..c5. Systems are shown in order of appearance.

Classification: gold is a class, 0 to K - 1, as JSON; probabilities are the K numbers of the
predictive distribution, concentration the alpha_0 of its Dirichlet (NaN for a system without one);
c0 is 1 where the most probable class (the first on ties) is gold, else 0. Generation: the counts
are the word TP, FP, FN and the char TP, FP, FN of SLU-F1; there are no probabilities.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

COUNTS = ("c0", "c1", "c2", "c3", "c4", "c5")
COLUMNS = (
    "experiment",
    "kind",
    "seed",
    "system",
    "role",
    "strategy",
    "item",
    "part",
    "prediction",
    "gold",
    "malformed",
    "probabilities",
    "concentration",
    *COUNTS,
)
COUNTS_OF_KIND = {"classification": ["c0"], "generation": list(COUNTS)}
ROLES = ("weak", "ensemble", "ceiling", "student")


def check_results(results: pd.DataFrame) -> None:
    """Check the contract of the results table.

    Raises:
        ValueError: no rows, a missing column, an unknown kind or role, an experiment of two kinds
            or with two ceilings, a system of two roles or strategies, an item that a system has
            twice for a seed or lacks, a count that is missing; in classification probabilities
            that are no distribution or not over K classes, a concentration that is not above 0 or
            that only some rows of a system have, or a c0 that does not say whether the most
            probable class is gold.
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
    taught = rows[rows["role"] != "weak"]
    for seed, of_seed in rows.groupby("seed", sort=False):
        test = taught[taught["seed"] == seed]
        if test.empty:
            # Weak models that do not vary have run with one seed, where no other need have run.
            test = of_seed if taught.empty else taught
        items = set(test["item"])
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
    if kinds[0] == "classification":
        _check_distributions(where, rows)


def _check_counts(where: str, kind: str, rows: pd.DataFrame) -> None:
    counts = rows[COUNTS_OF_KIND[kind]].to_numpy(dtype=np.float64)
    good = (np.isfinite(counts) & (counts >= 0)).all(axis=1)
    _refuse(where, rows, "counts", counts.tolist(), good, "numbers >= 0")


def _check_distributions(where: str, rows: pd.DataFrame) -> None:
    given = [np.asarray(p, dtype=np.float64) for p in rows["probabilities"]]
    classes = max(2, given[0].size)
    # A NaN passes neither comparison.
    good = [p.shape == (classes,) and p.min() >= 0 and abs(p.sum() - 1) <= 1e-3 for p in given]
    listed = [p.tolist() for p in given]
    _refuse(where, rows, "probabilities", listed, good, f"a distribution over {classes} classes")
    gold = [json.loads(label) for label in rows["gold"]]
    good = [label in range(classes) for label in gold]
    _refuse(where, rows, "gold", gold, good, f"a class, 0 to {classes - 1}")
    c0 = rows["c0"].to_numpy(dtype=np.float64)
    good = c0 == (np.stack(given).argmax(axis=1) == gold)
    _refuse(where, rows, "c0", c0, good, "1 where the most probable class is gold, else 0")
    concentration = rows["concentration"].to_numpy(dtype=np.float64)
    known = np.isfinite(concentration) & (concentration > 0)
    evidential = rows["system"].isin(rows["system"][known]).to_numpy()
    good = np.where(evidential, known, np.isnan(concentration))
    expected = "NaN, or a number > 0 in every row of the system"
    _refuse(where, rows, "concentration", concentration, good, expected)


def _refuse(
    where: str,
    rows: pd.DataFrame,
    what: str,
    values: Sequence[object] | NDArray[np.float64],
    good: ArrayLike,
    expected: str,
) -> None:
    """ValueError that names the first row whose value is not good, if there is one."""
    bad = ~np.asarray(good, dtype=np.bool_)
    if bad.any():
        first = int(np.argmax(bad))
        row = rows.iloc[first]
        raise ValueError(
            f"{where}: system {row['system']!r}, seed {row['seed']}, item {row['item']!r} has "
            f"{what} {values[first]}, expected {expected}"
        )
