"""Weights of the weak models (average, fixed, dynamic by confidence of App. F, trimmed), and what
they mix: the mean or the product of probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from raw2s.method.arrays import (
    Array,
    as_array,
    check_at_least,
    check_distributions,
    check_finite_array,
    check_weight_rows,
    normalised,
)


def average(models: int) -> Array:
    """Equal weights (N,) that sum to 1."""
    check_at_least("models", models, 1)
    return np.full(models, 1.0 / models)


def check_weights(weights: Sequence[float] | Array, models: int) -> Array:
    """`weights` (N,) normalised to sum to 1.

    Raises ValueError when they do not fit the number of models, are negative or not finite, or
    are all 0.
    """
    check_at_least("models", models, 1)
    return normalised("weights", weights, (models,))


def dynamic(probabilities: ArrayLike) -> Array:
    """Weights (B, N): softmax over weak models of log max_k p, of probabilities (B, N, K)."""
    array = check_distributions("probabilities", probabilities, ("B", "N", "K"))
    return dynamic_from_scores(np.log(array.max(-1)))


def dynamic_from_scores(scores: ArrayLike) -> Array:
    """Weights (B, N): softmax over weak models of scores (B, N).

    In generation the score is a sequence's mean word log-probability. Raises ValueError for
    scores that are not finite.
    """
    array = check_finite_array("scores", scores, ("B", "N"))
    powers = np.exp(array - array.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True), dtype=np.float64)


def trimmed(probabilities: ArrayLike) -> Array:
    """Weights (B, N) of probabilities (B, N, K), N >= 3: 0 for the model farthest from the others,
    equal for the rest.

    Far is the L1 distance to the class-by-class median of all N models; of equally far ones the
    first is left out. A model that is alone with its opinion does not move the mean.
    """
    array = check_distributions("probabilities", probabilities, ("B", "N", "K"))
    rows, models, _ = array.shape
    check_at_least("models", models, 3)
    distance = np.abs(array - np.median(array, axis=1, keepdims=True)).sum(-1)
    weights = np.full((rows, models), 1.0 / (models - 1))
    weights[np.arange(rows), distance.argmax(-1)] = 0.0
    return weights


def mean_probability(probabilities: ArrayLike, weights: ArrayLike) -> Array:
    """sum_i lambda_i p^(i): (B, K) of probabilities (B, N, K) and weights (N,) or (B, N).

    Weights are normalised row by row. Raises ValueError for rows of probabilities that are no
    distributions, and as `check_weights`.
    """
    array = check_distributions("probabilities", probabilities, ("B", "N", "K"))
    rows = _weight_rows(weights, array)
    return np.asarray(np.einsum("bn,bnk->bk", rows, array), dtype=np.float64)


def product_probability(probabilities: ArrayLike, weights: ArrayLike) -> Array:
    """prod_i (p^(i))^lambda_i, normalised: (B, K) of probabilities (B, N, K) and weights (N,) or
    (B, N). With equal weights the geometric mean: a class that one model rules out is out.

    A probability counts as at least the smallest normal float, so that classes each ruled out by
    some model still add up. Weights and errors as in `mean_probability`.
    """
    array = check_distributions("probabilities", probabilities, ("B", "N", "K"))
    logs = np.log(np.maximum(array, np.finfo(np.float64).tiny))
    powers = np.einsum("bn,bnk->bk", _weight_rows(weights, array), logs)
    mixed = np.exp(powers - powers.max(-1, keepdims=True))
    return np.asarray(mixed / mixed.sum(-1, keepdims=True), dtype=np.float64)


def _weight_rows(weights: ArrayLike, probabilities: Array) -> Array:
    """Weights (N,) or (B, N) as rows (B, N) that sum to 1."""
    shape = probabilities.shape[:2]
    rows = as_array("weights", weights, np.float64)
    if rows.ndim == 1:
        return np.broadcast_to(check_weights(rows, shape[1]), shape)
    rows = check_weight_rows("weights", rows, shape)
    return rows / rows.sum(-1, keepdims=True)
