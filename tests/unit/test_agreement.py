"""Agreement of weak models."""

from __future__ import annotations

import numpy as np
import pytest

from raw2s.evaluation import agreement


def test_classification_is_accuracy_against_each_other() -> None:
    rng = np.random.default_rng(0)
    labels = {name: rng.integers(0, 3, 60).tolist() for name in ("x", "y", "z")}
    matrix = agreement(labels)
    assert list(matrix.index) == list(matrix.columns) == ["x", "y", "z"]
    for one in labels:
        for other in labels:
            same = np.mean(np.array(labels[one]) == np.array(labels[other]))
            assert matrix.loc[one, other] == pytest.approx(same)


def test_text_is_one_minus_distance_over_the_longer_length() -> None:
    # kitten/sitting: 3 of 7; two empty texts agree; an empty text shares nothing with another.
    matrix = agreement({"x": ["kitten", "", "abc"], "y": ["sitting", "", ""]}, "text")
    assert matrix.loc["x", "y"] == pytest.approx(((1 - 3 / 7) + 1 + 0) / 3)
    assert matrix.loc["y", "x"] == matrix.loc["x", "y"]
    assert matrix.loc["x", "x"] == 1.0


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"predictions \(shape \(0,\)\) must be \(N,\)"):
        agreement({})
    with pytest.raises(ValueError, match=r"predictions\['y'\] \(shape \(1,\)\) must be \(2,\)"):
        agreement({"x": [1, 2], "y": [1]})
    with pytest.raises(
        ValueError, match=r"predictions\['y'\] \(shape \(2,\)\) is no string at \(1,\): None"
    ):
        agreement({"x": ["a", "b"], "y": ["a", None]}, "text")
    with pytest.raises(ValueError, match="kind is 'words'"):
        agreement({"x": ["a"]}, "words")  # type: ignore[arg-type]
