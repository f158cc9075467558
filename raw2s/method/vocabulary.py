"""The evidential loss over a vocabulary: float32 and half-precision logits with many classes.

The same numbers as the closed form in `raw2s.method.evidential`, in chunks: nothing but the
gradient itself is ever as large as the logits. With B of `raw2s.method.bregman`, sums of B(e; 1)
and B of the sum nearly cancel, so both are kept as their distance from e (`raw2s.method.excess`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from raw2s.method.bregman import bregman, bregman_slope
from raw2s.method.evidence import (
    Evidence,
    concentration_excess,
    log_concentration,
    log_concentration_slope,
)
from raw2s.method.excess import bregman_less_excess, one_less_slope
from raw2s.method.targets import at_least_float32

FEWEST_CLASSES = 4096
"""With fewer classes the closed form is as good."""

# Elements a chunk: its buffers stay in a core's cache on a CPU, and keep a GPU busy.
_CHUNK_CPU, _CHUNK_GPU = 1 << 18, 1 << 22
# Arguments of lnGamma from which three terms of Stirling's series are as exact as float32.
_STIRLING_FROM = 2048.0

Kind = Literal["indices", "per_label", "mixed"]


@dataclass(frozen=True)
class Options:
    """What `vocabulary_loss` computes; the fields are arguments of `evidential_loss`."""

    evidence: Evidence
    reg_coef: float
    kind: Kind
    clamp: float
    max_regulariser: float | None


def vocabulary_loss(logits: Tensor, targets: Tensor, options: Options) -> tuple[Tensor, Tensor]:
    """L_EDL and the uncut L_REG, float32 (n,) each, of logits (n, K) against indices (n,) or
    probabilities (n, K). Gradients go through the first to the logits alone."""
    loss, penalty = _VocabularyLoss.apply(logits, targets, options)
    return loss, penalty


@dataclass
class _Rows:
    """Sums over each row, float64 (n, 1): what the chunks of forward and backward share."""

    excess: Tensor
    """E, the sum of e (after the clamp; `mixed`: of e (1 - p))."""
    log_total: Tensor
    """log alpha_0."""
    mass: Tensor
    """The sum of p."""
    bend: Tensor
    """1 - B' at E - e_k, K: the sum over k with weights p_k."""
    inside: bool
    """Whether no logit lies beyond the clamp."""
    stirling: bool
    """Whether every K + E - e_k is large enough for Stirling's series."""


class _VocabularyLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, targets: Tensor, options: Options
    ) -> tuple[Tensor, Tensor]:
        rows = _row_sums(logits, targets, options)
        nll, penalty = _values(logits, targets, rows, options)
        most = math.inf if options.max_regulariser is None else options.max_regulariser
        ctx.save_for_backward(logits, targets)
        ctx.rows, ctx.options, ctx.uncut = rows, options, (penalty <= most).float()
        loss = nll + options.reg_coef * penalty.clamp(max=most)
        uncut = penalty.squeeze(1).float()
        ctx.mark_non_differentiable(uncut)
        return loss.squeeze(1).float(), uncut

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
        logits, targets = ctx.saved_tensors
        # The derivative of the loss by its row's regulariser and in all.
        scale = grad.float()[:, None]
        coefficient = ctx.uncut * ctx.options.reg_coef
        out = torch.empty_like(logits)
        for block in _blocks(logits):
            slope = _slope(logits, targets, block, ctx.rows, ctx.options, coefficient[block[0]])
            out[block] = slope.mul_(scale[block[0]])
        return out, None, None


