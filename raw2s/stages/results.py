"""From answers to the table that everything reported is read from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from raw2s.config import Task as TaskConfig
from raw2s.evaluation.slu_f1 import item_counts
from raw2s.stages.data import rows, table
from raw2s.store import Job, Store
from raw2s.tasks import make

if TYPE_CHECKING:
    from raw2s.method.evidence import Evidence


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
    """What it is judged on; a file of labels has no answers to the test, but to split B."""
    evidence: str = ""
    """The evidence function of an evidential student: its logits are a Dirichlet's."""


def results_job(title: str, systems: Sequence[System], task: TaskConfig) -> Job:
    """Declare the scoring of an experiment's systems."""
    spec = {
        "experiment": title,
        "task": task.name,
        "options": task.options,
        "systems": [[s.name, s.role, s.strategy, s.seed, s.split, s.evidence] for s in systems],
    }
    inputs = {f"answers.{i}": s.answers for i, s in enumerate(systems)}
    inputs |= {f"splits.{i}": s.splits for i, s in enumerate(systems)}
    return Job("results", title, spec, inputs, {"task": task.model_dump(mode="json")}, version=2)


def results(job: Job, store: Store) -> None:
    """Write one row per system, seed and item: prediction, gold and the counts behind the score.

    In classification also the predictive distribution and, of a Dirichlet, its concentration.
    """
    task = make(TaskConfig(**job.runtime["task"]))
    frames = []
    for number, (name, role, strategy, seed, split, evidence) in enumerate(job.spec["systems"]):
        answers = table(store, job.inputs[f"answers.{number}"])
        splits_of = job.inputs[f"splits.{number}"]
        truth = rows(store, splits_of, "strong_truth" if split == "strong" else split)
        merged = truth[["id", "part", "gold"]].merge(answers, on="id", validate="1:1")
        if len(merged) != len(truth):
            raise RuntimeError(f"{name}: {len(truth)} items, {len(merged)} answers")
        scored = (
            _classified(merged, evidence) if task.kind == "classification" else _slots(task, merged)
        )
        for column, value in (
            ("part", merged["part"]), ("item", merged["id"]), ("strategy", strategy),
            ("role", role), ("system", name), ("seed", seed), ("kind", task.kind),
            ("experiment", job.spec["experiment"]),
        ):  # fmt: skip
            scored.insert(0, column, value)
        frames.append(scored)
    with store.write(job) as (folder, notes):
        pd.concat(frames, ignore_index=True).to_parquet(folder / "results.parquet", index=False)
        notes["rows"] = sum(map(len, frames))


def _classified(answers: pd.DataFrame, evidence: Evidence | Literal[""]) -> pd.DataFrame:
    probabilities, concentration = _predictive(answers, evidence)
    label = probabilities.argmax(-1)
    right = label == answers["gold"].map(json.loads).to_numpy()
    counts = {"c0": right.astype(float)} | {f"c{i}": np.nan for i in range(1, 6)}
    return pd.DataFrame(
        {
            "prediction": [str(k) for k in label],
            "gold": answers["gold"],
            "malformed": False,
            "probabilities": probabilities.tolist(),
            "concentration": concentration,
        }
        | counts
    )


def _predictive(
    answers: pd.DataFrame, evidence: Evidence | Literal[""]
) -> tuple[np.ndarray, np.ndarray]:
    """Predictive distributions (n, K) and alpha_0 (n,): a Dirichlet's mean alpha / alpha_0, or the
    softmax and NaN."""
    if not evidence:
        return np.stack(answers["probabilities"].to_list()), np.full(len(answers), np.nan)
    import torch

    from raw2s.method.evidence import log_concentration

    logits = torch.from_numpy(np.stack(answers["logits"].to_list())).double()
    log_alpha = log_concentration(logits, evidence)
    log_total = log_alpha.logsumexp(-1)
    return (log_alpha - log_total[:, None]).exp().numpy(), log_total.exp().numpy()


def _slots(task: Any, answers: pd.DataFrame) -> pd.DataFrame:
    scored = []
    for gold, text, finished in zip(
        answers["gold"], answers["text"], answers["finished"], strict=True
    ):
        predicted, malformed = task.parse(text)
        true = [(kind, filler) for kind, filler in json.loads(gold)]
        counts = item_counts(true, predicted)
        scored.append(
            {
                "prediction": text,
                "gold": gold,
                "malformed": bool(malformed or not finished),
                "probabilities": None,
                "concentration": np.nan,
            }
            | {f"c{i}": float(value) for i, value in enumerate(counts)}
        )
    return pd.DataFrame(scored)
