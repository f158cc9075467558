"""Accuracy."""

from __future__ import annotations

import pytest

from raw2s.evaluation import accuracy


def test_accuracy_is_the_share_of_equal_labels() -> None:
    assert accuracy(["a", "b", "c", "a"], ["a", "b", "a", "b"]) == 0.5


def test_an_unreadable_answer_counts_as_wrong() -> None:
    assert accuracy(["a", "b"], ["a", None]) == 0.5


def test_lengths_must_match_and_not_be_zero() -> None:
    with pytest.raises(ValueError, match=r"predicted \(shape \(1,\)\) must be \(2,\)"):
        accuracy([0, 1], [0])
    with pytest.raises(ValueError, match=r"gold \(shape \(0,\)\)"):
        accuracy([], [])
