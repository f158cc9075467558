"""Checks of arguments, for `raw2s.method` and `raw2s.evaluation`: one wording for a kind of fault,

    <argument> (shape <shape>) <fault> at <first bad index>: <value>

and where the shape itself is wrong, the one expected. Tensors: `raw2s.method.targets`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
Bools = NDArray[np.bool_]
Expected = tuple[int | str, ...]
"""A shape: a number is that size, a letter any size above 0."""

SUM_TOLERANCE = 1e-3
"""How far a row of probabilities may be from summing to 1."""


def fault_at(
    name: str, shape: Sequence[int], fault: str, where: tuple[int, ...], value: object
) -> str:
    """The message of a fault at an index; () is the argument as a whole."""
    place = f" at {where}" if where else ""
    return f"{name} (shape {tuple(shape)}) {fault}{place}: {value}"


def refuse(
    wrong: NDArray[Any], name: str, shape: Sequence[int], fault: str, values: NDArray[Any]
) -> None:
    """ValueError for the first True of `wrong`; `values` has its shape, the argument `shape`."""
    if wrong.any():
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(fault_at(name, shape, fault, where, values[where]))


def check_shape(name: str, shape: Sequence[int], expected: Expected) -> None:
    """ValueError unless the shape is the one expected."""
    fits = len(shape) == len(expected) and all(
        size > 0 if isinstance(want, str) else size == want
        for size, want in zip(shape, expected, strict=True)
    )
    if not fits:
        sizes = ", ".join(map(str, expected)) + ("," if len(expected) == 1 else "")
        letters = ", ".join(want for want in expected if isinstance(want, str))
        above = f" with {letters} > 0" if letters else ""
        raise ValueError(f"{name} (shape {tuple(shape)}) must be ({sizes}){above}")


def as_array(name: str, values: ArrayLike, dtype: DTypeLike | None = None) -> NDArray[Any]:
    """The values as an array; ValueError for rows of different lengths or no numbers."""
    try:
        return np.asarray(values, dtype)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is no array of numbers: {error}") from error


def check_finite_array(name: str, values: ArrayLike, expected: Expected = ("n",)) -> Array:
    """The values as float64; ValueError for another shape, NaN or infinity."""
    array = as_array(name, values, np.float64)
    check_shape(name, array.shape, expected)
    refuse(~np.isfinite(array), name, array.shape, "is not finite", array)
    return array


def check_distributions(name: str, values: ArrayLike, expected: Expected) -> Array:
    """Probabilities (..., K), K >= 2, as float64; ValueError as above, for one below 0, and for a
    row that does not sum to 1 within 1e-3."""
    array = check_finite_array(name, values, expected)
    if array.shape[-1] < 2:
        raise ValueError(f"{name} (shape {array.shape}) must be of 2 classes or more")
    refuse(array < 0, name, array.shape, "is negative", array)
    sums = np.asarray(array.sum(-1))
    refuse(np.abs(sums - 1) > SUM_TOLERANCE, f"the sum of {name}", array.shape, "is not 1", sums)
    return array


def check_weight_rows(name: str, values: ArrayLike, expected: Expected) -> Array:
    """Weights (..., N) as float64; ValueError as above, for one below 0, and for a row of zeros."""
    array = check_finite_array(name, values, expected)
    refuse(array < 0, name, array.shape, "is negative", array)
    largest = np.asarray(array.max(-1))
    refuse(largest == 0, name, array.shape, "is 0 everywhere", largest)
    return array


def normalised(name: str, values: ArrayLike, expected: Expected) -> Array:
    """Weights (N,) made to sum to 1; ValueError as for `check_weight_rows`."""
    array = check_weight_rows(name, values, expected)
    # Divided by the largest first, the sum neither overflows nor vanishes.
    scaled = array / array.max()
    return np.asarray(scaled / scaled.sum(), dtype=np.float64)


def check_whole(name: str, values: ArrayLike, expected: Expected, low: int, high: int) -> Indices:
    """Whole numbers low to high - 1, as int64; ValueError for another shape or any other value."""
    array = as_array(name, values)
    check_shape(name, array.shape, expected)
    wrong = ~np.isin(array, np.arange(low, high))
    refuse(wrong, name, array.shape, f"is not a whole number in [{low}, {high})", array)
    return array.astype(np.int64)


def check_sample_weights(weights: ArrayLike) -> Array:
    """The weights (n,), made to sum to 1; ValueError as for `check_weight_rows`."""
    return normalised("weights", weights, ("n",))


def check_wrong(wrong: ArrayLike, n: int) -> Bools:
    """Errors (n,) as booleans; ValueError for another shape or other values than 0 and 1."""
    return check_whole("wrong", wrong, (n,), 0, 2).astype(np.bool_)


def check_item(item: ArrayLike, n: int) -> Indices:
    """Example numbers (n,) as integers; ValueError for another shape or fractions."""
    array = as_array("item", item)
    check_shape("item", array.shape, (n,))
    if array.dtype.kind not in "iu":
        raise ValueError(f"item (shape {array.shape}) must be integers, not {array.dtype}")
    return array.astype(np.int64)


def check_at_least(name: str, value: int, least: int) -> None:
    """ValueError unless value is an integer of at least `least`."""
    if value < least:
        raise ValueError(f"{name} is {value}, expected at least {least}")


def check_one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """ValueError unless value is one of `allowed`."""
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}, expected one of {list(allowed)}")
