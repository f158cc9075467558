"""Evidence functions: how a logit z becomes a concentration alpha of the Dirichlet distribution.

exp+1       alpha = e^z + 1, as in the authors' code
exp         alpha = e^z, so that alpha / alpha_0 is softmax(z)
softplus+1  alpha = softplus(z) + 1
relu+1      alpha = max(z, 0) + 1
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from raw2s.method.targets import at_least_float32

Evidence = Literal["exp+1", "exp", "softplus+1", "relu+1"]


def log_concentration(logits: Tensor, evidence: Evidence = "exp+1") -> Tensor:
    """log alpha (..., K) of logits (..., K), in log space and unclamped; at least float32."""
    z = at_least_float32(logits)
    if evidence == "exp":
        return z
    if evidence == "exp+1":
        return softplus(z)
    if evidence == "softplus+1":
        return torch.log1p(softplus(z))
    if evidence == "relu+1":
        return torch.log1p(torch.relu(z))
    raise ValueError(f"evidence must be exp+1, exp, softplus+1 or relu+1, it is {evidence!r}")


def concentration_excess(
    logits: Tensor, evidence: Evidence = "exp+1", clamp: float | None = None
) -> Tensor:
    """alpha - 1 (..., K), exact also where alpha is near 1; z is first cut to [-clamp, clamp].

    In (-1, inf) for `exp`, in [0, inf) for the others; at least float32.
    """
    z = at_least_float32(logits)
    if clamp is not None:
        z = z.clamp(-clamp, clamp)
    if evidence == "exp":
        return torch.expm1(z)
    if evidence == "exp+1":
        return torch.exp(z)
    if evidence == "softplus+1":
        return softplus(z)
    if evidence == "relu+1":
        return torch.relu(z)
    raise ValueError(f"evidence must be exp+1, exp, softplus+1 or relu+1, it is {evidence!r}")


def log_concentration_slope(z: Tensor, evidence: Evidence) -> Tensor:
    """log (d alpha / dz), any shape, for logits of any size; -inf where alpha does not move."""
    if evidence in ("exp", "exp+1"):
        return z
    if evidence == "softplus+1":
        return -softplus(-z)
    return torch.where(z > 0, 0.0, -math.inf)


def softplus(z: Tensor) -> Tensor:
    """log(1 + e^z), any shape, finite for any finite z."""
    # torch's softplus turns linear at 20, which is too early for float64.
    return torch.logaddexp(z, torch.zeros_like(z))
