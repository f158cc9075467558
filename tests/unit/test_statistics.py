"""Bootstrap intervals against scipy's and against what must hold exactly."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from raw2s.evaluation import statistics
from raw2s.evaluation.slu_f1 import f1_of
from raw2s.evaluation.statistics import bootstrap, mean_value, paired_bootstrap


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
