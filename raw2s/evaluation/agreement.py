"""How far the weak models agree with each other (Fig. 3 of the paper)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd
from rapidfuzz.distance import Levenshtein

from raw2s.evaluation.metrics import accuracy


def agreement(
    predictions: Mapping[str, Sequence[object]],
    kind: Literal["classification", "text"] = "classification",
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
    if kind not in ("classification", "text"):
        raise ValueError(f"kind is {kind!r}, expected 'classification' or 'text'")
    if not predictions:
        raise ValueError("predictions has 0 models")
    names = list(predictions)
    n = len(predictions[names[0]])
    for name, answers in predictions.items():
        if len(answers) == 0 or len(answers) != n:
            raise ValueError(
                f"predictions[{name!r}] has {len(answers)} answers, "
                f"predictions[{names[0]!r}] has {n}; expected the same number, above 0"
            )
        if kind == "text":
            for index, answer in enumerate(answers):
                if not isinstance(answer, str):
                    raise ValueError(
                        f"predictions[{name!r}][{index}] is {answer!r}, expected a string"
                    )
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
