"""What a loss is computed against: class indices, or a distribution over the classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from raw2s.method.arrays import SUM_TOLERANCE, fault_at


def at_least_float32(logits: Tensor) -> Tensor:
    """`logits` in float32, or as they are when float64: bf16 is too coarse for every loss here."""
    return logits if logits.dtype == torch.float64 else logits.float()


def check_logits(logits: Tensor) -> None:
    """Raise ValueError unless logits are (..., K) with K >= 2 and at least one row."""
    if logits.dim() < 1 or logits.shape[-1] < 2 or logits.numel() == 0:
        shape = tuple(logits.shape)
        raise ValueError(f"logits (shape {shape}) must be (..., K) with K >= 2, and not empty")


def are_indices(logits: Tensor, targets: Tensor) -> bool:
    """Whether `targets` are class indices (...) rather than probabilities (..., K).

    The dtype decides. Raises ValueError where the shape then does not fit logits (..., K), and as
    `check_logits`.
    """
    check_logits(logits)
    shape = tuple(logits.shape)
    given = f"targets (shape {tuple(targets.shape)})"
    indices = not targets.is_floating_point()
    if indices and targets.dtype != torch.int64:
        raise ValueError(f"{given} must be int64 indices or probabilities, not {targets.dtype}")
    expected = shape[:-1] if indices else shape
    if targets.shape != expected:
        kind = "indices" if indices else "probabilities"
        raise ValueError(f"{given} must be {expected}, {kind} for logits (shape {shape})")
    return indices


def refuse_tensor(
    wrong: Tensor, name: str, shape: Sequence[int], fault: str, values: Tensor
) -> None:
    """ValueError for the first True of `wrong`; `values` has its shape, the argument `shape`."""
    if bool(wrong.any()):
        where = tuple(int(i) for i in wrong.nonzero()[0])
        raise ValueError(fault_at(name, shape, fault, where, values[where].item()))


def are_finite(values: Tensor) -> bool:
    """Whether no value is NaN or infinite; takes no memory of the size of `values`."""
    if values.numel() == 0:
        return True
    # A NaN anywhere makes both ends NaN. Other than aminmax, neither copies a slice.
    given = values.detach()
    ends = torch.stack([given.amin(), given.amax()])
    return bool(torch.isfinite(ends).all())


def check_finite(name: str, values: Tensor) -> None:
    """Raise ValueError naming the first NaN or infinity."""
    if not are_finite(values):
        refuse_tensor(~torch.isfinite(values), name, values.shape, "is not finite", values)


def check_not_negative(name: str, values: Tensor) -> None:
    """Raise ValueError naming the first NaN, infinity or negative number."""
    check_finite(name, values)
    refuse_tensor(values < 0, name, values.shape, "is negative", values)


def check_probabilities(name: str, rows: Tensor) -> None:
    """Raise ValueError unless every row (..., K) is >= 0 and sums to 1 within 1e-3, or within what
    rounding to its dtype can do."""
    check_not_negative(name, rows)
    sums = rows.detach().sum(-1, dtype=torch.float32)
    rounding = 0.0
    if rows.is_floating_point():
        # It moves each p by at most eps/2 of itself, or by half the smallest number there is.
        dtype = torch.finfo(rows.dtype)
        rounding = dtype.eps / 2 * (1 + rows.shape[-1] * dtype.smallest_normal)
    wrong = (sums - 1).abs() > max(SUM_TOLERANCE, rounding)
    refuse_tensor(wrong, f"the sum of {name}", rows.shape, "is not 1", sums)


def check_indices(name: str, indices: Tensor, classes: int) -> None:
    """Raise ValueError naming the first index outside [0, classes)."""
    wrong = (indices < 0) | (indices >= classes)
    fault = f"is not a whole number in [0, {classes})"
    refuse_tensor(wrong, name, indices.shape, fault, indices)


def check_targets(logits: Tensor, targets: Tensor) -> None:
    """Raise ValueError unless logits are finite and targets are indices or distributions."""
    check_finite("logits", logits)
    if are_indices(logits, targets):
        check_indices("targets", targets, logits.shape[-1])
    else:
        check_probabilities("targets", targets)


def reduce(values: Tensor, reduction: str) -> Tensor:
    """`values` as they are (`none`), their `mean`, or their `sum`."""
    if reduction == "none":
        return values
    if reduction == "mean":
        return values.mean()
    if reduction == "sum":
        return values.sum()
    raise ValueError(f"reduction must be none, mean or sum, it is {reduction!r}")
