"""Rows of token ids as padded batches, and the limit to their length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


def context_length(config: PreTrainedConfig) -> int | None:
    """The longest sequence in tokens that a model of this configuration can read; None if it has no
    limit (BLOOM)."""
    settings = config.get_text_config().to_dict()
    length = settings.get("max_position_embeddings", settings.get("n_positions"))
    return None if length is None else int(length)


def batches(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Row numbers in batches of like lengths, the longest first: too little memory shows at once.

    Raises ValueError for a batch_size below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def padded(
    rows: Sequence[list[int]], pad_token_id: int, device: torch.device, *, left: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and attention mask, both (rows, longest), padded on the right unless `left`."""
    longest = max(len(row) for row in rows)
    ids = torch.full((len(rows), longest), pad_token_id, dtype=torch.long)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    for place, row in enumerate(rows):
        start = longest - len(row) if left else 0
        ids[place, start : start + len(row)] = torch.tensor(row)
        mask[place, start : start + len(row)] = 1
    return ids.to(device), mask.to(device)


def pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id of the padding token. Raises ValueError if there is none."""
    if tokenizer.pad_token_id is None:
        raise ValueError("tokenizer must have a padding token; see load_tokenizer")
    return int(tokenizer.pad_token_id)


def check_context(model: PreTrainedModel, lengths: Sequence[int], name: str, what: str) -> None:
    """Raise ValueError for the first of `lengths` (tokens) that exceeds the model's context."""
    limit = context_length(model.config)
    for i, length in enumerate(lengths):
        if limit is not None and length > limit:
            raise ValueError(
                f"{name}[{i}] needs {length} tokens{what}, the model's context has {limit}"
            )
