"""Models hosted in Ray actors, driven by Ray Data: labelling, scoring, sampling, answering.

A pool of actors hosts one model and stays up from stage to stage, so that the weak models that
labelled also judge; Ray Data streams blocks of rows to the pools, all of them at once.
"""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from raw2s.orchestration.cluster import resources
from raw2s.store import Job

# A block is the unit of retry and of balance between a pool's actors: some batches of rows.
_BATCHES_A_BLOCK = 4


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


@dataclass(frozen=True)
class Answer:
    """A request's rows, in the order asked, and each actor that answered: when it was ready with
    the model (`start`), when it began (`first`) and ended (`end`) its answers (Unix seconds)."""

    rows: pd.DataFrame
    actors: list[dict[str, Any]]


class ModelHost:
    """The actor: holds one model at a time and answers blocks of rows for it."""

    def __init__(self, board: Any) -> None:
        import ray

        from raw2s.trainers.process import quiet

        quiet()
        self._board = board
        self._actor = ray.get_runtime_context().get_actor_id()
        self._held: tuple[dict[str, Any], int | None] | None = None
        self._ready = 0.0
        self._model: Any = None
        self._tokenizer: Any = None

    def answer(self, request: Request, block: pd.DataFrame, batch_size: int) -> pd.DataFrame:
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
            batch_size=batch_size,
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
        from raw2s.models.loading import load_causal_lm, load_classifier, load_tokenizer

        source, labels = dict(request.source), request.labels
        if self._held == (source, labels):
            return
        self._held = self._model = None
        self._tokenizer = load_tokenizer(**source)
        model = (
            load_causal_lm(**source)
            if labels is None
            else load_classifier(**source, num_labels=labels)
        )
        self._model = model.eval()
        self._held = (source, labels)
        self._ready = time.time()


class Hosts:
    """The pools that are up, by the model they host."""

    def __init__(self, board: Any) -> None:
        self._board = board
        self._pools: dict[str, tuple[list[Any], float, float]] = {}

    def held(self, resource: str) -> float:
        """CPUs or GPUs that the pools hold."""
        return sum(
            len(handles) * {"CPU": cpus, "GPU": gpus}[resource]
            for handles, cpus, gpus in self._pools.values()
        )

    def up(self, model: str) -> bool:
        """Whether the model's pool is there."""
        return model in self._pools

    def pool(self, model: str, *, actors: int, cpus: float, gpus: float) -> list[Any]:
        """The model's actors, started if they are not up."""
        import ray

        if model not in self._pools:
            # An actor that dies comes back and its block is asked again.
            host = ray.remote(max_restarts=-1, max_task_retries=-1)(ModelHost)
            handles = [
                host.options(num_cpus=cpus, num_gpus=gpus).remote(self._board)
                for _ in range(actors)
            ]
            self._pools[model] = (handles, cpus, gpus)
        return self._pools[model][0]

    def idle(self, *, actors: int, cpus: float, gpus: float) -> list[Any]:
        """Actors for models that take turns: those that are up with this share each, or new
        ones."""
        up = [
            handle
            for handles, *share in self._pools.values()
            if tuple(share) == (cpus, gpus)
            for handle in handles
        ]
        if not up:
            actors = _fitting(actors, cpus, gpus)
            self.make_room({"CPU": actors * cpus, "GPU": actors * gpus})
        return up or self.pool("", actors=actors, cpus=cpus, gpus=gpus)

    def release(self, keep: Collection[str] = ()) -> None:
        """End the actors, but for the models in `keep`, and give back what they hold."""
        import ray

        for model in [model for model in self._pools if model not in keep]:
            for handle in self._pools.pop(model)[0]:
                ray.kill(handle)

    def make_room(self, needed: Mapping[str, float], keep: Collection[str] = ()) -> None:
        """End pools where `needed` CPUs and GPUs are not free beside them."""
        have = _room()
        if any(self.held(what) + more > have[what] for what, more in needed.items()):
            self.release(keep)


def ask_at_once(requests: Sequence[Request], hosts: Hosts, board: Any) -> list[Answer]:
    """Answer every request by its own model's pool, all of them at the same time.

    All models are loaded before the first row is asked. Where the pools do not fit on the cluster
    together, as many as fit go first and make room for the others.
    """
    import ray

    answers: list[Answer] = []
    for wave in _waves(requests):
        shares = [_share(request) for request in wave]
        models = [str(request.source["path"]) for request in wave]
        new = [share for share, model in zip(shares, models, strict=True) if not hosts.up(model)]
        hosts.make_room(
            {
                "CPU": sum(share["actors"] * share["cpus"] for share in new),
                "GPU": sum(share["actors"] * share["gpus"] for share in new),
            },
            keep=models,
        )
        pools = [hosts.pool(model, **share) for model, share in zip(models, shares, strict=True)]
        questions = [_without_rows(request) for request in wave]
        ray.get(
            [
                host.load.remote(question)
                for question, pool in zip(questions, pools, strict=True)
                for host in pool
            ]
        )
        with ThreadPoolExecutor(max_workers=len(wave)) as threads:
            answers += threads.map(lambda r, pool: ask([r], pool, board)[0], wave, pools)
    return answers


