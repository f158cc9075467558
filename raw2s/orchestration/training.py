"""Ray Train: jobs that train models, several of them in one run where that saves start-up."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from raw2s.store import Job, Store


def _train_worker(config: dict[str, Any]) -> None:
    """What each worker of a Ray Train run does: the run's jobs, one after another."""
    import ray.train
    import torch

    from raw2s import stages
    from raw2s.orchestration.progress import reporter
    from raw2s.trainers.process import quiet

    quiet()
    context = ray.train.get_context()
    rank = context.get_world_rank()
    if not torch.cuda.is_available():
        torch.set_num_threads(max(1, int(config["cpus"])))
    store = Store(config["storage"])
    for job in config["jobs"]:
        # Another run may train the same model: one does, the other finds it.
        with store.alone(job) if rank == 0 else contextlib.nullcontext():
            done = store.has(job)
            if torch.distributed.is_initialized():
                # All ranks must agree.
                agreed = [done]
                torch.distributed.broadcast_object_list(agreed, src=0)
                done = agreed[0]
            if not done:
                report = reporter(config["board"], job) if rank == 0 else stages.no_progress
                stages.TRAINED[job.stage](job, store, rank, report)


def train(jobs: Sequence[Job], store: Store, board: Any, *, runs: int | None) -> None:
    """Train every job's model; `runs`: how many Ray Train runs share them (None: one each).

    Jobs that need the same workers may share a run. A job that was killed goes on from its own
    last checkpoint, whichever run it is in.
    """
    shapes: dict[tuple[Any, ...], list[Job]] = defaultdict(list)
    for job in jobs:
        shapes[tuple(job.runtime[key] for key in ("workers", "cpus", "gpus"))].append(job)
    groups = []
    for shape, members in shapes.items():
        count = min(len(members), runs or len(members))
        groups += [(shape, members[first::count]) for first in range(count)]
    with ThreadPoolExecutor(max_workers=len(groups)) as threads:
        for done in [threads.submit(_run, shape, group, store, board) for shape, group in groups]:
            done.result()


def _run(shape: tuple[Any, ...], jobs: list[Job], store: Store, board: Any) -> None:
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    workers, cpus, gpus = shape
    folder = store.root / "work" / "ray_train"
    # Never one that was there: Ray Train's snapshot of it would say "finished".
    name = f"{jobs[0].fingerprint[:8]}-{uuid.uuid4().hex[:8]}"
    resources = {"CPU": cpus} | ({"GPU": gpus} if gpus else {})
    try:
        TorchTrainer(
            _train_worker,
            train_loop_config={
                "jobs": jobs, "storage": str(store.root), "board": board, "cpus": cpus,
            },
            scaling_config=ScalingConfig(
                num_workers=workers, use_gpu=gpus > 0, resources_per_worker=resources
            ),
            run_config=RunConfig(name=name, storage_path=str(folder)),
        ).fit()  # fmt: skip
    finally:
        shutil.rmtree(folder / name, ignore_errors=True)
