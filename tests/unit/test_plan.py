"""`raw2s plan`: what each stage needs, and what there is room for."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from raw2s import config
from raw2s.checks import Need, checkpoint_size, training_memory
from raw2s.config import Model, Training
from raw2s.nodes import Group, Node, described
from raw2s.plan import room, show_plan

TINY = Path(__file__).parents[2] / "configs" / "tiny.yaml"
NODES = [Node(8, 2), Node(8, 2), Node(4)]


def need(count: int, *, cpus: float, gpus: float, whole: bool) -> Need:
    return Need(
        stage="students", model="llama", group=Group(count, cpus, gpus), memory=1.0,
        checkpoint=0.0, whole=whole,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (need(4, cpus=1, gpus=1, whole=True), "4"),
        # Workers of one training need their places together, actors take what there is.
        (need(5, cpus=1, gpus=1, whole=True), "4: too few"),
        (need(5, cpus=1, gpus=1, whole=False), "4"),
        # Two halves of a GPU each; CPUs of several nodes do not add up for one worker.
        (need(8, cpus=0, gpus=0.5, whole=True), "8"),
        (need(1, cpus=9, gpus=0, whole=True), "0: too few"),
        (need(3, cpus=4, gpus=0, whole=True), "5"),
        (need(1, cpus=0, gpus=3, whole=False), "0: too few"),
    ],
)
def test_room(asked: Need, said: str) -> None:
    assert room(NODES, asked) == said


def test_nodes_read_the_same_in_any_order() -> None:
    strong = Node(96, 8, {"models": "strong", "ray.io/node-id": "1"})
    weak = [Node(8, 1, {"models": "weak", "ray.io/node-id": str(n)}) for n in range(2)]
    expected = (
        "1 with 96 CPUs and 8 GPUs (models=strong); 2 with 8 CPUs and 1 GPUs (models=weak); "
        "1 with 8 CPUs and 0 GPUs"
    )
    for order in itertools.permutations([*weak, strong, Node(8)]):
        assert described(order) == expected


@pytest.mark.parametrize(
    ("zero", "precision", "bytes_each"),
    # As measured on checkpoints of a llama of 3.3 million parameters, but for 0.03 bytes.
    [
        (None, "float32", 12), (0, "float32", 16), (1, "float32", 20), (2, "float32", 20),
        (3, "float32", 16), (0, "bfloat16", 16), (1, "bfloat16", 16), (2, "bfloat16", 16),
        (3, "bfloat16", 14),
    ],
)  # fmt: skip
def test_the_size_of_a_checkpoint(zero: Any, precision: Any, bytes_each: int) -> None:
    model = Model(name="llama", path="someone/llama", parameters=2**30)
    training = Training(zero_stage=zero, precision=precision, workers=2, batch_size=2)
    assert checkpoint_size(model, training) == bytes_each


@pytest.mark.parametrize(
    ("zero", "precision", "bytes_each"),
    [
        (None, "float32", 16), (None, "autocast", 16), (0, "bfloat16", 16),
        # Gradients are added up in float32: by stage 1 whole, its half once more, then by halves.
        (1, "bfloat16", 2 + 6 + 6), (2, "bfloat16", 2 + 2 + 6), (3, "bfloat16", 1 + 2 + 6),
    ],
)  # fmt: skip
def test_what_a_worker_holds(zero: Any, precision: Any, bytes_each: int) -> None:
    model = Model(name="llama", path="someone/llama", parameters=2**30)
    training = Training(zero_stage=zero, precision=precision, workers=2, batch_size=2)
    assert training_memory(model, training) == bytes_each


def test_a_plan_without_a_cluster_says_what_is_done(tmp_path: Path) -> None:
    console = Console(width=200, record=True)
    run = config.load(TINY, overrides={"storage": str(tmp_path)})
    show_plan(run, console=console)
    text = console.export_text()
    assert "tiny: stages" in text and "there is room for" not in text
    [line] = [line for line in text.splitlines() if "Weak labels" in line]
    assert [cell.strip() for cell in line.split("│")[2:4]] == ["6", "0"]
