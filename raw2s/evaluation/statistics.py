"""Intervals of scores and of paired differences, over test items and over seeds.

Over items: the percentile bootstrap. An item is a row of counts, and a metric is a function of the
mean row: the share of right answers, or the F1 of summed counts (whose scale does not matter). So a
resample needs only how often each item is drawn, and all resamples together are one matrix product.
Over seeds, of which there are few: Student's t.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from raw2s.method.arrays import Array, as_array, check_at_least, check_finite_array, check_shape

Floats = Array
Metric = Callable[[Floats], Floats]
"""Maps mean count rows, shape (r, c), to r scores, shape (r,)."""

_CELLS_A_CHUNK = 4_000_000


@dataclass(frozen=True)
class ScoreInterval:
    """A system's score and its bootstrap interval."""

    score: float
    low: float
    high: float


@dataclass(frozen=True)
class Interval:
    """The score of system a minus that of system b, and an interval of that difference."""

    difference: float
    low: float
    high: float


def mean_value(means: Floats) -> Floats:
    """The metric of items that are single numbers: their mean, shape (r, c) -> (r,)."""
    return means[:, 0]


def bootstrap(
    metric: Metric,
    items: ArrayLike,
    *,
    n_resamples: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> ScoreInterval:
    """Score of one system with a percentile bootstrap interval over its items.

    Args:
        metric: maps mean rows (r, c) to scores (r,).
        items: one row of counts for each item, shape (n, c), or one number each, shape (n,).
        n_resamples: how many times n items are drawn with replacement.
        seed: of the draws; the same seed and n give the same draws.
        confidence: in (0, 1).

    Raises:
        ValueError: no items, an item that is not finite, or an option out of range.
    """
    rows = _rows("items", items)
    _check_options(n_resamples, confidence)
    scores = metric(_resampled_means(rows, n_resamples, seed))
    low, high = _percentiles(scores, confidence)
    return ScoreInterval(float(metric(rows.mean(axis=0, keepdims=True))[0]), low, high)


def paired_bootstrap(
    metric: Metric,
    items_a: ArrayLike,
    items_b: ArrayLike,
    *,
    n_resamples: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """metric(a) - metric(b) with a percentile interval; both see the same items in each resample.

    Args:
        metric: maps mean rows (r, c) to scores (r,).
        items_a: counts of system a, shape (n, c) or (n,).
        items_b: counts of system b on the same items in the same order, of the same shape.
        n_resamples: how many times n items are drawn with replacement.
        seed: of the draws.
        confidence: in (0, 1).

    Raises:
        ValueError: shapes that differ, no items, an item that is not finite, a bad option.
    """
    a, b = _rows("items_a", items_a), _rows("items_b", items_b)
    check_shape("items_b", np.shape(items_b), np.shape(items_a))
    _check_options(n_resamples, confidence)
    width = a.shape[1]
    means = _resampled_means(np.hstack([a, b]), n_resamples, seed)
    low, high = _percentiles(metric(means[:, :width]) - metric(means[:, width:]), confidence)
    point_a = metric(a.mean(axis=0, keepdims=True))[0]
    point_b = metric(b.mean(axis=0, keepdims=True))[0]
    return Interval(float(point_a - point_b), low, high)


def standard_error(differences: ArrayLike) -> float:
    """Of the mean of n differences, one a seed: their std (n - 1) over sqrt(n); NaN for n < 2."""
    d = check_finite_array("differences", differences, ("n",))
    return float(d.std(ddof=1)) / math.sqrt(len(d)) if len(d) > 1 else math.nan


def seed_noise(differences: ArrayLike, confidence: float = 0.95) -> float:
    """Half the width of Student's t interval of the mean of n differences, one a seed.

    That is t(n - 1) standard errors: at 95 % 12.7 for two seeds, 4.30 for three. NaN for n < 2.
    """
    from scipy.stats import t

    _check_confidence(confidence)
    n = np.size(differences)
    factor = float(t.ppf((1 + confidence) / 2, n - 1)) if n > 1 else math.nan
    return factor * standard_error(differences)


def with_seed_noise(items: Interval, differences: ArrayLike, confidence: float = 0.95) -> Interval:
    """Widen an interval over test items to one over items and seeds.

    The two are different sources of error, so the distances from the difference to the ends of
    their intervals add in quadrature (Zou and Donner's MOVER, 2008). What an item and a seed do
    together is in both, which makes it too wide rather than too narrow.

    Args:
        items: the difference and its interval over items.
        differences: the difference with each seed, shape (n,). For n < 2 nothing is known of the
            noise of seeds, and the interval stays.
        confidence: of both, in (0, 1).
    """
    if np.size(differences) < 2:
        return items
    noise = seed_noise(differences, confidence)
    below = math.hypot(items.difference - items.low, noise)
    above = math.hypot(items.high - items.difference, noise)
    return Interval(items.difference, items.difference - below, items.difference + above)


def _rows(name: str, items: ArrayLike) -> Floats:
    dimensions = as_array(name, items).ndim
    rows = check_finite_array(name, items, ("n",) if dimensions == 1 else ("n", "c"))
    return rows.reshape(len(rows), -1)


def _check_options(n_resamples: int, confidence: float) -> None:
    check_at_least("n_resamples", n_resamples, 1)
    _check_confidence(confidence)


def _check_confidence(confidence: float) -> None:
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence is {confidence}, expected a number between 0 and 1")


def _resampled_means(rows: Floats, n_resamples: int, seed: int) -> Floats:
    """Mean rows of the resamples, shape (n_resamples, c); draws in chunks to bound the memory."""
    n = len(rows)
    rng = np.random.default_rng(seed)
    chunk = max(1, _CELLS_A_CHUNK // n)
    parts: list[Floats] = []
    for start in range(0, n_resamples, chunk):
        size = min(chunk, n_resamples - start)
        drawn = rng.integers(n, size=(size, n)) + np.arange(size)[:, None] * n
        times = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)
        parts.append(times.astype(np.float64) @ rows / n)
    return np.concatenate(parts)


def _percentiles(scores: Floats, confidence: float) -> tuple[float, float]:
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(scores, [tail, 1.0 - tail])
    return float(low), float(high)
