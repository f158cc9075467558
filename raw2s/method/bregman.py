"""B(x; c) = lnGamma(c) - lnGamma(c + x) + x psi(c + x): the pieces of a KL between Dirichlets.

It is the Bregman divergence of lnGamma from c to c + x, an integral of t psi'(c + t) from 0 to x:
never negative, with a short Taylor series where the plain formula cancels.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_SERIES_BELOW = 0.01
_SERIES_TERMS = 9


def bregman(x: Tensor, base: float) -> Tensor:
    """B(x; base) >= 0 elementwise for x > -base, base > 0; differentiable."""
    result: Tensor = _Bregman.apply(x, base)
    return result


def bregman_slope(x: Tensor, base: float) -> Tensor:
    """dB/dx = x psi'(base + x), elementwise."""
    return x * torch.special.polygamma(1, x + base)


class _Bregman(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, base: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.base = base
        ratio = x / base
        series = torch.zeros_like(x)
        for coefficient in reversed(_series(base)):
            series = series * ratio + coefficient
        at = x + base
        plain = math.lgamma(base) - torch.lgamma(at) + x * torch.digamma(at)
        return torch.where(ratio.abs() < _SERIES_BELOW, series * ratio * ratio, plain)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return grad * bregman_slope(x, ctx.base), None


@lru_cache(maxsize=64)
def _series(base: float) -> tuple[float, ...]:
    # Coefficients of (x / base)^(m + 2): psi^(m+1)(c) / (m! (m + 2)), with Hurwitz's zeta.
    at = torch.tensor(base, dtype=torch.float64)
    return tuple(
        (-1) ** m
        * (m + 1)
        / (m + 2)
        * torch.special.zeta(torch.tensor(m + 2.0, dtype=torch.float64), at).item()
        * base ** (m + 2)
        for m in range(_SERIES_TERMS)
    )
