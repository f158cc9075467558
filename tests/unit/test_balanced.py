"""Balanced predictions against exhaustive search and the binary threshold."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from raw2s.method.balanced import BalancedPredictions, class_counts


def drawn(rows: int, classes: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("seed", range(5))
def test_is_the_best_of_all_predictions_with_these_counts(seed: int) -> None:
    logits, shares = drawn(6, 3, seed), [0.5, 1 / 3, 1 / 6]
    log_q = logits.log_softmax(-1).numpy()
    best = max(
        (
            p
            for p in itertools.product(range(3), repeat=6)
            if np.bincount(p, minlength=3).tolist() == [3, 2, 1]
        ),
        key=lambda p: log_q[np.arange(6), p].sum(),
    )
    assert BalancedPredictions(shares, 6).predict(logits).tolist() == list(best)


def test_two_classes_are_a_threshold_on_the_probability() -> None:
    logits = drawn(40, 2, 0)
    found = BalancedPredictions([0.75, 0.25], 40).predict(logits)
    # The ten examples most in favour of class 1.
    favour = logits[:, 1] - logits[:, 0]
    assert set(found.nonzero().flatten().tolist()) == set(favour.topk(10).indices.tolist())


def test_single_examples_fill_the_window_as_one_batch_does() -> None:
    logits = drawn(12, 4, 1)
    shares = [0.4, 0.3, 0.2, 0.1]
    one_by_one = BalancedPredictions(shares, 8)
    for row in logits:
        last = one_by_one.predict(row[None])
    at_once = BalancedPredictions(shares, 8)
    assert last.tolist() == at_once.predict(logits[-8:])[-1:].tolist()
    torch.testing.assert_close(one_by_one.recent, at_once.recent)


def test_a_student_that_prefers_one_class_is_brought_back() -> None:
    logits = drawn(64, 2, 2) + torch.tensor([3.0, 0.0])
    assert logits.argmax(-1).double().mean() < 0.1
    assert BalancedPredictions([0.5, 0.5], 32).predict(logits).double().mean() == 0.5


def test_counts_are_the_largest_remainders() -> None:
    assert class_counts(np.array([0.5, 0.5]), 3).tolist() == [2, 1]
    assert class_counts(np.array([0.1, 0.2, 0.7]), 10).tolist() == [1, 2, 7]
    assert class_counts(np.array([0.05, 0.9, 0.05]), 1).tolist() == [0, 1, 0]


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="sum of shares"):
        BalancedPredictions([0.5, 0.6])
    with pytest.raises(ValueError, match="window"):
        BalancedPredictions([0.5, 0.5], 0)
    with pytest.raises(ValueError, match=r"logits \(shape \(2, 3\)\) must be \(B, 2\)"):
        BalancedPredictions([0.5, 0.5]).predict(drawn(2, 3, 0))
    with pytest.raises(ValueError, match="not finite"):
        BalancedPredictions([0.5, 0.5]).predict(torch.tensor([[float("nan"), 0.0]]))
