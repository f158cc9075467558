"""The gate: planted reliability, its likelihood by hand, and the mean that its weights are for."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from raw2s.method.dawid_skene import DawidSkene
from raw2s.method.ensemble import mean_probability
from raw2s.method.gate import Gate
from raw2s.method.reliability import learned_weights, log_odds_weights


def distributions(votes: np.ndarray, confidence: np.ndarray, classes: int) -> np.ndarray:
    """(B, N, K) with the confidence at the vote, the rest shared alike."""
    said = votes[:, :, None] == np.arange(classes)
    return np.where(said, confidence[:, :, None], (1 - confidence[:, :, None]) / (classes - 1))


def draw(
    classes: int, accuracy: np.ndarray | list[float], rows: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth (B,), votes (B, N) and confidences that tell nothing, of accuracies (N,) or (B, N)."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(classes, size=rows)
    size = (rows, np.shape(accuracy)[-1])
    wrong = (truth[:, None] + rng.integers(1, classes, size)) % classes
    votes = np.where(rng.random(size) < accuracy, truth[:, None], wrong)
    return truth, votes, rng.uniform(0.68, 0.72, size)


def planted(classes: int, rows: int = 4000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth (B,), probabilities (B, N, K) and whether model 0 is confident (B,).

    Model 0 is right when it is confident and says anything when not, model 1 is right when it says
    0 and says any other class when not, three more are right in 60 %.
    """
    sure = np.arange(rows) % 2 == 0
    accuracy = np.full((rows, 5), 0.6)
    accuracy[:, 0] = np.where(sure, 0.97, 1 / classes)
    truth, votes, confidence = draw(classes, accuracy, rows)
    confidence[:, 0] += np.where(sure, 0.15, -0.05)
    rng = np.random.default_rng(1)
    finds = (truth == 0) & (rng.random(rows) < 0.8)
    votes[:, 1] = np.where(finds, 0, rng.integers(1, classes, rows))
    return truth, distributions(votes, confidence, classes), sure


def right(probabilities: np.ndarray, weights: np.ndarray, truth: np.ndarray) -> float:
    return float((mean_probability(probabilities, weights).argmax(-1) == truth).mean())


@pytest.mark.parametrize("classes", [2, 4])
def test_finds_where_each_model_is_right(classes: int) -> None:
    truth, probabilities, sure = planted(classes)
    votes = probabilities.argmax(-1)
    gate = Gate().fit(probabilities)
    found = gate.accuracies(probabilities)
    for model, rows in ((0, sure), (0, ~sure), (1, votes[:, 1] == 0), (1, votes[:, 1] != 0)):
        share = (votes[rows, model] == truth[rows]).mean()
        assert found[rows, model].mean() == pytest.approx(share, abs=0.05)
    weights = gate.weights(probabilities)
    np.testing.assert_allclose(weights.sum(-1), 1)
    own = right(probabilities, weights, truth)
    constant = log_odds_weights(DawidSkene(classes).fit(votes).accuracies_, classes, len(votes))
    for others in (np.ones(5), constant, learned_weights(votes, classes)):
        assert own > right(probabilities, others, truth) + 0.015


@pytest.mark.parametrize("classes", [2, 4])
def test_constant_reliability_gives_the_learned_weights(classes: int) -> None:
    accuracy = [0.9, 0.75, 0.6, 0.8]
    _, votes, confidence = draw(classes, accuracy, 10_000)
    probabilities = distributions(votes, confidence, classes)
    gate = Gate().fit(probabilities)
    found = gate.accuracies(probabilities)
    np.testing.assert_allclose(found.mean(0), accuracy, atol=0.02)
    assert found.std(0).max() < 0.03
    weights = gate.weights(probabilities)
    np.testing.assert_allclose(weights.mean(0), learned_weights(votes, classes), atol=0.02)


def likelihood(
    probabilities: np.ndarray, prior: np.ndarray, bias: np.ndarray, skill: np.ndarray
) -> tuple[float, np.ndarray]:
    """L for a ridge of 1, and the accuracies, in loops over items, models and classes."""
    rows, models, classes = probabilities.shape
    odds = np.array([[np.log(p.max() / (1 - p.max())) for p in row] for row in probabilities])
    confidence = (odds - odds.mean(0)) / odds.std(0)
    total = np.log(prior).sum() / classes - (bias**2).sum() / 2 - (skill**2).sum() / 2
    accuracies = np.empty((rows, models))
    for row in range(rows):
        joint = prior.copy()
        for i in range(models):
            vote = probabilities[row, i].argmax()
            chance = []
            for truth in range(classes):
                scores = bias[i].copy()
                scores[truth] += skill[i, 0] + skill[i, 1] * confidence[row, i]
                scores[truth] += skill[i, 2 + truth]
                chance.append(np.exp(scores[vote]) / np.exp(scores).sum())
            joint *= chance
            accuracies[row, i] = chance[vote] / sum(chance)
        total += np.log(joint.sum())
    return total, accuracies


