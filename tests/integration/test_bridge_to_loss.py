"""From a weak model's sequence to the loss's target: every token gets its own word's share."""

from __future__ import annotations

import math

import pytest
import torch

from raw2s.method.bridge import split_logprob
from raw2s.models.scratch import train_tokenizer
from raw2s.stages.bridging import bridge_sequence
from raw2s.trainers.batches import GenerationCollator, GenerationItem, TargetSequence

TEXT = "wake me at seven"


@pytest.mark.parametrize("kind", ["byte_bpe", "metaspace_bpe", "character"])
def test_words_keep_their_probability_in_the_students_tokens(kind: str) -> None:
    tokenizer = train_tokenizer(kind, ["wake me", "at", "se", "ven"] * 3, 290)
    # The weak model's tokens are the words; white space goes with the word after it.
    starts, ends = [0, 4, 7, 10], [4, 7, 10, 16]
    logprobs = [-1.0, -0.25, -2.0, -3.0]
    answer = {
        "text": TEXT, "starts": starts, "ends": ends, "token_logprobs": logprobs,
        "eos_logprob": -0.5,
    }  # fmt: skip
    prompt = [5, 6, 7]
    bridged = bridge_sequence(tokenizer, prompt, answer)
    assert bridged is not None
    item = GenerationItem([TargetSequence(weight=1.0, **bridged)])
    # A second prompt before it, so that words are told apart across a batch.
    batch = GenerationCollator(tokenizer.pad_token_id)([item, item])
    targets = batch["labels"][1] != -100
    assert targets.sum() == len(bridged["input_ids"]) - len(prompt)
    shares = split_logprob(
        batch["unit_logprobs"][1][targets].double(),
        batch["units"][1][targets],
        torch.rand(int(targets.sum())).double(),
    )
    words: dict[int, float] = {}
    for unit, share in zip(batch["units"][1][targets].tolist(), shares.tolist(), strict=True):
        words[unit] = words.get(unit, 0.0) + share
    assert list(words.values()) == pytest.approx([*logprobs, -0.5], abs=1e-6)
    assert bridged["input_ids"][-1] == tokenizer.eos_token_id


def test_a_sequence_that_never_ended_has_no_end_to_learn() -> None:
    tokenizer = train_tokenizer("byte_bpe", [TEXT], 290)
    answer = {
        "text": TEXT, "starts": [0], "ends": [16], "token_logprobs": [-1.0],
        "eos_logprob": math.nan,
    }  # fmt: skip
    bridged = bridge_sequence(tokenizer, [5], answer)
    assert bridged is not None
    assert tokenizer.eos_token_id not in bridged["input_ids"]
    assert bridged["unit_logprobs"] == [-1.0]