def _values(
    logits: Tensor, targets: Tensor, rows: _Rows, options: Options
) -> tuple[Tensor, Tensor]:
    """The second pass: L_NLL and L_REG, float64 (n, 1); completes `rows.bend`."""
    classes = logits.shape[1]
    signed = options.evidence == "exp"
    whole = rows.excess - bregman(rows.excess, float(classes))
    terms, own, log_own, far = (torch.zeros_like(rows.excess) for _ in range(4))
    for block in _blocks(logits) if options.kind != "indices" or options.reg_coef else ():
        part = block[0]
        chunk = _chunk(logits[block], options, rows.inside)
        e, alpha, log_alpha = chunk.e, chunk.alpha, _log_alpha(chunk, options.evidence)
        if options.kind != "indices":
            p = targets[block].float()
            unclamped = log_alpha if rows.inside else log_concentration(chunk.z, options.evidence)
            log_own[part] += _dot(p, unclamped)
            if options.reg_coef == 0:
                continue
            if options.kind == "mixed":
                e, alpha = _mixed(chunk, p)
                log_alpha = torch.where(e < -0.5, alpha.log(), torch.log1p(e))
        found = bregman_less_excess(e, alpha, log_alpha, signed=signed)
        terms[part] += found.sum(-1, keepdim=True)
        if options.kind == "per_label":
            own[part] += _dot(p, found)
            far[part] += _dot(p, _rest_steps(e, rows, part, classes))
            rows.bend[part] += _dot(p, _rest_bends(e, rows, part, classes))
    if options.kind == "indices":
        chunk = _chunk(logits.gather(1, targets[:, None]).double(), options, rows.inside)
        log_own = log_concentration(chunk.z, options.evidence)
        own = bregman(chunk.e, 1.0) - chunk.e
        others = rows.excess - chunk.e
        far = whole + bregman(others, float(classes)) - others
        rows.bend = 1 - bregman_slope(others, float(classes))
    elif options.kind == "mixed":
        rows.bend = 1 - bregman_slope(rows.excess, float(classes))
    nll = rows.mass * rows.log_total - log_own
    if options.reg_coef == 0:
        return nll, torch.zeros_like(nll)
    mass = 1.0 if options.kind == "mixed" else rows.mass
    return nll, mass * (terms + whole) - own - far


def _slope(
    logits: Tensor,
    targets: Tensor,
    block: tuple[slice, slice],
    rows: _Rows,
    options: Options,
    coefficient: Tensor,
) -> Tensor:
    """The derivative of L_NLL + coefficient L_REG by a block of logits, float32."""
    part, columns = block
    signed = options.evidence == "exp"
    chunk = _chunk(logits[block], options, rows.inside)
    e, u = chunk.e, chunk.alpha.reciprocal()
    mass, log_total = rows.mass[part].float(), rows.log_total[part].float()
    bend = rows.bend[part].float()
    if options.kind == "indices":
        place = targets[part, None] - columns.start
        p = torch.zeros_like(e)
        here = (place >= 0) & (place < e.shape[1])
        p.scatter_(1, place.clamp(0, e.shape[1] - 1), here.float())
    else:
        p = targets[block].float()
    # By alpha: first the regulariser's part.
    if options.reg_coef == 0:
        inner = torch.zeros_like(e)
    elif options.kind == "mixed":
        kept, alpha = _mixed(chunk, p)
        inner = (bend - one_less_slope(kept, alpha.reciprocal_(), signed=signed)).mul_(1 - p)
    elif options.kind == "indices":
        inner = (bend - one_less_slope(e, u, signed=signed)).mul_(1 - p)
    else:
        bends = _rest_bends(e, rows, part, logits.shape[1])
        inner = (
            one_less_slope(e, u, signed=signed)
            .mul_(p - mass)
            .addcmul_(p, bends, value=-1)
            .add_(bend)
        )
    inner.mul_(coefficient)
    if rows.inside:
        # d alpha / dz (mass / alpha_0 - p / alpha + the above)
        inner.add_(mass * torch.exp(-log_total)).addcmul_(p, u, value=-1)
        return inner.mul_(_evidence_slope(chunk, options.evidence))
    inner.mul_(_evidence_slope(chunk, options.evidence)).mul_(chunk.z.abs() <= options.clamp)
    log_slope = log_concentration_slope(chunk.z, options.evidence)
    log_alpha = log_concentration(chunk.z, options.evidence)
    inner.addcmul_(mass, torch.exp(log_slope - log_total))
    return inner.addcmul_(p, torch.exp(log_slope - log_alpha), value=-1)


