"""From N weak models' answers to one supervision table, in the strong model's tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from raw2s.config import Model, Strategy, Weights
from raw2s.config import Task as TaskConfig
from raw2s.errors import ConfigError
from raw2s.stages.bridging import bridged
from raw2s.stages.data import source_spec, table
from raw2s.stages.weights import Lambdas, class_lambdas, read_labels, text_lambdas
from raw2s.store import Job, Store

if TYPE_CHECKING:
    from raw2s.method.preference import Score
    from raw2s.trainers.process import Progress


def candidates_job(title: str, labels_of: Mapping[str, Job]) -> Job:
    """Declare the union of the weak models' beams, for Joint Decoding."""
    return Job("candidates", title, {}, dict(labels_of))


def candidates(job: Job, store: Store) -> None:
    """Write each row's distinct texts; of equal ones the beam with the best score stays."""
    beams = pd.concat(
        [table(store, label).assign(source=name) for name, label in job.inputs.items()],
        ignore_index=True,
    )
    order = {item: place for place, item in enumerate(dict.fromkeys(beams["id"]))}
    best = (
        beams.assign(_place=beams["id"].map(order))
        .sort_values(["_place", "score"], ascending=[True, False], kind="stable")
        .drop_duplicates(["id", "text"])
        .drop(columns=["_place", "candidate"])
    )
    best["candidate"] = best.groupby("id", sort=False).cumcount()
    with store.write(job) as (folder, notes):
        best.to_parquet(folder / "rows.parquet", index=False)
        best.rename(columns={"text": "completion"})[["id", "candidate", "completion"]].to_parquet(
            folder / "texts.parquet", index=False
        )
        notes["beams"], notes["distinct"] = len(beams), len(best)


@dataclass(frozen=True)
class Joint:
    """Joint Decoding's candidates, their scores by weak model, and the scores' weights."""

    texts: Job
    scores: Mapping[str, Job]
    weights: Weights


def supervision_job(
    title: str,
    strategy: Strategy,
    labels_of: Mapping[str, Job],
    splits_of: Job,
    *,
    labels: int | None,
    task: TaskConfig,
    strong: Model,
    tokenizer: Job | None,
    joint: Joint | None = None,
) -> Job:
    """Declare a strategy's supervision table.

    labels_of: the weak models that take part. The table does not depend on the student's loss, so
    Naive and Bayesian Multi-Weak share one.
    """
    own = ("majority", "product", "flyingsquid", "dawid_skene", "joint")
    kind = strategy.strategy if strategy.strategy in own else "all"
    spec: dict[str, Any] = {"kind": kind, "labels": labels, "weights": strategy.weights}
    if strategy.class_balance is not None:
        spec["class_balance"] = strategy.class_balance
    if labels is None:
        spec["unit"] = strategy.unit
    else:
        spec["target"] = strategy.target
    inputs: dict[str, Job] = {"splits": splits_of}
    if joint is None:
        inputs |= {f"label.{name}": job for name, job in labels_of.items()}
    else:
        spec["weights"] = joint.weights
        inputs |= {"candidates": joint.texts} | score_inputs(joint.weights, joint.scores, labels_of)
    runtime: dict[str, Any] = {}
    if labels is None:
        # Words are bridged into the strong model's tokens, so its tokenizer counts.
        spec |= source_spec(strong) | {"task": task.name, "options": task.options}
        spec["context"] = strong.scratch.context if strong.scratch else None
        inputs |= {"model": tokenizer} if tokenizer else {}
        runtime = {"task": task.model_dump(mode="json")}
    return Job("supervision", title, spec, inputs, runtime)


def supervision(job: Job, store: Store, progress: Progress) -> None:
    """Write the table: class distributions and weights, or target sequences with word
    log-probabilities. Raises ConfigError where no sequence can be used."""
    labels_of = {name: table(store, label) for name, label in _inputs(job, "label.").items()}
    if job.spec["labels"] is not None:
        rows, counts = _classification(job, labels_of)
    else:
        if job.spec["kind"] == "joint":
            labels_of = {"joint": _best_candidates(job, store)}
        rows, counts = bridged(job, store, labels_of, progress)
    if rows.empty:
        raise ConfigError(f"{job.title}: no weak sequence can teach the student: {counts}")
    with store.write(job) as (folder, notes):
        rows.to_parquet(folder / "rows.parquet", index=False)
        notes["counts"] = counts
        notes["rows"] = int(rows["id"].nunique())


