"""Bootstrap intervals against scipy's and against what must hold exactly."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from raw2s.evaluation import statistics
from raw2s.evaluation.slu_f1 import f1_of
from raw2s.evaluation.statistics import (
    Interval,
    bootstrap,
    mean_value,
    paired_bootstrap,
    seed_noise,
    standard_error,
    with_seed_noise,
)


def test_mean_agrees_with_scipy_and_the_normal_interval() -> None:
    items = np.random.default_rng(1).random(400)
    mine = bootstrap(mean_value, items, n_resamples=5000)
    theirs = stats.bootstrap(
        (items,), np.mean, n_resamples=5000, method="percentile", vectorized=True, random_state=2
    ).confidence_interval
    error = items.std() / np.sqrt(len(items))
    assert mine.score == pytest.approx(items.mean())
    assert (mine.low, mine.high) == pytest.approx((theirs.low, theirs.high), abs=0.15 * error)
    assert mine.high - mine.low == pytest.approx(2 * 1.96 * error, rel=0.06)


def test_paired_f1_agrees_with_scipy() -> None:
    rng = np.random.default_rng(3)
    a = rng.random((150, 6)) * [3, 1, 1, 3, 1, 1]
    b = a * rng.uniform(0.5, 1.5, a.shape)

    def difference(*columns: np.ndarray, axis: int) -> np.ndarray:
        sums = np.stack([column.sum(axis=axis) for column in columns], axis=-1)
        return f1_of(sums[..., :6]) - f1_of(sums[..., 6:])

    theirs = stats.bootstrap(
        tuple(np.hstack([a, b]).T),
        difference,
        paired=True,
        vectorized=True,
        n_resamples=4000,
        method="percentile",
        random_state=4,
    ).confidence_interval
    mine = paired_bootstrap(f1_of, a, b, n_resamples=4000)
    width = theirs.high - theirs.low
    assert mine.difference == pytest.approx(float(f1_of(a.sum(0)) - f1_of(b.sum(0))))
    assert (mine.low, mine.high) == pytest.approx((theirs.low, theirs.high), abs=0.08 * width)


def test_pairing_takes_out_what_both_share() -> None:
    base = np.random.default_rng(5).random(100)
    shifted = paired_bootstrap(mean_value, base + 0.25, base)
    assert (shifted.difference, shifted.low, shifted.high) == pytest.approx((0.25, 0.25, 0.25))
    unpaired = paired_bootstrap(mean_value, base + 0.25, base[::-1])
    assert unpaired.high - unpaired.low > 0.05


def test_noise_of_seeds_is_scipys_interval() -> None:
    d = np.random.default_rng(8).random(4)
    low, high = stats.ttest_1samp(d, 0).confidence_interval(0.9)
    assert seed_noise(d, 0.9) == pytest.approx((high - low) / 2)
    assert standard_error(d) == pytest.approx(stats.sem(d))
    # One seed says nothing of the noise: the interval over items stays.
    assert np.isnan(seed_noise(d[:1])) and np.isnan(standard_error(d[:1]))
    items = Interval(0.1, 0.05, 0.2)
    assert with_seed_noise(items, d[:1]) == items
    wider = with_seed_noise(items, [0.1, 0.1, 0.4])
    half = seed_noise([0.1, 0.1, 0.4])
    assert (wider.difference, wider.low) == pytest.approx((0.1, 0.1 - np.hypot(0.05, half)))
    assert wider.high == pytest.approx(0.1 + np.hypot(0.1, half))


@pytest.mark.parametrize("of_seeds", [0.0, 0.5, 1.0, 4.0])
@pytest.mark.parametrize("n_seeds", [2, 3, 8])
def test_joint_intervals_hold_what_they_promise(of_seeds: float, n_seeds: int) -> None:
    """Two equal systems: of_seeds, the seeds' share of the error over the items'."""
    rng, n_items, times = np.random.default_rng(9), 100, 1000
    item = rng.normal(size=(times, 1, n_items))
    seed = rng.normal(size=(times, n_seeds, 1)) * of_seeds * np.sqrt(n_seeds / n_items)
    both = item + seed + 0.5 * rng.normal(size=(times, n_seeds, n_items))
    covered = 0
    for differences in both:
        per_item = differences.mean(0)
        mean, half = per_item.mean(), 1.96 * per_item.std() / np.sqrt(n_items)
        items = Interval(mean, mean - half, mean + half)
        found = with_seed_noise(items, differences.mean(1))
        covered += found.low <= 0 <= found.high
    assert covered / times >= 0.94


def test_seed_confidence_and_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    items = np.random.default_rng(6).random(50)
    one = bootstrap(mean_value, items, seed=7)
    assert one == bootstrap(mean_value, items, seed=7)
    assert one != bootstrap(mean_value, items, seed=8)
    narrow = bootstrap(mean_value, items, seed=7, confidence=0.5)
    assert one.low < narrow.low < narrow.high < one.high
    monkeypatch.setattr(statistics, "_CELLS_A_CHUNK", 333)
    small = bootstrap(mean_value, items, seed=7)
    assert (small.low, small.high) == pytest.approx((one.low, one.high), abs=0.01)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"items_b \(shape \(2,\)\) must be \(3,\)"):
        paired_bootstrap(mean_value, [1, 0, 1], [1, 0])
    with pytest.raises(ValueError, match=r"items \(shape \(2,\)\) is not finite at \(1,\): nan"):
        bootstrap(mean_value, [1.0, float("nan")])
    with pytest.raises(ValueError, match=r"shape \(0,\)"):
        bootstrap(mean_value, [])
    with pytest.raises(ValueError, match="confidence is 95"):
        bootstrap(mean_value, [1.0], confidence=95)
    with pytest.raises(ValueError, match="n_resamples is 0"):
        bootstrap(mean_value, [1.0], n_resamples=0)
