"""Hand out blocks of rows to the actors that host models, as they become free."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

import pandas as pd

from raw2s.orchestration.host import Request

if TYPE_CHECKING:
    from ray.actor import ActorHandle

Block = tuple[int, int]
"""A block of rows: the number of its request, and one of its own."""
# Blocks that an actor has before it: while it answers one, the next is on its way.
_AHEAD = 2
# A block is asked of a second actor as well if it takes so many times what others took, and longer
# than so many seconds: its own may be on a slow node, or on none.
_SLOW, _SLOW_SECONDS = 4.0, 30.0


def distinct(pools: Sequence[Sequence[ActorHandle]]) -> list[ActorHandle]:
    """Every actor of the pools once."""
    return list(dict.fromkeys(actor for pool in pools for actor in pool))


@dataclass
class _Asked:
    """A block on its way: to whom, since when."""

    block: Block
    actor: ActorHandle
    since: float = field(default_factory=time.monotonic)


def dispatch(
    rows: pd.DataFrame,
    questions: Sequence[Request],
    pools: Sequence[Sequence[ActorHandle]],
    board: ActorHandle,
    helpers: Sequence[Sequence[ActorHandle]],
) -> pd.DataFrame:
    """Hand out the blocks of a step to whoever is free of their request's pool, and wait for the
    answers.

    rows: as `raw2s.orchestration.inference` cuts them, marked by the columns request and block.
    helpers: who, besides a request's pool, may be asked for what one of it is slow with.
    Returns the columns request, block and answer: whole tables as bytes, since those of different
    operations have different columns.
    """
    import ray

    parts = {
        key: part.drop(columns=["request", "block"])
        for key, part in rows.groupby(["request", "block"], sort=True)
    }
    # Request after request: an actor that serves several changes its model once for each.
    waiting = {n: deque(block for number, block in parts if number == n) for n in range(len(pools))}
    asked: dict[Any, _Asked] = {}
    found: dict[Block, bytes] = {}
    took: list[float] = []
    others = [[*pool, *more] for pool, more in zip(pools, helpers, strict=True)]

    def ask_one(actor: Any, block: Block) -> None:
        request, number = block
        answer = actor.answer.remote(questions[request], number, parts[block])
        asked[answer] = _Asked(block, actor)

    def ask_next(actor: ActorHandle) -> None:
        for request, pool in enumerate(pools):
            if waiting[request] and actor in pool:
                ask_one(actor, (request, waiting[request].popleft()))
                return

    for actor in distinct(pools):
        for _ in range(_AHEAD):
            ask_next(actor)
    while len(found) < len(parts):
        done, _ = ray.wait(list(asked), num_returns=1, timeout=_SLOW_SECONDS)
        for answer in done:
            one, table = asked.pop(answer), ray.get(answer)
            took.append(time.monotonic() - one.since)
            if one.block not in found:
                found[one.block] = table
                fingerprint = questions[one.block[0]].job.fingerprint
                ray.get(board.add.remote(fingerprint, len(parts[one.block])))
            ask_next(one.actor)
        _ask_again(asked, found, others, median(took) if took else 0.0, ask_one)
    for late in asked:
        # Someone else was faster.
        ray.cancel(late)
    return pd.DataFrame(
        [(*block, table) for block, table in found.items()], columns=["request", "block", "answer"]
    )


def _ask_again(
    asked: dict[Any, _Asked],
    found: dict[Block, bytes],
    others: Sequence[Sequence[ActorHandle]],
    usual: float,
    ask_one: Any,
) -> None:
    """Ask an idle actor, of those that may answer a request, for what another one is slow with."""
    busy = {one.actor for one in asked.values()}
    limit = max(_SLOW_SECONDS, _SLOW * usual)
    twice = Counter(one.block for one in asked.values())
    for one in list(asked.values()):
        idle = [actor for actor in others[one.block[0]] if actor not in busy]
        late = time.monotonic() - one.since > limit
        if idle and late and one.block not in found and twice[one.block] == 1:
            busy.add(idle[0])
            ask_one(idle[0], one.block)
