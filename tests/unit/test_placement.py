"""Actors are spread over the nodes and never sent where they do not fit."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raw2s.config import NodeType
from raw2s.nodes import Group, Node
from raw2s.orchestration.cluster import TO_COME, with_more
from raw2s.orchestration.placement import Placement


def test_actors_are_spread_and_fractions_share_a_gpu() -> None:
    placement = Placement({"a": Node(4, 1), "b": Node(8, 2)})
    assert [placement.place(Group(1, 1, 0)) for _ in range(6)] == ["b", "b", "b", "b", "a", "b"]
    # Two thirds of a GPU: only one fits on each, and never parts of two.
    assert [placement.place(Group(1, 0.1, 0.6)) for _ in range(4)] == ["b", "b", "a", None]
    # What is left of each takes a small one.
    assert Counter(placement.place(Group(1, 0.1, 0.4)) for _ in range(4)) == {
        "a": 1,
        "b": 2,
        None: 1,
    }


def test_whole_gpus_need_whole_ones() -> None:
    placement = Placement({"a": Node(8, 2)})
    placement.take("a", 1, 0.5)
    assert placement.place(Group(1, 1, 2)) is None
    assert placement.place(Group(1, 1, 1)) == "a"
    assert placement.place(Group(1, 1, 1)) is None
    # The begun one still has room.
    assert placement.place(Group(1, 1, 0.5)) == "a"


def test_a_node_that_is_gone_holds_nothing() -> None:
    placement = Placement({"a": Node(1, 0)})
    placement.take("gone", 1, 0)
    assert placement.place(Group(1, 1, 0)) == "a"


@pytest.mark.parametrize("unit", [0.1, 0.25, 0.3, 1.0])
@given(cpus=st.lists(st.integers(0, 8), min_size=1, max_size=4))
def test_equal_actors_fill_every_node(cpus: list[int], unit: float) -> None:
    placement = Placement({str(n): Node(have, 0) for n, have in enumerate(cpus)})
    room = sum(int(have / unit + 1e-9) for have in cpus)
    assert all(placement.place(Group(1, unit, 0)) is not None for _ in range(room))
    assert placement.place(Group(1, unit, 0)) is None


def test_an_autoscaler_adds_what_is_missing_of_each_type() -> None:
    there = {"head": Node(4.0, 0.0), "a": Node(8.0, 1.0)}
    kinds = [NodeType(cpus=8, gpus=1, count=3), NodeType(cpus=96, gpus=8, count=1)]
    found = with_more(there, kinds)
    more = {name: node for name, node in found.items() if name not in there}
    assert sorted((node.cpus, node.gpus) for node in more.values()) == [(8, 1), (8, 1), (96, 8)]
    assert all(name.startswith(TO_COME) for name in more)
    full = {str(n): Node(8.0, 1.0) for n in range(4)}
    assert with_more(full, kinds[:1]) == full


def test_labels_say_where() -> None:
    nodes = {"a": Node(4, 1, {"kind": "small"}), "b": Node(8, 4, {"kind": "large", "zone": "x"})}
    placement = Placement(nodes)
    assert [placement.place(Group(1, 1, 1, {"kind": "small"})) for _ in range(2)] == ["a", None]
    assert placement.place(Group(1, 1, 1, {"kind": "large", "zone": "y"})) is None
    assert placement.place(Group(1, 1, 1, {"zone": "x"})) == "b"
    assert Group(1, 1, 1).places(nodes.values()) == 5
    assert Group(1, 1, 1, {"kind": "large"}).places(nodes.values()) == 4
