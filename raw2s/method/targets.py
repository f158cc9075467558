"""What a loss is computed against: class indices, or a distribution over the classes."""

from __future__ import annotations

import torch
from torch import Tensor

SUM_TOLERANCE = 1e-3
"""How far a row of probabilities may be from summing to 1 (bfloat16 rounding stays below)."""


def at_least_float32(logits: Tensor) -> Tensor:
    """`logits` in float32, or as they are when float64: bf16 is too coarse for every loss here."""
    return logits if logits.dtype == torch.float64 else logits.float()


def are_indices(logits: Tensor, targets: Tensor) -> bool:
    """Whether `targets` are class indices (...) rather than probabilities (..., K).

    The dtype decides. Raises ValueError where the shape then does not fit logits (..., K).
    """
    if logits.dim() < 1 or logits.shape[-1] < 2:
        raise ValueError(f"logits must be (..., K) with K >= 2, they are {tuple(logits.shape)}")
    if targets.is_floating_point():
        if targets.shape != logits.shape:
            raise ValueError(
                f"targets (probabilities) are {tuple(targets.shape)}, logits {tuple(logits.shape)}"
            )
        return False
    if targets.dtype != torch.int64:
        raise ValueError(f"targets must be int64 indices or probabilities, not {targets.dtype}")
    if targets.shape != logits.shape[:-1]:
        raise ValueError(
            f"targets (indices) are {tuple(targets.shape)}, logits {tuple(logits.shape)}"
        )
    return True


def check_finite(name: str, values: Tensor) -> None:
    """Raise ValueError naming the first NaN or infinity."""
    _refuse(~torch.isfinite(values), name, values, "is not finite")


def check_probabilities(name: str, rows: Tensor) -> None:
    """Raise ValueError unless every row (..., K) lies in [0, 1] and sums to 1 within 1e-3."""
    check_finite(name, rows)
    _refuse(rows < 0, name, rows, "is negative")
    sums = rows.detach().sum(-1, dtype=torch.float32)
    _refuse((sums - 1).abs() > SUM_TOLERANCE, f"the sum of {name}", sums, "is not 1")


def check_indices(name: str, indices: Tensor, classes: int) -> None:
    """Raise ValueError naming the first index outside [0, classes)."""
    wrong = (indices < 0) | (indices >= classes)
    _refuse(wrong, name, indices, f"is not in [0, {classes})")


def check_targets(logits: Tensor, targets: Tensor) -> None:
    """Raise ValueError unless logits are finite and targets are indices or distributions."""
    check_finite("logits", logits)
    if are_indices(logits, targets):
        check_indices("targets", targets, logits.shape[-1])
    else:
        check_probabilities("targets", targets)


def _refuse(wrong: Tensor, name: str, values: Tensor, what: str) -> None:
    if bool(wrong.any()):
        where = tuple(int(i) for i in wrong.nonzero()[0])
        raise ValueError(
            f"{name} (shape {tuple(values.shape)}) {what} at {where}: {values[where].item()}"
        )


def reduce(values: Tensor, reduction: str) -> Tensor:
    """`values` as they are (`none`), their `mean`, or their `sum`."""
    if reduction == "none":
        return values
    if reduction == "mean":
        return values.mean()
    if reduction == "sum":
        return values.sum()
    raise ValueError(f"reduction must be none, mean or sum, it is {reduction!r}")
