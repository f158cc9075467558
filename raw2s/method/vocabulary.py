"""The evidential loss over a vocabulary: float32 and half-precision logits with many classes.

The same numbers as the closed form in `raw2s.method.evidential`, in blocks: nothing but the
gradient itself is ever as large as the logits. With B of `raw2s.method.bregman`, sums of B(e; 1)
and B of the sum nearly cancel, so both are kept as their distance from e (`raw2s.method.excess`).
Where the target has a label, the blocks' sums leave it out, and its part is added in float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from raw2s.method.blocks import Block, blocks
from raw2s.method.bregman import bregman, bregman_slope
from raw2s.method.concentrations import Concentrations, concentrations
from raw2s.method.evidence import (
    Evidence,
    concentration_excess,
    log_concentration,
    log_concentration_slope,
)
from raw2s.method.excess import bregman_less_excess, one_less_slope, rest_slopes, rest_steps
from raw2s.method.vocabulary_targets import Label, Target

FEWEST_CLASSES = 4096
"""With fewer classes the closed form is as good."""

# Arguments of lnGamma from which three terms of Stirling's series are as exact as float32.
_STIRLING_FROM = 2048.0


@dataclass(frozen=True)
class Options:
    """What `vocabulary_loss` computes; the fields are arguments of `evidential_loss`."""

    evidence: Evidence
    reg_coef: float
    mixed: bool
    """Whether the regulariser is `mixed`; with class indices both are one number."""
    clamp: float
    max_regulariser: float | None


def vocabulary_loss(logits: Tensor, target: Target, options: Options) -> tuple[Tensor, Tensor]:
    """L_EDL and the uncut L_REG, float32 (n,) each, of logits (n, K) against n distributions.

    Gradients go through the first to the logits alone.
    """
    loss, penalty = _VocabularyLoss.apply(logits, target, options)
    return loss, penalty


@dataclass
class _Rows:
    """Each row's sums, float64 (n, 1): what the blocks of forward and backward share."""

    excess: Tensor
    """E, the sum of e (after the clamp; `mixed`: of e (1 - p))."""
    log_total: Tensor
    """log alpha_0."""
    mass: Tensor
    """The sum of p."""
    bend: Tensor
    """1 - B' at E - e_k, K: the sum over k with weights p_k (`mixed`: at E, K)."""
    label_slope: Tensor
    """The derivative of L_REG by the label's alpha."""
    clamp: float | None
    """None where no logit lies beyond it."""
    stirling: bool
    """Whether every K + E - e_k is large enough for Stirling's series."""


class _VocabularyLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, target: Target, options: Options
    ) -> tuple[Tensor, Tensor]:
        rows = _row_sums(logits, target, options)
        nll, penalty = _values(logits, target, rows, options)
        most = math.inf if options.max_regulariser is None else options.max_regulariser
        ctx.save_for_backward(logits)
        ctx.shared = target, rows, options, options.reg_coef * (penalty <= most)
        loss = nll + options.reg_coef * penalty.clamp(max=most)
        uncut = penalty.squeeze(1).float()
        ctx.mark_non_differentiable(uncut)
        return loss.squeeze(1).float(), uncut

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
        (logits,) = ctx.saved_tensors
        target = ctx.shared[0]
        at_label = _label_slope(logits, *ctx.shared)
        scale = grad.float()[:, None]
        out = torch.empty_like(logits)
        for block in blocks(logits):
            slope = target.put(_slope(logits, block, *ctx.shared), block, at_label)
            out[block] = slope.mul_(scale[block[0]])
        return out, None, None


