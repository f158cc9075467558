"""The KL of a soft label over a vocabulary, from the label token's probability alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from raw2s.method.blocks import blocks, put_at_labels
from raw2s.method.tail import tail_of
from raw2s.method.targets import at_least_float32


def binary_kl(logits: Tensor, labels: Tensor, target_logprob: Tensor) -> Tensor:
    """KL from the label token's target probability t to the student's q_s, in nats: (...) >= 0.

    t log(t / q_s) + (1 - t) log((1 - t) / (1 - q_s)), with t = exp(target_logprob), q =
    softmax(logits): the KL against the full soft label (t at the label, the student's own
    proportions elsewhere) in value and gradient, without a target of the size of the vocabulary.
    logits (..., V), labels (...) int64, target_logprob (...) <= 0. log t carries a t that rounds
    to 1, so nothing is clamped: t = 1 gives -log q_s, t = 0 gives -log(1 - q_s). At least float32;
    beside the logits their gradient is all that is of their size.
    """
    flat = logits.reshape(-1, logits.shape[-1])
    both: tuple[Tensor, Tensor] = _LabelAndTail.apply(flat, labels.reshape(-1))
    label, others = (values.view(labels.shape) for values in both)
    log_t = target_logprob.to(label.dtype)
    everything = torch.logaddexp(label, others)
    t, rest = torch.exp(log_t), -torch.expm1(log_t)
    negative_entropy = torch.where(t > 0, t * log_t, 0.0) + torch.xlogy(rest, rest)
    return negative_entropy + t * (everything - label) + rest * (everything - others)


class _LabelAndTail(torch.autograd.Function):
    """The label's logit and the logsumexp of all others, (n,) each, of logits (n, V)."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        tail = tail_of(logits, labels)
        ctx.save_for_backward(logits, labels)
        ctx.tail = tail
        label = at_least_float32(logits.gather(1, labels[:, None]))
        return label.squeeze(1), tail.logsumexp().squeeze(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_label: Tensor, by_tail: Tensor) -> tuple[Tensor, None]:
        logits, labels = ctx.saved_tensors
        out = torch.empty_like(logits)
        for block in blocks(logits):
            slope = ctx.tail.spread(by_tail[:, None], at_least_float32(logits[block]), block)
            out[block] = put_at_labels(slope, block, labels, by_label[:, None])
        return out, None
