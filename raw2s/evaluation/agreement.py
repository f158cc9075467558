"""How far the weak models agree with each other (Fig. 3 of the paper)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Literal, get_args

import numpy as np
import pandas as pd
from rapidfuzz.distance import Levenshtein

from raw2s.evaluation.metrics import accuracy
from raw2s.method.arrays import check_one_of, check_shape, fault_at

Kind = Literal["classification", "text"]


def agreement(
    predictions: Mapping[str, Sequence[object]], kind: Kind = "classification"
) -> pd.DataFrame:
    """N x N agreement in [0, 1]; symmetric, with a diagonal of 1.

    Args:
        predictions: for each of N models its n answers, in the same order of items.
        kind: "classification" is the accuracy of one model against another's labels; "text" is the
            mean over items of 1 - Levenshtein distance / longer length, 1 for two empty texts.

    Raises:
        ValueError: no model, no answers, lengths that differ, an unknown kind, or an answer that
            is not a string where kind is "text".
    """
    check_one_of("kind", kind, get_args(Kind))
    check_shape("predictions", (len(predictions),), ("N",))
    names = list(predictions)
    n = len(predictions[names[0]])
    check_shape(f"predictions[{names[0]!r}]", (n,), ("n",))
    for name, answers in predictions.items():
        place = f"predictions[{name!r}]"
        check_shape(place, (len(answers),), (n,))
        for index, answer in enumerate(answers if kind == "text" else ()):
            if not isinstance(answer, str):
                raise ValueError(fault_at(place, (n,), "is no string", (index,), answer))
    matrix = pd.DataFrame(np.eye(len(names)), index=names, columns=names)
    similarity = accuracy if kind == "classification" else _text_similarity
    for one, other in combinations(names, 2):
        value = similarity(predictions[one], predictions[other])
        matrix.loc[one, other] = matrix.loc[other, one] = value
    return matrix


def _text_similarity(one: Sequence[object], other: Sequence[object]) -> float:
    scores = [
        Levenshtein.normalized_similarity(str(a), str(b)) for a, b in zip(one, other, strict=True)
    ]
    return float(np.mean(scores))
