"""The weak models' weights, lambda: one rule for training, Joint Decoding and judging (App. F)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from raw2s.config import Weights

if TYPE_CHECKING:
    from raw2s.method.ensemble import Array
    from raw2s.tasks import Task


@dataclass(frozen=True)
class Lambdas:
    """Weights of N weak models for B rows, (B, N) that sum to 1 in each row; for some slot types
    weights of their own (N,). `counts`: what is told of each model in the report."""

    rows: Array
    by_type: Mapping[str, Array] = field(default_factory=dict)
    counts: Mapping[str, dict[str, Any]] = field(default_factory=dict)


def read_labels(weights: Weights) -> bool:
    """Whether these weights depend on what the weak models say."""
    return weights in ("dynamic", "learned", "learned_by_type", "trimmed", "gated")


def class_lambdas(weights: Weights, names: Sequence[str], probabilities: Array) -> Lambdas:
    """Weights for classification, of probabilities (B, N, K) by the N models `names`."""
    from raw2s.method import ensemble
    from raw2s.method.gate import Gate
    from raw2s.method.reliability import learned_weights

    rows, models, classes = probabilities.shape
    if weights == "dynamic":
        return Lambdas(ensemble.dynamic(probabilities))
    if weights == "trimmed":
        return Lambdas(ensemble.trimmed(probabilities))
    if weights == "learned":
        learned = learned_weights(probabilities.argmax(-1), classes)
        return Lambdas(np.tile(learned, (rows, 1)), counts=_told(names, "learned weight", learned))
    if weights == "gated":
        gated = Gate().fit(probabilities).weights(probabilities)
        return Lambdas(gated, counts=_told(names, "mean weight", gated.mean(0)))
    return Lambdas(_given(weights, models, rows))


def text_lambdas(
    weights: Weights,
    names: Sequence[str],
    ids: Sequence[str],
    labels_of: Mapping[str, pd.DataFrame],
    task: Task,
) -> Lambdas:
    """Weights for generation, for the rows `ids`; the best sequence of each of the N models
    `names` in `labels_of` counts where the weights depend on what they say.

    dynamic: softmax over the models of the mean log-probability of the sequence's words. learned:
    from the slots that the models give; `learned_by_type` also for each slot type.
    """
    from raw2s.method import ensemble
    from raw2s.method.slot_reliability import slot_weights

    if not read_labels(weights):
        return Lambdas(_given(weights, len(names), len(ids)))
    best = [_best(labels_of[name]).loc[list(ids)] for name in names]
    if weights == "dynamic":
        scores = [[_word_confidence(row) for row in frame.to_dict("records")] for frame in best]
        return Lambdas(ensemble.dynamic_from_scores(np.transpose(scores)))
    slots = [[task.parse(text)[0] for text in frame["text"]] for frame in best]
    learned = slot_weights(slots, per_type=weights == "learned_by_type")
    counts = _told(names, "learned weight", learned.overall)
    for kind, values in learned.by_type.items():
        for name, told in _told(names, f"learned weight for {kind}", values).items():
            counts[name] |= told
    return Lambdas(np.tile(learned.overall, (len(ids), 1)), learned.by_type, counts)


def _given(weights: Weights, models: int, rows: int) -> Array:
    from raw2s.method import ensemble

    if isinstance(weights, str):
        one = ensemble.average(models)
    else:
        one = ensemble.check_weights(weights, models)
    return np.tile(one, (rows, 1))


def _best(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["candidate"] == 0].set_index("id")


def _word_confidence(answer: Mapping[str, Any]) -> float:
    """Mean log-probability of the words of a model's own sequence, its end included."""
    from raw2s.method.bridge import word_targets

    spans = list(zip(map(int, answer["starts"]), map(int, answer["ends"]), strict=True))
    end = answer["eos_logprob"]
    found = word_targets(
        answer["text"],
        spans,
        answer["token_logprobs"],
        spans,
        weak_eos_logprob=None if pd.isna(end) else float(end),
    )
    return float(np.mean(found.unit_logprob))


def _told(names: Sequence[str], what: str, weights: Array) -> dict[str, dict[str, Any]]:
    return {
        name: {what: round(float(weight), 4)} for name, weight in zip(names, weights, strict=True)
    }
