"""B(e; 1) and its slope in float32, by polynomials, as their distance from e and from 1.

B is that of `raw2s.method.bregman`. With u = 1 / (1 + e) and v = e u, for e >= 0

    B(e; 1) - e = v^2 Q(u) - (log1p(e) + v) / 2        1 - B' = u (1 - v P(u))

and for -1 < e < 0, which `exp` evidence alone has,

    B(e; 1) - e = e^2 S(1 + e) + log1p(e) - v - e      1 - B' = 1 - e (psi'(2 + e) + u^2)

where psi'(1/t) = t + t^2 P(t), and P, Q and S are smooth on [0, 1]: what is singular stands apart.
The same of B(E - e; K), E a row's sum of e over its K classes, is by Stirling's series.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from raw2s.method.bregman import bregman, bregman_slope

# This project's own fits at Chebyshev's points, lowest power first; errors below 2e-6.
_P = (
    0.5000012951472314, 0.16655457481119917, 0.0016348798080367184, -0.042480372781077594,
    0.024246033850535625, -0.005022073619558378,
)  # fmt: skip
_Q = (
    0.08106056245828464, -0.004490359808987131, -0.007346266485986485, 0.004007139801441663,
    -0.0007636957522433175,
)  # fmt: skip
_S = (
    0.5772155304905384, -0.49048145938446763, 0.4657300384464467, -0.4544479677429655,
    0.4268189497038537, -0.34880813274772227, 0.2160408961483724, -0.0849950589809808,
    0.015394290495440183,
)  # fmt: skip


def bregman_less_excess(e: Tensor, alpha: Tensor, log_alpha: Tensor, *, signed: bool) -> Tensor:
    """B(e; 1) - e, elementwise, where alpha = 1 + e; signed: whether e may be negative."""
    u = alpha.reciprocal()
    v = e * u
    found = _polynomial(_Q, u).mul_(v).mul_(v).add_(v, alpha=-0.5).add_(log_alpha, alpha=-0.5)
    if not signed:
        return found
    below = _polynomial(_S, alpha).mul_(e).mul_(e).add_(log_alpha).sub_(v).sub_(e)
    return torch.where(e < 0, below, found)


def one_less_slope(e: Tensor, u: Tensor, *, signed: bool) -> Tensor:
    """1 - dB(e; 1)/de, elementwise, where u = 1 / (1 + e); signed: whether e may be negative."""
    found = _polynomial(_P, u).mul_(e).mul_(u).sub_(1).mul_(u).neg_()
    if not signed:
        return found
    t = (e + 2).reciprocal_()
    below = _polynomial(_P, t).mul_(t).add_(1).mul_(t).addcmul_(u, u).mul_(e).sub_(1).neg_()
    return torch.where(e < 0, below, found)


def rest_steps(e: Tensor, total: Tensor, classes: float, *, stirling: bool) -> Tensor:
    """B(E - e; K) - B(E; K) + e, float32 (rows, columns) as e, with E = total, float64 (rows, 1).

    stirling: whether K + E - e is large enough for three terms of the series.
    """
    if not stirling:
        return (bregman(total - e, classes) - bregman(total, classes) + e).float()
    # With w = K + E - e and its largest value W, Stirling's series:
    # -(K - 1/2) ln(w / W) + (K/2 - 1/6) (1/w - 1/W) + ...
    inverse = (total + classes).reciprocal().float()
    ratio = e * inverse
    steps = torch.log1p(-ratio).mul_(0.5 - classes)
    one_over = ratio.neg_().add_(1).reciprocal_()
    return steps.add_(one_over.sub_(1).mul_(inverse * (classes / 2 - 1 / 6)))


def rest_slopes(e: Tensor, total: Tensor, classes: float, *, stirling: bool) -> Tensor:
    """1 - B'(E - e; K), as `rest_steps`."""
    if not stirling:
        return (1 - bregman_slope(total - e, classes)).float()
    # B' = (1 - K/w) (1 + h) with h = 1/(2w) + 1/(6w^2) + ...
    inverse = (total + classes).reciprocal().float()
    one_over = (e * inverse).neg_().add_(1).reciprocal_().mul_(inverse)
    h = (one_over / 6).add_(0.5).mul_(one_over)
    slopes = one_over.mul_(classes)
    return torch.addcmul(slopes - h, slopes, h)


def _polynomial(coefficients: Sequence[float], x: Tensor) -> Tensor:
    value = x * coefficients[-1]
    for coefficient in coefficients[-2:0:-1]:
        value.add_(coefficient).mul_(x)
    return value.add_(coefficients[0])
