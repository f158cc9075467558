"""Pools of hosted models make way for work that finds no node beside them."""

from __future__ import annotations

import pytest

from raw2s.nodes import Group, Node
from raw2s.orchestration import hosts as orchestration
from raw2s.orchestration.hosts import Hosts, _Pool

ON_B, ON_C = {"name": "b"}, {"name": "c"}


def stay(works: list[Group], free: float, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the pools on two of three nodes stay, with so many CPUs free in the cluster."""
    there = {name: Node(1.0, 0.0, {"name": name}) for name in "abc"}
    monkeypatch.setattr(orchestration, "nodes", lambda autoscaled: there)
    monkeypatch.setattr(orchestration, "_LOOK_SECONDS", 0.0)
    monkeypatch.setattr("ray.available_resources", lambda: {"CPU": free})
    hosts = Hosts(board=None)
    for model in ("a", "b"):
        hosts._pools[model] = _Pool(Group(1, 0.1, 0.0, {}), [], [model])
    hosts.make_room(works)
    return bool(hosts._pools)


@pytest.mark.parametrize(
    ("works", "stays"),
    [
        # One node is free of pools.
        ([Group(1, 1.0)], True),
        ([Group(1, 1.0, 0, ON_C)], True),
        ([Group(1, 1.0, 0, ON_B)], False),
        # In all there is room for two, on no two nodes.
        ([Group(1, 1.0)] * 2, False),
        ([Group(2, 1.0)], False),
        ([Group(3, 0.9)], True),
        # The one that may go anywhere leaves the free node to the other.
        ([Group(1, 0.9), Group(1, 1.0, 0, ON_C)], True),
        # That nothing has room for more is not the pools' doing.
        ([Group(1, 2.0)], True),
    ],
)
def test_work_needs_a_node_not_a_sum(
    works: list[Group], stays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stay(works, 2.8, monkeypatch) == stays


@pytest.mark.parametrize(("free", "stays"), [(0.9, True), (0.8, False)])
def test_work_needs_what_others_leave(
    free: float, stays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stay([Group(1, 0.9)], free, monkeypatch) == stays
