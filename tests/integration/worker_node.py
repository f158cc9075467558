"""Nodes on this machine: the head, for the driver, and workers that may be lost."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
from running import SHELL, titled

_OBJECTS = 128 * 2**20
# A node is lost soon after it does not answer; on a busy machine that may take it a while.
_HEALTH = {
    "health_check_initial_delay_ms": 0, "health_check_period_ms": 500,
    "health_check_failure_threshold": 10,
}  # fmt: skip


class WorkerNode:
    """A worker; another one comes in the place of a lost one.

    caches: a folder in which each that comes has a cache of its own, as another machine would;
    `cache` is that of the one that is there.
    address: an address of its own, 127.0.0.2 and so on; Ray Train counts machines by them.
    """

    def __init__(
        self, cluster: Any, cpus: int = 2, caches: Path | None = None, address: str | None = None
    ) -> None:
        self._cluster, self._caches = cluster, caches
        self.cache: Path | None = None
        self._size: dict[str, Any] = {"num_cpus": cpus, "object_store_memory": _OBJECTS}
        self._size |= {"node_ip_address": address} if address else {}
        self._node = self._add()

    @property
    def address(self) -> str:
        """The cluster's."""
        return str(self._cluster.address)

    @property
    def found_by(self) -> dict[str, str]:
        """A driver's environment. It wants a token where another Ray of this process does."""
        modes = {name: value for name, value in os.environ.items() if name == "RAY_AUTH_MODE"}
        return {"RAY_ADDRESS": self.address} | modes

    def at_work(self, title: str) -> list[psutil.Process]:
        """Those of its processes that have the title, such as ModelHost.answer."""
        return titled(self._processes(), title)

    def lose(self) -> None:
        """The machine is off: raylet and workers, at once."""
        gone = self._processes()
        self._cluster.remove_node(self._node, allow_graceful=False)
        for process in gone:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._node = self._add()

    def _add(self) -> Any:
        # A raylet passes its environment on to its workers.
        self.cache = self._caches / uuid.uuid4().hex if self._caches else None
        own = {"RAW2S_CACHE": str(self.cache)} if self.cache else {}
        with _as_from_a_shell(), mock.patch.dict(os.environ, own):
            return self._cluster.add_node(**self._size)

    def notice(self, seconds: int) -> None:
        """Tell Ray that it will be taken away, as a cloud does of a spot instance."""
        subprocess.run(
            [
                str(Path(sys.executable).parent / "ray"), "drain-node",
                "--address", self.address, "--node-id", self._node.node_id,
                "--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "reclaimed",
                "--deadline-remaining-seconds", str(seconds),
            ],
            check=True, capture_output=True,
        )  # fmt: skip

    def _processes(self) -> list[psutil.Process]:
        [raylet] = self._node.all_processes["raylet"]
        return list(psutil.Process(raylet.process.pid).children(recursive=True))


@contextlib.contextmanager
def _as_from_a_shell() -> Iterator[None]:
    """Ray's processes inherit this one's environment, in which a Ray of one machine may have said
    that it wants no notices."""
    with mock.patch.dict(os.environ):
        for name in [name for name in os.environ if name.startswith("RAY_TRAIN_")]:
            if name not in SHELL:
                del os.environ[name]
        yield


@contextlib.contextmanager
def head(**options: Any) -> Iterator[Any]:
    """A cluster whose head, a raylet of this machine, has no CPU for work. `options`: Ray's."""
    from ray.cluster_utils import Cluster

    size = {"num_cpus": 0, "object_store_memory": _OBJECTS, "_system_config": _HEALTH}
    with _as_from_a_shell():
        cluster = Cluster(initialize_head=True, head_node_args=size | options)
    try:
        yield cluster
    finally:
        cluster.shutdown()


@contextlib.contextmanager
def worker_node() -> Iterator[WorkerNode]:
    """A head and a worker."""
    with head() as cluster:
        yield WorkerNode(cluster)
