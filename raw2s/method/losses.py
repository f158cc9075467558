"""The supervised losses of the student, for classification and for generation."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from raw2s.method.arrays import check_shape
from raw2s.method.binary_kl import binary_kl
from raw2s.method.evidential import (
    EvidentialOptions,
    evidential_loss,
    soft_label_evidential_loss,
)
from raw2s.method.targets import (
    are_finite,
    are_indices,
    at_least_float32,
    check_finite,
    check_indices,
    check_not_negative,
    check_probabilities,
    check_targets,
    reduce,
    refuse_tensor,
)
from raw2s.method.vocabulary_targets import check_target_logprob

Loss = Literal["cross_entropy", "evidential"]
TargetKind = Literal["one_hot", "label_only", "full"]
IGNORED = -100
"""Label of a position that is no target."""


def gamma(
    progress: float,
    gamma_max: float,
    schedule: Literal["linear", "warmup", "burns"] = "linear",
    warmup: float = 0.1,
) -> float:
    """The auxiliary loss's weight at `progress` in [0, 1] of training; in [0, gamma_max].

    linear: gamma_max * progress (the paper). warmup: reaches gamma_max at `warmup` and stays.
    burns: gamma_max * progress up to `warmup`, then at once gamma_max (Burns et al.'s code).
    """
    for name, value in (("progress", progress), ("gamma_max", gamma_max), ("warmup", warmup)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must be in [0, 1], it is {value}")
    if schedule == "linear":
        return gamma_max * progress
    if schedule not in ("warmup", "burns"):
        raise ValueError(f"schedule must be linear, warmup or burns, it is {schedule!r}")
    if progress > warmup:
        return gamma_max
    if schedule == "burns":
        return gamma_max * progress
    return gamma_max * progress / warmup if warmup > 0 else gamma_max


def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    reduction: Literal["none", "mean", "sum"] = "mean",
    validate: bool = True,
) -> Tensor:
    """Cross-entropy in nats of logits (..., K) against indices (...) or probabilities (..., K).

    Result: (...) with reduction `none`, else a scalar; at least float32. Raises ValueError as
    `evidential_loss` does.
    """
    indices = are_indices(logits, targets)
    if validate:
        check_targets(logits, targets)
    log_q = F.log_softmax(at_least_float32(logits), -1)
    if indices:
        loss = -log_q.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    else:
        loss = -(targets.to(log_q.dtype) * log_q).sum(-1)
    return reduce(loss, reduction)


def classification_loss(
    logits: Tensor,
    targets: Tensor,
    weights: Tensor,
    *,
    loss: Loss = "cross_entropy",
    gamma: float = 0.0,
    prediction: Tensor | None = None,
    example_weight: Tensor | None = None,
    evidential: EvidentialOptions | None = None,
    validate: bool = True,
) -> Tensor:
    """Mean loss of a batch against N weak models' labels: a scalar.

    logits (B, K), targets (B, N, K) probabilities, weights (B, N) whose rows sum to 1;
    example_weight (B,), >= 0, multiplies each example's loss before the mean (boosting).
    (1 - gamma) sum_i lambda_i L(z, p^(i)) + gamma L(z, y_hat), L cross-entropy (Eq. 1, 2) or
    evidential (Eq. 4, 5), y_hat the student's own argmax, or `prediction` (B,) if given (see
    `raw2s.method.balanced`). Both are linear in p, so the weak labels are mixed first, except under
    the `mixed` regulariser and under `max_regulariser`, which cuts that of each weak label, not
    that of their mixture. Raises ValueError for shapes that do not fit and, with `validate`, for
    rows that are no distributions.
    """
    if logits.dim() != 2:
        raise ValueError(f"logits must be (B, K), they are {tuple(logits.shape)}")
    if targets.dim() != 3 or targets.shape[0] != len(logits) or targets.shape[2] != logits.shape[1]:
        raise ValueError(
            f"targets must be (B, N, K) for logits {tuple(logits.shape)}, "
            f"they are {tuple(targets.shape)}"
        )
    if weights.shape != targets.shape[:2]:
        raise ValueError(f"weights are {tuple(weights.shape)}, targets {tuple(targets.shape)}")
    if example_weight is not None and example_weight.shape != logits.shape[:1]:
        raise ValueError(
            f"example_weight is {tuple(example_weight.shape)}, logits {tuple(logits.shape)}"
        )
    if validate:
        check_finite("logits", logits)
        check_probabilities("targets", targets)
        check_probabilities("weights", weights)
    options: EvidentialOptions = {**(evidential or {}), "validate": False}
    weights = weights.to(at_least_float32(logits).dtype)
    targets = targets.to(weights.dtype)
    if loss == "evidential" and not _linear(options):
        each = _loss(logits.unsqueeze(1).expand_as(targets), targets, loss, options)
        weak = (weights * each).sum(-1)
    else:
        weak = _loss(logits, torch.einsum("bn,bnk->bk", weights, targets), loss, options)
    value = _with_auxiliary(weak, logits, loss, gamma, options, prediction)
    if example_weight is not None:
        value = value * example_weight.to(value.dtype)
    return value.mean()


def sequence_loss(
    logits: Tensor,
    labels: Tensor,
    target_logprob: Tensor,
    sequence_weight: Tensor,
    *,
    places: Tensor | None = None,
    loss: Loss = "cross_entropy",
    target_kind: TargetKind = "full",
    gamma: float = 0.0,
    evidential: EvidentialOptions | None = None,
    token_weight: Tensor | None = None,
    detach_tail: bool = True,
    validate: bool = True,
) -> Tensor:
    """Sum over sequences of weight x mean loss over their target tokens (Eq. 11): a scalar.

    logits (S, T, V), where logits[:, t] predict labels[:, t]. With places (S, T), read at targets
    only, they are (P, V) and logits[places[s, t]] predict labels[s, t]: what no target needs is not
    computed, and a text that several weak models wrote is read once. labels (S, T) int64, -100 is
    no target; target_logprob (S, T) log t of the label tokens (read at targets only);
    sequence_weight (S,) lambda. token_weight (S, T), >= 0, read at targets only, multiplies each
    token's loss before the mean over a sequence's T_i targets, which still divides by T_i; None is
    1 everywhere. The caller divides by the number of prompts.

    target_kind `full` is the soft label over all tokens: `binary_kl` for cross_entropy (equal but
    for the target's entropy), `soft_label_evidential_loss` for evidential, whose tail is detached
    with `detach_tail`. `label_only`: t at the label and nothing elsewhere. `one_hot`: t = 1. gamma
    mixes in the loss against the student's argmax at each position. `max_regulariser` cuts each
    token's regulariser, for `label_only` t L_REG(label). Raises ValueError for shapes that do not
    fit, no sequences, and a sequence without targets; with `validate` also for non-finite logits,
    labels outside [0, V), places outside [0, P), t > 1, and weights that are negative or not
    finite.
    """
    if places is None:
        check_shape("logits", logits.shape, ("S", "T", "V"))
        shape = logits.shape[:2]
    else:
        check_shape("logits", logits.shape, ("P", "V"))
        check_shape("places", places.shape, ("S", "T"))
        shape = places.shape
    for name, tensor in (
        ("labels", labels),
        ("target_logprob", target_logprob),
        ("token_weight", token_weight),
    ):
        if tensor is not None:
            check_shape(name, tensor.shape, shape)
    check_shape("sequence_weight", sequence_weight.shape, shape[:1])
    wanted = labels != IGNORED
    counts = wanted.sum(-1)
    fault = f"is {IGNORED} everywhere"
    refuse_tensor(counts == 0, "labels", labels.shape, fault, labels[:, 0])
    # Prompts and padding are most positions: every copy below is of the target positions only.
    if validate and places is not None:
        check_indices("places", places.where(wanted, 0), len(logits))
    read = wanted if places is None else places[wanted]
    z, label, log_t = logits[read], labels[wanted], target_logprob[wanted]
    if validate:
        if not are_finite(z):
            wrong = torch.zeros_like(logits, dtype=torch.bool)
            wrong[read] = ~torch.isfinite(z)
            refuse_tensor(wrong, "logits", logits.shape, "is not finite", logits)
        # What is no target is read as 0, which is fine everywhere.
        check_indices("labels", labels.where(wanted, 0), logits.shape[-1])
        if target_kind != "one_hot":
            check_target_logprob("target_logprob", target_logprob.where(wanted, 0))
        check_not_negative("sequence_weight", sequence_weight)
        if token_weight is not None:
            check_not_negative("token_weight", token_weight.where(wanted, 0))
    options: EvidentialOptions = {**(evidential or {}), "validate": False}
    value = _token_loss(z, label, log_t, loss, target_kind, options, detach_tail)
    value = _with_auxiliary(value, z, loss, gamma, options)
    share = (sequence_weight.to(value.dtype) / counts).unsqueeze(-1).expand(labels.shape)[wanted]
    if token_weight is not None:
        share = share * token_weight[wanted].to(value.dtype)
    return (share * value).sum()


def _token_loss(
    z: Tensor,
    label: Tensor,
    log_t: Tensor,
    loss: Loss,
    target_kind: TargetKind,
    options: EvidentialOptions,
    detach_tail: bool,
) -> Tensor:
    if target_kind not in ("one_hot", "label_only", "full"):
        raise ValueError(f"target_kind must be one_hot, label_only or full, it is {target_kind!r}")
    if target_kind == "one_hot":
        return _loss(z, label, loss, options)
    full = target_kind == "full"
    if loss == "evidential" and (full or not _linear(options)):
        return soft_label_evidential_loss(
            z, label, log_t, tail=full, detach_tail=detach_tail, reduction="none", **options
        )
    if loss == "cross_entropy" and full:
        return binary_kl(z, label, log_t)
    return torch.exp(log_t.to(at_least_float32(z).dtype)) * _loss(z, label, loss, options)


def _linear(options: EvidentialOptions) -> bool:
    """Whether the evidential loss is linear in the soft label p."""
    return options.get("regulariser") != "mixed" and options.get("max_regulariser") is None


def _loss(logits: Tensor, targets: Tensor, loss: Loss, options: EvidentialOptions) -> Tensor:
    if loss == "cross_entropy":
        return cross_entropy(logits, targets, reduction="none", validate=False)
    if loss == "evidential":
        return evidential_loss(logits, targets, reduction="none", **options)
    raise ValueError(f"loss must be cross_entropy or evidential, it is {loss!r}")


def _with_auxiliary(
    weak: Tensor,
    logits: Tensor,
    loss: Loss,
    gamma: float,
    options: EvidentialOptions,
    prediction: Tensor | None = None,
) -> Tensor:
    if not 0 <= gamma <= 1:
        raise ValueError(f"gamma must be in [0, 1], it is {gamma}")
    if gamma == 0:
        return weak
    if prediction is None:
        prediction = logits.detach().argmax(-1)
    own = _loss(logits, prediction, loss, options)
    return (1 - gamma) * weak + gamma * own
