"""Slot weights: votes worked by hand, planted skill by type, and the edges."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from raw2s.method.one_coin import OneCoin
from raw2s.method.reliability import learned_weights, log_odds_weights
from raw2s.method.slot_reliability import Entity, slot_weights

Answers = list[list[list[Entity]]]

WORDS = [f"word{k}" for k in range(30)]


def draw(skill: dict[str, list[float]], items: int, seed: int = 0) -> Answers:
    """answers[i][n], one filler of each type: the true one with probability skill[type][i]."""
    rng = random.Random(seed)
    models = len(next(iter(skill.values())))
    answers: Answers = [[] for _ in range(models)]
    for _ in range(items):
        truth = {kind: rng.choice(WORDS) for kind in skill}
        for i in range(models):
            answers[i].append(
                [
                    (kind, truth[kind] if rng.random() < skill[kind][i] else rng.choice(WORDS))
                    for kind in skill
                ]
            )
    return answers


def formula(accuracies: list[float], n_answers: int) -> list[float]:
    odds = [max(0.0, math.log((n_answers - 1) * a / (1 - a))) for a in accuracies]
    return [o / sum(odds) for o in odds]


def test_weights_by_type_recover_the_planted_skill() -> None:
    # Each wrong draw hits the true word once in 30, which is in `right`.
    skill = {"date": [0.95, 0.5, 0.7], "name": [0.3, 0.9, 0.7]}
    right = {kind: [s + (1 - s) / 30 for s in of] for kind, of in skill.items()}
    weights = slot_weights(draw(skill, 4_000), per_type=True)
    assert set(weights.by_type) == {"date", "name"}
    for kind, accuracies in right.items():
        np.testing.assert_allclose(weights.of(kind), formula(accuracies, 30), atol=0.02)
    assert weights.of("date").argmax() == 0 and weights.of("name").argmin() == 0
    assert weights.overall.sum() == pytest.approx(1)


def test_votes_are_the_sorted_normalised_fillers_of_types_somebody_names() -> None:
    answers: Answers = [
        [[("date", "Next  Friday"), ("person", "ann"), ("person", "Bob")], [], [("time", "2 pm")]],
        [[("person", "bob"), ("date", "next friday"), ("person", "Ann ")], [], []],
        [[("date", "friday")], [], [("time", "2 PM"), ("time", "3 pm")]],
    ]
    votes: list[list[tuple[str, ...]]] = [
        [("next friday",), ("next friday",), ("friday",)],
        [("ann", "bob"), ("ann", "bob"), ()],
        [("2 pm",), (), ("2 pm", "3 pm")],
    ]
    model = OneCoin(6).fit(votes)
    expected = formula(model.accuracies_.tolist(), 6)
    np.testing.assert_allclose(slot_weights(answers, per_type=False).overall, expected)
    assert expected[0] == pytest.approx(expected[1]) and expected[0] > expected[2] + 0.05


def test_few_votes_fall_back_to_the_overall_weights() -> None:
    answers = draw({"date": [0.9, 0.6, 0.7]}, 30)
    for of_model in answers:
        of_model += [[("name", "ann")]] * 19
    weights = slot_weights(answers, per_type=True, least_votes=20)
    assert list(weights.by_type) == ["date"]
    assert weights.of("name") is weights.overall is weights.of("never seen")
    assert not np.allclose(weights.of("date"), weights.overall, atol=1e-3)
    assert set(slot_weights(answers, per_type=True, least_votes=19).by_type) == {"date", "name"}
    assert slot_weights(answers, per_type=False).by_type == {}


def test_one_filler_an_item_is_a_vote_over_classes() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(4, size=(3_000, 1))
    wrong = (truth + rng.integers(1, 4, (3_000, 4))) % 4
    votes = np.where(rng.random((3_000, 4)) < [0.9, 0.75, 0.6, 0.8], truth, wrong)
    answers = [[[("topic", f"class {v}")] for v in column] for column in votes.T]
    got = slot_weights(answers, per_type=True)
    np.testing.assert_allclose(got.overall, learned_weights(votes, 4), atol=0.01)
    assert got.of("topic").tolist() == got.overall.tolist()


@pytest.mark.parametrize("models", [1, 2, 3])
def test_equal_weights_where_nothing_tells_models_apart(models: int) -> None:
    equal = [1 / models] * models
    agreeing = draw({"date": [0.9], "name": [0.6]}, 50) * models
    no_items: Answers = [[]] * models
    no_slots: Answers = [[[], [], []]] * models
    for answers in (agreeing, no_items, no_slots):
        weights = slot_weights(answers, per_type=True)
        np.testing.assert_allclose(weights.overall, equal)
        for of_type in weights.by_type.values():
            np.testing.assert_allclose(of_type, equal)


def test_two_models_are_equal_whatever_they_say() -> None:
    weights = slot_weights(draw({"date": [0.95, 0.3], "name": [0.5, 0.9]}, 200), per_type=True)
    for of_type in (weights.overall, *weights.by_type.values()):
        np.testing.assert_allclose(of_type, [0.5, 0.5])


def test_a_type_that_one_model_alone_names_counts_against_it() -> None:
    answers = draw({"date": [0.8, 0.8, 0.8]}, 100)
    for item in answers[0]:
        # Hundreds of fillers in an answer are one vote.
        item += [("noise", word) for word in WORDS * 10]
    weights = slot_weights(answers, per_type=True)
    np.testing.assert_allclose(weights.of("noise"), [0, 0.5, 0.5])
    assert weights.overall[0] < weights.overall[1:].min() - 0.05
    np.testing.assert_allclose(weights.of("date"), [1 / 3] * 3, atol=0.05)


def test_the_order_of_items_entities_and_models_does_not_matter() -> None:
    answers = draw({"date": [0.9, 0.5, 0.7], "name": [0.4, 0.9, 0.7]}, 100)
    turned = [[item[::-1] for item in of_model[::-1]] for of_model in answers[::-1]]
    one, other = (slot_weights(a, per_type=True) for a in (answers, turned))
    np.testing.assert_allclose(other.overall, one.overall[::-1], rtol=1e-6)
    np.testing.assert_allclose(other.of("name"), one.of("name")[::-1], rtol=1e-6)


def test_log_odds_weights() -> None:
    accuracies = np.array([0.9, 0.2, 1.0, 0.0, 0.5])
    expected = formula([0.9, 0.2, 1 - 1 / 12, 1e-9, 0.5], 5)
    np.testing.assert_allclose(log_odds_weights(accuracies, 5, 10), expected, atol=1e-12)
    assert log_odds_weights(np.array([0.1, 0.0]), 5, 10).tolist() == [0.5, 0.5]


def test_refuses() -> None:
    with pytest.raises(ValueError, match=r"answers \(shape \(0,\)\) must be \(N,\)"):
        slot_weights([], per_type=True)
    with pytest.raises(ValueError, match=r"answers\[2\] \(shape \(1,\)\) must be \(2,\)"):
        slot_weights([[[], []], [[], []], [[]]], per_type=True)
    with pytest.raises(ValueError, match=r"answers\[1\]\[0\] \(shape \(2,\)\) is no .* at \(1,\)"):
        slot_weights([[[]], [[("date", "now"), ("date",)]]], per_type=True)  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"answers\[0\]\[0\] .* at \(0,\): \('date', 3\)"):
        slot_weights([[[("date", 3)]]], per_type=True)  # type: ignore[list-item]
    with pytest.raises(ValueError, match="least_votes is 0, expected at least 1"):
        slot_weights([[[]]], per_type=True, least_votes=0)
