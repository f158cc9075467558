"""Evidential loss: the logits give a Dirichlet distribution over class distributions.

Concentrations alpha > 0 come from logits z, alpha_0 is their sum:
  L_NLL(z, k) = log alpha_0 - log alpha_k                                 (Eq. 3 of the paper)
  L_REG(z, k) = KL(Dir(alpha with alpha_k replaced by 1) || Dir(1))       (App. H)
  L_EDL(z, k) = L_NLL + reg_coef * L_REG, and sum_k p_k L_EDL(z, k) for a soft label p (Eq. 4).

With the excess e = alpha - 1 and B of `raw2s.method.bregman`, every L_REG is
sum_j B(e_j; 1) - B(sum_j e_j; K) with e_k = 0: O(K) for all k at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypedDict

import torch
from torch import Tensor

from raw2s.method.bregman import bregman
from raw2s.method.bridge import full_target
from raw2s.method.evidence import Evidence, concentration_excess, log_concentration
from raw2s.method.targets import (
    are_indices,
    at_least_float32,
    check_finite,
    check_indices,
    check_logits,
    check_targets,
    reduce,
)
from raw2s.method.vocabulary import FEWEST_CLASSES, Options, vocabulary_loss
from raw2s.method.vocabulary_targets import (
    Target,
    check_target_logprob,
    class_indices,
    soft_labels,
)

Regulariser = Literal["per_label", "mixed"]
LARGEST_CLAMP = 25.0
"""Float64 leaves L_REG, a difference of large terms, four digits up to here, none at 37."""


class EvidentialOptions(TypedDict, total=False):
    """Keyword arguments of `evidential_loss` that the losses built on it pass through."""

    evidence: Evidence
    reg_coef: float
    regulariser: Regulariser
    clamp: float
    max_regulariser: float | None
    on_regulariser: Callable[[Tensor], None] | None
    validate: bool


def dirichlet_nll(logits: Tensor, evidence: Evidence = "exp+1") -> Tensor:
    """L_NLL(z, k) for every label k: (..., K), >= 0; with `exp` it is cross-entropy (Eq. 3)."""
    log_alpha = log_concentration(logits, evidence)
    return torch.logsumexp(log_alpha, -1, keepdim=True) - log_alpha


def dirichlet_regulariser(
    logits: Tensor,
    targets: Tensor | None = None,
    *,
    evidence: Evidence = "exp+1",
    regulariser: Regulariser = "per_label",
    clamp: float = 10.0,
) -> Tensor:
    """L_REG, >= 0 (App. H), in float64 where the device has it, else float32.

    Without targets: (..., K), L_REG(k) for every k. With indices (...): (...), L_REG at the label.
    With weights p (..., K): (...), `per_label` sum_k p_k L_REG(k); `mixed` one KL whose
    concentrations are (alpha - 1)(1 - p) + 1, as in the authors' code.

    Raises ValueError for another regulariser, or a clamp outside (0, 25].
    """
    _check_regulariser(regulariser, clamp)
    # Sums over a vocabulary of terms that nearly cancel: float64 costs little beside the model.
    wide = logits if logits.device.type == "mps" else logits.double()
    excess = concentration_excess(wide, evidence, clamp)
    classes = float(logits.shape[-1])
    if targets is None or (regulariser == "per_label" and not are_indices(logits, targets)):
        terms = bregman(excess, 1.0)
        others = excess.sum(-1, keepdim=True) - excess
        per_label = terms.sum(-1, keepdim=True) - terms - bregman(others, classes)
        return per_label if targets is None else (targets.to(excess.dtype) * per_label).sum(-1)
    if are_indices(logits, targets):
        kept = excess.scatter(-1, targets.unsqueeze(-1), 0.0)
    else:
        kept = excess * (1 - targets.to(excess.dtype))
    return bregman(kept, 1.0).sum(-1) - bregman(kept.sum(-1), classes)


def evidential_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    evidence: Evidence = "exp+1",
    reg_coef: float = 1.0,
    regulariser: Regulariser = "per_label",
    clamp: float = 10.0,
    max_regulariser: float | None = None,
    reduction: Literal["none", "mean", "sum"] = "mean",
    on_regulariser: Callable[[Tensor], None] | None = None,
    validate: bool = True,
) -> Tensor:
    """L_EDL of logits (..., K) against indices (...) or probabilities (..., K) (Eq. 3 and 4).

    `max_regulariser` cuts the regulariser's value at each position, for `per_label` probabilities
    the sum over k, before reg_coef (its gradient is 0 there); `on_regulariser` is called with the
    detached values (...) before the cut, for `clamped_share`.

    Result: (...) with reduction `none`, else a scalar; at least float32. The tests hold it within
    1e-3 max(1, |value|) of float64 on the same inputs, and its gradient, which has the logits'
    dtype, within 1e-3 of the row's largest, in bfloat16 within that dtype's eps, 8e-3.

    Raises ValueError for shapes that do not fit, a clamp outside (0, 25] and, with `validate`, for
    NaN or infinite logits, rows that do not sum to 1 within 1e-3, or within what rounding to their
    dtype can do, and indices out of range.
    """
    indices = are_indices(logits, targets)
    if validate:
        check_targets(logits, targets)
    _check_regulariser(regulariser, clamp)
    if _in_blocks(logits) and not targets.requires_grad:
        flat = targets.reshape(-1) if indices else targets.reshape(-1, logits.shape[-1])
        target = class_indices(flat) if indices else Target(dense=flat)
        mixed = regulariser == "mixed" and not indices
        options = Options(evidence, reg_coef, mixed, clamp, max_regulariser)
        return reduce(_over_vocabulary(logits, target, options, on_regulariser), reduction)
    nll = dirichlet_nll(logits, evidence)
    if indices:
        loss = nll.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    else:
        loss = (targets.to(nll.dtype) * nll).sum(-1)
    if reg_coef != 0:
        penalty = dirichlet_regulariser(
            logits, targets, evidence=evidence, regulariser=regulariser, clamp=clamp
        )
        if on_regulariser is not None:
            on_regulariser(penalty.detach())
        if max_regulariser is not None:
            penalty = penalty.clamp(max=max_regulariser)
        loss = loss + reg_coef * penalty.to(loss.dtype)
    return reduce(loss, reduction)


def soft_label_evidential_loss(
    logits: Tensor,
    labels: Tensor,
    target_logprob: Tensor,
    *,
    tail: bool = True,
    detach_tail: bool = True,
    evidence: Evidence = "exp+1",
    reg_coef: float = 1.0,
    regulariser: Regulariser = "per_label",
    clamp: float = 10.0,
    max_regulariser: float | None = None,
    reduction: Literal["none", "mean", "sum"] = "mean",
    on_regulariser: Callable[[Tensor], None] | None = None,
    validate: bool = True,
) -> Tensor:
    """`evidential_loss` of logits (..., K) against the soft labels of tokens (Sec. 4.1).

    The label of labels (...) int64 has t = exp(target_logprob), target_logprob (...) <= 0; class j
    has (1 - t) q_j / (1 - q_s) with q = softmax(logits), detached with `detach_tail`, or 0 without
    `tail`. Over a vocabulary of float32 or half-precision logits no target of its size is made,
    unless a gradient goes through the target. Other options, result and errors as
    `evidential_loss`.
    """
    check_logits(logits)
    for name, given in (("labels", labels), ("target_logprob", target_logprob)):
        if given.shape != logits.shape[:-1]:
            raise ValueError(f"{name} are {tuple(given.shape)}, logits {tuple(logits.shape)}")
    if validate:
        check_finite("logits", logits)
        check_indices("labels", labels, logits.shape[-1])
        check_target_logprob("target_logprob", target_logprob)
    _check_regulariser(regulariser, clamp)
    constant = not target_logprob.requires_grad and (detach_tail or not tail)
    if constant and _in_blocks(logits):
        target = soft_labels(
            logits.reshape(-1, logits.shape[-1]),
            labels.reshape(-1),
            target_logprob.reshape(-1),
            with_tail=tail,
        )
        options = Options(evidence, reg_coef, regulariser == "mixed", clamp, max_regulariser)
        return reduce(_over_vocabulary(logits, target, options, on_regulariser), reduction)
    if tail:
        dense = full_target(logits, labels, target_logprob, detach_tail=detach_tail)
    else:
        t = target_logprob.to(at_least_float32(logits).dtype).exp().unsqueeze(-1)
        dense = torch.zeros_like(logits, dtype=t.dtype).scatter(-1, labels.unsqueeze(-1), t)
    return evidential_loss(
        logits,
        dense,
        evidence=evidence,
        reg_coef=reg_coef,
        regulariser=regulariser,
        clamp=clamp,
        max_regulariser=max_regulariser,
        reduction=reduction,
        on_regulariser=on_regulariser,
        validate=False,
    )


def _check_regulariser(regulariser: Regulariser, clamp: float) -> None:
    if regulariser not in ("per_label", "mixed"):
        raise ValueError(f"regulariser must be per_label or mixed, it is {regulariser!r}")
    if not 0 < clamp <= LARGEST_CLAMP:
        raise ValueError(f"clamp must be in (0, {LARGEST_CLAMP:g}], it is {clamp}")


def _in_blocks(logits: Tensor) -> bool:
    return logits.shape[-1] >= FEWEST_CLASSES and logits.dtype != torch.float64


def _over_vocabulary(
    logits: Tensor,
    target: Target,
    options: Options,
    on_regulariser: Callable[[Tensor], None] | None,
) -> Tensor:
    """L_EDL (...) of logits (..., K) against the target of their rows."""
    loss, penalty = vocabulary_loss(logits.reshape(-1, logits.shape[-1]), target, options)
    if on_regulariser is not None and options.reg_coef != 0:
        on_regulariser(penalty.view(logits.shape[:-1]))
    return loss.view(logits.shape[:-1])


def clamped_share(values: Tensor, max_regulariser: float | None) -> float:
    """Share in [0, 1] of regulariser values that `max_regulariser` cuts; 0 without values."""
    if max_regulariser is None or values.numel() == 0:
        return 0.0
    return float((values > max_regulariser).double().mean())


def dirichlet_uncertainty(
    logits: Tensor, evidence: Evidence = "exp+1", *, validate: bool = True
) -> dict[str, Tensor]:
    """Uncertainties (...) in nats of the Dirichlet that logits (..., K) give.

    vacuity: K / alpha_0, at most 1 except with `exp`. expected_entropy: of the class under a
    distribution drawn from the Dirichlet (aleatoric). mutual_information: entropy of the mean
    distribution minus that, >= 0 (epistemic). Raises ValueError for logits that are not finite.
    """
    if validate:
        check_finite("logits", logits)
    wide = logits if logits.device.type == "mps" else logits.double()
    log_alpha = log_concentration(wide, evidence)
    alpha = log_alpha.exp()
    if not bool(torch.isfinite(alpha).all()):
        raise ValueError(f"logits are too large for evidence {evidence!r}: {logits.max().item()}")
    total = alpha.sum(-1, keepdim=True)
    # Not alpha / total, which is 0 / 0 where `exp` underflows.
    mean = log_alpha.softmax(-1)
    expected = (mean * (torch.digamma(total + 1) - torch.digamma(alpha + 1))).sum(-1)
    entropy = -torch.xlogy(mean, mean).sum(-1)
    return {
        "vacuity": (logits.shape[-1] / total).squeeze(-1),
        "expected_entropy": expected,
        "mutual_information": (entropy - expected).clamp(min=0),
    }
