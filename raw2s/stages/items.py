"""What a trainer reads: tables of artefacts as token ids and targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from raw2s.stages.data import rows, table
from raw2s.store import Job, Store

if TYPE_CHECKING:
    from raw2s.trainers.batches import ClassificationItem, GenerationItem


def model_source(job: Job, store: Store) -> dict[str, Any]:
    """path, revision and trust_remote_code of the model that a job starts from or asks.

    A model trained here from one with code of its own keeps that code.
    """
    if "model" not in job.inputs:
        return dict(job.spec["source"])
    origin = job.inputs["model"]
    source = {"path": str(store.path(origin))}
    while "model" in origin.inputs:
        origin = origin.inputs["model"]
    trusted = origin.spec.get("source", {}).get("trust_remote_code", False)
    return source | ({"trust_remote_code": True} if trusted else {})


def truth_items(
    frame: pd.DataFrame, source: Mapping[str, Any], labels: int | None
) -> list[ClassificationItem] | list[GenerationItem]:
    """Rows of a split (text; label or target) against the ground truth."""
    from raw2s.models.encoding import encode_completion, encode_prompt
    from raw2s.models.loading import load_tokenizer
    from raw2s.trainers.batches import ClassificationItem, GenerationItem, TargetSequence

    tokenizer = load_tokenizer(**source)
    if labels is not None:
        return [
            ClassificationItem(
                encode_prompt(tokenizer, row.text),
                [[float(k == row.label) for k in range(labels)]],
                [1.0],
            )
            for row in frame.itertuples()
        ]
    items = []
    for row in frame.itertuples():
        prompt = encode_prompt(tokenizer, row.text)
        answer, _ = encode_completion(tokenizer, row.target)
        items.append(GenerationItem([TargetSequence(prompt + answer, len(prompt))]))
    return items


def weak_items(job: Job, store: Store) -> list[ClassificationItem] | list[GenerationItem]:
    """The rows of a student's supervision table."""
    from raw2s.models.encoding import encode_prompt
    from raw2s.models.loading import load_tokenizer
    from raw2s.trainers.batches import ClassificationItem, GenerationItem, TargetSequence

    targets = table(store, job.inputs["supervision"])
    if job.spec["labels"] is not None:
        tokenizer = load_tokenizer(**model_source(job, store))
        texts = rows(store, job.inputs["splits"], "strong").set_index("id")["text"]
        return [
            ClassificationItem(
                encode_prompt(tokenizer, texts[row.id]),
                [list(p) for p in row.probabilities],
                list(row.weights),
            )
            for row in targets.itertuples()
        ]
    by_type = "token_weights" in targets
    return [
        GenerationItem(
            [
                TargetSequence(
                    input_ids=list(row.input_ids),
                    prompt_length=row.prompt_length,
                    weight=row.weight,
                    units=list(row.units),
                    unit_logprobs=list(row.unit_logprobs),
                    token_weights=list(row.token_weights) if by_type else None,
                )
                for row in group.itertuples()
            ]
        )
        for _, group in targets.groupby("id", sort=False)
    ]
