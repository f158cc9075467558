"""Trainings side by side: who waits for whom."""

from __future__ import annotations

import threading

import pytest

from raw2s.orchestration.training import _at_once


def test_all_are_done_at_the_same_time() -> None:
    together = threading.Barrier(3, timeout=30)
    done: list[int] = []

    def work() -> None:
        done.append(together.wait())

    _at_once([work] * 3)
    assert sorted(done) == [0, 1, 2]


def test_the_first_error_waits_for_nobody() -> None:
    """Another training may go on for hours."""
    held, ended = threading.Event(), threading.Event()

    def fails() -> None:
        raise ValueError("its own fault")

    def lasts() -> None:
        held.wait(60)
        ended.set()

    with pytest.raises(ValueError, match="its own fault"):
        _at_once([lasts, fails])
    assert not ended.is_set()
    held.set()
    assert ended.wait(30)
