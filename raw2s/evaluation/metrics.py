"""Accuracy of predicted labels."""

from __future__ import annotations

from collections.abc import Sequence

from raw2s.method.arrays import check_shape


def accuracy(gold: Sequence[object], predicted: Sequence[object]) -> float:
    """Share of positions at which `predicted` equals `gold`.

    Args:
        gold: n labels of any type that compares with ==.
        predicted: n labels of the same type; an answer that could not be read is a wrong label
            (for example None), it is not left out.

    Returns:
        A share in [0, 1].

    Raises:
        ValueError: the lengths differ or are zero.
    """
    check_shape("gold", (len(gold),), ("n",))
    check_shape("predicted", (len(predicted),), (len(gold),))
    right = sum(bool(g == p) for g, p in zip(gold, predicted, strict=True))
    return right / len(gold)
