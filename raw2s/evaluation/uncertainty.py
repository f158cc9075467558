"""How uncertain a prediction is, and how much of that is the model's own ignorance.

The entropy of the predictive distribution (total) is the expected entropy of a distribution drawn
from the posterior (aleatoric: the data's noise) plus the mutual information of label and draw
(epistemic: what the model does not know). The posterior is a Dirichlet or an ensemble's members.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import digamma, xlogy

from raw2s.method.arrays import (
    Array,
    check_distributions,
    check_finite_array,
    normalised,
    refuse,
)


@dataclass(frozen=True)
class Uncertainty:
    """Uncertainties of n predictions, each (n,), in nats but for the vacuity."""

    entropy: Array
    """Of the predictive distribution, in [0, log K]: total."""
    expected_entropy: Array
    """Of a distribution drawn from the posterior, in [0, log K]: aleatoric."""
    mutual_information: Array
    """Entropy minus expected entropy, >= 0: epistemic."""
    vacuity: Array | None
    """K / alpha_0 of a Dirichlet, > 0; None for an ensemble."""


def entropy(probabilities: ArrayLike) -> Array:
    """-sum_k p_k log p_k in nats, (n,), of distributions (n, K); ValueError for any other rows."""
    return _entropy(check_distributions("probabilities", probabilities, ("n", "K")))


def dirichlet(probabilities: ArrayLike, concentration: ArrayLike) -> Uncertainty:
    """Uncertainties of n Dirichlet distributions.

    The expected entropy is sum_k p_k (digamma(alpha_0 + 1) - digamma(alpha_k + 1)).

    Args:
        probabilities: (n, K), the means p = alpha / alpha_0.
        concentration: (n,), alpha_0.

    Raises:
        ValueError: shapes that do not fit, a row that is no distribution, or a concentration that
            is not finite and above 0.
    """
    p = check_distributions("probabilities", probabilities, ("n", "K"))
    total = check_finite_array("concentration", concentration, (len(p),))
    refuse(total <= 0, "concentration", total.shape, "is not above 0", total)
    alpha = p * total[:, None]
    expected = (p * (digamma(total + 1)[:, None] - digamma(alpha + 1))).sum(-1)
    return _parts(p, expected, p.shape[1] / total)


def ensemble(probabilities: ArrayLike, weights: ArrayLike | None = None) -> Uncertainty:
    """Uncertainties of the mean of N members; the mutual information is their disagreement.

    Args:
        probabilities: (N, n, K), each member's predicted distributions.
        weights: (N,), made to sum to 1; equal by default.

    Raises:
        ValueError: shapes that do not fit, a row that is no distribution, or weights that are
            negative, not finite or all 0.
    """
    p = check_distributions("probabilities", probabilities, ("N", "n", "K"))
    given = np.ones(len(p)) if weights is None else weights
    share = normalised("weights", given, (len(p),))
    return _parts(np.einsum("i,ink->nk", share, p), share @ _entropy(p), None)


def _parts(mean: Array, expected: Array, vacuity: Array | None) -> Uncertainty:
    total = _entropy(mean)
    # Where the two are equal, rounding may leave a negative difference.
    return Uncertainty(total, expected, np.maximum(total - expected, 0.0), vacuity)


def _entropy(p: Array) -> Array:
    # In sorted order: rounding shall not tell a distribution from the same one with its classes in
    # another order, which would break ties by class.
    return np.asarray(-np.sort(xlogy(p, p), axis=-1).sum(-1), dtype=np.float64)
