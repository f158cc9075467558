"""`raw2s plan`: stages, models, GPUs and memory against what a cluster has, without doing any."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from raw2s.checks import Need, needs
from raw2s.config import Run
from raw2s.nodes import Node, described
from raw2s.orchestration.cluster import address_of, connected, nodes
from raw2s.pipeline import STAGES, recipe
from raw2s.store import Store


def show_plan(run: Run, *, console: Console | None = None) -> None:
    """Print the plan. Where the run would connect to a running cluster, it is asked for what it has
    room for; otherwise no network is needed."""
    console = console or Console()
    plan, store = recipe(run), Store(run.storage)
    store.storage.check()
    stages = Table("stage", "jobs", "done", title=f"{run.name}: stages", title_justify="left")
    for stage, title in STAGES.items():
        jobs = plan.jobs(stage)
        if jobs:
            done = sum(store.has(job) for job in jobs)
            stages.add_row(title, str(len(jobs)), str(done))
    console.print(stages)

    have = None
    if address_of(run.cluster):
        with connected(run.cluster):
            have = list(nodes(run.cluster.autoscaled).values())
    columns = ["workers", "CPUs", "GPUs", "memory", "checkpoint"]
    if have is not None:
        columns.append("there is room for")
    title = "What each stage needs; memory (of each worker) and checkpoint in GiB"
    table = Table("stage", title=title, title_justify="left")
    table.add_column("model", no_wrap=True)
    for column in columns:
        table.add_column(column)
    for need in needs(run):
        table.add_row(
            need.stage,
            need.model,
            str(need.group.count),
            f"{need.group.total('CPU'):g}",
            f"{need.group.total('GPU'):g}",
            _gib(need.memory),
            _gib(need.checkpoint),
            *([] if have is None else [room(have, need)]),
        )
    console.print(table)
    console.print(
        "Memory: weights, gradients and optimiser state; activations come on top. A model in "
        "training has a checkpoint in the storage, two while one is written; with keep_best its "
        "best epoch's weights, too, and those twice while they are written.",
        style="dim",
    )
    if have is not None:
        console.print(f"The cluster's nodes: {described(have)}.")


def _gib(size: float | None) -> str:
    return "?" if size is None else f"{size:.1f}" if size else ""


def room(have: Sequence[Node], need: Need) -> str:
    """For how many of a need's workers or actors the nodes have room, and whether it is too
    little."""
    found, enough = need.room(have)
    return str(found) if enough else f"{found}: too few"
