"""Models hosted in Ray actor pools, driven by Ray Data: labelling, scoring, sampling, answering."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pandas as pd

from raw2s.store import Job


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
    """A request's rows, in the order asked, and when each actor worked for it (Unix seconds)."""

    rows: pd.DataFrame
    actors: list[dict[str, Any]]


class ModelHost:
    """The actor: holds one model at a time and answers blocks of rows for it."""

    def __init__(self, requests: Sequence[Request], batch_size: int, board: Any) -> None:
        import ray

        from raw2s.trainers.process import quiet

        quiet()
        self._requests = requests
        self._batch_size = batch_size
        self._board = board
        self._actor = ray.get_runtime_context().get_actor_id()
        self._loaded: tuple[int, Any, Any] | None = None

    def __call__(self, block: pd.DataFrame) -> pd.DataFrame:
        """Answer the rows of one request, named by the column `request`."""
        import ray

        from raw2s.models import operations

        started = time.time()
        number = int(block["request"].iloc[0])
        request = self._requests[number]
        model, tokenizer = self._model(number)
        rows = operations.run(
            model,
            tokenizer,
            block,
            operation=request.operation,
            options=request.options,
            batch_size=self._batch_size,
        )
        ray.get(self._board.add.remote(request.job.fingerprint, len(block)))
        rows["request"] = number
        rows["actor"] = self._actor
        rows["actor_start"] = started
        rows["actor_end"] = time.time()
        return rows

    def _model(self, number: int) -> tuple[Any, Any]:
        from raw2s.models.loading import load_causal_lm, load_classifier, load_tokenizer

        if self._loaded is None or self._loaded[0] != number:
            self._loaded = None
            request = self._requests[number]
            tokenizer = load_tokenizer(**request.source)
            model = (
                load_causal_lm(**request.source)
                if request.labels is None
                else load_classifier(**request.source, num_labels=request.labels)
            )
            self._loaded = (number, model.eval(), tokenizer)
        return self._loaded[1], self._loaded[2]


def ask(
    requests: Sequence[Request],
    board: Any,
    *,
    actors: int,
    cpus: float,
    gpus: float,
    batch_size: int,
) -> list[Answer]:
    """Answer requests by one pool of actors, which takes the models one after another.

    Raises RuntimeError naming the rows if a row that went in does not come out.
    """
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    context = DataContext.get_current()
    context.enable_progress_bars = False
    # Ray Data sets its loggers up at import, which comes after the connection.
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # A block is the unit of retry and of balance between actors: some batches of one request.
    size = batch_size * 4
    blocks = [
        request.rows.iloc[first : first + size].assign(request=number)
        for number, request in enumerate(requests)
        for first in range(0, len(request.rows), size)
    ]
    for request in requests:
        ray.get(board.update.remote(request.job.fingerprint, 0, len(request.rows)))
    pool = min(actors, len(blocks))
    answered = (
        ray.data.from_pandas(blocks)
        .map_batches(
            ModelHost,
            batch_size=None,
            batch_format="pandas",
            compute=ActorPoolStrategy(size=pool),
            num_cpus=cpus,
            num_gpus=gpus or None,
            fn_constructor_kwargs={
                "requests": [_without_rows(request) for request in requests],
                "batch_size": batch_size,
                "board": board,
            },
        )
        .to_pandas()
    )
    return [_collect(number, request, answered) for number, request in enumerate(requests)]


def ask_at_once(
    requests: Sequence[Request],
    board: Any,
    *,
    runtime: Sequence[Mapping[str, Any]],
) -> list[Answer]:
    """Answer every request by a pool of its own, all of them at the same time.

    runtime: for each request its pool's actors, cpus, gpus and batch_size. Pools that do not fit
    on the cluster together wait for those that run.
    """

    def one(request: Request, resources: Mapping[str, Any]) -> Answer:
        return ask([request], board, **resources)[0]

    with ThreadPoolExecutor(max_workers=max(1, len(requests))) as threads:
        return list(threads.map(one, requests, runtime))


def _without_rows(request: Request) -> Request:
    return Request(
        request.job, request.source, request.labels, request.operation, request.options,
        pd.DataFrame(),
    )  # fmt: skip


def _collect(number: int, request: Request, answered: pd.DataFrame) -> Answer:
    mine = answered[answered["request"] == number]
    # Plain Python values: what Ray Data gives has Arrow types that parquet files do not bring back.
    mine = pd.DataFrame({column: mine[column].to_list() for column in mine})
    key = [column for column in ("id", "candidate") if column in mine]
    order = {item: place for place, item in enumerate(request.rows["id"])}
    missing = [item for item in order if item not in set(mine["id"])]
    if missing or len(set(mine["id"])) != len(order):
        raise RuntimeError(
            f"{request.job.title}: {len(order)} rows went in, {len(missing)} did not come out: "
            f"{missing[:5]}"
        )
    actors = [
        {"actor": actor, "start": float(group["actor_start"].min()), "end": float(group["actor_end"].max())}
        for actor, group in mine.groupby("actor", sort=True)
    ]  # fmt: skip
    rows = (
        mine.drop(columns=["request", "actor", "actor_start", "actor_end"])
        .assign(_place=[order[item] for item in mine["id"]])
        .sort_values(["_place", *key[1:]], kind="stable")
        .drop(columns="_place")
        .reset_index(drop=True)
    )
    return Answer(rows, actors)
