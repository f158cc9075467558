"""Ray Train: jobs that train models, in runs that take one after another from a line.

As many runs as there is room for: each costs a controller beside the driver and the start of its
workers, and none waits for the last of another's jobs.
"""

from __future__ import annotations

import contextlib
import logging
import os
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any

from raw2s.errors import ConfigError, StorageError, no_space
from raw2s.nodes import Group, Node
from raw2s.store import Job, Store

if TYPE_CHECKING:
    from raw2s.trainers.process import Progress

_LOG = logging.getLogger(__name__)
# What a second try would meet again.
_ITS_OWN_FAULT = (
    ValueError, TypeError, LookupError, AttributeError, NameError, ImportError, AssertionError,
    NotImplementedError,
)  # fmt: skip
_IN_A_ROW = 2
"""How many models in a row, each with workers of its own, may fail before it seems to be all."""
_LOOKING_SECONDS = 1.0
"""How often the driver looks whether runs wait for workers with nothing left to do."""
_JUDGING_SECONDS = 6 * 3600
"""How long the first rank may decide alone what the others wait for: which expert comes next."""


def _train_worker(config: dict[str, Any]) -> None:
    """What each worker of a Ray Train run does: jobs from a line, until none is left."""
    import ray
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
    jobs = {job.fingerprint: job for job in config["jobs"]}
    board, taken = config["board"], None
    while True:
        if rank == 0:
            taken = ray.get(board.take.remote(config["line"], config["run"], taken))
        taken = broadcast_from_rank_zero(taken if rank == 0 else None)
        if taken is None:
            break
        job = jobs[taken]
        # Another run may train the same model: one does, the other finds it.
        with store.alone(job) if rank == 0 else contextlib.nullcontext():
            # All ranks must agree. Ray waits as long as it takes, torch would give up.
            if not broadcast_from_rank_zero(store.has(job) if rank == 0 else None):
                if context.get_local_rank() == 0:
                    store.recall_work(job)
                barrier()
                report = reporter(board, job) if rank == 0 else stages.no_progress
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


def train(
    jobs: Sequence[Job],
    store: Store,
    board: Any,
    nodes: Collection[Node],
    *,
    runs: int | None,
    retries: int,
) -> None:
    """Train every job's model, on as many groups of workers at once as the nodes have room for.

    runs: how many at once at most, of jobs that need the same workers; None: no limit. retries: how
    often the training of a model is started again after workers were lost, from its last
    checkpoint. An error is said at once, and raised when the other runs have ended.
    """
    import ray

    alike: dict[Group, list[Job]] = defaultdict(list)
    for job in jobs:
        alike[Group.of(job.runtime["workers"], job.runtime)].append(job)
    works, line_of = {}, {}
    for group, members in alike.items():
        line = members[0].fingerprint
        ray.get(board.line_up.remote(line, [job.fingerprint for job in members]))
        fitting = group.places(nodes) // group.count
        for number in range(max(1, min(len(members), fitting, runs or fitting))):
            run = _Run(line, f"{line}-{number}", members, store, board, retries)
            works[run.name], line_of[run.name] = partial(run.train, group), line

    def over(running: Collection[str]) -> bool:
        lines = {line_of[name] for name in running}
        return bool(ray.get(board.over.remote(lines, set(running))))

    _at_once(works, over)


def _at_once(
    works: Mapping[str, Callable[[Callable[[BaseException], None]], None]],
    over: Callable[[Collection[str]], bool],
) -> None:
    """Do all works at the same time, each in a thread of its own; raises the first error.

    A work may report errors and go on; others go on after an error, since what they make is not
    made again. `over`: whether those that have not ended wait in vain, and are left to themselves.
    Ctrl-C waits for nobody: they end with the connection to Ray.
    """
    told: SimpleQueue[tuple[str | None, BaseException | None]] = SimpleQueue()

    def one(name: str) -> None:
        try:
            works[name](lambda error: told.put((None, error)))
        except BaseException as error:
            told.put((name, error))
        else:
            told.put((name, None))

    for name in works:
        Thread(target=one, args=(name,), daemon=True).start()
    running = set(works)
    errors: list[BaseException] = []
    in_vain = False
    while running:
        try:
            ended, error = told.get(timeout=_LOOKING_SECONDS)
        except Empty:
            # Twice: an error of the last job may be on its way here.
            before, in_vain = in_vain, over(running)
            if before and in_vain:
                break
            continue
        if ended is not None:
            running.discard(ended)
        if error is not None:
            errors.append(error)
            # The first is raised.
            if running or len(errors) > 1:
                _LOG.error(
                    "a training failed (%s); the run ends when the others have ended",
                    _reason(error),
                )
    if errors:
        raise errors[0]


