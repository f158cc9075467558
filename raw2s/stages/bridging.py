"""Supervision of generation: weak sequences in the student's own tokens, with their weights."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from raw2s.config import Task as TaskConfig
from raw2s.config import Weights
from raw2s.stages.data import rows
from raw2s.stages.items import model_source
from raw2s.store import Job, Store

if TYPE_CHECKING:
    from raw2s.trainers.process import Progress


def bridged(
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
            sequence = bridge_sequence(tokenizer, prompt, answer)
            if sequence is None:
                counts[name]["refused by the bridge"] += 1
                continue
            if len(sequence["input_ids"]) > limit:
                # The student's tokenizer may need more tokens for it than the weak model's.
                counts[name]["longer than the student's context"] += 1
                continue
            sequences.append({"id": item, "source": name} | sequence)
            confidences.append(float(np.mean(sequence["unit_logprobs"])))
            present.append(place)
        for one, weight in zip(
            sequences, _present_weights(job.spec, confidences, present, len(best)), strict=True
        ):
            table.append(one | {"weight": float(weight)})
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
    weights = row_weights(spec["weights"], models, 1)
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


def row_weights(weights: Weights, models: int, count: int) -> np.ndarray | None:
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
