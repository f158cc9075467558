"""How far predicted probabilities can be trusted: calibration, proper scores, spotting errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from raw2s.method.arrays import (
    Array,
    Bools,
    check_at_least,
    check_distributions,
    check_finite_array,
    check_whole,
)


@dataclass(frozen=True)
class Calibration:
    """Scores of n predicted distributions over K classes."""

    accuracy: float
    """Share of items whose most probable class (the first on ties) is the label."""
    ece: float
    """Expected calibration error, in [0, 1]: Guo et al. 2017."""
    brier: float
    """Mean over items of the sum over classes of (p_k - [k is the label])^2, in [0, 2]: Brier 1950;
    for two classes twice the squared error of one of them."""
    nll: float
    """Mean of -log p(label), in nats; infinite where a label was given probability 0."""
    auroc: float | None
    """P(uncertainty of a wrong answer > that of a right one), ties counting half; None where all
    answers are right or all wrong."""


def calibration(
    probabilities: ArrayLike,
    labels: ArrayLike,
    *,
    bins: int = 15,
    uncertainty: ArrayLike | None = None,
) -> Calibration:
    """Score predicted distributions against the true labels.

    Args:
        probabilities: (n, K), rows sum to 1.
        labels: (n,) classes 0..K-1.
        bins: how many bins of equal width, ((b-1)/bins, b/bins], for the top probability in `ece`:
            the sum over bins of their share of the items times |accuracy - mean confidence|.
        uncertainty: (n,), higher where an error is more likely; 1 - max_k p_k by default.

    Raises:
        ValueError: shapes that do not fit, no items, a row that is no distribution, a label out of
            range, an uncertainty that is not finite, or fewer than 1 bin.
    """
    p = check_distributions("probabilities", probabilities, ("n", "K"))
    y = check_whole("labels", labels, (len(p),), 0, p.shape[1])
    check_at_least("bins", bins, 1)
    confidence = p.max(-1)
    scores = 1 - confidence
    if uncertainty is not None:
        scores = check_finite_array("uncertainty", uncertainty, (len(p),))
    right = p.argmax(-1) == y
    label_probability = p[np.arange(len(y)), y]
    with np.errstate(divide="ignore"):
        nll = float(-np.log(label_probability).mean())
    return Calibration(
        accuracy=float(right.mean()),
        ece=_ece(confidence, right, bins),
        brier=float(((p - (np.arange(p.shape[1]) == y[:, None])) ** 2).sum(-1).mean()),
        nll=nll,
        auroc=_auroc(scores, ~right),
    )


def _ece(confidence: Array, right: Bools, bins: int) -> float:
    edges = np.arange(1, bins) / bins
    bin_of = np.searchsorted(edges, confidence, side="left")
    # Share times |mean - mean| is |sum - sum| / n.
    return float(np.abs(np.bincount(bin_of, right - confidence)).sum() / len(right))


def _auroc(scores: Array, positive: Bools) -> float | None:
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if positives == 0 or negatives == 0:
        return None
    _, place, ties = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(ties) - (ties - 1) / 2)[place]  # equal scores share their mean rank
    # Mann-Whitney: the rank sum of the positives less what it is when none is above a negative.
    above = ranks[positive].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))