@dataclass(frozen=True)
class _Run:
    """What takes jobs from a line, with one group of workers after another where they are lost."""

    line: str
    name: str
    jobs: Sequence[Job]
    """All that stood in the line."""
    store: Store
    board: Any
    retries: int

    def train(self, group: Group, failed: Callable[[BaseException], None]) -> None:
        """Train until no model is left, with such a group of workers.

        failed: is told of an error that leaves a model untrained. Raises what would meet the next
        one, too: a full disk, a configuration or, twice in a row, any error.
        """
        import ray
        from ray.train import WorkerGroupError

        in_a_row = 0
        while True:
            try:
                self._fit(group)
                return
            except WorkerGroupError as error:
                held, practised = ray.get(self.board.held.remote(self.name))
                title = next(
                    (job.title for job in self.jobs if job.fingerprint == held), "a training"
                )
                failures = list(error.worker_failures.values())
                for failure in failures:
                    if isinstance(failure, ConfigError | StorageError):
                        raise failure from None
                    if no_space(failure):
                        raise self.store.full(title) from None
                # Of workers that have trained others it may be what those have left behind.
                vain = not practised and any(_its_own_fault(failure) for failure in failures)
                retries = 0 if vain else self.retries
                if practised:
                    in_a_row = 0
                if ray.get(self.board.lost.remote(self.line, self.name, retries)):
                    _LOG.warning(
                        "%s: training workers were lost, those that are there go on from the last "
                        "checkpoint (%s)", title, _first_line(failures),
                    )  # fmt: skip
                    continue
                error.add_note(title)
                in_a_row += 1
                if held is None or in_a_row == _IN_A_ROW:
                    raise
                failed(error)

    def _fit(self, group: Group) -> None:
        from ray.train import RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        resources = {"CPU": group.cpus} | ({"GPU": group.gpus} if group.gpus else {})
        where: dict[str, Any] = {"label_selector": dict(group.labels)} if group.labels else {}
        # Never one that was there: Ray Train's snapshot of it would say "finished".
        name = f"{self.line[:8]}-{uuid.uuid4().hex[:8]}"
        try:
            TorchTrainer(
                _train_worker,
                train_loop_config={
                    "jobs": self.jobs, "line": self.line, "run": self.name,
                    "storage": self.store.address(), "board": self.board, "cpus": group.cpus,
                    "preemptible": os.environ.get("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER") != "0",
                },
                torch_config=TorchConfig(timeout_s=_JUDGING_SECONDS),
                scaling_config=ScalingConfig(
                    num_workers=group.count,
                    use_gpu=group.gpus > 0,
                    resources_per_worker=resources,
                    **where,
                ),
                run_config=RunConfig(name=name, storage_path=self.store.ray("ray_train")),
            ).fit()  # fmt: skip
        finally:
            self.store.forget_ray("ray_train", name)


def _its_own_fault(failure: BaseException) -> bool:
    """Whether a second try would meet it again. A lost process shows as an error of Ray's, and in
    those that were connected to it as a RuntimeError of the connection."""
    from raw2s.models.memory import is_out_of_memory

    return isinstance(failure, _ITS_OWN_FAULT) or is_out_of_memory(failure)


def _reason(error: BaseException) -> str:
    """What failed, and how, in a line."""
    failure = next(iter(getattr(error, "worker_failures", {}).values()), error)
    words = [*getattr(error, "__notes__", []), type(failure).__name__, _first_line([failure])]
    return ": ".join(words)


def _first_line(failures: Sequence[BaseException]) -> str:
    return next((str(failure).strip().partition("\n")[0] for failure in failures), "no reason told")
