"""Scores, performance gap recovered, agreement and intervals: numpy, scipy, pandas, rapidfuzz."""

from raw2s.evaluation.agreement import agreement
from raw2s.evaluation.calibration import Calibration, calibration
from raw2s.evaluation.metrics import accuracy
from raw2s.evaluation.pgr import Pgr, pgr
from raw2s.evaluation.slu_f1 import SluCounts, SluF1, from_counts, item_counts, slu_f1
from raw2s.evaluation.statistics import Interval, ScoreInterval, bootstrap, paired_bootstrap
from raw2s.evaluation.uncertainty import Uncertainty, dirichlet, ensemble, entropy

__all__ = [
    "Calibration",
    "Interval",
    "Pgr",
    "ScoreInterval",
    "SluCounts",
    "SluF1",
    "Uncertainty",
    "accuracy",
    "agreement",
    "bootstrap",
    "calibration",
    "dirichlet",
    "ensemble",
    "entropy",
    "from_counts",
    "item_counts",
    "paired_bootstrap",
    "pgr",
    "slu_f1",
]
