"""Performance gap recovered."""

from __future__ import annotations

import pytest

from raw2s.evaluation import pgr


def test_ends_of_the_scale() -> None:
    assert pgr(0.6, 0.8, 0.6).value == 0.0
    assert pgr(0.6, 0.8, 0.8).value == 1.0
    assert pgr(0.6, 0.8, 0.5).value == pytest.approx(-0.5)
    assert pgr(0.6, 0.8, 0.7).reason == ""


def test_several_weak_models_average_the_pgrs_and_not_the_scores() -> None:
    assert pgr([0.4, 0.7], 0.8, 0.6).value == pytest.approx((0.5 - 1.0) / 2)
    assert pgr(0.55, 0.8, 0.6).value == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("weak", "student", "printed"),
    [
        ([0.642], 0.687, 0.218),  # Table 7: the single weak model OPT-1.3B, no aux loss
        ([0.654], 0.731, 0.399),  # Pythia-1.4B, aux loss
        ([0.642, 0.642, 0.654], 0.760, 0.571),  # three weak models, Bayesian, aux loss
    ],
)
def test_numbers_of_the_paper(weak: list[float], student: float, printed: float) -> None:
    assert pgr(weak, 0.847, student).value == pytest.approx(printed, abs=0.006)


@pytest.mark.parametrize("ceiling", [0.6, 0.7])
def test_undefined_where_the_ceiling_is_not_above_a_weak_model(ceiling: float) -> None:
    result = pgr({"small": 0.5, "good": 0.7}, ceiling, 0.65)
    assert result.value is None
    assert "good (0.7000)" in result.reason
    assert "small" not in result.reason


def test_bad_scores_are_named() -> None:
    with pytest.raises(ValueError, match=r"weak \(shape \(0,\)\)"):
        pgr([], 0.8, 0.7)
    with pytest.raises(ValueError, match=r"weak \(shape \(2,\)\) is not finite at \(1,\): nan"):
        pgr([0.5, float("nan")], 0.8, 0.7)