def _row_sums(logits: Tensor, targets: Tensor, options: Options) -> _Rows:
    """The first pass over the logits."""
    zeros = torch.zeros(len(logits), 1, dtype=torch.float64, device=logits.device)
    whole, kept, mass, log_total = zeros.clone(), zeros.clone(), zeros.clone(), zeros - math.inf
    least, most = (float(value) for value in torch.aminmax(logits))
    inside = max(-least, most) <= options.clamp
    for block in _blocks(logits):
        part = block[0]
        z = logits[block].float()
        e = concentration_excess(z, options.evidence, None if inside else options.clamp)
        whole[part] += e.sum(-1, keepdim=True)
        if not inside:
            log_alpha = log_concentration(z, options.evidence)
            here = torch.logsumexp(log_alpha, -1, keepdim=True).double()
            log_total[part] = torch.logaddexp(log_total[part], here)
        if options.kind != "indices":
            p = targets[block].float()
            mass[part] += p.sum(-1, keepdim=True)
            if options.kind == "mixed":
                kept[part] += _dot(e, 1 - p)
    if inside:
        log_total = torch.log(whole + logits.shape[1])
    highest = concentration_excess(
        torch.tensor(most), options.evidence, None if inside else options.clamp
    )
    return _Rows(
        excess=kept if options.kind == "mixed" else whole,
        log_total=log_total,
        mass=mass + 1 if options.kind == "indices" else mass,
        bend=zeros.clone(),
        inside=inside,
        stirling=float((whole + logits.shape[1]).min()) - float(highest) >= _STIRLING_FROM,
    )


@dataclass(frozen=True)
class _Chunk:
    """Some rows and columns: z as given, cut to the clamp, and the regulariser's e and alpha."""

    z: Tensor
    cut: Tensor
    e: Tensor
    alpha: Tensor


def _chunk(logits: Tensor, options: Options, inside: bool) -> _Chunk:
    z = at_least_float32(logits)
    cut = z if inside else z.clamp(-options.clamp, options.clamp)
    e = concentration_excess(cut, options.evidence)
    # For exp not 1 + e, which has lost alpha's digits where alpha is small.
    alpha = cut.exp() if options.evidence == "exp" else e + 1
    return _Chunk(z, cut, e, alpha)


def _log_alpha(chunk: _Chunk, evidence: Evidence) -> Tensor:
    """The regulariser's, after the clamp."""
    return chunk.cut if evidence == "exp" else torch.log1p(chunk.e)


def _mixed(chunk: _Chunk, p: Tensor) -> tuple[Tensor, Tensor]:
    """e and alpha of the concentrations (alpha - 1)(1 - p) + 1."""
    left = 1 - p
    return chunk.e * left, (chunk.alpha * left).add_(p)


def _rest_steps(e: Tensor, rows: _Rows, part: slice, classes: int) -> Tensor:
    """B(E - e; K) - B(E; K) + e, float32."""
    total = rows.excess[part]
    if not rows.stirling:
        return (bregman(total - e, float(classes)) - bregman(total, float(classes)) + e).float()
    # With w = K + E - e and its largest value W, Stirling's series:
    # -(K - 1/2) ln(w / W) + (K/2 - 1/6) (1/w - 1/W) + ...
    inverse = (total + classes).reciprocal().float()
    ratio = e * inverse
    steps = torch.log1p(-ratio).mul_(0.5 - classes)
    one_over = ratio.neg_().add_(1).reciprocal_()
    return steps.add_(one_over.sub_(1).mul_(inverse * (classes / 2 - 1 / 6)))


def _rest_bends(e: Tensor, rows: _Rows, part: slice, classes: int) -> Tensor:
    """1 - B'(E - e; K), float32."""
    total = rows.excess[part]
    if not rows.stirling:
        return (1 - bregman_slope(total - e, float(classes))).float()
    # B' = (1 - K/w) (1 + h) with h = 1/(2w) + 1/(6w^2) + ...
    inverse = (total + classes).reciprocal().float()
    one_over = (e * inverse).neg_().add_(1).reciprocal_().mul_(inverse)
    h = (one_over / 6).add_(0.5).mul_(one_over)
    bends = one_over.mul_(classes)
    return torch.addcmul(bends - h, bends, h)


def _evidence_slope(chunk: _Chunk, evidence: Evidence) -> Tensor:
    """d alpha / dz."""
    if evidence == "exp":
        return chunk.alpha
    if evidence == "exp+1":
        return chunk.e
    return torch.sigmoid(chunk.z) if evidence == "softplus+1" else (chunk.z > 0).float()


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Sums (rows, 1) of products."""
    if len(a) == 1:
        return torch.dot(a[0], b[0]).view(1, 1)
    return (a * b).sum(-1, keepdim=True)


def _blocks(logits: Tensor) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of each chunk."""
    size = _CHUNK_GPU if logits.is_cuda else _CHUNK_CPU
    n, classes = logits.shape
    height = max(1, size // classes)
    for first in range(0, n, height):
        for left in range(0, classes, size):
            yield slice(first, min(n, first + height)), slice(left, min(classes, left + size))
