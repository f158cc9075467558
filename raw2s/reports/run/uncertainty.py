"""Calibration of each classification system, and how well uncertainty spots its errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from raw2s.evaluation import calibration, dirichlet, ensemble, entropy
from raw2s.method.arrays import Array
from raw2s.reports.results import check_results
from raw2s.reports.run.predictions import Line, Predictions, lines

VALUES = (
    "accuracy",
    "ece",
    "brier",
    "nll",
    "auroc_confidence",
    "auroc_entropy",
    "auroc_vacuity",
    "auroc_mutual_information",
    "auroc_plain_entropy",
    "auroc_plain_mutual_information",
)
UNCERTAINTY_COLUMNS = (
    "experiment",
    "system",
    "role",
    "members",
    "seeds",
    "items",
    *(f"{value}_{part}" for value in VALUES for part in ("mean", "std")),
    "note",
)


def summarise_uncertainty(results: pd.DataFrame) -> pd.DataFrame:
    """Calibration and AUROC from the results table (see `raw2s.reports.results` for its columns).

    Returns:
        One row for each line of `raw2s.reports.run.predictions.lines`, classification only:

        - experiment, system, role; members (1 for a system, N for an ensemble of N), seeds (how
          many take part) and items (distinct test items).
        - accuracy, ece, brier, nll: `raw2s.evaluation.calibration`, _mean and _std over seeds; std
          with n - 1, NaN for one run.
        - auroc_X: of spotting the row's own errors by an uncertainty: confidence (1 - max p),
          entropy, vacuity and mutual_information (of the Dirichlet; of an ensemble the members'
          disagreement), plain_X (the plain ensemble's, on the same items).
        - note: why a value is NaN or infinite, "what: why" joined by "; ". No reason is given for a
          vacuity without a Dirichlet, and for a mutual information without that or members.

    Raises:
        ValueError: the results table breaks its contract.
    """
    check_results(results)
    classified = results[results["kind"] == "classification"]
    rows = [
        {"experiment": experiment} | _row(line)
        for experiment, table in classified.groupby("experiment", sort=False)
        for line in lines(table)
    ]
    return pd.DataFrame(rows, columns=list(UNCERTAINTY_COLUMNS))


def _row(line: Line) -> dict[str, Any]:
    found = [_values(run, plain) for run, plain in zip(line.runs, line.plain, strict=True)]
    members = line.runs[0].members
    row: dict[str, Any] = {
        "system": line.name,
        "role": line.role,
        "members": 1 if members is None else len(members),
        "seeds": len(line.seeds),
        "items": len(set().union(*(run.items for run in line.runs))),
    }
    for name in VALUES:
        values = np.array([value.get(name, np.nan) for value in found])
        spread = len(values) > 1 and np.isfinite(values).all()
        row[f"{name}_mean"] = float(values.mean())
        row[f"{name}_std"] = float(values.std(ddof=1)) if spread else np.nan
    return row | {"note": "; ".join(_reasons(line, found))}


def _values(run: Predictions, plain: Predictions | None) -> dict[str, float]:
    """Those of VALUES that one run has."""
    scores = calibration(run.probabilities, run.labels)
    uncertainties = {"confidence": 1 - run.probabilities.max(-1)} | _uncertainties(run)
    if plain is not None:
        uncertainties |= {f"plain_{name}": u for name, u in _uncertainties(plain).items()}
    spotted = {
        f"auroc_{name}": calibration(run.probabilities, run.labels, uncertainty=u).auroc
        for name, u in uncertainties.items()
    }
    return {
        "accuracy": scores.accuracy,
        "ece": scores.ece,
        "brier": scores.brier,
        "nll": scores.nll,
    } | {name: np.nan if value is None else value for name, value in spotted.items()}


def _uncertainties(run: Predictions) -> dict[str, Array]:
    if run.members is not None:
        found = ensemble(run.members)
    elif run.concentration is not None:
        found = dirichlet(run.probabilities, run.concentration)
    else:
        return {"entropy": entropy(run.probabilities)}
    named = {
        "entropy": found.entropy,
        "vacuity": found.vacuity,
        "mutual_information": found.mutual_information,
    }
    return {name: values for name, values in named.items() if values is not None}


def _reasons(line: Line, found: list[dict[str, float]]) -> list[str]:
    reasons = [line.lacks] if line.lacks else []
    for accuracy, word in ((1.0, "right"), (0.0, "wrong")):
        alike = sum(values["accuracy"] == accuracy for values in found)
        if alike:
            where = f" with {alike} of {len(found)} seeds" if len(found) > 1 else ""
            reasons.append(f"no AUROC: all answers are {word}{where}")
    if any(np.isinf(values["nll"]) for values in found):
        reasons.append("NLL infinite: a true class was given probability 0")
    if any(plain is None for plain in line.plain):
        reasons.append("no plain ensemble: fewer than two weak models answered the same items")
    return reasons
