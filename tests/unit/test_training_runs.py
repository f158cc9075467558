"""Ray Train runs that share a line of models: who trains what, and which losses are tried again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ray.train import WorkerGroupError

from raw2s.nodes import Node
from raw2s.orchestration.board import Board
from raw2s.orchestration.training import train
from raw2s.store import Job, Store

RETRIES = 2
NODES = [Node(5), Node(2)]


class Asked:
    """The board as an actor shows it, in this process."""

    def __init__(self) -> None:
        self.board = Board()

    def __getattr__(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(remote=getattr(self.board, name))


def jobs(count: int) -> list[Job]:
    runtime = {"workers": 2, "cpus": 1, "gpus": 0, "nodes": {}}
    return [Job("student", f"student {n}", {"seed": n}, {}, runtime) for n in range(count)]


class Trainers:
    """In the place of Ray Train: `work` is what a group's first worker does with a model."""

    def __init__(self, board: Asked, work: Callable[[Job], None]) -> None:
        self.board, self.work = board, work
        self.names: list[str] = []
        self.runs: set[str] = set()

    def __call__(self, *_: Any, train_loop_config: Any, run_config: Any, **__: Any) -> Any:
        self.names.append(run_config.name)
        self.runs.add(train_loop_config["run"])
        return SimpleNamespace(fit=lambda: self.fit(train_loop_config))

    def fit(self, told: Any) -> None:
        done = None
        while done := self.board.board.take(told["line"], told["run"], done):
            self.work(next(job for job in told["jobs"] if job.fingerprint == done))


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Trainers]:
    """Trains so many models by Ray Train runs that do this `work`."""

    def run(count: int, work: Callable[[Job], None], limit: int | None = None) -> Trainers:
        board = Asked()
        trainers = Trainers(board, work)
        monkeypatch.setattr("ray.train.torch.TorchTrainer", trainers)
        monkeypatch.setattr("ray.get", lambda told: told)
        train(jobs(count), Store(tmp_path), board, NODES, runs=limit, retries=RETRIES)
        return trainers

    return run


def lost(failure: Exception) -> WorkerGroupError:
    # The other rank only sees the connection go.
    return WorkerGroupError("lost", {0: failure, 1: RuntimeError("Connection reset")})


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
    failure: Exception, tries: int, trained: Callable[..., Trainers]
) -> None:
    seen: list[str] = []

    def work(job: Job) -> None:
        seen.append(job.title)
        raise lost(failure)

    with pytest.raises(WorkerGroupError):
        trained(2, work, 1)
    # Always the model that was lost, never the next.
    assert seen == ["student 0"] * tries


def test_each_model_has_its_own_retries(trained: Callable[..., Trainers]) -> None:
    tries: Counter[str] = Counter()

    def work(job: Job) -> None:
        tries[job.title] += 1
        if tries[job.title] <= RETRIES:
            raise lost(RuntimeError("Connection closed by peer"))

    trainers = trained(4, work, 1)
    assert tries == {f"student {n}": 1 + RETRIES for n in range(4)}
    assert len(set(trainers.names)) == len(trainers.names) == 1 + 4 * RETRIES


@pytest.mark.parametrize(
    ("count", "limit", "runs"),
    # Groups of two workers of a CPU each, on nodes of five and two.
    [(9, None, 3), (2, None, 2), (9, 2, 2), (9, 8, 3)],
)
def test_as_many_runs_as_fit_share_the_models(
    count: int, limit: int | None, runs: int, trained: Callable[..., Trainers]
) -> None:
    seen: list[str] = []
    trainers = trained(count, lambda job: seen.append(job.title), limit)
    assert len(trainers.runs) == runs
    assert sorted(seen) == [f"student {n}" for n in range(count)]


def test_a_model_that_fails_by_itself_leaves_the_others_to_other_runs(
    trained: Callable[..., Trainers],
) -> None:
    seen: list[str] = []

    def work(job: Job) -> None:
        seen.append(job.title)
        if job.title == "student 0":
            raise lost(ValueError("its own fault"))

    with pytest.raises(WorkerGroupError):
        trained(9, work)
    assert sorted(seen) == [f"student {n}" for n in range(9)]
