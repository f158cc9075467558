"""Whether all nodes of the cluster see one storage, found by writing and reading back."""

from __future__ import annotations

import uuid

from raw2s.errors import StorageError
from raw2s.store import Address, Store

SECONDS = 60
"""How long a node may take to answer."""


def check_storage(store: Store) -> None:
    """Raise StorageError unless every node opens the storage, and what it writes is read here.

    Nodes that join later find out when they open it (`raw2s.store.Address.open`).
    """
    import ray
    from ray.exceptions import RayTaskError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    if len(nodes) == 1:
        return

    @ray.remote(num_cpus=0, max_retries=0)
    def write(storage: Address, name: str, content: bytes) -> None:
        storage.open().storage.create(name, content)

    address, name = store.address(), f"work/seen-{uuid.uuid4().hex[:8]}"
    waiting = {
        write.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(
            address, f"{name}-{node}", node.encode()
        ): node
        for node in nodes
    }
    try:
        done, late = ray.wait(list(waiting), num_returns=len(waiting), timeout=SECONDS)
        if late:
            slow = ", ".join(nodes[waiting[task]] for task in late)
            raise StorageError(
                f"storage {store.root}: no answer from node {slow} in {SECONDS} seconds"
            )
        for task in done:
            ray.get(task)
            node = waiting[task]
            if store.storage.read(f"{name}-{node}") != node.encode():
                raise FileNotFoundError(node)
    except RayTaskError as error:
        if isinstance(error.cause, StorageError):
            raise error.cause from None
        raise StorageError(f"storage {store.root}: {error.cause}") from error
    except FileNotFoundError as error:
        raise StorageError(
            f"storage {store.root}: what node {nodes[str(error)]} writes is not seen here"
        ) from error
    finally:
        for node in nodes:
            store.storage.remove(f"{name}-{node}")
