"""SLU-F1 for slot filling (Bastianelli et al. 2020), micro-averaged over slot types.

An utterance is a list of (type, filler) pairs. Predictions are taken in the order given; each takes
the nearest gold entity of its own type that is still free, at a distance d:

    matched:            TP += 1, FP += d, FN += d
    no such type left:  FP += 1
    gold left over:     FN += 1

d is the word error (word edit distance / gold words, so it can exceed 1) in the word metric and the
character error (Levenshtein distance / longer length, in [0, 1]) in the char metric. Each metric
matches by its own distance. SLU-F1 is the F1 of the summed counts of both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rapidfuzz.distance import Levenshtein

from raw2s.method.arrays import as_array, check_finite_array, check_shape, fault_at, refuse

Entity = tuple[str, str]


class SluCounts(NamedTuple):
    """The six sums that SLU-F1 is made of; floats, because an error adds its distance."""

    word_tp: float
    word_fp: float
    word_fn: float
    char_tp: float
    char_fp: float
    char_fn: float


@dataclass(frozen=True)
class SluF1:
    """Precision, recall and F1, each in [0, 1], and the counts that they come from."""

    precision: float
    recall: float
    f1: float
    counts: SluCounts


def slu_f1(
    gold: Sequence[Sequence[Entity]],
    predicted: Sequence[Sequence[Entity] | None],
    *,
    evaluator: bool = False,
) -> SluF1:
    """SLU-F1 of n utterances.

    Args:
        gold: n lists of (type, filler).
        predicted: n lists of (type, filler) in the order of the answer; None where there is no
            prediction for the utterance. An empty list is a prediction: "no slots".
        evaluator: skip the utterances without a prediction, as the original evaluator does. By
            default their gold entities count as missed.

    Raises:
        ValueError: the lengths differ, or an entity is not a pair of strings.
    """
    check_shape("predicted", (len(predicted),), (len(gold),))
    rows: list[SluCounts] = []
    for index, (gold_item, predicted_item) in enumerate(zip(gold, predicted, strict=True)):
        if predicted_item is None and evaluator:
            continue
        rows.append(
            _counts(
                _normalised(f"gold[{index}]", gold_item),
                _normalised(f"predicted[{index}]", predicted_item or ()),
            )
        )
    return from_counts(np.array(rows, dtype=np.float64).reshape(-1, 6))


def item_counts(gold_item: Iterable[Entity], predicted_item: Iterable[Entity]) -> SluCounts:
    """The six counts of one utterance, so that utterances can be resampled.

    Types and fillers are lower-cased, stripped, and their runs of white space made one space.

    Raises:
        ValueError: an entity is not a pair of strings.
    """
    return _counts(
        _normalised("gold_item", gold_item), _normalised("predicted_item", predicted_item)
    )


def _counts(gold: list[Entity], predicted: list[Entity]) -> SluCounts:
    word = _match(gold, predicted, _word_distance)
    char = _match(gold, predicted, Levenshtein.normalized_distance)
    return SluCounts(*word, *char)


def from_counts(counts: ArrayLike) -> SluF1:
    """SLU-F1 from counts of shape (n, 6), one utterance a row, or (6,), their sums.

    A zero division gives 0.

    Raises:
        ValueError: another shape, or a count that is negative or not finite.
    """
    table = as_array("counts", counts, np.float64)
    # Of no utterances the sums are 0.
    check_finite_array("counts", table, (len(table), 6) if table.ndim == 2 else (6,))
    refuse(table < 0, "counts", table.shape, "is negative", table)
    sums = table.sum(axis=0) if table.ndim == 2 else table
    tp, fp, fn = sums[:3] + sums[3:]
    return SluF1(
        precision=_ratio(tp, tp + fp),
        recall=_ratio(tp, tp + fn),
        f1=float(f1_of(sums)),
        counts=SluCounts(*(float(value) for value in sums)),
    )


def f1_of(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """F1 = 2 TP / (2 TP + FP + FN) for each row of `sums`, shape (..., 6) -> (...).

    The scale of a row does not matter: sums and means over utterances give the same F1.
    """
    both = sums[..., :3] + sums[..., 3:]
    denominator = 2.0 * both[..., 0] + both[..., 1] + both[..., 2]
    safe = np.where(denominator > 0, denominator, 1.0)
    return np.asarray(2.0 * both[..., 0] / safe, dtype=np.float64)


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else 0.0


def _normalised(name: str, item: Iterable[Entity]) -> list[Entity]:
    given, entities = list(item), list[Entity]()
    for index, entity in enumerate(given):
        pair = not isinstance(entity, str) and len(entity) == 2
        if not (pair and all(isinstance(part, str) for part in entity)):
            fault = "is no (type, filler) of strings"
            raise ValueError(fault_at(name, (len(given),), fault, (index,), entity))
        slot, filler = entity
        entities.append((" ".join(slot.lower().split()), " ".join(filler.lower().split())))
    return entities


def _word_distance(gold: str, predicted: str) -> float:
    gold_words, predicted_words = gold.split(), predicted.split()
    # An empty gold filler has no words to divide by; one keeps the distance finite.
    return Levenshtein.distance(gold_words, predicted_words) / max(1, len(gold_words))


def _match(
    gold: list[Entity], predicted: list[Entity], distance: Callable[[str, str], float]
) -> tuple[float, float, float]:
    """(TP, FP, FN) of one utterance under one distance."""
    free = list(gold)
    tp = fp = fn = 0.0
    for slot, filler in predicted:
        candidates = [
            (distance(gold_filler, filler), position)
            for position, (gold_slot, gold_filler) in enumerate(free)
            if gold_slot == slot
        ]
        if not candidates:
            fp += 1.0
            continue
        nearest, position = min(candidates)
        tp += 1.0
        fp += nearest
        fn += nearest
        del free[position]
    return tp, fp, fn + len(free)
