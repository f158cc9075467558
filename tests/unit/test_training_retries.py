"""Which lost trainings are started again: what a second try would meet again is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ray.train import WorkerGroupError

from raw2s.orchestration.training import train
from raw2s.store import Job, Store

RETRIES = 2


@pytest.fixture
def job() -> Job:
    return Job("student", "naive", {}, {}, {"workers": 2, "cpus": 1, "gpus": 0, "nodes": {}})


@pytest.mark.parametrize(
    ("failure", "tries"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), 1),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), 1),
        (MemoryError(), 1),
        (ValueError("a value"), 1),
        (RuntimeError("Connection closed by peer [10.0.0.2]:34567"), 1 + RETRIES),
    ],
)
def test_lost_workers_are_tried_again_and_full_memory_is_not(
    failure: Exception, tries: int, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []

    class Trainer:
        def __init__(self, *words: Any, run_config: Any, **options: Any) -> None:
            names.append(run_config.name)

        def fit(self) -> None:
            # The other rank only sees the connection go.
            raise WorkerGroupError("lost", {0: failure, 1: RuntimeError("Connection reset")})

    monkeypatch.setattr("ray.train.torch.TorchTrainer", Trainer)
    with pytest.raises(WorkerGroupError):
        train([job], Store(tmp_path), None, runs=None, retries=RETRIES)
    assert len(set(names)) == len(names) == tries
