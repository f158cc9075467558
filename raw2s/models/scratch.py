"""Causal language models made from scratch.

Small models of five families, each with a tokenizer of another kind (`train_tokenizer`), stand in
for pretrained weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    OPTConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from raw2s.models.vocabularies import train_tokenizer

__all__ = ["count_parameters", "new_model", "train_tokenizer"]


def new_model(
    architecture: str,
    tokenizer: PreTrainedTokenizerBase,
    *,
    hidden_size: int,
    layers: int,
    heads: int,
    context: int,
    intermediate_size: int | None = None,
    dropout: float = 0.0,
    seed: int = 0,
) -> PreTrainedModel:
    """A randomly initialised float32 causal language model for `tokenizer`, in evaluation mode.

    `architecture` is gpt2, opt, gpt_neox, bloom or llama. `context` is the longest sequence in
    tokens; BLOOM has no positions that run out and ignores it.
    `intermediate_size` is the width of the feed-forward layer (default 4 x hidden_size; 8/3 of it
    for llama; BLOOM's is fixed at 4 x hidden_size). Embeddings are tied where the family ties them
    (gpt2, opt, bloom). The weights depend on `seed` alone; torch's global generator is left as it
    was. Raises ValueError for an unknown architecture, sizes that do not fit each other, or a
    tokenizer without padding, begin- or end-of-sequence token.
    """
    configs: dict[str, Callable[..., PreTrainedConfig]] = {
        "gpt2": _gpt2,
        "opt": _opt,
        "gpt_neox": _gpt_neox,
        "bloom": _bloom,
        "llama": _llama,
    }
    if architecture not in configs:
        raise ValueError(f"architecture must be one of {sorted(configs)}, got {architecture!r}")
    sizes = {"hidden_size": hidden_size, "layers": layers, "heads": heads, "context": context}
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")
    if hidden_size % (2 * heads):
        # Rotary embeddings turn pairs of dimensions, so a head needs an even number of them.
        raise ValueError(
            f"hidden_size must be a multiple of 2 x heads, got {hidden_size} and {heads} heads"
        )
    if not 0.0 <= dropout < 1.0:
        raise ValueError(f"dropout must be in [0, 1), got {dropout}")
    special_ids = {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    for name, token_id in special_ids.items():
        if token_id is None:
            raise ValueError(f"tokenizer must have a {name}, got None")
    if architecture == "bloom" and intermediate_size not in (None, 4 * hidden_size):
        raise ValueError(
            f"intermediate_size must be 4 x hidden_size = {4 * hidden_size} for bloom, "
            f"got {intermediate_size}"
        )
    config = configs[architecture](
        hidden_size, layers, heads, context, intermediate_size, dropout,
        vocab_size=len(tokenizer), **special_ids,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for name, token_id in special_ids.items():
        setattr(model.generation_config, name, token_id)
    return model.eval()


def count_parameters(model: torch.nn.Module) -> int:
    """The number of parameters of a model; tied ones count once."""
    return sum(parameter.numel() for parameter in model.parameters())


def _gpt2(
    hidden: int, layers: int, heads: int, context: int, inner: int | None, dropout: float,
    **ids: Any,
) -> GPT2Config:  # fmt: skip
    return GPT2Config(
        n_embd=hidden, n_layer=layers, n_head=heads, n_positions=context, n_inner=inner,
        resid_pdrop=dropout, embd_pdrop=dropout, attn_pdrop=dropout, **ids,
    )  # fmt: skip


def _opt(
    hidden: int, layers: int, heads: int, context: int, inner: int | None, dropout: float,
    **ids: Any,
) -> OPTConfig:  # fmt: skip
    # OPT's position table adds its offset of two itself: `context` positions stay usable.
    return OPTConfig(
        hidden_size=hidden, word_embed_proj_dim=hidden, num_hidden_layers=layers,
        num_attention_heads=heads, max_position_embeddings=context, ffn_dim=inner or 4 * hidden,
        dropout=dropout, attention_dropout=dropout, **ids,
    )  # fmt: skip


def _gpt_neox(
    hidden: int, layers: int, heads: int, context: int, inner: int | None, dropout: float,
    **ids: Any,
) -> GPTNeoXConfig:  # fmt: skip
    head = hidden // heads
    # Pythia rotates a quarter of each head, rounded here to a whole number of pairs: the largest
    # even number that is not above a quarter, and at least two.
    rotary = max(2, head // 4 // 2 * 2)
    return GPTNeoXConfig(
        hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
        max_position_embeddings=context, intermediate_size=inner or 4 * hidden,
        hidden_dropout=dropout, attention_dropout=dropout, classifier_dropout=dropout,
        use_parallel_residual=True, tie_word_embeddings=False,
        rope_parameters={
            "rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": rotary / head,
        },
        **ids,
    )  # fmt: skip


def _bloom(
    hidden: int, layers: int, heads: int, context: int, inner: int | None, dropout: float,
    **ids: Any,
) -> BloomConfig:  # fmt: skip
    return BloomConfig(
        hidden_size=hidden, n_layer=layers, n_head=heads,
        hidden_dropout=dropout, attention_dropout=dropout, **ids,
    )  # fmt: skip


def _llama(
    hidden: int, layers: int, heads: int, context: int, inner: int | None, dropout: float,
    **ids: Any,
) -> LlamaConfig:  # fmt: skip
    return LlamaConfig(
        hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
        max_position_embeddings=context, intermediate_size=inner or -(-8 * hidden // 3 // 8) * 8,
        attention_dropout=dropout, tie_word_embeddings=False, **ids,
    )  # fmt: skip
