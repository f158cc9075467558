"""Ray Train: jobs that train models, several of them in one run where that saves start-up."""

from __future__ import annotations

import contextlib
import logging
import os
import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any

from raw2s.errors import ConfigError, StorageError, no_space
from raw2s.store import Job, Store

if TYPE_CHECKING:
    from raw2s.trainers.process import Progress

_LOG = logging.getLogger(__name__)
# What a second try would meet again.
_ITS_OWN_FAULT = (
    ValueError, TypeError, LookupError, AttributeError, NameError, ImportError, AssertionError,
    NotImplementedError,
)  # fmt: skip
_JUDGING_SECONDS = 6 * 3600
"""How long the first rank may decide alone what the others wait for: which expert comes next."""


def _train_worker(config: dict[str, Any]) -> None:
    """What each worker of a Ray Train run does: the run's jobs, one after another."""
    import ray.train
    import torch
    from ray.train.collective import barrier, broadcast_from_rank_zero

    from raw2s import stages
    from raw2s.orchestration.progress import reporter
    from raw2s.trainers.process import quiet

    quiet()
    context = ray.train.get_context()
    rank = context.get_world_rank()
    if not torch.cuda.is_available():
        torch.set_num_threads(max(1, int(config["cpus"])))
    store = config["storage"].open()
    for job in config["jobs"]:
        # Another run may train the same model: one does, the other finds it.
        with store.alone(job) if rank == 0 else contextlib.nullcontext():
            # All ranks must agree. Ray waits as long as it takes, torch would give up.
            if not broadcast_from_rank_zero(store.has(job) if rank == 0 else None):
                if context.get_local_rank() == 0:
                    store.recall_work(job)
                barrier()
                report = reporter(config["board"], job) if rank == 0 else stages.no_progress
                if config["preemptible"]:
                    report = _until_notice(report)
                stages.TRAINED[job.stage](job, store, rank, report)
                barrier()
            # The artefact is there; what this machine has of the work has served.
            if context.get_local_rank() == 0:
                store.clear_work(job)


def _until_notice(report: Progress) -> Progress:
    """Wants a checkpoint as soon as a machine of the group is announced to be taken away (all ranks
    learn of it at the same step), and no other."""
    import ray.train

    noticed = False

    def progress(done: int, total: int) -> bool:
        nonlocal noticed
        report(done, total)
        if noticed:
            return False
        noticed = ray.train.get_preemption_info() is not None
        return noticed

    return progress


def train(jobs: Sequence[Job], store: Store, board: Any, *, runs: int | None, retries: int) -> None:
    """Train every job's model; `runs`: how many Ray Train runs share them (None: one each),
    `retries`: how often one is started again after workers were lost.

    Jobs that need the same workers may share a run. A job that was killed goes on from its own
    last checkpoint, whichever run it is in. An error is said at once, and raised when the others
    have ended.
    """
    shapes: dict[tuple[Any, ...], list[Job]] = defaultdict(list)
    for job in jobs:
        labels = tuple(sorted(job.runtime["nodes"].items()))
        shapes[(*(job.runtime[key] for key in ("workers", "cpus", "gpus")), labels)].append(job)
    groups = []
    for shape, members in shapes.items():
        count = min(len(members), runs or len(members))
        groups += [(shape, members[first::count]) for first in range(count)]
    _at_once([partial(_run, shape, group, store, board, retries) for shape, group in groups])


def _at_once(works: Sequence[Callable[[], None]]) -> None:
    """Do all works at the same time, each in a thread of its own; raises the first error.

    Others go on after an error, since what they make is not made again. Ctrl-C waits for nobody:
    they end with the connection to Ray.
    """
    ended: SimpleQueue[BaseException | None] = SimpleQueue()

    def one(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            ended.put(error)
        else:
            ended.put(None)

    for work in works:
        Thread(target=one, args=(work,), daemon=True).start()
    errors: list[BaseException] = []
    for left in range(len(works) - 1, -1, -1):
        if error := ended.get():
            errors.append(error)
            if left:
                _LOG.error(
                    "a training failed (%s: %s); the run ends when %d more have ended",
                    type(error).__name__, _first_line([error]), left,
                )  # fmt: skip
    if errors:
        raise errors[0]


def _run(shape: tuple[Any, ...], jobs: list[Job], store: Store, board: Any, retries: int) -> None:
    from ray.train import RunConfig, ScalingConfig, WorkerGroupError
    from ray.train.torch import TorchConfig, TorchTrainer

    workers, cpus, gpus, labels = shape
    resources = {"CPU": cpus} | ({"GPU": gpus} if gpus else {})
    where: dict[str, Any] = {"label_selector": dict(labels)} if labels else {}
    for left in range(retries, -1, -1):
        # Never one that was there: Ray Train's snapshot of it would say "finished".
        name = f"{jobs[0].fingerprint[:8]}-{uuid.uuid4().hex[:8]}"
        try:
            TorchTrainer(
                _train_worker,
                train_loop_config={
                    "jobs": jobs, "storage": store.address(), "board": board, "cpus": cpus,
                    "preemptible": os.environ.get("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER") != "0",
                },
                torch_config=TorchConfig(timeout_s=_JUDGING_SECONDS),
                scaling_config=ScalingConfig(
                    num_workers=workers, use_gpu=gpus > 0, resources_per_worker=resources, **where
                ),
                run_config=RunConfig(name=name, storage_path=store.ray("ray_train")),
            ).fit()  # fmt: skip
            return
        except WorkerGroupError as error:
            failures = list(error.worker_failures.values())
            for failure in failures:
                if isinstance(failure, ConfigError | StorageError):
                    raise failure from None
                if no_space(failure):
                    raise store.full(", ".join(job.title for job in jobs)) from None
            if not left or any(_its_own_fault(failure) for failure in failures):
                raise
            _LOG.warning(
                "%s: training workers were lost, those that are there go on from the last "
                "checkpoint (%s)", ", ".join(job.title for job in jobs), _first_line(failures),
            )  # fmt: skip
        finally:
            store.forget_ray("ray_train", name)


def _its_own_fault(failure: BaseException) -> bool:
    """Whether a second try would meet it again. A lost process shows as an error of Ray's, and in
    those that were connected to it as a RuntimeError of the connection."""
    from raw2s.models.memory import is_out_of_memory

    return isinstance(failure, _ITS_OWN_FAULT) or is_out_of_memory(failure)


def _first_line(failures: Sequence[BaseException]) -> str:
    return next((str(failure).strip().partition("\n")[0] for failure in failures), "no reason told")
