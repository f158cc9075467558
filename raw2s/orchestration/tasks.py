"""Stages that are one Ray task each: what needs a CPU for a while, but no group of workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from raw2s.errors import ConfigError, StorageError
from raw2s.store import Address, Job, Store


def run_tasks(jobs: Sequence[Job], store: Store, board: Any, *, retries: int) -> None:
    """Do the jobs in parallel, as many at once as the cluster's CPUs (and GPUs) allow; `retries`:
    how often one is started again after its process or node was lost.

    A ConfigError or StorageError of one of them is raised as it is.
    """
    import ray
    from ray.exceptions import RayTaskError

    @ray.remote(max_retries=retries)
    def work(job: Job, storage: Address, board: Any) -> None:
        from raw2s import stages
        from raw2s.orchestration.progress import reporter
        from raw2s.trainers.process import quiet

        quiet()
        store = storage.open()
        with store.alone(job):
            if not store.has(job):
                store.recall_work(job)
                stages.COMPUTED[job.stage](job, store, reporter(board, job))

    storage = store.address()
    waiting = [
        work.options(
            num_cpus=job.runtime.get("cpus", 1), num_gpus=job.runtime.get("gpus", 0)
        ).remote(job, storage, board)
        for job in jobs
    ]
    try:
        ray.get(waiting)
    except RayTaskError as error:
        if isinstance(error.cause, ConfigError | StorageError):
            raise error.cause from None
        raise
