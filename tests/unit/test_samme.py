"""SAMME where the optimum is known: the exponential loss, and segments of a line."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from raw2s.method.boosting import Boosting, chance_error, combine, expert_weight


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("error", [0.02, 0.2, 0.45])
def test_alpha_minimises_the_exponential_loss(classes: int, error: float) -> None:
    """Zhu et al. 2009: with classes coded as 1 and -1/(K-1), an expert with weight beta costs
    (1-e) exp(-beta/(K-1)) + e exp(beta/(K-1)^2), least at beta = (K-1)^2/K alpha."""
    k = classes - 1

    def cost(beta: float) -> float:
        return (1 - error) * np.exp(-beta / k) + error * np.exp(beta / k**2)

    found = minimize_scalar(cost, bounds=(0, 200), method="bounded", options={"xatol": 1e-9})
    alpha = expert_weight(error, chance_error(classes))
    assert found.x == pytest.approx(k**2 / classes * alpha, rel=1e-4)


def best_stump(labels: np.ndarray, weights: np.ndarray, classes: int) -> np.ndarray:
    """The split of the line into two classes with the least weighted error, by exhaustion."""
    places = np.arange(len(labels))
    stumps = [
        np.where(places < split, left, right)
        for split, left, right in product(places, range(classes), range(classes))
    ]
    return min(stumps, key=lambda predicted: float(weights[predicted != labels].sum()))


@pytest.mark.parametrize(
    ("segments", "single"),
    [([0, 1, 0], 1 / 3), ([0, 1, 2], 1 / 3), ([0, 1, 0, 1], 1 / 4), ([1, 0, 1, 0, 1], 2 / 5)],
)
def test_stumps_that_fail_alone_are_right_together(segments: list[int], single: float) -> None:
    """One split cannot tell three segments or more apart; a vote of splits can, without error."""
    labels, classes = np.repeat(segments, 5), max(segments) + 1
    boosting = Boosting(len(labels), epsilon=chance_error(classes), max_rounds=60)
    predictions = []
    while not boosting.finished:
        predicted = best_stump(labels, boosting.weights, classes)
        predictions.append(np.eye(classes)[predicted])
        boosting.add(predicted != labels)
        assert boosting.weights.sum() == pytest.approx(1, abs=1e-12)
        # Under the new weights the expert that was just trained is no better than chance.
        new_error = boosting.weights[predicted != labels].sum()
        assert new_error == pytest.approx(chance_error(classes), abs=1e-9)
    assert boosting.errors[0] == pytest.approx(single)
    vote = combine(predictions, boosting.alphas, "vote")
    assert (vote.argmax(-1) == labels).all()
