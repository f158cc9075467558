"""Ray Data streams rows to hosted models: labelling, scoring, sampling, answering."""

from __future__ import annotations

import itertools
import logging
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from raw2s.orchestration.hosts import Hosts, Request

if TYPE_CHECKING:
    from ray.actor import ActorHandle

# A block is the unit of balance between a pool's actors: some batches of rows.
_BATCHES_A_BLOCK = 4
# Rounds under way: while the hosts answer one, the next is on its way to them.
_ROUNDS_AHEAD = 2


@dataclass(frozen=True)
class Answer:
    """A request's rows, in the order asked, and each actor that answered: when it was ready with
    the model (`start`), when it began (`first`) and ended (`end`) its answers (Unix seconds)."""

    rows: pd.DataFrame
    actors: list[dict[str, Any]]


def ask_at_once(requests: Sequence[Request], hosts: Hosts, board: ActorHandle) -> list[Answer]:
    """Answer every request by its own model's pool, all of them at the same time.

    All models are loaded before the first row is asked. Where the pools do not fit on the cluster
    together, as many as fit go first and make room for the others.
    """
    return [
        answer
        for wave in hosts.waves(requests)
        for answer in ask(wave, hosts.bring_up(wave), board)
    ]


def ask_in_turn(
    requests: Sequence[Request], actors: Sequence[ActorHandle], board: ActorHandle
) -> list[Answer]:
    """Answer requests by a few actors; a model stays on one of them, each takes some models."""
    if len(requests) == 1:
        return ask(requests, [actors], board)
    return ask(requests, [[actors[n % len(actors)]] for n in range(len(requests))], board)


def ask(
    requests: Sequence[Request], pools: Sequence[Sequence[ActorHandle]], board: ActorHandle
) -> list[Answer]:
    """Answer each request by its pool of actors, through one Ray Data pipeline.

    Raises RuntimeError naming the rows if a row that went in does not come out.
    """
    import ray
    from ray.data import DataContext, TaskPoolStrategy

    DataContext.get_current().enable_progress_bars = False
    # Ray Data sets its loggers up at import, which comes after the connection.
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    for request in requests:
        ray.get(board.update.remote(request.job.fingerprint, 0, len(request.rows)))
    actors, rounds = _rounds(requests, pools)
    questions = [request.without_rows() for request in requests]

    def forward(rows: pd.DataFrame) -> pd.DataFrame:
        parts = [(key, part) for key, part in rows.groupby(["request", "actor"], sort=False)]
        waiting = [
            actors[actor].answer.remote(questions[number], part) for (number, actor), part in parts
        ]
        # Whole tables as bytes: those of different operations have different columns.
        tables = [pickle.dumps(table) for table in ray.get(waiting)]
        return pd.DataFrame({"request": [number for (number, _), _ in parts], "table": tables})

    carried = (
        # Not from_pandas: it starts a task that waits for a CPU, and the hosts may hold them all.
        ray.data.from_blocks(rounds)
        .map_batches(
            forward,
            batch_size=None,
            batch_format="pandas",
            # The hosts compute; these tasks only carry rows.
            compute=TaskPoolStrategy(size=min(len(rounds), _ROUNDS_AHEAD)),
            num_cpus=0,
        )
        .to_pandas()
    )
    tables: list[list[pd.DataFrame]] = [[] for _ in requests]
    for number, table in zip(carried["request"], carried["table"], strict=True):
        tables[number].append(pickle.loads(table))
    return [_collect(*of_one) for of_one in zip(requests, tables, strict=True)]


def _rounds(
    requests: Sequence[Request], pools: Sequence[Sequence[ActorHandle]]
) -> tuple[list[ActorHandle], list[pd.DataFrame]]:
    """The actors, and tables of rows that hold one block for each actor, marked by the columns
    request and actor (numbers)."""
    queues: dict[ActorHandle, list[tuple[int, pd.DataFrame]]] = {}
    for number, (request, pool) in enumerate(zip(requests, pools, strict=True)):
        size = request.job.runtime["batch_size"] * _BATCHES_A_BLOCK
        blocks = [request.rows.iloc[at : at + size] for at in range(0, len(request.rows), size)]
        for block, actor in zip(blocks, itertools.cycle(pool)):
            queues.setdefault(actor, []).append((number, block))
    tables = []
    for entries in itertools.zip_longest(*queues.values()):
        marked = [
            entry[1].assign(request=entry[0], actor=actor)
            for actor, entry in enumerate(entries)
            if entry is not None
        ]
        tables.append(pd.concat(marked, ignore_index=True))
    return list(queues), tables


def _collect(request: Request, tables: Sequence[pd.DataFrame]) -> Answer:
    mine = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame({"id": []})
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
        mine.drop(columns=["actor", "actor_start", "actor_first", "actor_end"])
        .assign(_place=[order[item] for item in mine["id"]])
        .sort_values(key, kind="stable")
        .drop(columns="_place")
        .reset_index(drop=True)
    )
    return Answer(rows, actors)