def _share(request: Request) -> dict[str, Any]:
    """What the request's pool takes: as many of its actors as fit on the cluster."""
    share = {key: request.job.runtime[key] for key in ("cpus", "gpus")}
    return share | {"actors": _fitting(request.job.runtime["actors"], **share)}


def _room() -> dict[str, float]:
    """What hosts may hold: all but one CPU, which Ray Data needs for its own tasks."""
    have = resources()
    return have | {"CPU": have["CPU"] - 1}


def _fitting(actors: int, cpus: float, gpus: float) -> int:
    have = _room()
    most = min(have["CPU"] / cpus, have["GPU"] / gpus if gpus else math.inf)
    return max(1, min(actors, int(most)))


def _waves(requests: Sequence[Request]) -> list[list[Request]]:
    """The requests in order, in groups whose pools fit on the cluster together."""
    have = _room()
    waves: list[list[Request]] = []
    free = {"CPU": 0.0, "GPU": 0.0}
    for request in requests:
        share = _share(request)
        need = {"CPU": share["actors"] * share["cpus"], "GPU": share["actors"] * share["gpus"]}
        if not waves or any(need[what] > free[what] for what in need):
            waves.append([])
            free = {what: have[what] for what in need}
        waves[-1].append(request)
        free = {what: free[what] - need[what] for what in need}
    return waves


def ask(requests: Sequence[Request], pool: Sequence[Any], board: Any) -> list[Answer]:
    """Answer requests by one pool of actors, which takes the models one after another.

    Raises RuntimeError naming the rows if a row that went in does not come out.
    """
    import ray
    from ray.data import DataContext, TaskPoolStrategy

    DataContext.get_current().enable_progress_bars = False
    # Ray Data sets its loggers up at import, which comes after the connection.
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    blocks: list[pd.DataFrame] = []
    for number, request in enumerate(requests):
        size = request.job.runtime["batch_size"] * _BATCHES_A_BLOCK
        ray.get(board.update.remote(request.job.fingerprint, 0, len(request.rows)))
        for first in range(0, len(request.rows), size):
            # Blocks of one model stay together on as few actors as there is work for.
            host = len(blocks) % len(pool) if len(requests) == 1 else number % len(pool)
            blocks.append(request.rows.iloc[first : first + size].assign(request=number, host=host))
    questions = [_without_rows(request) for request in requests]

    def forward(block: pd.DataFrame) -> pd.DataFrame:
        number, host = int(block["request"].iloc[0]), int(block["host"].iloc[0])
        question = questions[number]
        rows: pd.DataFrame = ray.get(
            pool[host].answer.remote(question, block, question.job.runtime["batch_size"])
        )
        return rows.assign(request=number)

    answered = (
        ray.data.from_pandas(blocks)
        .map_batches(
            forward,
            batch_size=None,
            batch_format="pandas",
            # The hosts compute; these tasks only carry blocks, one ahead of each actor.
            compute=TaskPoolStrategy(size=min(len(blocks), 2 * len(pool))),
            num_cpus=0,
        )
        .to_pandas()
    )
    return [_collect(number, request, answered) for number, request in enumerate(requests)]


def _without_rows(request: Request) -> Request:
    return replace(request, rows=pd.DataFrame())


def _collect(number: int, request: Request, answered: pd.DataFrame) -> Answer:
    mine = answered[answered["request"] == number]
    # Plain Python values: what Ray Data gives has Arrow types that parquet files do not bring back.
    mine = pd.DataFrame({column: mine[column].to_list() for column in mine})
    order = dict(zip(request.rows["id"], itertools.count()))
    came_out = set(mine["id"])
    missing = [item for item in order if item not in came_out]
    if missing or len(came_out) != len(order):
        raise RuntimeError(
            f"{request.job.title}: {len(order)} rows went in, {len(missing)} did not come out: "
            f"{missing[:5]}"
        )
    actors = [
        {
            "actor": actor,
            "start": float(group["actor_start"].min()),
            "first": float(group["actor_first"].min()),
            "end": float(group["actor_end"].max()),
        }
        for actor, group in mine.groupby("actor", sort=True)
    ]
    key = ["_place", "candidate"] if "candidate" in mine else ["_place"]
    rows = (
        mine.drop(columns=["request", "actor", "actor_start", "actor_first", "actor_end"])
        .assign(_place=[order[item] for item in mine["id"]])
        .sort_values(key, kind="stable")
        .drop(columns="_place")
        .reset_index(drop=True)
    )
    return Answer(rows, actors)
