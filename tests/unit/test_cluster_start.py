"""A Ray of one machine starts on a busy machine, too."""

from __future__ import annotations

import contextlib
import os
from typing import Any
from unittest import mock

import pytest
import ray

from raw2s.config import Cluster
from raw2s.orchestration.cluster import connected

SLOW = "The current node timed out during startup. This could happen because some of the raylet ..."


@pytest.mark.parametrize(
    ("message", "failures", "tries", "fails"),
    [(SLOW, 2, 3, False), (SLOW, 3, 3, True), ("no space", 1, 1, True)],
)
def test_a_start_that_took_too_long_is_tried_again(
    message: str, failures: int, tries: int, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def init(address: str, **options: Any) -> None:
        calls.append(address)
        if len(calls) <= failures:
            raise Exception(message)

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    outcome = pytest.raises(Exception, match=message[:8]) if fails else contextlib.nullcontext()
    with mock.patch.dict(os.environ), outcome, connected(Cluster()):
        pass
    assert calls == ["local"] * tries