@pytest.mark.parametrize("classes", [2, 3])
def test_the_fit_is_a_maximum_of_the_likelihood(classes: int) -> None:
    _, probabilities, _ = planted(classes, rows=100)
    gate = Gate(tolerance=1e-9).fit(probabilities)
    best, accuracies = likelihood(probabilities, gate.prior_, gate.bias_, gate.skill_)
    assert gate.log_likelihood_[-1] == pytest.approx(best, rel=1e-10)
    np.testing.assert_allclose(gate.accuracies(probabilities), accuracies)
    parts = [np.log(gate.prior_), gate.bias_, gate.skill_]

    def moved(part: int, index: int, by: float) -> float:
        values = [part.copy() for part in parts]
        values[part].flat[index] += by
        prior = np.exp(values[0])
        return likelihood(probabilities, prior / prior.sum(), *values[1:])[0]

    for part, values in enumerate(parts):
        for index in range(values.size):
            lower, upper = (moved(part, index, by) for by in (-1e-4, 1e-4))
            assert abs(upper - lower) / 2e-4 < 0.02
            assert lower + upper < 2 * best


@pytest.mark.parametrize("seed", range(3))
def test_the_likelihood_never_falls(seed: int) -> None:
    # Distributions without any structure, of which no fit is easy.
    probabilities = np.random.default_rng(seed).dirichlet(np.ones(3), (80, 4))
    gate = Gate(max_iterations=100, tolerance=0).fit(probabilities)
    assert len(gate.log_likelihood_) == gate.iterations_ > 10
    assert np.diff(gate.log_likelihood_).min() > -1e-9
    assert gate.log_likelihood_[-1] > gate.log_likelihood_[0] + 0.01


def test_order_of_models_and_names_of_classes_do_not_matter() -> None:
    _, probabilities, _ = planted(3, rows=300)
    weights = Gate().fit(probabilities).weights(probabilities)
    models, classes = [2, 0, 4, 1, 3], [1, 2, 0]
    moved = probabilities[:, models][:, :, classes]
    np.testing.assert_allclose(Gate().fit(moved).weights(moved), weights[:, models], atol=1e-3)


def test_a_frequent_class_does_not_swallow_the_rest() -> None:
    rng = np.random.default_rng(0)
    truth = (rng.random(3000) < 0.2).astype(int)
    votes = np.where(rng.random((3000, 5)) < 0.7, truth[:, None], 1 - truth[:, None])
    probabilities = distributions(votes, rng.uniform(0.68, 0.72, votes.shape), 2)
    gate = Gate().fit(probabilities)
    np.testing.assert_allclose(gate.prior_, [0.8, 0.2], atol=0.05)
    for said, model in itertools.product(range(2), range(5)):
        rows = votes[:, model] == said
        assert gate.accuracies(probabilities)[rows, model].mean() == pytest.approx(0.7, abs=0.06)


@pytest.mark.parametrize("models", [1, 2])
def test_few_models(models: int) -> None:
    truth, votes, confidence = draw(3, [0.8] * models, 300)
    probabilities = distributions(votes, confidence, 3)
    weights = Gate().fit(probabilities).weights(probabilities)
    assert weights.shape == (300, models)
    np.testing.assert_allclose(weights.sum(-1), 1)
    np.testing.assert_allclose(weights.mean(0), 1 / models, atol=0.1)


def test_a_constant_model_counts_little() -> None:
    _, votes, confidence = draw(3, [0.8, 0.7, 0.75, 0.5], 1000)
    votes[:, 3], confidence[:, 3] = 2, 0.7
    probabilities = distributions(votes, confidence, 3)
    assert Gate().fit(probabilities).weights(probabilities)[:, 3].max() < 0.05


def test_certain_models_that_always_agree_stay_finite() -> None:
    certain = np.eye(3)[np.arange(30) % 3][:, None].repeat(4, axis=1)
    gate = Gate().fit(certain)
    accuracies = gate.accuracies(certain)
    assert (accuracies > 0.5).all() and (accuracies < 1).all()
    np.testing.assert_allclose(gate.weights(certain), 0.25)


def test_refuses() -> None:
    good = np.full((3, 2, 2), 0.5)
    bad = good.copy()
    bad[1, 0, 1] = np.nan
    with pytest.raises(ValueError, match=r"probabilities \(shape \(3, 2, 2\)\) .* at \(1, 0, 1\)"):
        Gate().fit(bad)
    bad[1, 0, 1] = 0.7
    with pytest.raises(ValueError, match=r"sum of probabilities .* is not 1 at \(1, 0\): 1.2"):
        Gate().fit(bad)
    with pytest.raises(ValueError, match=r"probabilities \(shape \(2, 2\)\) must be \(B, N, K\)"):
        Gate().fit(good[0])
    with pytest.raises(ValueError, match="fit comes before accuracies"):
        Gate().weights(good)
    with pytest.raises(ValueError, match=r"\(shape \(3, 1, 2\)\) must be \(B, 2, 2\)"):
        Gate().fit(good).accuracies(good[:, :1])
    with pytest.raises(ValueError, match="ridge"):
        Gate(ridge=0)
    with pytest.raises(ValueError, match="max_iterations"):
        Gate(max_iterations=0)
    with pytest.raises(ValueError, match="tolerance"):
        Gate(tolerance=float("nan"))
