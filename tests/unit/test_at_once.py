"""Trainings side by side: who waits for whom."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from raw2s.orchestration.training import _at_once


def test_all_are_done_at_the_same_time() -> None:
    together = threading.Barrier(3, timeout=30)
    done: list[int] = []

    def work() -> None:
        done.append(together.wait())

    _at_once([work] * 3)
    assert sorted(done) == [0, 1, 2]


def test_an_error_is_said_at_once_and_ends_nobody(caplog: pytest.LogCaptureFixture) -> None:
    ended: list[bool] = []

    def fails() -> None:
        raise ValueError("its own fault")

    def lasts() -> None:
        for _ in range(300):
            if "its own fault" in caplog.text:
                break
            time.sleep(0.1)
        ended.append("its own fault" in caplog.text)

    with pytest.raises(ValueError, match="its own fault"):
        _at_once([lasts, fails])
    assert ended == [True]


def test_an_interrupt_waits_for_nobody() -> None:
    """A training may go on for hours."""
    held, ended = threading.Event(), threading.Event()
    main = threading.main_thread().ident
    assert main is not None

    def lasts() -> None:
        signal.pthread_kill(main, signal.SIGINT)
        held.wait(60)
        ended.set()

    # As in a driver; a Ray Train run of another test's main thread has left its own.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            _at_once([lasts])
    finally:
        signal.signal(signal.SIGINT, before)
    assert not ended.is_set()
    held.set()
    assert ended.wait(30)
