"""Ray Data streams rows to hosted models: labelling, scoring, sampling, answering."""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from raw2s.orchestration.dispatch import dispatch, distinct
from raw2s.orchestration.host import Request
from raw2s.orchestration.hosts import Hosts
from raw2s.orchestration.kept import Block, Kept
from raw2s.storage.tables import decoded
from raw2s.store import Store

if TYPE_CHECKING:
    from ray.actor import ActorHandle

# A block is the unit of balance between a pool's actors: some batches of rows.
_BATCHES_A_BLOCK = 4
# Blocks of a step of Ray Data, for each actor.
_BLOCKS_A_STEP = 64


@dataclass(frozen=True)
class Answer:
    """A request's rows, in the order asked, and each actor that answered: on which host, when it
    was ready with the model (`start`), when it began (`first`) and ended (`end`) its answers (Unix
    seconds), and the smallest batch that its memory allowed (`batch`)."""

    rows: pd.DataFrame
    actors: list[dict[str, Any]]


def ask_at_once(
    requests: Sequence[Request], hosts: Hosts, board: ActorHandle, store: Store | None = None
) -> list[Answer]:
    """Answer every request by its own model's pool, all of them at the same time.

    All models are loaded before the first row is asked. Where the pools do not fit on the cluster
    together, as many as fit go first and make room for the others. `store`: as for `ask`.
    """
    return [
        answer
        for wave in hosts.waves(requests)
        for answer in ask(wave, hosts.bring_up(wave), board, store=store)
    ]


def ask_in_turn(
    requests: Sequence[Request],
    actors: Sequence[ActorHandle],
    board: ActorHandle,
    store: Store | None = None,
) -> list[Answer]:
    """Answer requests by a few actors; a model stays on one of them, each takes some models.
    `store`: as for `ask`."""
    if len(requests) == 1:
        return ask(requests, [actors], board, store=store)
    pools = [[actors[n % len(actors)]] for n in range(len(requests))]
    return ask(requests, pools, board, helpers=actors, store=store)


def ask(
    requests: Sequence[Request],
    pools: Sequence[Sequence[ActorHandle]],
    board: ActorHandle,
    *,
    helpers: Sequence[ActorHandle] = (),
    store: Store | None = None,
) -> list[Answer]:
    """Answer each request by its pool of actors, through one Ray Data pipeline.

    helpers: who, besides, may be asked for what an actor of any pool is slow with. store: where
    answers are kept until their jobs are done, and looked for first; none: they are not.

    Raises RuntimeError naming the rows if a row that went in does not come out.
    """
    import ray
    from ray.data import DataContext, TaskPoolStrategy

    DataContext.get_current().enable_progress_bars = False
    # Ray Data sets its loggers up at import, which comes after the connection.
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    questions = [request.without_rows() for request in requests]
    blocks = _blocks(requests)
    kept = Kept.of([request.job for request in requests], store) if store else None
    answers = kept.find(blocks) if kept else {}
    for number, request in enumerate(requests):
        done = sum(len(blocks[key]) for key in answers if key[0] == number)
        ray.get(board.update.remote(request.job.fingerprint, done, len(request.rows)))

    def forward(rows: pd.DataFrame) -> pd.DataFrame:
        with kept.keeper() if kept else contextlib.nullcontext() as keep:
            return dispatch(rows, questions, pools, board, helpers, keep)

    waiting = {key: rows for key, rows in blocks.items() if key not in answers}
    if waiting:
        carried = (
            # Not from_pandas: it starts a task that waits for a CPU, and the hosts may hold them
            # all.
            ray.data.from_blocks(_steps(waiting, len(distinct(pools))))
            .map_batches(
                forward,
                batch_size=None,
                batch_format="pandas",
                # The hosts compute, this task only hands out rows; a second one beside it would
                # make hosts of several models change them back and forth.
                compute=TaskPoolStrategy(size=1),
                num_cpus=0,
            )
            .to_pandas()
        )
        keys = zip(carried["request"], carried["block"], strict=True)
        answers |= dict(zip(keys, carried["answer"], strict=True))
    return [
        _collect(
            request,
            [decoded(answers[key]) for key in blocks if key in answers and key[0] == number],
        )
        for number, request in enumerate(requests)
    ]


def _blocks(requests: Sequence[Request]) -> dict[Block, pd.DataFrame]:
    """The requests' rows, cut into blocks."""
    blocks = {}
    for number, request in enumerate(requests):
        size = request.job.runtime["batch_size"] * _BATCHES_A_BLOCK
        for block, at in enumerate(range(0, len(request.rows), size)):
            blocks[number, block] = request.rows.iloc[at : at + size]
    return blocks


def _steps(blocks: Mapping[Block, pd.DataFrame], actors: int) -> list[pd.DataFrame]:
    """Tables of rows in blocks, marked by the columns request and block (numbers), for so many
    actors."""
    # In turn, so that every pool has something to do in every step.
    order = sorted(blocks, key=lambda key: (key[1], key[0]))
    marked = [blocks[key].assign(request=key[0], block=key[1]) for key in order]
    size = _BLOCKS_A_STEP * actors
    return [
        pd.concat(marked[at : at + size], ignore_index=True) for at in range(0, len(marked), size)
    ]


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
            "host": str(group["actor_host"].iloc[-1]),
            "start": float(group["actor_start"].min()),
            "first": float(group["actor_first"].min()),
            "end": float(group["actor_end"].max()),
            "batch": int(group["actor_batch"].min()),
        }
        for actor, group in mine.groupby("actor", sort=True)
    ]
    key = ["_place", "candidate"] if "candidate" in mine else ["_place"]
    rows = (
        mine.drop(columns=[name for name in mine if name.startswith("actor")])
        .assign(_place=[order[item] for item in mine["id"]])
        .sort_values(key, kind="stable")
        .drop(columns="_place")
        .reset_index(drop=True)
    )
    return Answer(rows, actors)
