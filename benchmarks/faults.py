"""What a fault costs: time lost over the undisturbed run, and how soon the work goes on.

    python benchmarks/faults.py [REPEATS]

The tiny configuration, REPEATS (3) times undisturbed and with each fault, medians. Time lost: the
run's wall time with the fault, over that of the undisturbed run in the same round; a killed driver
is started again at once. Recovery: from the fault until such a process is at work again. Nodes are
two raylets of this machine, the driver's without CPUs; a new one comes for a lost one at once, as a
cluster with one to spare would have it.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "integration"))

from running import EVERY_STEP, TINY, Running  # noqa: E402
from worker_node import WorkerNode, worker_node  # noqa: E402

LABELS, TRAINS = "ModelHost.answer", "TrainWorker"
Fault = Callable[[Running, Path, WorkerNode | None], float]
"""Makes it happen, waits until the work goes on, and returns the seconds between."""


def actor_killed(title: str) -> Fault:
    """A process of the run's own Ray, once it is at work."""

    def happen(run: Running, storage: Path, _: WorkerNode | None) -> float:
        process = run.when(lambda: run.children(title) if at_work(storage, title) else [])[0]
        # An actor of another model is no replacement, whatever it does now.
        there = {one.pid for one in run.children(title.partition(".")[0])}
        process.kill()
        started = time.monotonic()
        run.when(lambda: [one for one in run.children(title) if one.pid not in there])
        return time.monotonic() - started

    return happen


def node_lost(title: str) -> Fault:
    """The node on which it runs."""

    def happen(run: Running, storage: Path, node: WorkerNode | None) -> float:
        assert node is not None
        run.when(lambda: at_work(storage, title) and node.at_work(title))
        started = time.monotonic()
        node.lose()
        run.when(lambda: node.at_work(title))
        return time.monotonic() - started

    return happen


def at_work(storage: Path, title: str) -> bool:
    """Whether it is time: for training, once there is a checkpoint of a student."""
    pattern = "work/student-*/checkpoint-*" if title == TRAINS else "artefacts/finetune/*"
    return bool(list(storage.glob(pattern)))


def driver_killed(run: Running, storage: Path, _: WorkerNode | None) -> float:
    """With its Ray, while students train."""
    run.when(lambda: at_work(storage, TRAINS))
    run.process.kill()
    run.process.wait()
    started = time.monotonic()
    again = Running(TINY, storage, *EVERY_STEP)
    again.when(lambda: again.children(TRAINS))
    recovery = time.monotonic() - started
    run.process = again.process
    return recovery


def seconds(fault: Fault | None, node: WorkerNode | None) -> tuple[float, float]:
    """Wall time of a run, and the recovery in it."""
    address = node.found_by if node else {}
    with tempfile.TemporaryDirectory(prefix="raw2s-bench-") as folder:
        started = time.monotonic()
        run = Running(TINY, folder, "cluster.retries=3", *EVERY_STEP, **address)
        recovery = fault(run, Path(folder), node) if fault else 0.0
        run.ended()
        return time.monotonic() - started, recovery


ONE_MACHINE: Mapping[str, Fault | None] = {
    "undisturbed": None,
    "a weak model's actor killed while it labels": actor_killed(LABELS),
    "a training worker killed after a checkpoint": actor_killed(TRAINS),
    "the driver killed, with its Ray, and started again": driver_killed,
}
WITH_A_NODE: Mapping[str, Fault | None] = {
    "undisturbed": None,
    "the worker node lost while it labels": node_lost(LABELS),
    "the worker node lost while a student trains": node_lost(TRAINS),
}


def main() -> None:
    """Print a line a fault."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    places: list[tuple[str, Any, Mapping[str, Fault | None]]] = [
        ("one machine", nullcontext, ONE_MACHINE), ("a worker node", worker_node, WITH_A_NODE),
    ]  # fmt: skip
    for title, place, faults in places:
        with place() as node:
            took = [
                {name: seconds(fault, node) for name, fault in faults.items()}
                for _ in range(repeats)
            ]
        whole = statistics.median(one["undisturbed"][0] for one in took)
        print(f"{title}, undisturbed: {whole:.1f} s", flush=True)
        for name in faults:
            if name != "undisturbed":
                lost = statistics.median(one[name][0] - one["undisturbed"][0] for one in took)
                recovery = statistics.median(one[name][1] for one in took)
                print(f"{name}: {lost:.1f} s lost, goes on after {recovery:.1f} s", flush=True)


if __name__ == "__main__":
    main()
