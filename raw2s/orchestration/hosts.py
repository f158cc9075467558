"""Pools of Ray actors that host models and stay up from stage to stage.

The weak models that labelled are the ones that judge, and an actor whose model nobody needs takes
over another.
"""

from __future__ import annotations

import itertools
import logging
import math
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from raw2s.config import NodeType
from raw2s.nodes import ROUNDING, Group, Node, total
from raw2s.orchestration.cluster import TO_COME, nodes
from raw2s.orchestration.host import ModelHost, Request
from raw2s.orchestration.placement import Placement

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.actor import ActorHandle

_LOG = logging.getLogger(__name__)
_PATIENCE_SECONDS = 60.0
"""How long actors may take to find a place before that is said."""
_LOOKS, _LOOK_SECONDS = 5, 0.2
"""How often it is looked whether CPUs are free, and how long after one another."""
_WAITS = 10
"""How often that long before their run gives up its places for a while, where no node will come."""


@dataclass(frozen=True)
class _Pool:
    group: Group
    actors: list[ActorHandle]
    nodes: list[str]
    """Where each actor was sent; one that had to start again may be elsewhere."""


class Hosts:
    """The pools that are up, by the model they host.

    limit: how many at most. room: the CPUs and GPUs that they may hold; none: the cluster's.
    autoscaled: what the cluster may grow to.
    """

    def __init__(
        self,
        board: ActorHandle,
        limit: int | None = None,
        room: Mapping[str, float] | None = None,
        autoscaled: Sequence[NodeType] = (),
    ) -> None:
        self._board = board
        self._limit = limit
        self._given = room
        self._autoscaled = autoscaled
        # The pool that was wanted last stands last.
        self._pools: dict[str, _Pool] = {}

    def waves(self, requests: Sequence[Request]) -> list[list[Request]]:
        """The requests in order, in groups whose pools may be up together."""
        waves: list[list[Request]] = []
        held: list[_Pool] = []
        for request in requests:
            group = self._group_of(request)
            where = self._nodes_for(group, held)
            if not waves or where is None:
                waves.append([])
                held, where = [], self._nodes_for(group, [])
            waves[-1].append(request)
            held.append(_Pool(group, [], where or []))
        return waves

    def bring_up(self, requests: Sequence[Request]) -> list[list[ActorHandle]]:
        """Each request's pool, with its model loaded, all of them up together.

        A pool that hosts another model is taken over, and one of another size ended, where the
        limit or the cluster leaves no room for one more. Actors that find no place for a while,
        since a node was lost or other work holds the cluster, are left out where their pool has
        others; else that is said, and waited for, as is a load that takes long.
        """
        while not all(pools := self._pools_placed(requests)):
            # Another run may wait for what this one holds, as this one does for what it holds.
            self.release()
            time.sleep(random.uniform(0, _PATIENCE_SECONDS))
        _load(
            [
                actor.load.remote(request.without_rows())
                for request, actors in zip(requests, pools, strict=True)
                for actor in actors
            ]
        )
        return pools

    def _pools_placed(self, requests: Sequence[Request]) -> list[list[ActorHandle]]:
        """The actors of each pool that have a place; of some pool none, where other work on a
        cluster that does not grow has kept it waiting for long."""
        import ray

        wanted = {request.model: self._group_of(request) for request in requests}
        if not self._provide(wanted):
            # What stayed up stands where the others would have to be.
            self.release()
            self._provide(wanted)
        pools = [self._pools[request.model].actors for request in requests]
        up = {actor: actor.__ray_ready__.remote() for pool in pools for actor in pool}
        for _ in itertools.count() if self._autoscaled else range(_WAITS):
            done, waiting = ray.wait(
                list(up.values()), num_returns=len(up), timeout=_PATIENCE_SECONDS
            )
            placed = [[actor for actor in pool if up[actor] in done] for pool in pools]
            if all(placed):
                break
            _LOG.warning(
                "%d of %d actors wait for a place: the cluster has %s, and other work on it or "
                "nodes that are yet to come", len(waiting), len(up),
                " and ".join(f"{n:g} {what}s" for what, n in total(self._nodes().values()).items()),
            )  # fmt: skip
        return placed

    def any(self, actors: int, runtime: Mapping[str, Any]) -> list[ActorHandle]:
        """Actors for models that take turns, as a job's `runtime` wants them: those that are up
        of this kind, or new ones."""
        group = self._group(actors, runtime)
        up = [
            actor
            for pool in self._pools.values()
            if replace(pool.group, count=group.count) == group
            for actor in pool.actors
        ]
        if not up:
            where = self._nodes_for(group, self._pools.values())
            if where is None:
                self.release()
                where = self._nodes_for(group, [])
            self._pools[""] = self._start(group, where)
            up = self._pools[""].actors
        return up

    def make_room(self, works: Sequence[Group]) -> None:
        """End the pools if other work would have to wait for what they hold: GPUs always, CPUs
        where each of its tasks or workers, or as many as there is room for at all, does not find a
        node beside them, or others hold so much that they are not free."""
        have = self._room()["CPU"]
        wanted = min(have, sum(work.total("CPU") for work in works))
        if (
            self._held("GPU")
            or self._held("CPU") > have - wanted + ROUNDING
            or _placed(works, self._beside(self._pools.values())) < _placed(works, self._beside([]))
            or (self._pools and not _free(wanted))
        ):
            self.release()

    def release(self) -> None:
        """End all pools."""
        for model in list(self._pools):
            self._end(model)

    def _group_of(self, request: Request) -> Group:
        return self._group(request.job.runtime["actors"], request.job.runtime)

    def _group(self, actors: int, runtime: Mapping[str, Any]) -> Group:
        """As many of the actors as there is room for, at least one."""
        one, room = Group.of(1, runtime), self._room()
        most = min(room["CPU"] / one.cpus, room["GPU"] / one.gpus if one.gpus else math.inf)
        fitting = one.places(self._nodes().values())
        return replace(one, count=max(1, min(actors, int(most + ROUNDING), fitting)))

    def _provide(self, wanted: Mapping[str, Group]) -> bool:
        """Have a pool for each wanted model; False where one finds no room beside the others."""
        for model, group in wanted.items():
            pool = self._pools.pop(model, None)
            if pool is None:
                where = self._nodes_for(group, self._pools.values())
                if where is None:
                    pool = self._give_up(group, wanted)
                    where = self._nodes_for(group, self._pools.values())
                if pool is None and where is None and self._pools:
                    return False
                pool = pool or self._start(group, where)
            self._pools[model] = pool
        return True

    def _nodes_for(self, group: Group, held: Iterable[_Pool]) -> list[str] | None:
        """The nodes that a pool's actors would go to beside these pools; None without room."""
        pools = list(held)
        groups = [*(pool.group for pool in pools), group]
        if len(pools) == self._limit or any(
            sum(one.total(what) for one in groups) > room + ROUNDING
            for what, room in self._room().items()
        ):
            return None
        placement = self._beside(pools)
        found = []
        for _ in range(group.count):
            place = placement.place(group)
            if place is None:
                return None
            found.append(place)
        return found

    def _beside(self, pools: Iterable[_Pool]) -> Placement:
        """The nodes, with the places of these pools taken."""
        placement = Placement(self._nodes())
        for pool in pools:
            for node in pool.nodes:
                placement.take(node, pool.group.cpus, pool.group.gpus)
        return placement

    def _give_up(self, group: Group, wanted: Mapping[str, Group]) -> _Pool | None:
        """A pool of this kind that nobody wants now, for another model; without one, unwanted
        pools are ended until a new one fits."""
        spare = [model for model in self._pools if model not in wanted]
        for model in spare:
            if self._pools[model].group == group:
                return self._pools.pop(model)
        for model in spare:
            self._end(model)
            if self._nodes_for(group, self._pools.values()) is not None:
                break
        return None

    def _start(self, group: Group, where: list[str] | None) -> _Pool:
        """Start a pool on these nodes, or wherever there will be room."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        # An actor that dies comes back and its block is asked again.
        host = ray.remote(max_restarts=-1, max_task_retries=-1)(ModelHost)
        options: dict[str, Any] = {"num_cpus": group.cpus, "num_gpus": group.gpus}
        if group.labels:
            options["label_selector"] = dict(group.labels)
        # Where that node is gone, or other work has filled it, another one serves as well. One that
        # is to come comes because an actor waits for it.
        strategies: list[Any] = [
            "DEFAULT"
            if node.startswith(TO_COME) or group.labels
            else NodeAffinitySchedulingStrategy(node, soft=True, _spill_on_unavailable=True)
            for node in where or [TO_COME] * group.count
        ]
        actors: list[Any] = [
            host.options(**options, scheduling_strategy=strategy).remote(self._board)
            for strategy in strategies
        ]
        return _Pool(group, actors, where or [])

    def _end(self, model: str) -> None:
        import ray

        for actor in self._pools.pop(model).actors:
            ray.kill(actor)

    def _held(self, resource: str) -> float:
        return sum(pool.group.total(resource) for pool in self._pools.values())

    def _room(self) -> Mapping[str, float]:
        if self._given is not None:
            return self._given
        return total(self._nodes().values())

    def _nodes(self) -> dict[str, Node]:
        return nodes(self._autoscaled)


def _load(loads: Sequence[ObjectRef]) -> None:
    """Wait until every actor has its model, and say so where that takes long: a model may be large,
    or its actor's node lost and no other there for it."""
    import ray

    waiting = list(loads)
    while waiting:
        done, waiting = ray.wait(waiting, timeout=_PATIENCE_SECONDS)
        ray.get(done)
        if not done:
            _LOG.warning("%d of %d actors do not have their model yet", len(waiting), len(loads))


def _free(cpus: float) -> bool:
    """Whether so many CPUs are free in the cluster, which others may use, too."""
    import ray

    for _ in range(_LOOKS):
        if ray.available_resources().get("CPU", 0.0) >= cpus - ROUNDING:
            return True
        # What has just ended may still count.
        time.sleep(_LOOK_SECONDS)
    return False


def _placed(works: Sequence[Group], placement: Placement) -> int:
    """How many tasks or workers find a node for their CPUs."""
    # Those that may not go anywhere first, then the large ones.
    order = sorted(works, key=lambda work: (not work.labels, -work.cpus))
    return sum(
        placement.place(replace(work, gpus=0)) is not None
        for work in order
        for _ in range(work.count)
    )