def _classification(
    job: Job, labels_of: Mapping[str, pd.DataFrame]
) -> tuple[pd.DataFrame, dict[str, Any]]:
    from raw2s.method.ensemble import product_probability
    from raw2s.method.label_models import DawidSkene, FlyingSquid, MajorityVote

    ids = next(iter(labels_of.values()))["id"].to_list()
    # (B, N, K)
    given = np.stack(
        [
            np.stack([np.asarray(p) for p in frame.set_index("id")["probabilities"].loc[ids]])
            for frame in labels_of.values()
        ],
        axis=1,
    )
    votes, classes = given.argmax(-1), given.shape[-1]
    kind = job.spec["kind"]
    if kind in ("majority", "flyingsquid", "dawid_skene"):
        if kind == "majority":
            posterior = MajorityVote(classes).fit(votes).predict_proba(votes)
        elif kind == "flyingsquid":
            signed = np.where(votes == 1, 1, -1)
            model = FlyingSquid(job.spec.get("class_balance"))
            posterior = model.fit(signed).predict_proba(signed)
        else:
            posterior = DawidSkene(classes).fit(votes).predict_proba(votes)
        given = posterior[:, None, :]
        lambdas = Lambdas(np.ones((len(ids), 1)))
    else:
        lambdas = class_lambdas(job.spec["weights"], list(labels_of), given)
        if kind == "product":
            given = product_probability(given, lambdas.rows)[:, None, :]
            lambdas = replace(lambdas, rows=np.ones((len(ids), 1)))
    if job.spec["target"] == "one_hot":
        given = np.eye(classes)[given.argmax(-1)]
    rows = pd.DataFrame(
        {
            "id": ids,
            "probabilities": [[list(map(float, p)) for p in row] for row in given],
            "weights": [list(map(float, row)) for row in lambdas.rows],
        }
    )
    return rows, dict(lambdas.counts)


def score_inputs(
    weights: Weights, scores_of: Mapping[str, Job], labels_of: Mapping[str, Job]
) -> dict[str, Job]:
    """The inputs of a job that combines weak models' scores: the scores, and the models' labels
    where the weights depend on them."""
    told = {f"label.{name}": labels_of[name] for name in scores_of} if read_labels(weights) else {}
    return {f"score.{name}": scores for name, scores in scores_of.items()} | told


def combined_scores(job: Job, store: Store, kind: Score) -> pd.Series:
    """score(y) = sum_i lambda_i s_i(y) by (id, candidate), of a job with `score_inputs` (Eq. 8).

    A candidate that some model could not read (longer than its context) has no score: NaN.
    """
    from raw2s.method.preference import combine_scores, sequence_score
    from raw2s.tasks import make

    columns = {}
    for name, scores in _inputs(job, "score.").items():
        frame = table(store, scores).set_index(["id", "candidate"])
        columns[name] = pd.Series(
            [
                sequence_score([*row.token_logprobs, row.eos_logprob], kind=kind)
                if row.scored
                else math.nan
                for row in frame.itertuples()
            ],
            index=frame.index,
        )
    wide = pd.DataFrame(columns)
    ids = list(dict.fromkeys(wide.index.get_level_values("id")))
    labels_of = {name: table(store, label) for name, label in _inputs(job, "label.").items()}
    task = make(TaskConfig(**job.runtime["task"]))
    lambdas = text_lambdas(job.spec["weights"], list(columns), ids, labels_of, task)
    of_row = dict(zip(ids, lambdas.rows, strict=True))
    readable = wide.notna().all(axis=1)
    combined = pd.Series(math.nan, index=wide.index)
    for item, group in wide[readable].groupby("id", sort=False):
        combined[group.index] = combine_scores(group.to_numpy(), of_row[item])
    return combined


def _inputs(job: Job, prefix: str) -> dict[str, Job]:
    return {
        name.removeprefix(prefix): item
        for name, item in job.inputs.items()
        if name.startswith(prefix)
    }


def _best_candidates(job: Job, store: Store) -> pd.DataFrame:
    scores = combined_scores(job, store, "mean")
    found = table(store, job.inputs["candidates"])
    found["joint"] = [scores.loc[key] for key in zip(found["id"], found["candidate"], strict=True)]
    found = found.dropna(subset=["joint"])
    # Ties go to the first candidate.
    best = found.loc[found.groupby("id", sort=False)["joint"].idxmax()].copy()
    return best.assign(candidate=0)
