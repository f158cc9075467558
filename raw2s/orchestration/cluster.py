"""Connecting to Ray, and what the cluster has."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from raw2s.config import Cluster, NodeType
from raw2s.errors import ConfigError
from raw2s.nodes import Node

TO_COME = "to come "
"""How the names of nodes start that an autoscaler may add."""
# Worker processes stay quiet and do not start threads of their own beside Ray's.
WORKER_ENVIRONMENT = {
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "DEEPSPEED_LOG_LEVEL": "error",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
    # A task that reserves no GPU sees none.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
}

# How often a Ray that does not come up in time is started.
_STARTS = 3

# For Ray Train's controllers, by way of the driver.
_ON_ONE_MACHINE = {
    # No node of it is ever preempted; the watcher is one more process a run.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    # How long a run's end may go unseen.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.25",
}

# For the same end as `_own_ray`, where Ray is started here: it ends with its driver anyway.
_NOBODY_TO_ASK = {"RAY_API_SERVER_ADDRESS": "http://127.0.0.1:1"}


def address_of(cluster: Cluster) -> str | None:
    """The running cluster's that a run connects to: the configured one, or RAY_ADDRESS's."""
    return cluster.address or os.environ.get("RAY_ADDRESS")


@contextlib.contextmanager
def connected(cluster: Cluster) -> Iterator[None]:
    """Be connected to a cluster: a running one (`address_of`), or one started here.

    A connection that is there already is used as it is and left open.
    """
    # Small actors outnumber a small machine's cores by far, which Ray takes for a mistake.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "worker processes have been started")
    # Ray's own notes on each step are not for the terminal; what goes wrong comes as an exception.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_TRAIN_ENABLE_STATE_TRACKING", "0")
    # What outlives the connection, as a thread may, does not start another Ray.
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
    import ray

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    logging.getLogger("ray.train").setLevel(logging.ERROR)
    if ray.is_initialized():
        yield
        return
    address = address_of(cluster)
    common: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": logging.ERROR,
    }
    if address:
        _check_reachable(address)
        common["runtime_env"] = {"env_vars": WORKER_ENVIRONMENT | _own_ray(address)}
        told, started = {}, {}
    else:
        # A cluster started here inherits it, and its processes start sooner than with a
        # runtime_env.
        os.environ.update(WORKER_ENVIRONMENT)
        common |= {
            "num_cpus": cluster.cpus,
            "object_store_memory": cluster.object_store_mb * 1024 * 1024,
            "include_dashboard": False,
        }
        told = {name: os.environ.get(name, value) for name, value in _ON_ONE_MACHINE.items()}
        started = _NOBODY_TO_ASK
    with _environment(told):
        try:
            with _without_stderr(), _environment(started):
                _init(address or "local", **common)
        except ConnectionError as error:
            raise ConfigError(f"no Ray cluster answers at {address}") from error
        try:
            yield
        finally:
            ray.shutdown()


def _init(address: str, **options: Any) -> None:
    """ray.init, again where a busy machine needs longer to start a node than the 30 s that Ray
    waits. What it has started by then ends with this process."""
    import ray

    _keep_to_owner()
    for left in range(_STARTS - 1, -1, -1):
        try:
            ray.init(address=address, **options)
            break
        except Exception as error:
            if not left or "timed out during startup" not in str(error):
                raise
    # The token may be new.
    _keep_to_owner()


def _keep_to_owner() -> None:
    """Who reads Ray's token can run code as its owner, and Ray makes it for all to read."""
    # Where there is no home, Ray says so itself.
    with contextlib.suppress(OSError, RuntimeError):
        folder = Path.home() / ".ray"
        folder.mkdir(exist_ok=True)
        folder.chmod(0o700)
        (folder / "auth_token").chmod(0o600)


def _own_ray(address: str) -> dict[str, str]:
    """What keeps a worker's questions about Ray's state within its own Ray.

    Without it Ray asks whichever was started last on the machine. Ray Train asks each second
    whether a run's controller lives, and where another Ray does not know it, it takes the workers
    away.
    """
    explicit = "://" not in address and address.rpartition(":")[2].isdigit()
    return {"RAY_ADDRESS": address} if explicit else {}


@contextlib.contextmanager
def _environment(environment: Mapping[str, str]) -> Iterator[None]:
    """Variables that are set in the block only, and in the processes that it starts."""
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _without_stderr() -> Iterator[None]:
    """Ray's C++ half announces its log level on the terminal; nothing in Python can stop it."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def nodes(autoscaled: Sequence[NodeType] = ()) -> dict[str, Node]:
    """The connected cluster's nodes by id, and those that the autoscaler may still add by other
    names."""
    import ray

    return with_more(
        {
            node["NodeID"]: Node(
                float(node["Resources"].get("CPU", 0)),
                float(node["Resources"].get("GPU", 0)),
                node.get("Labels") or {},
            )
            for node in ray.nodes()
            if node["Alive"]
        },
        autoscaled,
    )


def with_more(there: Mapping[str, Node], autoscaled: Sequence[NodeType]) -> dict[str, Node]:
    """The nodes that are there, and as many of each type as the autoscaler may add to them."""
    found = dict(there)
    for number, kind in enumerate(autoscaled):
        node = Node(kind.cpus, kind.gpus, kind.labels)
        alike = [
            one
            for one in there.values()
            if (one.cpus, one.gpus) == (node.cpus, node.gpus) and one.has(node.labels)
        ]
        missing = max(0, kind.count - len(alike))
        found |= {f"{TO_COME}{number}-{n}": node for n in range(missing)}
    return found


def _check_reachable(address: str) -> None:
    """Raise ConfigError where nothing listens; Ray would try for minutes before it said so."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        raise ConfigError(f"no Ray cluster answers at {address}: {error}") from error
