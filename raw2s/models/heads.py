"""A classification head in place of a language model's own head.

For architectures that come without a sequence classifier, as remote code often does (the paper's
Qwen-7B): the class scores of a text are the new head's at its last token.
"""

from __future__ import annotations

import types
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

MARK = "raw2s_classes"
"""The key of a saved configuration that tells how many classes such a head has."""


def classify_in_place(model: PreTrainedModel, num_labels: int, *, seed: int) -> PreTrainedModel:
    """Give a causal language model a new `num_labels`-way head; returns the same model.

    Its `logits` become (B, num_labels), one row a text; padding, on the right, is told by the
    attention mask. The head's weights depend on `seed` alone. Raises ValueError for a model whose
    output layer cannot be found.
    """
    old = model.get_output_embeddings()
    if not isinstance(old, torch.nn.Linear):
        raise ValueError(f"{type(model).__name__} has no output layer that a head could replace")
    # A tied head would follow the input embeddings.
    model.config.tie_word_embeddings = False
    head = torch.nn.Linear(old.in_features, num_labels, bias=False, dtype=old.weight.dtype)
    deviation = getattr(model.config, "initializer_range", 0.02)
    generator = torch.Generator().manual_seed(seed)
    torch.nn.init.normal_(head.weight, std=deviation, generator=generator)
    model.set_output_embeddings(head.to(old.weight.device))
    setattr(model.config, MARK, num_labels)
    model.config.num_labels = num_labels
    every_position = model.forward

    def at_the_last_token(
        self: PreTrainedModel, input_ids: torch.Tensor, attention_mask: torch.Tensor, **more: Any
    ) -> SequenceClassifierOutput:
        logits = every_position(input_ids=input_ids, attention_mask=attention_mask, **more).logits
        last = attention_mask.sum(-1) - 1
        return SequenceClassifierOutput(logits=logits[torch.arange(len(last)), last])

    model.forward = types.MethodType(at_the_last_token, model)
    return model
