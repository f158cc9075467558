"""Ray actors that host models, in pools that stay up from stage to stage.

The weak models that labelled are the ones that judge, and an actor whose model nobody needs takes
over another.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from raw2s.checks import places
from raw2s.orchestration.cluster import nodes, resources
from raw2s.store import Job

if TYPE_CHECKING:
    from ray.actor import ActorHandle


@dataclass(frozen=True)
class Request:
    """A job's question to one model.

    source: path, revision and trust_remote_code of the model. labels: number of classes of a
    classifier, else None. operation, options: see `raw2s.models.operations`. rows: what to ask.
    """

    job: Job
    source: Mapping[str, Any]
    labels: int | None
    operation: str
    options: Mapping[str, Any]
    rows: pd.DataFrame

    @property
    def model(self) -> str:
        """Which model: its folder, or its hub name."""
        return str(self.source["path"])

    def without_rows(self) -> Request:
        """The question alone."""
        return replace(self, rows=pd.DataFrame())


class ModelHost:
    """The actor: holds one model at a time and answers blocks of rows for it."""

    def __init__(self, board: ActorHandle) -> None:
        import ray

        from raw2s.trainers.process import quiet

        quiet()
        self._board = board
        self._actor = ray.get_runtime_context().get_actor_id()
        self._held: tuple[dict[str, Any], int | None] | None = None
        self._ready = 0.0
        self._model: Any = None
        self._tokenizer: Any = None

    def answer(self, request: Request, block: pd.DataFrame) -> pd.DataFrame:
        """Answer the block's rows; loads the request's model if it is not the one held."""
        import ray

        from raw2s.models import operations

        started = time.time()
        self.load(request)
        rows = operations.run(
            self._model,
            self._tokenizer,
            block,
            operation=request.operation,
            options=request.options,
            batch_size=request.job.runtime["batch_size"],
        )
        ray.get(self._board.add.remote(request.job.fingerprint, len(block)))
        return rows.assign(
            actor=self._actor,
            actor_start=self._ready,
            actor_first=started,
            actor_end=time.time(),
        )

    def load(self, request: Request) -> None:
        """Hold the request's model."""
        from raw2s.models.committee import load_answering
        from raw2s.models.loading import load_tokenizer

        source, labels = dict(request.source), request.labels
        if self._held == (source, labels):
            return
        self._held = self._model = None
        self._tokenizer = load_tokenizer(**source)
        self._model = load_answering(**source, labels=labels)
        self._held = (source, labels)
        self._ready = time.time()


@dataclass(frozen=True)
class Share:
    """What a pool takes: its actors, and the CPUs and GPUs of each."""

    actors: int
    cpus: float
    gpus: float

    def total(self, resource: str) -> float:
        """CPUs or GPUs of the whole pool."""
        return self.actors * (self.cpus if resource == "CPU" else self.gpus)


@dataclass(frozen=True)
class _Pool:
    share: Share
    actors: list[ActorHandle]


class Hosts:
    """The pools that are up, by the model they host.

    limit: how many at most. room: the CPUs and GPUs that they may hold; none: the cluster's.
    """

    def __init__(
        self,
        board: ActorHandle,
        limit: int | None = None,
        room: Mapping[str, float] | None = None,
    ) -> None:
        self._board = board
        self._limit = limit
        self._given = room
        # The pool that was wanted last stands last.
        self._pools: dict[str, _Pool] = {}

    def waves(self, requests: Sequence[Request]) -> list[list[Request]]:
        """The requests in order, in groups whose pools may be up together."""
        waves: list[list[Request]] = []
        free: dict[str, float] = {}
        for request in requests:
            share = self._share(request)
            full = not waves or len(waves[-1]) == self._limit
            if full or any(share.total(what) > free[what] for what in free):
                waves.append([])
                free = dict(self._room())
            waves[-1].append(request)
            free = {what: free[what] - share.total(what) for what in free}
        return waves

    def bring_up(self, requests: Sequence[Request]) -> list[list[ActorHandle]]:
        """Each request's pool, with its model loaded, all of them up together.

        A pool that hosts another model is taken over, and one of another size ended, where the
        limit or the cluster leaves no room for one more.
        """
        import ray

        wanted = {request.model: self._share(request) for request in requests}
        for model, share in wanted.items():
            pool = self._pools.pop(model, None)
            if pool is None and not self._fits(share):
                pool = self._give_up(share, wanted)
            self._pools[model] = pool or self._start(share)
        pools = [self._pools[request.model].actors for request in requests]
        ray.get(
            [
                actor.load.remote(request.without_rows())
                for request, actors in zip(requests, pools, strict=True)
                for actor in actors
            ]
        )
        return pools

    def any(self, actors: int, cpus: float, gpus: float) -> list[ActorHandle]:
        """Actors for models that take turns: those that are up with this share each, or new
        ones."""
        up = [
            actor
            for pool in self._pools.values()
            if (pool.share.cpus, pool.share.gpus) == (cpus, gpus)
            for actor in pool.actors
        ]
        if not up:
            share = Share(self._fitting(actors, cpus, gpus), cpus, gpus)
            if not self._fits(share):
                self.release()
            self._pools[""] = self._start(share)
            up = self._pools[""].actors
        return up

    def make_room(self, cpus: float) -> None:
        """End the pools if other work would have to wait for what they hold: GPUs always, CPUs
        where `cpus` (or all there are) are not free beside them."""
        have = self._room()["CPU"]
        if self._held("GPU") or self._held("CPU") > have - min(have, cpus):
            self.release()

    def release(self) -> None:
        """End all pools."""
        for model in list(self._pools):
            self._end(model)

    def _share(self, request: Request) -> Share:
        runtime = request.job.runtime
        cpus, gpus = runtime["cpus"], runtime["gpus"]
        return Share(self._fitting(runtime["actors"], cpus, gpus), cpus, gpus)

    def _fits(self, share: Share) -> bool:
        room = self._room()
        return (self._limit is None or len(self._pools) < self._limit) and all(
            self._held(what) + share.total(what) <= room[what] for what in room
        )

    def _give_up(self, share: Share, wanted: Mapping[str, Share]) -> _Pool | None:
        """A pool of this share that nobody wants now, for another model; without one, unwanted
        pools are ended until a new one fits."""
        spare = [model for model in self._pools if model not in wanted]
        for model in spare:
            if self._pools[model].share == share:
                return self._pools.pop(model)
        for model in spare:
            self._end(model)
            if self._fits(share):
                break
        return None

    def _start(self, share: Share) -> _Pool:
        import ray

        # An actor that dies comes back and its block is asked again.
        host = ray.remote(max_restarts=-1, max_task_retries=-1)(ModelHost)
        options = {"num_cpus": share.cpus, "num_gpus": share.gpus}
        actors: list[Any] = [
            host.options(**options).remote(self._board) for _ in range(share.actors)
        ]
        return _Pool(share, actors)

    def _end(self, model: str) -> None:
        import ray

        for actor in self._pools.pop(model).actors:
            ray.kill(actor)

    def _held(self, resource: str) -> float:
        return sum(pool.share.total(resource) for pool in self._pools.values())

    def _room(self) -> Mapping[str, float]:
        return resources() if self._given is None else self._given

    def _fitting(self, actors: int, cpus: float, gpus: float) -> int:
        """As many of the actors as there is room for, at least one."""
        room = self._room()
        most = min(room["CPU"] / cpus, room["GPU"] / gpus if gpus else math.inf)
        return max(1, min(actors, int(most), places(nodes(), cpus, gpus)))
