"""From N weak models' answers to one supervision table, in the strong model's tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from raw2s.config import Model, Strategy, Weights
from raw2s.config import Task as TaskConfig
from raw2s.stages.bridging import bridged, row_weights
from raw2s.stages.data import source_spec
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
        [_rows(store, label).assign(source=name) for name, label in job.inputs.items()],
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
    joint: tuple[Job, Mapping[str, Job], Weights] | None = None,
) -> Job:
    """Declare a strategy's supervision table.

    labels_of: the weak models that take part. joint: Joint Decoding's candidates, their scores by
    weak model and the scores' weights. The table does not depend on the student's loss, so
    Naive and Bayesian Multi-Weak share one.
    """
    kind = {"single": "all", "naive": "all", "bayesian": "all"}.get(
        strategy.strategy, strategy.strategy
    )
    spec: dict[str, Any] = {"kind": kind, "labels": labels, "weights": strategy.weights}
    inputs: dict[str, Job] = {"splits": splits_of}
    if joint is None:
        inputs |= {f"label.{name}": job for name, job in labels_of.items()}
    else:
        texts, scores, spec["weights"] = joint
        inputs |= {"candidates": texts} | {f"score.{n}": job for n, job in scores.items()}
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
    log-probabilities."""
    labels_of = {
        name.removeprefix("label."): _rows(store, item)
        for name, item in job.inputs.items()
        if name.startswith("label.")
    }
    if job.spec["labels"] is not None:
        table, counts = _classification(job, labels_of)
    else:
        if job.spec["kind"] == "joint":
            labels_of = {"joint": _best_candidates(job, store)}
        table, counts = bridged(job, store, labels_of, progress)
    with store.write(job) as (folder, notes):
        table.to_parquet(folder / "rows.parquet", index=False)
        notes["counts"] = counts
        notes["rows"] = int(table["id"].nunique())


def _rows(store: Store, job: Job) -> pd.DataFrame:
    return pd.read_parquet(store.path(job) / "rows.parquet")


def _classification(
    job: Job, labels_of: Mapping[str, pd.DataFrame]
) -> tuple[pd.DataFrame, dict[str, Any]]:
    from raw2s.method import ensemble
    from raw2s.method.label_models import DawidSkene, FlyingSquid
    from raw2s.method.reliability import learned_weights

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
    counts: dict[str, Any] = {}
    if job.spec["kind"] in ("flyingsquid", "dawid_skene"):
        if job.spec["kind"] == "flyingsquid":
            signed = np.where(votes == 1, 1, -1)
            posterior = FlyingSquid().fit(signed).predict_proba(signed)
        else:
            posterior = DawidSkene(classes).fit(votes).predict_proba(votes)
        given = posterior[:, None, :]
        weights = np.ones((len(ids), 1))
    elif job.spec["weights"] == "learned":
        learned = learned_weights(votes, classes)
        counts = {
            name: {"learned weight": round(float(weight), 4)}
            for name, weight in zip(labels_of, learned, strict=True)
        }
        weights = np.tile(learned, (len(ids), 1))
    else:
        fixed = row_weights(job.spec["weights"], given.shape[1], len(ids))
        weights = ensemble.dynamic(given) if fixed is None else fixed
    table = pd.DataFrame(
        {
            "id": ids,
            "probabilities": [[list(map(float, p)) for p in row] for row in given],
            "weights": [list(map(float, row)) for row in weights],
        }
    )
    return table, counts


def combined_scores(
    store: Store, scores_of: Mapping[str, Job], weights: Weights, kind: Score
) -> pd.Series:
    """score(y) = sum_i lambda_i s_i(y) by (id, candidate) (Eq. 8).

    A candidate that some model could not read (longer than its context) has no score: NaN.
    """
    from raw2s.method.preference import combine_scores, sequence_score

    columns = []
    for job in scores_of.values():
        frame = _rows(store, job).set_index(["id", "candidate"])
        columns.append(
            pd.Series(
                [
                    sequence_score([*row.token_logprobs, row.eos_logprob], kind=kind)
                    if row.scored
                    else math.nan
                    for row in frame.itertuples()
                ],
                index=frame.index,
            )
        )
    table = pd.concat(columns, axis=1)
    one_row = row_weights(weights, len(columns), 1)
    if one_row is None:
        raise ValueError("scores are combined with average or fixed weights")
    readable = table.notna().all(axis=1)
    combined = pd.Series(math.nan, index=table.index)
    combined[readable] = combine_scores(table[readable].to_numpy(), one_row[0])
    return combined


def _best_candidates(job: Job, store: Store) -> pd.DataFrame:
    scores_of = {name: item for name, item in job.inputs.items() if name.startswith("score.")}
    scores = combined_scores(store, scores_of, job.spec["weights"], "mean")
    table = _rows(store, job.inputs["candidates"])
    table["joint"] = [scores.loc[key] for key in zip(table["id"], table["candidate"], strict=True)]
    table = table.dropna(subset=["joint"])
    # Ties go to the first candidate.
    best = table.loc[table.groupby("id", sort=False)["joint"].idxmax()].copy()
    return best.assign(candidate=0)
