"""Weights of the weak models: average, fixed, or dynamic by confidence (App. F of the paper)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def average(models: int) -> Array:
    """Equal weights (N,) that sum to 1."""
    if models < 1:
        raise ValueError(f"models must be at least 1, it is {models}")
    return np.full(models, 1.0 / models)


def check_weights(weights: Sequence[float] | Array, models: int) -> Array:
    """`weights` (N,) normalised to sum to 1.

    Raises ValueError when they do not fit the number of models, are negative or not finite, or
    are all 0.
    """
    array = np.asarray(weights, dtype=np.float64)
    if array.shape != (models,):
        raise ValueError(f"weights have shape {array.shape}, there are {models} weak models")
    wrong = ~(np.isfinite(array) & (array >= 0))
    if wrong.any():
        first = int(wrong.argmax())
        raise ValueError(f"weights must be finite and >= 0, weight {first} is {array[first]}")
    largest = array.max()
    if largest == 0:
        raise ValueError(f"weights are all 0: {array.tolist()}")
    # Divided by the largest first, the sum neither overflows nor vanishes.
    scaled = array / largest
    return np.asarray(scaled / scaled.sum(), dtype=np.float64)


def dynamic(probabilities: ArrayLike) -> Array:
    """Weights (B, N): softmax over weak models of log max_k p, of probabilities (B, N, K)."""
    array = _probabilities(probabilities)
    return dynamic_from_scores(np.log(array.max(-1)))


def dynamic_from_scores(scores: ArrayLike) -> Array:
    """Weights (B, N): softmax over weak models of scores (B, N).

    In generation the score is a sequence's mean word log-probability. Raises ValueError for
    scores that are not finite.
    """
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] == 0:
        raise ValueError(f"scores must be (B, N) with N >= 1, they are {array.shape}")
    _finite("scores", array)
    powers = np.exp(array - array.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True), dtype=np.float64)


def mean_probability(probabilities: ArrayLike, weights: ArrayLike) -> Array:
    """sum_i lambda_i p^(i): (B, K) of probabilities (B, N, K) and weights (N,) or (B, N).

    Weights are normalised row by row; ValueError as for `check_weights`.
    """
    array = _probabilities(probabilities)
    rows = np.asarray(weights, dtype=np.float64)
    if rows.ndim == 1:
        rows = np.broadcast_to(check_weights(rows, array.shape[1]), array.shape[:2])
    elif rows.shape == array.shape[:2]:
        wrong = ~(np.isfinite(rows) & (rows >= 0)).all(-1) | ~(rows.sum(-1) > 0)
        if wrong.any():
            first = int(wrong.argmax())
            raise ValueError(
                f"weights must be finite, >= 0 and not all 0, row {first} is {rows[first].tolist()}"
            )
        rows = rows / rows.sum(-1, keepdims=True)
    else:
        raise ValueError(f"weights are {rows.shape}, probabilities {array.shape}")
    return np.asarray(np.einsum("bn,bnk->bk", rows, array), dtype=np.float64)


def _probabilities(probabilities: ArrayLike) -> Array:
    array = np.asarray(probabilities, dtype=np.float64)
    if array.ndim != 3 or 0 in array.shape[1:]:
        raise ValueError(f"probabilities must be (B, N, K), they are {array.shape}")
    _finite("probabilities", array)
    wrong = (array < 0).any(-1) | (np.abs(array.sum(-1) - 1) > 1e-3)
    if wrong.any():
        row, model = (int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(
            f"probabilities at ({row}, {model}) are no distribution: {array[row, model].tolist()}"
        )
    return array


def _finite(name: str, array: Array) -> None:
    wrong = ~np.isfinite(array)
    if wrong.any():
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(f"{name} {array.shape} are not finite at {where}: {array[where]}")
