"""From tables to batches: what the losses of `raw2s.method` are given.

A classification item has one input and N weak label distributions. A generation item is a prompt
with its sequences, one a weak model (or the one that counts), so that Eq. 11's sum over weak models
is taken inside a batch. Weak models often write the same: the student reads such a sequence once,
for all of them. Padding is always told by the attention mask, never by a token id.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class ClassificationItem:
    """input_ids (T,), targets (N, K) class probabilities, weights (N,) lambda; example_weight
    multiplies the item's loss."""

    input_ids: list[int]
    targets: list[list[float]]
    weights: list[float]
    example_weight: float = 1.0


@dataclass(frozen=True)
class TargetSequence:
    """One target of a prompt, in the tokens of the model that is trained.

    input_ids: prompt then completion; the completion's tokens are those from prompt_length on.
    units: for each completion token the word it belongs to, counted from 0 in the sequence;
    unit_logprobs: log P(W) of each word (Eq. 6), None for a hard target. weight: lambda_i.
    token_weights: a factor for each completion token's loss, None for 1.
    """

    input_ids: list[int]
    prompt_length: int
    weight: float = 1.0
    units: list[int] | None = None
    unit_logprobs: list[float] | None = None
    token_weights: list[float] | None = None


@dataclass(frozen=True)
class GenerationItem:
    """A prompt's target sequences."""

    sequences: list[TargetSequence]


def distinct(sequences: Iterable[TargetSequence]) -> list[tuple[int, ...]]:
    """The different input_ids of the sequences, in their order."""
    return list(dict.fromkeys(tuple(sequence.input_ids) for sequence in sequences))


def _pad(rows: Sequence[Sequence[Any]], value: Any, dtype: torch.dtype) -> torch.Tensor:
    longest = max(len(row) for row in rows)
    return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows], dtype=dtype)


@dataclass(frozen=True)
class ClassificationCollator:
    """Batches of B items: input_ids, attention_mask (B, T), targets (B, N, K), weights (B, N),
    example_weight (B,)."""

    pad_token_id: int

    def __call__(self, items: list[ClassificationItem]) -> dict[str, torch.Tensor]:
        """One batch."""
        ids = [item.input_ids for item in items]
        return {
            "input_ids": _pad(ids, self.pad_token_id, torch.long),
            "attention_mask": _pad([[1] * len(row) for row in ids], 0, torch.long),
            "targets": torch.tensor([item.targets for item in items], dtype=torch.float32),
            "weights": torch.tensor([item.weights for item in items], dtype=torch.float32),
            "example_weight": torch.tensor(
                [item.example_weight for item in items], dtype=torch.float32
            ),
        }


@dataclass(frozen=True)
class GenerationCollator:
    """Batches of S sequences, R of them different: input_ids, attention_mask (R, T); read (R, T),
    at which P positions the next token is some sequence's target; labels, units, unit_logprobs,
    token_weights and places among the P (S, T-1), already shifted: position t is about token t + 1,
    -100 and -1 where it is no target; sequence_weights (S,), each divided by the number of prompts
    in the batch."""

    pad_token_id: int

    def __call__(self, items: list[GenerationItem]) -> dict[str, torch.Tensor]:
        """One batch."""
        sequences = [sequence for item in items for sequence in item.sequences]
        labels, units, logprobs, factors = [], [], [], []
        first_unit = 0
        for s in sequences:
            completion = s.input_ids[s.prompt_length :]
            # Hard targets: every token a word of probability 1.
            own = s.units if s.units is not None else list(range(len(completion)))
            values = s.unit_logprobs if s.unit_logprobs is not None else [0.0] * len(completion)
            skipped = s.prompt_length - 1
            labels.append([-100] * skipped + completion)
            units.append([-1] * skipped + [first_unit + unit for unit in own])
            logprobs.append([0.0] * skipped + [values[unit] for unit in own])
            factors.append([0.0] * skipped + (s.token_weights or [1.0] * len(completion)))
            first_unit += len(values)
        ids = distinct(sequences)
        number = {row: n for n, row in enumerate(ids)}
        targets = _pad(labels, -100, torch.long)
        of_text = torch.tensor([number[tuple(s.input_ids)] for s in sequences])
        sequence, position = (targets != -100).nonzero(as_tuple=True)
        input_ids = _pad(ids, self.pad_token_id, torch.long)
        read = torch.zeros(input_ids.shape, dtype=torch.bool)
        read[of_text[sequence], position] = True
        order = (read.flatten().cumsum(0) - 1).view(read.shape)
        places = torch.full_like(targets, -1)
        places[sequence, position] = order[of_text[sequence], position]
        return {
            "input_ids": input_ids,
            "attention_mask": _pad([[1] * len(row) for row in ids], 0, torch.long),
            "read": read,
            "places": places,
            "labels": targets,
            "units": _pad(units, -1, torch.long),
            "unit_logprobs": _pad(logprobs, 0.0, torch.float32),
            "token_weights": _pad(factors, 0.0, torch.float32),
            "sequence_weights": torch.tensor(
                [s.weight / len(items) for s in sequences], dtype=torch.float32
            ),
        }
