"""Learned weights: the formula, what the label models find, and the vote that they are for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import ArrayLike

from raw2s.method.dawid_skene import DawidSkene
from raw2s.method.label_models import FlyingSquid, signed_votes
from raw2s.method.reliability import learned_weights


def draw(
    classes: int, accuracy: ArrayLike, rows: int = 20_000, abstain: float = 0.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Votes (n, N) of voters that err on all other classes alike, and the truth (n,)."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(classes, size=rows)
    size = (rows, np.size(accuracy))
    wrong = (truth[:, None] + rng.integers(1, classes, size)) % classes
    votes = np.where(rng.random(size) < np.asarray(accuracy), truth[:, None], wrong)
    votes[rng.random(size) < abstain] = -1
    return votes, truth


def formula(accuracies: list[float] | np.ndarray, classes: int) -> list[float]:
    odds = [max(0.0, math.log((classes - 1) * a / (1 - a))) for a in accuracies]
    return [o / sum(odds) for o in odds]


@pytest.mark.parametrize("abstain", [0.0, 0.3])
@pytest.mark.parametrize("classes", [2, 4])
def test_finds_the_planted_weights(classes: int, abstain: float) -> None:
    planted = [0.9, 0.75, 0.6, 0.8]
    votes, _ = draw(classes, planted, abstain=abstain)
    got = learned_weights(votes, classes)
    assert got.sum() == pytest.approx(1)
    np.testing.assert_allclose(got, formula(planted, classes), atol=0.03)
    shares = learned_weights(votes, classes, kind="accuracy")
    np.testing.assert_allclose(shares, np.array(planted) / sum(planted), atol=0.02)


def test_two_classes_and_three_models_ask_flyingsquid() -> None:
    votes, _ = draw(2, [0.85, 0.7, 0.6], rows=500)
    accuracies = FlyingSquid().fit(signed_votes(votes)).accuracies
    np.testing.assert_allclose(learned_weights(votes, 2), formula(accuracies, 2))
    np.testing.assert_allclose(
        learned_weights(votes, 2, kind="accuracy"), accuracies / accuracies.sum()
    )


@pytest.mark.parametrize(("classes", "models"), [(2, 2), (3, 2), (3, 4)])
def test_the_others_ask_dawid_skene(classes: int, models: int) -> None:
    votes, _ = draw(classes, [0.85, 0.7, 0.6, 0.75][:models], rows=500)
    accuracies = DawidSkene(classes).fit(votes).accuracies_
    np.testing.assert_allclose(learned_weights(votes, classes), formula(accuracies, classes))


@pytest.mark.parametrize("classes", [2, 4])
def test_no_better_than_chance_counts_nothing(classes: int) -> None:
    planted = np.array([0.9, 0.8, 0.7, 0.5 / classes])
    votes, _ = draw(classes, planted)
    got = learned_weights(votes, classes)
    assert got[3] == 0
    assert got[:3].min() > 0.1
    shares = learned_weights(votes, classes, kind="accuracy")
    np.testing.assert_allclose(shares, planted / planted.sum(), atol=0.02)


def test_one_bad_model_of_three_is_told_from_the_good() -> None:
    votes, _ = draw(2, [0.75, 0.75, 0.2])
    np.testing.assert_allclose(learned_weights(votes, 2), [0.5, 0.5, 0], atol=0.03)


@pytest.mark.parametrize("classes", [2, 4])
def test_the_weighted_vote_beats_the_plain_one(classes: int) -> None:
    votes, truth = draw(classes, [0.92, 0.62, 0.6, 0.58, 0.55])
    said = votes[:, :, None] == np.arange(classes)
    right = [
        (np.einsum("i,nik->nk", w, said).argmax(1) == truth).mean()
        for w in (learned_weights(votes, classes), np.ones(5))
    ]
    assert right[0] > right[1] + 0.03


def test_models_that_are_never_wrong_do_not_take_all() -> None:
    truth = np.arange(300) % 2
    wrong = np.where(np.arange(300) < 60, 1 - truth, truth)
    votes = np.stack([truth, truth, truth, wrong], axis=1)
    np.testing.assert_allclose(FlyingSquid().fit(2 * votes - 1).accuracies, [1, 1, 1, 0.8])
    expected = formula([301 / 302] * 3 + [0.8], 2)
    np.testing.assert_allclose(learned_weights(votes, 2), expected)


@pytest.mark.parametrize("classes", [2, 3])
def test_equal_weights_where_nothing_is_known(classes: int) -> None:
    same = np.ones((20, 4), dtype=int)
    np.testing.assert_allclose(learned_weights(same, classes), [0.25] * 4)
    same[::2] = -1
    np.testing.assert_allclose(learned_weights(same, classes), [0.25] * 4)


def test_no_model_better_than_chance_gives_equal_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    votes, _ = draw(3, [0.5, 0.5], rows=30)

    def fit(self: DawidSkene, votes: np.ndarray) -> DawidSkene:
        self.accuracies_ = np.array([0.3, 0.0])
        return self

    monkeypatch.setattr(DawidSkene, "fit", fit)
    assert learned_weights(votes, 3).tolist() == [0.5, 0.5]


def test_flyingsquid_accuracies() -> None:
    with pytest.raises(ValueError, match="fit comes before"):
        _ = FlyingSquid().accuracies
    planted = [0.9, 0.7, 0.8, 0.6]
    votes, _ = draw(2, planted, abstain=0.25)
    signed = signed_votes(votes)
    np.testing.assert_allclose(FlyingSquid().fit(signed).accuracies, planted, atol=0.02)
    silent = np.hstack([signed, np.zeros((len(votes), 1), dtype=int)])
    assert FlyingSquid().fit(silent).accuracies[4] == 0.5


def test_a_silent_model_does_not_pull_the_others_down() -> None:
    planted = [0.9, 0.7, 0.8, 0.6]
    votes, _ = draw(2, planted, abstain=0.25)
    votes = np.hstack([votes, np.full((len(votes), 1), -1)])
    np.testing.assert_allclose(learned_weights(votes, 2), [*formula(planted, 2), 0], atol=0.03)


def test_refuses() -> None:
    with pytest.raises(ValueError, match="kind is 'odds'"):
        learned_weights([[0, 1]], 2, kind="odds")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"at \(0, 2\): 2"):
        learned_weights([[0, 1, 2]], 2)
    with pytest.raises(ValueError, match=r"at \(0, 2\): 3"):
        learned_weights([[0, 1, 3]], 3)
    with pytest.raises(ValueError, match=r"votes \(shape \(0, 3\)\)"):
        learned_weights(np.empty((0, 3), dtype=int), 2)
    with pytest.raises(ValueError, match="no row in which a voter votes"):
        learned_weights([[-1, -1, -1]], 2)
    with pytest.raises(ValueError, match="n_classes"):
        learned_weights([[0, 0, 0]], 1)
