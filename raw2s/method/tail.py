"""The tail: all classes of a vocabulary but the label, with the softmax over them alone.

    q_j / (1 - q_s) = exp(z_j - peak) / total,   total = sum over j other than s of exp(z_j - peak)

1 - q_s itself is 0 in float32 for a confident student, so the label takes no part in the sums.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from raw2s.method.blocks import Block, blocks, put_at_labels
from raw2s.method.targets import at_least_float32


@dataclass(frozen=True)
class Tail:
    """Peak and total stay apart: their logsumexp alone loses digits where logits are large."""

    peak: Tensor
    """The largest logit of the tail, (n, 1), at least float32."""
    total: Tensor
    """(n, 1), at least 1."""

    def logsumexp(self) -> Tensor:
        """log of the sum of exp(z_j) over the tail: (n, 1)."""
        return self.peak + self.total.log()

    def spread(self, mass: Tensor, z: Tensor, block: Block) -> Tensor:
        """mass q_j / (1 - q_s) of a block with logits z, mass (n, 1); meaningless at the labels."""
        rows = block[0]
        scale = mass[rows].to(z.dtype) / self.total[rows]
        return (z - self.peak[rows]).exp_().mul_(scale)


def tail_of(logits: Tensor, labels: Tensor) -> Tail:
    """The tail of logits (n, K), K >= 2, beside labels (n,); no gradient passes."""
    logits = logits.detach()
    total = torch.zeros_like(at_least_float32(logits[:, :1]))
    lowest = torch.full_like(total, -torch.inf)
    peak = lowest.clone()
    for block in blocks(logits):
        rows = block[0]
        z = put_at_labels(logits[block].to(total.dtype, copy=True), block, labels, lowest)
        highest = torch.maximum(peak[rows], z.amax(-1, keepdim=True))
        here = z.sub_(highest).exp_().sum(-1, keepdim=True)
        total[rows] = total[rows] * torch.exp(peak[rows] - highest) + here
        peak[rows] = highest
    return Tail(peak, total)