def _row_sums(logits: Tensor, target: Target, options: Options) -> _Rows:
    """The first pass over the logits."""
    zeros = torch.zeros(len(logits), 1, dtype=torch.float64, device=logits.device)
    whole, kept, log_total = zeros.clone(), zeros.clone(), zeros - math.inf
    least, most = (float(value) for value in torch.aminmax(logits))
    clamp = None if max(-least, most) <= options.clamp else options.clamp
    for block in blocks(logits):
        part = block[0]
        z = logits[block].float()
        e = target.put(concentration_excess(z, options.evidence, clamp), block, zeros)
        whole[part] += e.sum(-1, keepdim=True, dtype=torch.float64)
        if clamp is not None:
            # A copy, since log alpha of `exp` is the logits themselves.
            log_alpha = log_concentration(z, options.evidence).clone()
            log_alpha = target.put(log_alpha, block, zeros - math.inf)
            here = torch.logsumexp(log_alpha, -1, keepdim=True).double()
            log_total[part] = torch.logaddexp(log_total[part], here)
        if options.mixed:
            p = target.spread(z, block)
            left = e if p is None else e * (1 - p)
            kept[part] += left.sum(-1, keepdim=True, dtype=torch.float64)
    if target.label is not None:
        own = logits.gather(1, target.label.index[:, None]).double()
        e = concentration_excess(own, options.evidence, clamp)
        whole += e
        kept += e * target.label.rest
        log_total = torch.logaddexp(log_total, log_concentration(own, options.evidence))
    if clamp is None:
        log_total = torch.log(whole + logits.shape[1])
    highest = concentration_excess(torch.tensor(most), options.evidence, clamp)
    return _Rows(
        excess=kept if options.mixed else whole,
        log_total=log_total,
        mass=zeros.clone(),
        bend=zeros.clone(),
        label_slope=zeros.clone(),
        clamp=clamp,
        stirling=float((whole + logits.shape[1]).min()) - float(highest) >= _STIRLING_FROM,
    )


def _values(logits: Tensor, target: Target, rows: _Rows, options: Options) -> tuple[Tensor, Tensor]:
    """The second pass: L_NLL and L_REG, float64 (n, 1); completes `rows`."""
    classes = float(logits.shape[1])
    signed = options.evidence == "exp"
    zeros = torch.zeros_like(rows.excess)
    whole = rows.excess - bregman(rows.excess, classes)
    terms, own, log_own, far = (zeros.clone() for _ in range(4))
    for block in blocks(logits) if options.reg_coef or target.spreads else ():
        part = block[0]
        chunk = concentrations(logits[block], options.evidence, rows.clamp)
        e, alpha, log_alpha = chunk.e, chunk.alpha, chunk.log_alpha()
        p = target.spread(chunk.z, block)
        if p is not None:
            uncut = log_alpha if rows.clamp is None else log_concentration(chunk.z, chunk.evidence)
            rows.mass[part] += p.sum(-1, keepdim=True)
            log_own[part] += _dot(p, uncut)
        if options.reg_coef == 0:
            continue
        if options.mixed and p is not None:
            e, alpha = chunk.mixed(p)
            log_alpha = torch.where(e < -0.5, alpha.log(), torch.log1p(e))
        found = bregman_less_excess(e, alpha, log_alpha, signed=signed)
        found = target.put(found, block, zeros)
        terms[part] += found.sum(-1, keepdim=True)
        if p is not None and not options.mixed:
            total = rows.excess[part]
            own[part] += _dot(p, found)
            far[part] += _dot(p, rest_steps(e, total, classes, stirling=rows.stirling))
            rows.bend[part] += _dot(p, rest_slopes(e, total, classes, stirling=rows.stirling))
    if options.mixed:
        rows.bend = 1 - bregman_slope(rows.excess, classes)
    if target.label is not None:
        t, rest = target.label.weight, target.label.rest
        label = _of_labels(logits, target.label, rows, options)
        if options.mixed:
            kept = label.e * rest
            terms += bregman(kept, 1.0) - kept
            rows.label_slope = (rows.bend - 1 + bregman_slope(kept, 1.0)) * rest
        else:
            # Only the other labels' regularisers depend on the label's alpha.
            rows.label_slope = rows.bend - rows.mass * (1 - bregman_slope(label.e, 1.0))
            found, others = bregman(label.e, 1.0) - label.e, rows.excess - label.e
            terms += found
            own += t * found
            far += t * (whole + bregman(others, classes) - others)
            rows.bend += t * (1 - bregman_slope(others, classes))
        rows.mass += t
        log_own += t * log_concentration(label.z, options.evidence)
    nll = rows.mass * rows.log_total - log_own
    if options.reg_coef == 0:
        return nll, zeros
    mass = 1.0 if options.mixed else rows.mass
    return nll, mass * (terms + whole) - own - far


