from __future__ import annotations

import numpy as np
import pytest

from raw2s.method.ensemble import (
    average,
    check_weights,
    dynamic,
    dynamic_from_scores,
    mean_probability,
    product_probability,
    trimmed,
)


def test_average_and_fixed() -> None:
    assert average(4).tolist() == [0.25] * 4
    assert check_weights([1, 3], 2).tolist() == [0.25, 0.75]
    assert check_weights([5e-324, 0], 2).tolist() == [1, 0]
    assert check_weights([1e308, 1e308], 2).tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, -0.5], r"negative at \(1,\): -0\.5"),
        ([1.0], r"weights \(shape \(1,\)\) must be \(2,\)"),
        ([0.0, 0.0], "0 everywhere"),
        ([1.0, float("nan")], r"not finite at \(1,\): nan"),
    ],
)
def test_weights_that_cannot_be(weights: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_weights(weights, 2)


def test_dynamic_is_proportional_to_the_largest_probability() -> None:
    # softmax(log max p) is max p over the sum of max p.
    p = [[[0.9, 0.1], [0.4, 0.6], [0.5, 0.5]]]
    np.testing.assert_allclose(dynamic(p), [[0.45, 0.3, 0.25]])
    scores = np.array([[-1000.0, -1001.0]])
    np.testing.assert_allclose(
        dynamic_from_scores(scores), [[1 / (1 + np.exp(-1)), 1 / (1 + np.e)]]
    )
    with pytest.raises(ValueError, match=r"\(0, 1\)"):
        dynamic_from_scores([[0.0, -np.inf]])


def test_mean_probability() -> None:
    p = np.array([[[0.9, 0.1], [0.4, 0.6]], [[0.5, 0.5], [0.0, 1.0]]])
    np.testing.assert_allclose(mean_probability(p, [3, 1]), [[0.775, 0.225], [0.375, 0.625]])
    rows = mean_probability(p, [[1, 0], [0, 2]])
    np.testing.assert_allclose(rows, [[0.9, 0.1], [0.0, 1.0]])
    with pytest.raises(ValueError, match=r"\(1, 0\)"):
        mean_probability([[[1.0, 0.0]], [[0.7, 0.7]]], [1])
    with pytest.raises(ValueError, match=r"weights .* 0 everywhere at \(1,\)"):
        mean_probability(p, [[1, 0], [0, 0]])


def test_trimmed_weights_leave_out_the_odd_one() -> None:
    right, near, wrong = [0.9, 0.1], [0.8, 0.2], [0.05, 0.95]
    probabilities = np.array([[right, near, wrong], [wrong, right, near], [right, wrong, wrong]])
    expected = [[0.5, 0.5, 0], [0, 0.5, 0.5], [0, 0.5, 0.5]]
    assert trimmed(probabilities).tolist() == expected


def test_a_model_alone_with_its_opinion_does_not_move_the_trimmed_mean() -> None:
    rng = np.random.default_rng(0)
    good = rng.dirichlet([20, 2, 2], (50, 4))
    for bad in np.eye(3)[1:]:
        probabilities = np.concatenate([good, np.broadcast_to(bad, (50, 1, 3))], axis=1)
        mixed = mean_probability(probabilities, trimmed(probabilities))
        assert np.allclose(mixed, good.mean(1), atol=1e-12)


def test_the_product_is_the_normalised_geometric_mean() -> None:
    rng = np.random.default_rng(1)
    probabilities, weights = rng.dirichlet([1, 1, 1], (20, 4)), rng.dirichlet([1] * 4, 20)
    for row, (given, told) in enumerate(zip(probabilities, weights, strict=True)):
        product = np.prod([p**w for p, w in zip(given, told, strict=True)], axis=0)
        mixed = product_probability(probabilities, weights)[row]
        assert np.allclose(mixed, product / product.sum(), atol=1e-12)


def test_the_product_of_models_that_rule_each_other_out_is_a_distribution() -> None:
    mixed = product_probability([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]], [1, 1])
    assert mixed == pytest.approx(np.array([[0.5, 0.5, 0.0]]), abs=1e-12)
