"""Figures of the pipeline, each a ratio within this one run.

    python benchmarks/run.py            (`make bench`)

(a) labelling with N weak models at the same time, over the same one after another with every core,
    and what it costs to keep answers as they come;
(b) a second run of a finished configuration, over the first;
(c) the time in which no model computes, over the whole of a run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd

from raw2s import config
from raw2s.config import Cluster
from raw2s.orchestration.board import Board
from raw2s.orchestration.cluster import connected
from raw2s.orchestration.hosts import Hosts, Request
from raw2s.orchestration.inference import ask
from raw2s.pipeline import STAGES, recipe
from raw2s.stages import labels
from raw2s.store import Store

# How often over, so that starting a pipeline of a second or less counts little.
TIMES = 8
ROOT = Path(__file__).resolve().parent.parent


def timed_run(path: Path, storage: Path) -> float:
    """Seconds of `raw2s run`, as a user waits for it."""
    started = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "raw2s.cli", "run", str(path), "--set", f"storage={storage}"],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return time.monotonic() - started


def computing(run: config.Run) -> float:
    """Seconds in which at least one model computed: the union of all stages' spans."""
    store, spans = Store(run.storage), []
    plan = recipe(run)
    for stage in STAGES:
        for job in plan.jobs(stage):
            spans += store.manifest(job)["notes"].get("compute", [])
    total, reached = 0.0, 0.0
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def labelling(run: config.Run, name: str) -> tuple[float, float, float, int]:
    """Seconds of labelling split B, several times over, by all weak models of an experiment at
    once, the same with answers kept as they come, and one after another with all CPUs each, and how
    many models there are. Models are loaded before the clock runs."""
    import ray

    store = Store(run.storage)
    jobs = [job for job in recipe(run).jobs("label") if job.title.startswith(f"{name}/")]
    requests = [times(labels.request(job, store), TIMES) for job in jobs]
    cores = os.cpu_count() or 1
    with connected(Cluster(object_store_mb=128)):
        board = ray.remote(num_cpus=0)(Board).remote()

        def seconds(group: list[Request], cpus: float, kept_as: str = "") -> float:
            hosts = Hosts(board)
            group = [replace(with_share(request, cpus), kept_as=kept_as) for request in group]
            pools = hosts.bring_up(group)
            # The first call starts the processes that carry rows, the second is the one measured.
            alone = [[] for _ in pools]
            ask([head(request) for request in group], pools, board, helpers=alone)
            started = time.monotonic()
            ask(group, pools, board, helpers=alone)
            took = time.monotonic() - started
            hosts.release()
            return took

        share = min(1.0, cores / len(jobs))
        at_once, kept = seconds(requests, share), seconds(requests, share, "kept")
        return at_once, kept, sum(seconds([request], cores) for request in requests), len(jobs)


def times(request: Request, number: int) -> Request:
    """The request with its rows so many times over, and no answer kept."""
    copies = [request.rows.assign(id=request.rows["id"] + f"/{copy}") for copy in range(number)]
    return replace(request, rows=pd.concat(copies, ignore_index=True), kept_as="")


def head(request: Request) -> Request:
    """The request with few rows."""
    return replace(request, rows=request.rows.head(8))


def with_share(request: Request, cpus: float, actors: int = 1) -> Request:
    """The request with so many actors of so many CPUs."""
    runtime = dict(request.job.runtime) | {"cpus": cpus, "actors": actors}
    return replace(request, job=replace(request.job, runtime=runtime))


def main() -> None:
    """Run the demo's configuration twice in a fresh storage, then label again."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "configs" / "demo.yaml"
    with tempfile.TemporaryDirectory() as folder:
        storage = Path(folder)
        first, second = timed_run(path, storage), timed_run(path, storage)
        run = config.load(path, overrides={"storage": str(storage)})
        busy = computing(run)
        print(f"{path.name} on {os.cpu_count()} cores")
        for name in run.experiments:
            at_once, kept, in_turn, models = labelling(run, name)
            print(
                f"(a) labelling {name}: {models} weak models at once {at_once:.1f} s, one after "
                f"another {in_turn:.1f} s: {in_turn / at_once:.2f} times as fast; and "
                f"answers kept {kept:.1f} s: {kept / at_once:.2f}"
            )
        print(f"(b) second run {second:.1f} s, first {first:.1f} s: {second / first:.3f}")
        print(
            f"(c) no model computes {first - busy:.1f} s of {first:.1f} s: {1 - busy / first:.2f}"
        )


if __name__ == "__main__":
    main()
