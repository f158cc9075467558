"""Checks of numpy arguments: one line that names the argument, its shape or its first bad index."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from raw2s.method.ensemble import Array, check_weights

Indices = NDArray[np.int64]
Bools = NDArray[np.bool_]


def check_finite_array(name: str, values: ArrayLike) -> Array:
    """The values (n,) as float64; ValueError for another shape, none, NaN or infinity."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}, expected (n,) with n > 0")
    bad = ~np.isfinite(array)
    if bad.any():
        first = int(bad.argmax())
        raise ValueError(f"{name} {array.shape} are not finite at {first}: {array[first]}")
    return array


def check_sample_weights(weights: ArrayLike) -> Array:
    """The weights (n,), made to sum to 1; ValueError for a negative one, or if all are 0."""
    array = check_finite_array("weights", weights)
    if array.min() < 0 or array.max() == 0:
        raise ValueError(
            f"weights {array.shape} must be >= 0 and not all 0,"
            f" at {int(array.argmin())} is {array.min()}"
        )
    return check_weights(array, len(array))


def check_wrong(wrong: ArrayLike, n: int) -> Bools:
    """Errors (n,) as booleans; ValueError for another shape or other values than 0 and 1."""
    array = np.asarray(wrong)
    if array.shape != (n,):
        raise ValueError(f"wrong has shape {array.shape}, expected ({n},)")
    bad = ~np.isin(array, (0, 1))
    if bad.any():
        first = int(bad.argmax())
        raise ValueError(f"wrong must be booleans, at {first} is {array[first]}")
    return array.astype(np.bool_)


def check_item(item: ArrayLike, n: int) -> Indices:
    """Example numbers (n,) as integers; ValueError for another shape or fractions."""
    array = np.asarray(item)
    if array.shape != (n,) or array.dtype.kind not in "iu":
        raise ValueError(
            f"item has shape {array.shape} and type {array.dtype}, expected ({n},) whole numbers"
        )
    return array.astype(np.int64)


def check_at_least(name: str, value: int, least: int) -> None:
    """ValueError unless value is an integer of at least `least`."""
    if value < least:
        raise ValueError(f"{name} is {value}, expected at least {least}")


def check_one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """ValueError unless value is one of `allowed`."""
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}, expected one of {list(allowed)}")
