"""Accuracy of predicted labels."""

from __future__ import annotations

from collections.abc import Sequence


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
    if len(gold) != len(predicted):
        raise ValueError(f"predicted has {len(predicted)} labels, gold has {len(gold)}")
    if len(gold) == 0:
        raise ValueError("gold has 0 labels: accuracy is undefined")
    right = sum(bool(g == p) for g, p in zip(gold, predicted, strict=True))
    return right / len(gold)
