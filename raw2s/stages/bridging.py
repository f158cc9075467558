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
from raw2s.stages.weights import text_lambdas
from raw2s.store import Job, Store

if TYPE_CHECKING:
    from raw2s.method.bridge import Unit
    from raw2s.tasks import Task
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
    # Joint Decoding's winner is the only target; its weights are those of the scores.
    weights: Weights = "average" if job.spec["kind"] == "joint" else job.spec["weights"]
    lambdas = text_lambdas(weights, list(best), list(prompts.index), labels_of, task)
    counts = {name: Counter[str](lambdas.counts.get(name, {})) for name in best}
    table = []
    for done, (item, text) in enumerate(prompts.items()):
        prompt = encode_prompt(tokenizer, text)
        sequences, present = [], []
        for place, (name, frame) in enumerate(best.items()):
            if item not in frame.index:
                counts[name]["no sequence"] += 1
                continue
            answer = frame.loc[item]
            counts[name]["unfinished"] += not answer["finished"]
            counts[name]["empty"] += not answer["text"]
            counts[name]["malformed"] += task.parse(answer["text"])[1]
            sequence = bridge_sequence(tokenizer, prompt, answer, job.spec["unit"])
            if sequence is None:
                counts[name]["refused by the bridge"] += 1
                continue
            if len(sequence["input_ids"]) > limit:
                # The student's tokenizer may need more tokens for it than the weak model's.
                counts[name]["longer than the student's context"] += 1
                continue
            types = _token_types(tokenizer, answer["text"], task) if lambdas.by_type else []
            sequences.append({"id": item, "source": name, "types": types} | sequence)
            present.append(place)
        table += _with_weights(sequences, present, lambdas.rows[done], lambdas.by_type)
        if not sequences:
            for name in best:
                counts[name]["rows without any sequence"] += 1
        progress(done + 1, len(prompts))
    return pd.DataFrame(table), {name: dict(count) for name, count in counts.items()}


def _with_weights(
    sequences: Sequence[dict[str, Any]],
    present: list[int],
    weights: np.ndarray,
    by_type: Mapping[str, np.ndarray],
) -> list[dict[str, Any]]:
    """The rows of one prompt's sequences, with the weights of the models whose sequence could be
    used (their numbers `present`), made to sum to 1 among them.

    With weights by slot type a token's factor is its type's weight over the sequence's own.
    """
    overall = _among(weights, present)
    own = {kind: _among(values, present) for kind, values in by_type.items()}
    out = []
    for place, sequence in enumerate(sequences):
        types = sequence.pop("types")
        if not by_type:
            out.append(sequence | {"weight": float(overall[place])})
            continue
        # A model of no weight overall may still have a say about one type.
        factors = [float(own.get(kind, overall)[place]) for kind in types]
        # A sequence that stopped at the length limit has no end token.
        factors = factors[: len(sequence["input_ids"]) - sequence["prompt_length"]]
        out.append(sequence | {"weight": 1.0, "token_weights": factors})
    return out


def _among(weights: np.ndarray, present: list[int]) -> np.ndarray:
    mine = np.asarray(weights)[present]
    return mine / mine.sum() if mine.sum() > 0 else mine


def _token_types(tokenizer: Any, text: str, task: Task) -> list[str]:
    """The slot type that each of an answer's tokens, its end included, belongs to; "" for none."""
    from raw2s.models.encoding import encode_completion

    slots = task.slot_spans(text)
    _, spans = encode_completion(tokenizer, text)
    types = [
        next((kind for kind, first, last in slots if start < last and end > first), "")
        for start, end in spans
    ]
    return [*types, ""]


def bridge_sequence(
    tokenizer: Any, prompt: list[int], answer: Mapping[str, Any], unit: Unit = "word"
) -> dict[str, Any] | None:
    """One weak sequence in the strong model's tokens, with its words' log-probabilities.

    Returns input_ids (prompt and completion), prompt_length, units (completion token -> word) and
    unit_logprobs; None where the two tokenizers do not cover the text exactly, or nothing is left.
    A sequence that never ended has no end-of-sequence target.
    """
    from raw2s.method.bridge import AlignmentError, word_targets
    from raw2s.models.encoding import encode_completion

    ids, spans = encode_completion(tokenizer, answer["text"])
    if tokenizer.unk_token_id in ids[:-1]:
        # It stands for a text that the student cannot write.
        return None
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
            unit=unit,
        )
    except AlignmentError:
        return None
    return {
        "input_ids": prompt + ids,
        "prompt_length": len(prompt),
        "units": [int(unit) for unit in words.unit],
        "unit_logprobs": [float(value) for value in words.unit_logprob],
    }
