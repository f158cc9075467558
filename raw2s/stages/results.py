"""From answers to the table that everything reported is read from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from raw2s.config import Task as TaskConfig
from raw2s.evaluation.slu_f1 import item_counts
from raw2s.stages.data import rows
from raw2s.store import Job, Store
from raw2s.tasks import make


@dataclass(frozen=True)
class System:
    """Whose answers: a model's name in tables, its role, its strategy, the run's seed."""

    name: str
    role: str
    strategy: str
    seed: int
    answers: Job
    splits: Job
    split: str = "test"
    """A file of labels has no answers to the test: it is judged on split B."""


def results_job(title: str, systems: Sequence[System], task: TaskConfig) -> Job:
    """Declare the scoring of an experiment's systems."""
    spec = {
        "experiment": title,
        "task": task.name,
        "options": task.options,
        "systems": [[s.name, s.role, s.strategy, s.seed, s.split] for s in systems],
    }
    inputs = {f"answers.{i}": s.answers for i, s in enumerate(systems)}
    inputs |= {f"splits.{i}": s.splits for i, s in enumerate(systems)}
    return Job("results", title, spec, inputs, {"task": task.model_dump(mode="json")})


def results(job: Job, store: Store) -> None:
    """Write one row per system, seed and item: prediction, gold and the counts behind the score."""
    task = make(TaskConfig(**job.runtime["task"]))
    frames = []
    for number, (name, role, strategy, seed, split) in enumerate(job.spec["systems"]):
        answers = pd.read_parquet(store.path(job.inputs[f"answers.{number}"]) / "rows.parquet")
        splits_of = job.inputs[f"splits.{number}"]
        truth = rows(store, splits_of, "strong_truth" if split == "strong" else split)
        merged = truth[["id", "gold"]].merge(answers, on="id", validate="1:1")
        if len(merged) != len(truth):
            raise RuntimeError(f"{name}: {len(truth)} items, {len(merged)} answers")
        scored = [
            _classified(gold, probabilities)
            if task.kind == "classification"
            else _slots(task, gold, probabilities, finished)
            for gold, probabilities, finished in zip(
                merged["gold"],
                merged["probabilities" if task.kind == "classification" else "text"],
                merged["finished"] if "finished" in merged else [True] * len(merged),
                strict=True,
            )
        ]
        frame = pd.DataFrame(scored)
        frame.insert(0, "item", merged["id"])
        for column, value in (
            ("strategy", strategy), ("role", role), ("system", name), ("seed", seed),
            ("kind", task.kind), ("experiment", job.spec["experiment"]),
        ):  # fmt: skip
            frame.insert(0, column, value)
        frames.append(frame)
    with store.write(job) as (folder, notes):
        pd.concat(frames, ignore_index=True).to_parquet(folder / "results.parquet", index=False)
        notes["rows"] = sum(map(len, frames))


def _classified(gold: str, probabilities: np.ndarray) -> dict[str, Any]:
    label = int(np.argmax(probabilities))
    counts = {f"c{i}": np.nan for i in range(1, 6)}
    return {
        "prediction": str(label),
        "gold": gold,
        "malformed": False,
        "c0": float(label == json.loads(gold)),
    } | counts


def _slots(task: Any, gold: str, text: str, finished: bool) -> dict[str, Any]:
    predicted, malformed = task.parse(text)
    true = [(kind, filler) for kind, filler in json.loads(gold)]
    counts = item_counts(true, predicted)
    return {
        "prediction": text,
        "gold": gold,
        "malformed": bool(malformed or not finished),
    } | {f"c{i}": float(value) for i, value in enumerate(counts)}
