"""Ray Data streams rows to hosted models: labelling, scoring, sampling, answering."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from raw2s.nodes import Group
from raw2s.orchestration.dispatch import dispatch, distinct
from raw2s.orchestration.host import Request
from raw2s.orchestration.hosts import Hosts
from raw2s.storage.tables import decoded

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


def ask_at_once(requests: Sequence[Request], hosts: Hosts, board: ActorHandle) -> list[Answer]:
    """Answer every request by its own model's pool, all of them at the same time.

    All models that have something to answer are loaded before the first row is asked. Where the
    pools do not fit on the cluster together, as many as fit go first and make room for the others.
    An actor with nothing left to do takes over another model for what one of its kind is slow with.
    """
    answers = {n: _collect(one, []) for n, one in enumerate(requests) if one.waiting.empty}
    asked = [n for n in range(len(requests)) if n not in answers]
    found = [
        answer
        for wave in hosts.waves([requests[n] for n in asked])
        for answer in _ask_wave(wave, hosts.bring_up(wave), board)
    ]
    answers |= dict(zip(asked, found, strict=True))
    return [answers[n] for n in range(len(requests))]


def _ask_wave(
    wave: Sequence[Request], pools: Sequence[Sequence[ActorHandle]], board: ActorHandle
) -> list[Answer]:
    kinds = [Group.of(1, request.job.runtime) for request in wave]
    alike = [
        [actor for kind, pool in zip(kinds, pools, strict=True) if kind == mine for actor in pool]
        for mine in kinds
    ]
    return ask(wave, pools, board, helpers=alike)


def ask_in_turn(
    requests: Sequence[Request], actors: Sequence[ActorHandle], board: ActorHandle
) -> list[Answer]:
    """Answer requests by a few actors; a model stays on one of them, each takes some models."""
    if len(requests) == 1:
        return ask(requests, [actors], board, helpers=[[]])
    pools = [[actors[n % len(actors)]] for n in range(len(requests))]
    return ask(requests, pools, board, helpers=[actors] * len(requests))


def ask(
    requests: Sequence[Request],
    pools: Sequence[Sequence[ActorHandle]],
    board: ActorHandle,
    *,
    helpers: Sequence[Sequence[ActorHandle]],
) -> list[Answer]:
    """Answer each request by its pool of actors, through one Ray Data pipeline.

    helpers: who, besides, may be asked for what one of the pool is slow with.

    Raises RuntimeError naming the rows if a row that went in does not come out.
    """
    import ray
    from ray.data import DataContext, TaskPoolStrategy

    DataContext.get_current().enable_progress_bars = False
    # Ray Data sets its loggers up at import, which comes after the connection.
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    questions = [request.without_rows() for request in requests]

    def forward(rows: pd.DataFrame) -> pd.DataFrame:
        return dispatch(rows, questions, pools, board, helpers)

    answers: list[list[bytes]] = [[] for _ in requests]
    if steps := _steps(requests, pools):
        carried = (
            # Not from_pandas: it starts a task that waits for a CPU, and the hosts may hold them
            # all.
            ray.data.from_blocks(steps)
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
        for number, answer in zip(carried["request"], carried["answer"], strict=True):
            answers[number].append(answer)
    return [_collect(*of_one) for of_one in zip(requests, answers, strict=True)]


def _steps(
    requests: Sequence[Request], pools: Sequence[Sequence[ActorHandle]]
) -> list[pd.DataFrame]:
    """Tables of rows in blocks, marked by the columns request and block (numbers)."""
    blocks = []
    for number, request in enumerate(requests):
        size = request.job.runtime["batch_size"] * _BATCHES_A_BLOCK
        for block, at in enumerate(range(0, len(request.waiting), size)):
            blocks.append(request.waiting.iloc[at : at + size].assign(request=number, block=block))
    # In turn, so that every pool has something to do in every step.
    blocks.sort(key=lambda rows: rows["block"].iloc[0])
    size = _BLOCKS_A_STEP * len(distinct(pools))
    return [
        pd.concat(blocks[at : at + size], ignore_index=True) for at in range(0, len(blocks), size)
    ]


def _collect(request: Request, answers: Sequence[bytes]) -> Answer:
    """All rows of a request: the answers that were kept before, and these."""
    tables = [request.answered, *map(decoded, answers)]
    tables = [table for table in tables if len(table)]
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
