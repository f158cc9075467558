"""Calibration scores by hand, in closed form, against pair counting and scikit-learn."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from raw2s.evaluation import Calibration, calibration


def binary(*top: float) -> list[list[float]]:
    """Two-class rows that answer class 1 with these probabilities."""
    return [[1 - p, p] for p in top]


def drawn(rows: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Distributions and labels drawn from them, so calibrated on average."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(classes, 0.7), rows)
    labels = (rng.random((rows, 1)) > p.cumsum(1)[:, :-1]).sum(1)
    return p, labels


def test_ece_by_hand() -> None:
    # (0.5, 0.75]: 0.6 right, 0.7 wrong; (0.75, 1]: 0.8, 0.9, 1.0 right.
    got = calibration(binary(0.6, 0.7, 0.8, 0.9, 1.0), [1, 0, 1, 1, 1], bins=4)
    assert got.ece == pytest.approx(2 / 5 * abs(1 / 2 - 0.65) + 3 / 5 * abs(1 - 0.9))
    assert got.accuracy == 0.8


def test_bins_are_closed_on_the_right() -> None:
    # With two bins of (0, 1/2] and (1/2, 1] the two rows do not cancel out, in one bin they do.
    p, labels = [[0.5, 0.5], [0.0, 1.0]], [0, 0]
    assert calibration(p, labels, bins=2).ece == pytest.approx((0.5 + 1.0) / 2)
    assert calibration(p, labels, bins=1).ece == pytest.approx(abs(0.5 - 0.75))


def test_ece_is_the_gap_of_the_means_with_one_bin_and_near_0_where_calibrated() -> None:
    p, labels = drawn(40_000, 3)
    right = p.argmax(1) == labels
    assert calibration(p, labels, bins=1).ece == pytest.approx(abs(right.mean() - p.max(1).mean()))
    assert calibration(p, labels).ece < 0.01
    sharpened = p**3 / (p**3).sum(1, keepdims=True)
    assert calibration(sharpened, labels).ece > 0.1


def test_auroc_counts_pairs_and_ties_half() -> None:
    rng = np.random.default_rng(1)
    p, labels = drawn(120, 3)
    p = np.round(p, 1)
    p[:, 0] = 1 - p[:, 1:].sum(1)
    p = np.clip(p, 0, 1)
    p /= p.sum(1, keepdims=True)
    wrong = p.argmax(1) != labels
    for uncertainty in (None, rng.integers(0, 5, 120), rng.normal(size=120)):
        u = 1 - p.max(1) if uncertainty is None else uncertainty
        pairs = [(a > b) + 0.5 * (a == b) for a in u[wrong] for b in u[~wrong]]
        got = calibration(p, labels, uncertainty=uncertainty).auroc
        assert got == pytest.approx(sum(pairs) / len(pairs))


def test_agrees_with_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    p, labels = drawn(500, 4)
    uncertainty = np.round(-(p * np.log(p)).sum(1), 1)
    got = calibration(p, labels, uncertainty=uncertainty)
    wrong = p.argmax(1) != labels
    assert got.auroc == pytest.approx(metrics.roc_auc_score(wrong, uncertainty))
    assert got.nll == pytest.approx(metrics.log_loss(labels, p))
    assert got.brier == pytest.approx(
        sum(metrics.brier_score_loss(labels == k, p[:, k]) for k in range(4))
    )
    assert got.accuracy == pytest.approx(metrics.accuracy_score(labels, p.argmax(1)))
    default = calibration(p, labels).auroc
    assert default == pytest.approx(metrics.roc_auc_score(wrong, -p.max(1)))


def test_brier_and_nll_in_closed_form() -> None:
    got = calibration([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4]], [0, 1])
    assert got.brier == pytest.approx((0.09 + 0.04 + 0.01 + 0.09 + 0.49 + 0.16) / 2)
    assert got.nll == pytest.approx(-(math.log(0.7) + math.log(0.3)) / 2)
    # Two classes: twice the squared error of one of them.
    assert calibration(binary(0.8), [1]).brier == pytest.approx(2 * 0.2**2)


def test_the_perfect_predictor() -> None:
    got = calibration(np.eye(3), [0, 1, 2])
    assert got == Calibration(accuracy=1.0, ece=0.0, brier=0.0, nll=0.0, auroc=None)


def test_always_wrong_and_certain() -> None:
    got = calibration(np.eye(3), [1, 2, 0])
    assert got == Calibration(accuracy=0.0, ece=1.0, brier=2.0, nll=math.inf, auroc=None)


@pytest.mark.parametrize("classes", [2, 5])
def test_the_constant_predictor(classes: int) -> None:
    labels = np.arange(10 * classes) % classes
    got = calibration(np.full((len(labels), classes), 1 / classes), labels)
    # The uniform answer is right as often as it says, and tells no item from another.
    assert got.accuracy == pytest.approx(1 / classes)
    assert got.ece == pytest.approx(0, abs=1e-12)
    assert got.brier == pytest.approx(1 - 1 / classes)
    assert got.nll == pytest.approx(math.log(classes))
    assert got.auroc == 0.5


def test_uncertainty_that_knows_the_errors() -> None:
    p, labels = drawn(200, 3)
    wrong = (p.argmax(1) != labels).astype(float)
    assert calibration(p, labels, uncertainty=wrong).auroc == 1.0
    assert calibration(p, labels, uncertainty=-wrong).auroc == 0.0


def test_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        calibration(binary(0.8), [1]).ece = 0.0  # type: ignore[misc]


def test_refuses() -> None:
    p = binary(0.8, 0.6)
    with pytest.raises(ValueError, match=r"sum of probabilities .* is not 1 at \(1,\): 1\.1"):
        calibration([[0.5, 0.5], [0.5, 0.6]], [0, 0])
    with pytest.raises(ValueError, match=r"probabilities .* is negative at \(0, 0\): -0\.2"):
        calibration([[-0.2, 1.2]], [0])
    with pytest.raises(ValueError, match=r"probabilities .* is not finite at \(1, 0\)"):
        calibration([[0.5, 0.5], [np.nan, 0.5]], [0, 0])
    with pytest.raises(ValueError, match=r"probabilities \(shape \(2,\)\) must be \(n, K\)"):
        calibration([0.5, 0.5], [0])
    with pytest.raises(ValueError, match=r"probabilities \(shape \(0, 2\)\)"):
        calibration(np.empty((0, 2)), [])
    with pytest.raises(ValueError, match=r"labels \(shape \(1,\)\) must be \(2,\)"):
        calibration(p, [0])
    with pytest.raises(ValueError, match=r"labels .* in \[0, 2\) at \(1,\): 2"):
        calibration(p, [0, 2])
    with pytest.raises(ValueError, match=r"labels .* at \(0,\): -1"):
        calibration(p, [-1, 0])
    with pytest.raises(ValueError, match=r"uncertainty \(shape \(3,\)\) must be \(2,\)"):
        calibration(p, [0, 1], uncertainty=[0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match=r"uncertainty .* at \(1,\): inf"):
        calibration(p, [0, 1], uncertainty=[0.1, np.inf])
    with pytest.raises(ValueError, match="bins is 0"):
        calibration(p, [0, 1], bins=0)
