"""Reliability: accuracy against confidence, bin by bin (Guo et al. 2017)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from raw2s.reports.results import check_results
from raw2s.reports.run.predictions import Line, lines

BINS = 15
"""As many as the expected calibration error has: it is the sum of share |accuracy - confidence|."""
_COLUMNS = ("experiment", "system", "role", "confidence", "accuracy", "share", "classes")


def reliability(results: pd.DataFrame) -> pd.DataFrame:
    """Bins of equal width of the top probability, ((b-1)/15, b/15], that hold answers.

    Returns:
        A row for each line of `raw2s.reports.run.predictions.lines` and each of its bins:
        experiment, system, role, the bin's mean confidence and accuracy, its share of the answers
        (seeds pooled), and the number of classes. Classification only.

    Raises:
        ValueError: the results table breaks its contract.
    """
    check_results(results)
    classified = results[results["kind"] == "classification"]
    parts = [
        _bins(line).assign(experiment=experiment, system=line.name, role=line.role)
        for experiment, table in classified.groupby("experiment", sort=False)
        for line in lines(table)
    ]
    empty = pd.DataFrame(columns=list(_COLUMNS))
    return pd.concat(parts, ignore_index=True)[list(_COLUMNS)] if parts else empty


def _bins(line: Line) -> pd.DataFrame:
    probabilities = np.concatenate([run.probabilities for run in line.runs])
    labels = np.concatenate([run.labels for run in line.runs])
    confidence = probabilities.max(-1)
    answers = pd.DataFrame(
        {"confidence": confidence, "accuracy": (probabilities.argmax(-1) == labels).astype(float)}
    )
    of_bin = answers.groupby(np.searchsorted(np.arange(1, BINS) / BINS, confidence))
    return of_bin.mean().assign(share=of_bin.size() / len(answers), classes=probabilities.shape[1])
