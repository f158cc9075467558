"""Throughput of labelling by the number of nodes and of actors for each weak model.

    python benchmarks/hosts.py [STORAGE]

All weak models of the demo label split B at once, several times over, an actor one thread. Nodes
are raylets of this machine, so its cores are the limit however many there are. STORAGE: of a demo
run; none: it is run first.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import ray
from ray.cluster_utils import Cluster as Nodes
from run import ROOT, TIMES, head, timed_run, times, with_share

from raw2s import config
from raw2s.config import Cluster
from raw2s.orchestration.board import Board
from raw2s.orchestration.cluster import connected
from raw2s.orchestration.hosts import Hosts
from raw2s.orchestration.inference import ask
from raw2s.pipeline import recipe
from raw2s.stages import labels
from raw2s.store import Store

DEMO = ROOT / "configs" / "demo.yaml"
NODES, ACTORS = (1, 2, 3), (1, 2, 4)
CPUS = 0.1


def throughput(run: config.Run, name: str, actors: int) -> float:
    """Rows labelled a second by all weak models together, whose actors are spread over the nodes;
    models are loaded before the clock runs."""
    store = Store(run.storage)
    jobs = [job for job in recipe(run).jobs("label") if job.title.startswith(f"{name}/")]
    requests = [with_share(times(labels.request(job, store), TIMES), CPUS, actors) for job in jobs]
    board = ray.remote(num_cpus=0)(Board).remote()
    hosts = Hosts(board)
    pools = hosts.bring_up(requests)
    # The first call starts the processes that carry rows, the second is the one measured.
    alone = [[] for _ in pools]
    ask([head(request) for request in requests], pools, board, helpers=alone)
    started = time.monotonic()
    answers = ask(requests, pools, board, helpers=alone)
    took = time.monotonic() - started
    hosts.release()
    return sum(len(answer.rows) for answer in answers) / took


def main() -> None:
    """A line for each number of nodes and actors."""
    with tempfile.TemporaryDirectory(prefix="raw2s-bench-") as folder:
        storage = Path(sys.argv[1] if len(sys.argv) > 1 else folder)
        timed_run(DEMO, storage)
        run = config.load(DEMO, overrides={"storage": str(storage)})
        print(f"{os.cpu_count()} cores, 3 weak models at once")
        for count in NODES:
            size = {"num_cpus": 2, "object_store_memory": 128 * 2**20}
            nodes = Nodes(initialize_head=True, head_node_args=size)
            for _ in range(count - 1):
                nodes.add_node(**size)
            with connected(Cluster(address=nodes.address)):
                for name in run.experiments:
                    for actors in ACTORS:
                        rows = throughput(run, name, actors)
                        print(
                            f"{name}, {count} nodes, {actors} actors a model: "
                            f"{rows:.0f} rows a second",
                            flush=True,
                        )
            nodes.shutdown()


if __name__ == "__main__":
    main()
