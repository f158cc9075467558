"""Ray Data streams rows to hosted models: labelling, scoring, sampling, answering."""

from __future__ import annotations

import itertools
import logging
import pickle
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

import pandas as pd

from raw2s.orchestration.host import Request
from raw2s.orchestration.hosts import Hosts

if TYPE_CHECKING:
    from ray.actor import ActorHandle

# A block is the unit of balance between a pool's actors: some batches of rows.
_BATCHES_A_BLOCK = 4
# Blocks that an actor has before it: while it answers one, the next is on its way.
_AHEAD = 2
# Blocks of a step of Ray Data, for each actor.
_BLOCKS_A_STEP = 64
# A block is asked of a second actor as well if it takes so many times what others took, and longer
# than so many seconds: its own may be on a slow node, or on none.
_SLOW, _SLOW_SECONDS = 4.0, 30.0


@dataclass(frozen=True)
class Answer:
    """A request's rows, in the order asked, and each actor that answered: on which host, when it
    was ready with the model (`start`), when it began (`first`) and ended (`end`) its answers (Unix
    seconds), and the smallest batch that its memory allowed (`batch`)."""

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
    pools = [[actors[n % len(actors)]] for n in range(len(requests))]
    return ask(requests, pools, board, helpers=actors)


def ask(
    requests: Sequence[Request],
    pools: Sequence[Sequence[ActorHandle]],
    board: ActorHandle,
    *,
    helpers: Sequence[ActorHandle] = (),
) -> list[Answer]:
    """Answer each request by its pool of actors, through one Ray Data pipeline.

    helpers: who, besides, may be asked for what an actor of any pool is slow with.

    Raises RuntimeError naming the rows if a row that went in does not come out.
    """
    import ray
    from ray.data import DataContext, TaskPoolStrategy

    DataContext.get_current().enable_progress_bars = False
    # Ray Data sets its loggers up at import, which comes after the connection.
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    for request in requests:
        ray.get(board.update.remote(request.job.fingerprint, 0, len(request.rows)))
    questions = [request.without_rows() for request in requests]

    def forward(rows: pd.DataFrame) -> pd.DataFrame:
        return _dispatch(rows, questions, pools, board, helpers)

    carried = (
        # Not from_pandas: it starts a task that waits for a CPU, and the hosts may hold them all.
        ray.data.from_blocks(_steps(requests, pools))
        .map_batches(
            forward,
            batch_size=None,
            batch_format="pandas",
            # The hosts compute, this task only hands out rows; a second one beside it would make
            # hosts of several models change them back and forth.
            compute=TaskPoolStrategy(size=1),
            num_cpus=0,
        )
        .to_pandas()
    )
    tables: list[list[pd.DataFrame]] = [[] for _ in requests]
    for number, table in zip(carried["request"], carried["table"], strict=True):
        tables[number].append(pickle.loads(table))
    return [_collect(*of_one) for of_one in zip(requests, tables, strict=True)]


def _steps(
    requests: Sequence[Request], pools: Sequence[Sequence[ActorHandle]]
) -> list[pd.DataFrame]:
    """Tables of rows in blocks, marked by the columns request and block (numbers)."""
    blocks = []
    for number, request in enumerate(requests):
        size = request.job.runtime["batch_size"] * _BATCHES_A_BLOCK
        for block, at in enumerate(range(0, len(request.rows), size)):
            blocks.append(request.rows.iloc[at : at + size].assign(request=number, block=block))
    # In turn, so that every pool has something to do in every step.
    blocks.sort(key=lambda rows: rows["block"].iloc[0])
    size = _BLOCKS_A_STEP * len({actor for pool in pools for actor in pool})
    return [
        pd.concat(blocks[at : at + size], ignore_index=True) for at in range(0, len(blocks), size)
    ]


@dataclass
class _Asked:
    """A block on its way: to whom, since when."""

    request: int
    block: int
    actor: ActorHandle
    since: float = field(default_factory=time.monotonic)


def _dispatch(
    rows: pd.DataFrame,
    questions: Sequence[Request],
    pools: Sequence[Sequence[ActorHandle]],
    board: ActorHandle,
    helpers: Sequence[ActorHandle] = (),
) -> pd.DataFrame:
    """Hand out the blocks of a step to whoever is free, and wait for the answers.

    Whole tables go on as bytes: those of different operations have different columns.
    """
    import ray

    parts = {key: part for key, part in rows.groupby(["request", "block"], sort=True)}
    # Request after request: an actor that serves several changes its model once for each.
    waiting = {n: deque(block for number, block in parts if number == n) for n in range(len(pools))}
    asked: dict[Any, _Asked] = {}
    found: dict[tuple[int, int], bytes] = {}
    took: list[float] = []
    others = [[*pool, *helpers] for pool in pools]

    def ask_one(actor: Any, request: int, block: int) -> None:
        part = parts[request, block].drop(columns=["request", "block"])
        answer = actor.answer.remote(questions[request], block, part)
        asked[answer] = _Asked(request, block, actor)

    def ask_next(actor: ActorHandle) -> None:
        for request, pool in enumerate(pools):
            if waiting[request] and actor in pool:
                ask_one(actor, request, waiting[request].popleft())
                return

    for actor in dict.fromkeys(actor for pool in pools for actor in pool):
        for _ in range(_AHEAD):
            ask_next(actor)
    while len(found) < len(parts):
        done, _ = ray.wait(list(asked), num_returns=1, timeout=_SLOW_SECONDS)
        for answer in done:
            one = asked.pop(answer)
            table: pd.DataFrame = ray.get(answer)
            took.append(time.monotonic() - one.since)
            if (one.request, one.block) not in found:
                found[one.request, one.block] = pickle.dumps(table)
                fingerprint = questions[one.request].job.fingerprint
                ray.get(board.add.remote(fingerprint, len(parts[one.request, one.block])))
            ask_next(one.actor)
        _ask_again(asked, found, others, median(took) if took else 0.0, ask_one)
    for late in asked:
        # Someone else was faster.
        ray.cancel(late)
    return pd.DataFrame({"request": [n for n, _ in found], "table": list(found.values())})


def _ask_again(
    asked: dict[Any, _Asked],
    found: dict[tuple[int, int], bytes],
    others: Sequence[Sequence[ActorHandle]],
    usual: float,
    ask_one: Any,
) -> None:
    """Ask an idle actor, of those that may answer a request, for what another one is slow with."""
    busy = {one.actor for one in asked.values()}
    limit = max(_SLOW_SECONDS, _SLOW * usual)
    twice = Counter((one.request, one.block) for one in asked.values())
    for one in list(asked.values()):
        key = (one.request, one.block)
        idle = [actor for actor in others[one.request] if actor not in busy]
        if idle and key not in found and twice[key] == 1 and time.monotonic() - one.since > limit:
            busy.add(idle[0])
            ask_one(idle[0], *key)


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
