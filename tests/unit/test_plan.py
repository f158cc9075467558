"""`raw2s plan`: what each stage needs, and what there is room for."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from raw2s import config
from raw2s.checks import Need
from raw2s.nodes import Node
from raw2s.plan import room, show_plan

TINY = Path(__file__).parents[2] / "configs" / "tiny.yaml"
NODES = [Node(8, 2), Node(8, 2), Node(4)]


def need(at_once: int, *, cpus: float, gpus: float, group: bool) -> Need:
    return Need(
        stage="students", model="llama", at_once=at_once, cpus=cpus, gpus=gpus, memory=1.0,
        group=group, labels={},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (need(4, cpus=1, gpus=1, group=True), "4"),
        # Workers of one training need their places together, actors take what there is.
        (need(5, cpus=1, gpus=1, group=True), "4: too few"),
        (need(5, cpus=1, gpus=1, group=False), "4"),
        # Two halves of a GPU each; CPUs of several nodes do not add up for one worker.
        (need(8, cpus=0, gpus=0.5, group=True), "8"),
        (need(1, cpus=9, gpus=0, group=True), "0: too few"),
        (need(3, cpus=4, gpus=0, group=True), "5"),
        (need(1, cpus=0, gpus=3, group=False), "0: too few"),
    ],
)
def test_room(asked: Need, said: str) -> None:
    assert room(NODES, asked) == said


def test_a_plan_without_a_cluster_says_what_is_done(tmp_path: Path) -> None:
    console = Console(width=200, record=True)
    run = config.load(TINY, overrides={"storage": str(tmp_path)})
    show_plan(run, console=console)
    text = console.export_text()
    assert "tiny: stages" in text and "there is room for" not in text
    [line] = [line for line in text.splitlines() if "Weak labels" in line]
    assert [cell.strip() for cell in line.split("│")[2:4]] == ["6", "0"]
