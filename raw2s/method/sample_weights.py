"""Weights of training samples: the error under them, how boosting moves them, draws by them.

A sample is an example in classification and an answer token in generation. Tokens are kept flat;
`item` (n,) then says which example each belongs to, its tokens in the order of the text.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from raw2s.method.arrays import (
    Array,
    Indices,
    check_at_least,
    check_item,
    check_one_of,
    check_sample_weights,
    check_wrong,
)

Level = Literal["token", "window", "example"]


def weighted_error(wrong: ArrayLike, weights: ArrayLike) -> float:
    """Share of the `weights` (n,) that lies on `wrong` (n,), in [0, 1].

    Weights need not sum to 1. Raises ValueError for weights that are negative, not finite or all
    0, for errors that are not booleans, lengths that differ and empty input.
    """
    array = check_sample_weights(weights)
    return min(1.0, float(array[check_wrong(wrong, len(array))].sum()))


def update_weights(
    weights: ArrayLike,
    wrong: ArrayLike,
    alpha: float,
    *,
    level: Level = "token",
    item: ArrayLike | None = None,
    window: int | None = None,
) -> Array:
    """w * exp(alpha * wrong), normalised to sum to 1, then levelled; (n,).

    Args:
        weights: (n,) >= 0, normalised here.
        wrong: (n,) booleans.
        alpha: the expert's weight, finite.
        level: "token" leaves every sample its own weight; "example" gives a token the mean over
            its example; "window" the mean over the window of its example that it lies in.
        item: (n,) the example of each token; for "example" and "window".
        window: tokens in a window, counted from the example's first token, the last one may be
            shorter; for "window".

    Raises:
        ValueError: as for `weighted_error`, an alpha that is not finite, a level without its
            arguments.
    """
    array = check_sample_weights(weights)
    errors = check_wrong(wrong, len(array))
    if not math.isfinite(alpha):
        raise ValueError(f"alpha is {alpha}, expected a finite number")
    power = alpha * errors
    # Shifted by the largest power that has any weight, nothing overflows and the sum is not 0.
    power -= power[array > 0].max()
    updated = array * np.exp(np.minimum(power, 0.0))
    updated /= updated.sum()
    groups = groups_of(len(array), level, item, window)
    if groups is not None:
        updated = (np.bincount(groups, updated) / np.bincount(groups))[groups]
    return np.asarray(updated, dtype=np.float64)


def resample(weights: ArrayLike, count: int, seed: int) -> Indices:
    """`count` indices into `weights` (n,), drawn with replacement by these weights; (count,).

    `np.bincount(drawn, minlength=n)` is how often each sample counts in the loss. The same seed
    gives the same draws; ValueError as for `weighted_error`, and for a count below 1.
    """
    array = check_sample_weights(weights)
    check_at_least("count", count, 1)
    check_at_least("seed", seed, 0)
    return np.random.default_rng(seed).choice(len(array), size=count, p=array).astype(np.int64)


def drawn_weights(
    weights: ArrayLike,
    seed: int,
    *,
    level: Level = "token",
    item: ArrayLike | None = None,
    window: int | None = None,
) -> Array:
    """How often `weights` (n,) draw each sample, as shares that sum to 1; (n,).

    Samples that share a weight (see `update_weights`) are drawn together: as many groups as there
    are, with replacement. ValueError as for `resample` and `update_weights`.
    """
    array = check_sample_weights(weights)
    groups = groups_of(len(array), level, item, window)
    if groups is None:
        groups = np.arange(len(array), dtype=np.int64)
    sizes = np.bincount(groups)
    drawn = resample(np.bincount(groups, array), len(sizes), seed)
    counts = np.bincount(drawn, minlength=len(sizes))
    return np.asarray((counts / (len(sizes) * sizes))[groups], dtype=np.float64)


def bagging_indices(n_samples: int, rounds: int, seed: int) -> Indices:
    """(rounds, n): n samples drawn with replacement for each round, the comparison at equal cost.

    A round's draw does not depend on the number of rounds. Raises ValueError for an argument
    below 1 (the seed: below 0).
    """
    check_at_least("n_samples", n_samples, 1)
    check_at_least("rounds", rounds, 1)
    check_at_least("seed", seed, 0)
    drawn = [
        np.random.default_rng([seed, r]).integers(n_samples, size=n_samples) for r in range(rounds)
    ]
    return np.stack(drawn).astype(np.int64)


def groups_of(n: int, level: Level, item: ArrayLike | None, window: int | None) -> Indices | None:
    """(n,) the number of the group of samples that share a weight; None: each has its own."""
    check_one_of("level", level, get_args(Level))
    if (window is not None) != (level == "window"):
        raise ValueError(f"window is {window}, expected a length with level 'window' only")
    if level == "token":
        return None
    if item is None:
        raise ValueError(f"item is None, level {level!r} needs the example of each token")
    _, example = np.unique(check_item(item, n), return_inverse=True)
    if window is None:
        return example.astype(np.int64)
    check_at_least("window", window, 1)
    order = np.argsort(example, kind="stable")
    starts = np.cumsum(np.bincount(example)) - np.bincount(example)
    position = np.empty(n, dtype=np.int64)
    position[order] = np.arange(n) - starts[example[order]]
    _, group = np.unique(example * n + position // window, return_inverse=True)
    return group.astype(np.int64)
