"""From N weak models' answers to one supervision table, in the strong model's tokens."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from raw2s.config import Model, Strategy, Weights
from raw2s.config import Task as TaskConfig
from raw2s.stages.data import rows, source_spec
from raw2s.stages.training import model_source
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
        table, counts = _generation(job, store, labels_of, progress)
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
        fixed = _weights(job.spec["weights"], given.shape[1], len(ids))
        weights = ensemble.dynamic(given) if fixed is None else fixed
    table = pd.DataFrame(
        {
            "id": ids,
            "probabilities": [[list(map(float, p)) for p in row] for row in given],
            "weights": [list(map(float, row)) for row in weights],
        }
    )
    return table, counts


def _weights(weights: Weights, models: int, count: int) -> np.ndarray | None:
    """(count, models) for average and fixed weights; None for dynamic ones."""
    from raw2s.method import ensemble

    if weights == "dynamic":
        return None
    if weights == "learned":
        raise ValueError("weights are learned from votes for classes")
    one = ensemble.average(models) if weights == "average" else ensemble.check_weights(
        weights, models
    )  # fmt: skip
    return np.tile(np.asarray(one, dtype=float), (count, 1))


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
    row_weights = _weights(weights, len(columns), 1)
    if row_weights is None:
        raise ValueError("scores are combined with average or fixed weights")
    readable = table.notna().all(axis=1)
    combined = pd.Series(math.nan, index=table.index)
    combined[readable] = combine_scores(table[readable].to_numpy(), row_weights[0])
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


def _generation(
    job: Job, store: Store, labels_of: Mapping[str, pd.DataFrame], progress: Progress
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Bridge the best sequence of each weak model into the strong model's tokens."""
    from raw2s.models.encoding import encode_prompt
    from raw2s.models.loading import load_context, load_tokenizer
    from raw2s.tasks import make

    source = model_source(job, store)
    tokenizer = load_tokenizer(**source)
    context = load_context(**source) if "source" in job.spec else job.spec["context"]
    limit = math.inf if context is None else context
    task = make(TaskConfig(**job.runtime["task"]))
    prompts = rows(store, job.inputs["splits"], "strong").set_index("id")["text"]
    best = {
        name: frame[frame["candidate"] == 0].set_index("id") for name, frame in labels_of.items()
    }
    counts = {name: Counter[str]() for name in best}
    table = []
    for done, (item, text) in enumerate(prompts.items()):
        prompt = encode_prompt(tokenizer, text)
        sequences, confidences, present = [], [], []
        for place, (name, frame) in enumerate(best.items()):
            if item not in frame.index:
                counts[name]["no sequence"] += 1
                continue
            answer = frame.loc[item]
            counts[name]["unfinished"] += not answer["finished"]
            counts[name]["empty"] += not answer["text"]
            counts[name]["malformed"] += task.parse(answer["text"])[1]
            bridged = bridge_sequence(tokenizer, prompt, answer)
            if bridged is None:
                counts[name]["refused by the bridge"] += 1
                continue
            if len(bridged["input_ids"]) > limit:
                # The student's tokenizer may need more tokens for it than the weak model's.
                counts[name]["longer than the student's context"] += 1
                continue
            sequences.append({"id": item, "source": name} | bridged)
            confidences.append(float(np.mean(bridged["unit_logprobs"])))
            present.append(place)
        for sequence, weight in zip(
            sequences, _present_weights(job.spec, confidences, present, len(best)), strict=True
        ):
            table.append(sequence | {"weight": float(weight)})
        if not sequences:
            for name in best:
                counts[name]["rows without any sequence"] += 1
        progress(done + 1, len(prompts))
    return pd.DataFrame(table), {name: dict(count) for name, count in counts.items()}


def _present_weights(
    spec: Mapping[str, Any], confidences: list[float], present: list[int], models: int
) -> Sequence[float]:
    """Weights of the weak models whose sequence could be used, renormalised among them."""
    from raw2s.method import ensemble

    if not present:
        return []
    if spec["kind"] == "joint":
        return [1.0]
    weights = _weights(spec["weights"], models, 1)
    if weights is None:
        return list(ensemble.dynamic_from_scores(np.asarray([confidences]))[0])
    mine = weights[0][present]
    if mine.sum() <= 0:
        return [0.0] * len(present)
    return list(mine / mine.sum())


def bridge_sequence(
    tokenizer: Any, prompt: list[int], answer: Mapping[str, Any]
) -> dict[str, Any] | None:
    """One weak sequence in the strong model's tokens, with its words' log-probabilities.

    Returns input_ids (prompt and completion), prompt_length, units (completion token -> word) and
    unit_logprobs; None where the two tokenizers do not cover the text exactly, or nothing is left.
    A sequence that never ended has no end-of-sequence target.
    """
    from raw2s.method.bridge import AlignmentError, word_targets
    from raw2s.models.encoding import encode_completion

    ids, spans = encode_completion(tokenizer, answer["text"])
    ended = not pd.isna(answer["eos_logprob"])
    weak_spans = list(zip(map(int, answer["starts"]), map(int, answer["ends"]), strict=True))
    if not ended:
        ids = ids[:-1]
    if not ids:
        return None
    try:
        words = word_targets(
            answer["text"],
            weak_spans,
            [float(value) for value in answer["token_logprobs"]],
            spans,
            weak_eos_logprob=float(answer["eos_logprob"]) if ended else None,
        )
    except AlignmentError:
        return None
    return {
        "input_ids": prompt + ids,
        "prompt_length": len(prompt),
        "units": [int(unit) for unit in words.unit],
        "unit_logprobs": [float(value) for value in words.unit_logprob],
    }
