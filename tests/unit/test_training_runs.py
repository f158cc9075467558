"""Ray Train runs that share a line of models: who trains what, and which losses are tried again."""

from __future__ import annotations

import threading
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
    """The board as an actor shows it, in this process: one call at a time."""

    def __init__(self) -> None:
        self.board = Board()
        self.one = threading.Lock()

    def __getattr__(self, name: str) -> SimpleNamespace:
        def remote(*words: Any) -> Any:
            with self.one:
                return getattr(self.board, name)(*words)

        return SimpleNamespace(remote=remote)


def jobs(count: int, workers: int = 2) -> list[Job]:
    runtime = {"workers": workers, "cpus": 1, "gpus": 0, "nodes": {}}
    return [
        Job("student", f"student {n}", {"seed": n, "on": workers}, {}, runtime)
        for n in range(count)
    ]


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
        while done := self.board.take.remote(told["line"], told["run"], done):
            self.work(next(job for job in told["jobs"] if job.fingerprint == done))


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Trainers]:
    """Trains models by Ray Train runs that do this `work`."""

    def run(todo: list[Job], work: Callable[[Job], None], limit: int | None = None) -> Trainers:
        board = Asked()
        trainers = Trainers(board, work)
        monkeypatch.setattr("ray.train.torch.TorchTrainer", trainers)
        monkeypatch.setattr("ray.get", lambda told: told)
        train(todo, Store(tmp_path), board, NODES, runs=limit, retries=RETRIES)
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
        trained(jobs(5), work, 1)
    # Two models that cannot be trained are enough.
    assert seen == ["student 0"] * tries + ["student 1"] * tries


def test_each_model_has_its_own_retries(trained: Callable[..., Trainers]) -> None:
    tries: Counter[str] = Counter()

    def work(job: Job) -> None:
        tries[job.title] += 1
        if tries[job.title] <= RETRIES:
            raise lost(RuntimeError("Connection closed by peer"))

    trainers = trained(jobs(4), work, 1)
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
    trainers = trained(jobs(count), lambda job: seen.append(job.title), limit)
    assert len(trainers.runs) == runs
    assert sorted(seen) == [f"student {n}" for n in range(count)]


def test_models_that_need_other_workers_have_a_line_of_their_own(
    trained: Callable[..., Trainers],
) -> None:
    seen: list[Job] = []
    todo = [*jobs(3), *jobs(2, workers=7)]
    assert len(trained(todo, seen.append).runs) == 3 + 1
    assert {job.fingerprint for job in seen} == {job.fingerprint for job in todo}
    assert len(seen) == 5


def test_a_model_that_cannot_be_trained_leaves_the_others_to_be(
    trained: Callable[..., Trainers], caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str] = []

    def work(job: Job) -> None:
        seen.append(job.title)
        if job.title in ("student 0", "student 2", "student 5"):
            raise lost(ValueError("its own fault"))

    with pytest.raises(WorkerGroupError):
        trained(jobs(6), work, 1)
    # Where others were trained before it, in the same process, it is tried in a fresh one.
    assert seen == [f"student {n}" for n in (0, 1, 2, 2, 3, 4, 5, 5)]
    for n in (0, 2, 5):
        assert f"a training failed (student {n}: ValueError: its own fault)" in caplog.text


def test_a_lost_model_comes_next_whoever_takes_it() -> None:
    board = Board()
    board.line_up("line", "abcd")
    assert [board.take("line", run, None) for run in ("one", "two")] == ["a", "b"]
    assert board.held("one") == ("a", False)
    assert board.lost("line", "one", 1)
    # New workers of a run whose loss nobody noted go on with what it holds.
    assert board.take("line", "two", None) == "b"
    assert board.take("line", "two", "b") == "a"
    assert board.held("two") == ("a", True)
    assert board.take("line", "one", None) == "c"
    assert not board.lost("line", "two", 1), "lost twice, by whomever"
    assert board.take("line", "one", "c") == "d"
    board.line_up("other", "e")
    assert not board.over(["line"], ["one"])
    assert board.take("line", "one", "d") is None
    assert not board.over(["line"], ["one"]) and board.over(["line"], ["two"])
    assert not board.over(["line", "other"], ["two"])
