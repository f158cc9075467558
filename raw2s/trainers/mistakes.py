"""Where a model is wrong on items with a known truth: what boosting asks of every expert."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from raw2s.models.batching import batches, pad_id, padded
from raw2s.models.inference import completion_logits
from raw2s.models.loading import load_causal_lm, load_classifier, load_tokenizer
from raw2s.trainers.batches import ClassificationItem, GenerationItem
from raw2s.trainers.sft import Items

Bools = NDArray[np.bool_]


def samples(items: Items) -> list[int]:
    """(n,) the item of each sample: an example, or an answer token (its end included)."""
    every: Sequence[ClassificationItem | GenerationItem] = items
    return [
        number
        for number, item in enumerate(every)
        for _ in range(1 if isinstance(item, ClassificationItem) else len(_answer(item)[1]))
    ]


def mistakes(
    source: Mapping[str, Any], items: Items, *, labels: int | None, batch_size: int, seed: int = 0
) -> Bools:
    """(n,) whether the likeliest class, or token after the true ones before it, is not the truth.

    source, labels: as for `fine_tune`; seed: of the head of a classifier that has none yet.
    """
    pad = pad_id(load_tokenizer(**source))
    if labels is None:
        texts = [_answer(item) for item in items if isinstance(item, GenerationItem)]
        return _of_tokens(load_causal_lm(**source), texts, pad, batch_size)
    examples = [item for item in items if isinstance(item, ClassificationItem)]
    model = load_classifier(**source, num_labels=labels, seed=seed)
    wrong = np.zeros(len(examples), dtype=np.bool_)
    for batch in batches([len(item.input_ids) for item in examples], batch_size):
        ids, mask = padded([examples[i].input_ids for i in batch], pad, model.device)
        with torch.inference_mode():
            said = model(input_ids=ids, attention_mask=mask).logits.argmax(-1).cpu().numpy()
        wrong[batch] = said != [int(np.argmax(examples[i].targets[0])) for i in batch]
    return wrong


def _answer(item: GenerationItem) -> tuple[list[int], list[int]]:
    """Prompt and answer of an item against the truth, which has one sequence."""
    [sequence] = item.sequences
    return (
        sequence.input_ids[: sequence.prompt_length],
        sequence.input_ids[sequence.prompt_length :],
    )


def _of_tokens(
    model: Any, texts: Sequence[tuple[list[int], list[int]]], pad: int, batch_size: int
) -> Bools:
    found: list[Bools] = [np.zeros(0, dtype=np.bool_)] * len(texts)
    prompts, answers = [prompt for prompt, _ in texts], [answer for _, answer in texts]
    for i, logits in completion_logits(
        model, prompts, answers, pad_token_id=pad, batch_size=batch_size
    ):
        found[i] = logits.argmax(-1).cpu().numpy() != np.array(answers[i])
    return np.concatenate(found)