def _slope(
    logits: Tensor,
    block: Block,
    target: Target,
    rows: _Rows,
    options: Options,
    coefficient: Tensor,
) -> Tensor:
    """The derivative of L_NLL + coefficient L_REG by a block's logits but the label's, float32."""
    part = block[0]
    signed = options.evidence == "exp"
    chunk = concentrations(logits[block], options.evidence, rows.clamp)
    p = target.spread(chunk.z, block)
    mass, bend = rows.mass[part].float(), rows.bend[part].float()
    if options.reg_coef == 0:
        by_alpha = torch.zeros_like(chunk.z)
    elif options.mixed:
        kept, alpha = (chunk.e, chunk.alpha) if p is None else chunk.mixed(p)
        by_alpha = bend - one_less_slope(kept, alpha.reciprocal(), signed=signed)
        if p is not None:
            by_alpha.mul_(1 - p)
    else:
        by_alpha = one_less_slope(chunk.e, chunk.alpha.reciprocal(), signed=signed)
        by_alpha.mul_(-mass if p is None else p - mass).add_(bend)
        if p is not None:
            classes, total = float(logits.shape[1]), rows.excess[part]
            slopes = rest_slopes(chunk.e, total, classes, stirling=rows.stirling)
            by_alpha.addcmul_(p, slopes, value=-1)
    by_alpha.mul_(coefficient[part].float())
    return _by_logits(by_alpha, p, chunk, rows.mass[part], rows.log_total[part])


def _label_slope(
    logits: Tensor, target: Target, rows: _Rows, options: Options, coefficient: Tensor
) -> Tensor:
    """The derivative of L_NLL + coefficient L_REG by the labels' logits, float64 (n, 1)."""
    if target.label is None:
        return torch.zeros_like(coefficient)
    label = _of_labels(logits, target.label, rows, options)
    by_alpha, t = coefficient * rows.label_slope, target.label.weight
    return _by_logits(by_alpha, t, label, rows.mass, rows.log_total)


def _by_logits(
    by_alpha: Tensor, p: Tensor | None, chunk: Concentrations, mass: Tensor, log_total: Tensor
) -> Tensor:
    """The loss's derivative by the logits, from (and in place of) its regulariser's by alpha."""
    mass, log_total = mass.to(by_alpha.dtype), log_total.to(by_alpha.dtype)
    if chunk.clamp is None:
        # d alpha / dz (mass / alpha_0 - p / alpha + the regulariser's)
        by_alpha.add_(mass * torch.exp(-log_total))
        if p is not None:
            by_alpha.addcdiv_(p, chunk.alpha, value=-1)
        return by_alpha.mul_(chunk.slope())
    by_alpha.mul_(chunk.slope())
    log_slope = log_concentration_slope(chunk.z, chunk.evidence)
    by_alpha.addcmul_(mass, torch.exp(log_slope - log_total))
    if p is not None:
        log_alpha = log_concentration(chunk.z, chunk.evidence)
        by_alpha.addcmul_(p, torch.exp(log_slope - log_alpha), value=-1)
    return by_alpha


def _of_labels(logits: Tensor, label: Label, rows: _Rows, options: Options) -> Concentrations:
    """The labels' concentrations, float64 (n, 1)."""
    own = logits.gather(1, label.index[:, None]).double()
    return concentrations(own, options.evidence, rows.clamp)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Sums (rows, 1) of products."""
    # Not torch.dot, which loses the small terms of a row that one class dominates.
    return (a * b).sum(-1, keepdim=True)
