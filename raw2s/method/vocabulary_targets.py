"""What the evidential loss over a vocabulary is computed against, made a block at a time.

A distribution is a probability at a label, or spread over the classes, or both: a soft label has
t at its label and (1 - t) q_j / (1 - q_s) spread over the tail. The label stands apart so that
float64 sums keep what cancels where t is near 1 or the label holds nearly all the evidence.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from raw2s.method.blocks import Block, put_at_labels
from raw2s.method.tail import Tail, tail_of
from raw2s.method.targets import refuse_tensor


@dataclass(frozen=True)
class Label:
    """One class of each row."""

    index: Tensor
    """(n,) int64."""
    weight: Tensor
    """Its probability t, (n, 1) float64."""
    rest: Tensor
    """1 - t, (n, 1) float64, exact also where t rounds to 1."""


@dataclass(frozen=True)
class Target:
    """Distributions over the K classes of n rows."""

    label: Label | None = None
    dense: Tensor | None = None
    """Probabilities (n, K); without a label."""
    tail: Tail | None = None
    """Where 1 - t goes; None: nowhere."""

    @property
    def spreads(self) -> bool:
        """Whether any class but the label has a probability."""
        return self.dense is not None or self.tail is not None

    def spread(self, z: Tensor, block: Block) -> Tensor | None:
        """Probabilities of a block with logits z, float32, 0 at the labels; None: 0 everywhere."""
        if self.dense is not None:
            return self.dense[block].float()
        if self.tail is None or self.label is None:
            return None
        p = self.tail.spread(self.label.rest, z, block)
        return self.put(p, block, torch.zeros_like(self.label.rest))

    def put(self, values: Tensor, block: Block, new: Tensor) -> Tensor:
        """`values` of a block, in place new (n, 1) at the labels; as they are without labels."""
        if self.label is None:
            return values
        return put_at_labels(values, block, self.label.index, new)


def class_indices(labels: Tensor) -> Target:
    """All of each row's probability at labels (n,)."""
    ones = torch.ones(len(labels), 1, dtype=torch.float64, device=labels.device)
    return Target(Label(labels, ones, torch.zeros_like(ones)))


def soft_labels(
    logits: Tensor, labels: Tensor, target_logprob: Tensor, *, with_tail: bool
) -> Target:
    """t = exp(target_logprob) (n,) at labels (n,) and, with the tail, 1 - t spread as by logits."""
    log_t = target_logprob.detach().double()[:, None]
    label = Label(labels, log_t.exp(), -torch.expm1(log_t))
    return Target(label, tail=tail_of(logits, labels) if with_tail else None)


def check_target_logprob(name: str, values: Tensor) -> None:
    """Raise ValueError naming the first log-probability that is not <= 0."""
    refuse_tensor(~(values <= 0), name, values.shape, "is not <= 0", values)
