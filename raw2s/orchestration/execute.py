"""Do a plan: stage after stage, what is missing, each stage in its own way."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from raw2s import stages
from raw2s.config import Cluster
from raw2s.nodes import Group
from raw2s.orchestration.board import Board
from raw2s.orchestration.cluster import nodes
from raw2s.orchestration.hosts import Hosts
from raw2s.orchestration.inference import ask_at_once, ask_in_turn
from raw2s.orchestration.progress import Display
from raw2s.orchestration.tasks import run_tasks
from raw2s.orchestration.training import train
from raw2s.pipeline import STAGES, Plan
from raw2s.stages import labels
from raw2s.store import Job, Store

_LOCKS = 256
"""How many locks a process holds at most: each may be an open file."""


def execute(
    plan: Plan,
    store: Store,
    cluster: Cluster,
    display: Display,
    room: Mapping[str, float] | None = None,
) -> None:
    """Make every artefact of the plan; needs a connection to Ray.

    room: the CPUs and GPUs that hosted models may hold, where others work beside; none: all.
    Stages of little work run in the driver; ConfigError from their checks ends the run before any
    training.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # Beside the driver: elsewhere the run would not survive the loss of that node.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    board: Any = ray.remote(num_cpus=0)(Board).options(scheduling_strategy=here).remote()
    hosts = Hosts(board, cluster.hosts, room, cluster.autoscaled)
    try:
        for stage, title in STAGES.items():
            jobs = plan.jobs(stage)
            todo = [job for job in jobs if not store.has(job)]
            if todo:
                with display.stage(title, todo, len(jobs) - len(todo), board):
                    _do(todo, store, cluster, board, hosts)
            elif jobs:
                display.reused(title, len(jobs))
    finally:
        hosts.release()
        ray.kill(board)


def _do(jobs: Sequence[Job], store: Store, cluster: Cluster, board: Any, hosts: Hosts) -> None:
    stage = jobs[0].stage
    if stage in stages.DRIVEN:
        for job in jobs:
            with store.alone(job):
                if not store.has(job):
                    stages.DRIVEN[stage](job, store)
    elif stage in stages.COMPUTED:
        # Tasks may wait for one another, the weak judges should not have to start again.
        hosts.make_room([Group(1, max(job.runtime.get("cpus", 1) for job in jobs))])
        run_tasks(jobs, store, board, retries=cluster.retries)
    elif stage in stages.TRAINED:
        groups = [Group.of(job.runtime["workers"], job.runtime) for job in jobs]
        groups.sort(key=lambda group: group.total("CPU"))
        hosts.make_room(groups[-(cluster.train_runs or len(jobs)) :])
        have = nodes(cluster.autoscaled).values()
        train(jobs, store, board, have, runs=cluster.train_runs, retries=cluster.retries)
    else:
        for at in range(0, len(jobs), _LOCKS):
            some = jobs[at : at + _LOCKS]
            with contextlib.ExitStack() as locks:
                # Always in one order, so that of two runs none waits for what the other waits for;
                # and whoever waits gives its hosts' places to whoever works.
                for job in sorted(some, key=lambda job: job.fingerprint):
                    locks.enter_context(store.alone(job, hosts.release))
                _ask([job for job in some if not store.has(job)], store, cluster, board, hosts)


def _ask(jobs: Sequence[Job], store: Store, cluster: Cluster, board: Any, hosts: Hosts) -> None:
    import ray

    requests = [labels.request(job, store) for job in jobs]
    if not requests:
        return
    for request in requests:
        total = len(request.rows)
        done = total - len(request.waiting)
        ray.get(board.update.remote(request.job.fingerprint, done, total))
    if jobs[0].stage in stages.ASKED_AT_ONCE:
        answers = ask_at_once(requests, hosts, board)
    else:
        actors = hosts.any(cluster.answer_actors, jobs[0].runtime)
        answers = ask_in_turn(requests, actors, board)
    for job, answer in zip(jobs, answers, strict=True):
        labels.save(job, store, answer)
