"""Random sampling whose result does not depend on what else is in the batch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)


class GumbelNoise(LogitsProcessor):
    """Turn greedy search into sampling: the argmax of logits + Gumbel noise is a sample of softmax.

    Each row draws from a generator of its own, so its tokens do not change with the batch size, the
    order of the rows or the lengths of the others.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        self._generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Add the noise to `scores` (rows, V)."""
        exponential = torch.empty(scores.shape, dtype=torch.float32, device=scores.device)
        for row, generator in zip(exponential, self._generators, strict=True):
            row.exponential_(generator=generator)
        noisy: torch.FloatTensor = scores.float() - exponential.log()  # type: ignore[assignment]
        return noisy


def sampling_processors(
    seeds: Sequence[int], temperature: float, top_p: float, device: torch.device
) -> LogitsProcessorList:
    """What makes greedy search over len(seeds) rows sample at a temperature from the top-p nucleus.

    temperature > 0, 0 < top_p <= 1; raises ValueError otherwise.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p must be in (0, 1], got {top_p}")
    processors = LogitsProcessorList()
    if temperature != 1:
        processors.append(TemperatureLogitsWarper(float(temperature)))
    if top_p < 1:
        processors.append(TopPLogitsWarper(float(top_p)))
    processors.append(GumbelNoise(seeds, device))
    return processors


def row_seed(seed: int, prompt: str, draw: int) -> int:
    """The seed of a prompt's `draw`-th sample: the same wherever the prompt stands in a table."""
    digest = hashlib.sha256(f"{seed}\n{draw}\n{prompt}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") >> 1
