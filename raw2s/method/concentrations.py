"""The concentrations of some logits, as the blocks of the evidential loss read them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from raw2s.method.evidence import Evidence, concentration_excess
from raw2s.method.targets import at_least_float32


@dataclass(frozen=True)
class Concentrations:
    """alpha of some classes after the clamp, any shape, at least float32."""

    evidence: Evidence
    clamp: float | None
    """None: no logit lies beyond it."""
    z: Tensor
    """The logits, not clamped."""
    cut: Tensor
    """The logits, clamped."""
    e: Tensor
    """alpha - 1."""
    alpha: Tensor

    def log_alpha(self) -> Tensor:
        """log alpha."""
        return self.cut if self.evidence == "exp" else torch.log1p(self.e)

    def slope(self) -> Tensor:
        """d alpha / dz, 0 beyond the clamp."""
        if self.evidence == "exp":
            slope = self.alpha
        elif self.evidence == "exp+1":
            slope = self.e
        elif self.evidence == "softplus+1":
            slope = torch.sigmoid(self.z)
        else:
            slope = (self.z > 0).to(self.z.dtype)
        return slope if self.clamp is None else slope * (self.z.abs() <= self.clamp)

    def mixed(self, p: Tensor) -> tuple[Tensor, Tensor]:
        """e and alpha of the `mixed` regulariser's (alpha - 1)(1 - p) + 1."""
        left = 1 - p
        return self.e * left, (self.alpha * left).add_(p)


def concentrations(logits: Tensor, evidence: Evidence, clamp: float | None) -> Concentrations:
    """Of logits of any shape."""
    z = at_least_float32(logits)
    cut = z if clamp is None else z.clamp(-clamp, clamp)
    e = concentration_excess(cut, evidence)
    # For exp not 1 + e, which has lost alpha's digits where alpha is small.
    alpha = cut.exp() if evidence == "exp" else e + 1
    return Concentrations(evidence, clamp, z, cut, e, alpha)
