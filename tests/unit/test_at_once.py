"""Trainings side by side: who waits for whom."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Collection

import pytest

from raw2s.orchestration.training import _at_once

Failed = Callable[[BaseException], None]


def never(running: Collection[str]) -> bool:
    return False


def test_all_are_done_at_the_same_time() -> None:
    together = threading.Barrier(3, timeout=30)
    done: list[int] = []

    def work(failed: Failed) -> None:
        done.append(together.wait())

    _at_once(dict.fromkeys("abc", work), never)
    assert sorted(done) == [0, 1, 2]


@pytest.mark.parametrize("goes_on", [True, False])
def test_an_error_is_said_at_once_and_ends_nobody(
    goes_on: bool, caplog: pytest.LogCaptureFixture
) -> None:
    ended: list[bool] = []

    def fails(failed: Failed) -> None:
        if not goes_on:
            raise ValueError("its own fault")
        failed(ValueError("its own fault"))

    def lasts(failed: Failed) -> None:
        for _ in range(300):
            if "its own fault" in caplog.text:
                break
            time.sleep(0.1)
        ended.append("its own fault" in caplog.text)

    with pytest.raises(ValueError, match="its own fault"):
        _at_once({"a": lasts, "b": fails}, never)
    assert ended == [True]


def test_an_interrupt_waits_for_nobody() -> None:
    """A training may go on for hours."""
    held, ended = threading.Event(), threading.Event()
    main = threading.main_thread().ident
    assert main is not None

    def lasts(failed: Failed) -> None:
        signal.pthread_kill(main, signal.SIGINT)
        held.wait(60)
        ended.set()

    # As in a driver; a Ray Train run of another test's main thread has left its own.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            _at_once({"a": lasts}, never)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not ended.is_set()
    held.set()
    assert ended.wait(30)


def test_nobody_waits_for_those_that_wait_in_vain() -> None:
    held, asked = threading.Event(), []

    def works(failed: Failed) -> None:
        time.sleep(1.5)

    def waits(failed: Failed) -> None:
        held.wait(60)

    def over(running: Collection[str]) -> bool:
        asked.append(set(running))
        return "works" not in running

    _at_once({"works": works, "waits": waits}, over)
    assert not held.is_set()
    assert asked[0] == {"works", "waits"} and asked[-2:] == [{"waits"}] * 2
    held.set()


def test_an_error_that_comes_late_is_raised_all_the_same() -> None:
    held, looked = threading.Event(), threading.Event()

    def fails(failed: Failed) -> None:
        looked.wait(60)
        failed(ValueError("of the last job"))
        held.wait(60)

    def over(running: Collection[str]) -> bool:
        looked.set()
        return True

    with pytest.raises(ValueError, match="of the last job"):
        _at_once({"fails": fails}, over)
    held.set()
