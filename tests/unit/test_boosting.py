from __future__ import annotations

import json
import math
from fractions import Fraction
from itertools import product
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raw2s.method.boosting import (
    Boosting,
    Combination,
    chance_error,
    combine,
    difficulty_boundary,
    expert_weight,
)
from raw2s.method.sample_weights import (
    Level,
    bagging_indices,
    resample,
    update_weights,
    weighted_error,
)

KINDS: list[Combination] = ["probability", "log_probability", "vote"]

OPEN = st.floats(1e-9, 1 - 1e-9)


def classes(n: int, seed: int, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping Gaussian classes: no stump is perfect and no two splits are equally good."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    return rng.normal(size=(n, 3)) + 0.8 * labels[:, None], labels


def distributions(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(shape[-1]), size=shape[:-1])


@pytest.mark.parametrize("n_classes", [2, 3])
def test_equals_adaboost_of_scikit_learn(n_classes: int) -> None:
    pytest.importorskip("sklearn")
    from sklearn.ensemble import AdaBoostClassifier
    from sklearn.tree import DecisionTreeClassifier

    rounds = 8
    x, y = classes(120, n_classes, n_classes)
    ada = AdaBoostClassifier(
        DecisionTreeClassifier(max_depth=1), n_estimators=rounds, random_state=3
    ).fit(x, y)
    assert len(ada.estimators_) == rounds
    boosting = Boosting(len(y), epsilon=chance_error(n_classes), max_rounds=rounds)
    one_hot = []
    for theirs in ada.estimators_:
        stump = DecisionTreeClassifier(max_depth=1, random_state=theirs.random_state)
        stump.fit(x, y, sample_weight=boosting.weights)
        predicted = stump.predict(x)
        one_hot.append(np.eye(n_classes)[predicted])
        boosting.add(predicted != y)
    assert boosting.reason == f"max_rounds {rounds} reached"
    assert boosting.experts == list(range(rounds))
    np.testing.assert_allclose(boosting.alphas, ada.estimator_weights_, rtol=1e-10)
    np.testing.assert_allclose(boosting.errors, ada.estimator_errors_, rtol=1e-10)
    assert len({round(alpha, 6) for alpha in boosting.alphas}) == rounds
    stages = zip(ada.staged_decision_function(x), ada.staged_predict(x), strict=True)
    for t, (decision, predicted) in enumerate(stages, start=1):
        share = combine(one_hot[:t], boosting.alphas[:t], "vote")
        assert (share.argmax(1) == predicted).all()
        # scikit-learn scores a class 1 for a vote and -1/(K-1) for a vote to another class.
        score = (n_classes * share - 1) / (n_classes - 1)
        expected = decision if n_classes > 2 else np.stack([-decision, decision], 1) / 2
        np.testing.assert_allclose(score, expected, atol=1e-10)


def test_three_experts_by_hand() -> None:
    # Six points on a line, labelled 1 1 0 0 1 1. Each expert splits the line once or not at all
    # and is wrong on two points; together they are right everywhere.
    truth = np.array([1, 1, 0, 0, 1, 1])
    left, right, ones = np.array([[1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1], [1, 1, 1, 1, 1, 1]])
    boosting = Boosting(6, epsilon=chance_error(2), max_rounds=3)
    boosting.add(left != truth)
    np.testing.assert_allclose(boosting.weights, [1 / 8, 1 / 8, 1 / 8, 1 / 8, 1 / 4, 1 / 4])
    boosting.add(right != truth)
    np.testing.assert_allclose(boosting.weights, [1 / 4, 1 / 4, 1 / 12, 1 / 12, 1 / 6, 1 / 6])
    assert not boosting.finished
    boosting.add(ones != truth)
    np.testing.assert_allclose(boosting.weights, [3 / 20, 3 / 20, 1 / 4, 1 / 4, 1 / 10, 1 / 10])
    np.testing.assert_allclose(boosting.errors, [1 / 3, 1 / 4, 1 / 6])
    np.testing.assert_allclose(boosting.alphas, np.log([2, 3, 5]))
    assert boosting.finished
    share = combine(np.eye(2)[[left, right, ones]], boosting.alphas, "vote")
    assert (share.argmax(1) == truth).all()
    np.testing.assert_allclose(share[0, 1], math.log(10) / math.log(30))


def test_three_classes_by_hand() -> None:
    boosting = Boosting(6, epsilon=chance_error(3), max_rounds=5)
    # e = 1/3: alpha = log 2 + log 2, the wrong two go from 1/6 to 4/6, over a sum of 2.
    assert boosting.add([1, 1, 0, 0, 0, 0]) == pytest.approx(math.log(4))
    np.testing.assert_allclose(boosting.weights, [1 / 3] * 2 + [1 / 12] * 4)
    # e = 1/2 would be chance for two classes; for three alpha = log 1 + log 2.
    assert boosting.add([1, 0, 1, 1, 0, 0]) == pytest.approx(math.log(2))
    np.testing.assert_allclose(boosting.weights, np.array([8, 4, 2, 2, 1, 1]) / 18)


@given(OPEN, OPEN)
def test_expert_weight_against_high_precision(error: float, epsilon: float) -> None:
    got = expert_weight(error, epsilon)
    with mpmath.workdps(50):
        e, r = mpmath.mpf(error), mpmath.mpf(epsilon)
        expected = float(mpmath.log((1 - e) / e) + mpmath.log(1 / (1 - r) - 1))
    assert got == pytest.approx(expected, rel=1e-12, abs=1e-40)
    assert (got > 0) == (error < epsilon) and (got < 0) == (error > epsilon)


def test_expert_weight_around_epsilon_and_at_the_ends() -> None:
    epsilon = 0.37
    assert expert_weight(epsilon, epsilon) == 0
    assert expert_weight(np.nextafter(epsilon, 0), epsilon) > 0
    assert expert_weight(np.nextafter(epsilon, 1), epsilon) < 0
    assert expert_weight(0, 0.5) == pytest.approx(math.log(1e10 - 1), rel=1e-12)
    assert expert_weight(0, 0.5, floor=0.01) == pytest.approx(math.log(99))
    assert expert_weight(1, 0.5, floor=0.01) == pytest.approx(-math.log(99))
    assert expert_weight(0.2, chance_error(50_000)) == pytest.approx(math.log(4 * 49_999))
    assert chance_error(4) == 0.75


def test_weighted_error() -> None:
    assert weighted_error([True, False, True], [1, 2, 5]) == 0.75
    assert weighted_error([1, 1], [1e308, 1e308]) == 1.0
    assert weighted_error([0, 0], [0.5, 0.5]) == 0.0


@st.composite
def updates(draw: st.DrawFn) -> dict[str, Any]:
    n = draw(st.integers(1, 12))
    weight = st.one_of(st.just(0.0), st.floats(1e-50, 1e50))
    weights = draw(st.lists(weight, min_size=n, max_size=n).filter(any))
    level = draw(st.sampled_from(["token", "example", "window"]))
    return {
        "weights": weights,
        "wrong": draw(st.lists(st.booleans(), min_size=n, max_size=n)),
        "alpha": draw(st.floats(-200, 200)),
        "level": level,
        "item": draw(st.lists(st.integers(-3, 3), min_size=n, max_size=n)),
        "window": draw(st.integers(1, 5)) if level == "window" else None,
    }


@given(updates())
def test_weights_sum_to_one_after_any_update(update: dict[str, Any]) -> None:
    weights = update_weights(**update)
    assert weights.sum() == pytest.approx(1, rel=1e-12)
    assert weights.min() >= 0
    # The slow reference: one token at a time, within the range of plain floats.
    raw = [
        w * math.exp(update["alpha"] * wrong)
        for w, wrong in zip(update["weights"], update["wrong"], strict=True)
    ]
    seen: dict[int, int] = {}
    keys = []
    for i, item in enumerate(update["item"]):
        position = seen.get(item, 0)
        seen[item] = position + 1
        window = position // update["window"] if update["window"] else 0
        keys.append((i, 0) if update["level"] == "token" else (item, window))
    expected = []
    for key in keys:
        group = [r for r, other in zip(raw, keys, strict=True) if other == key]
        expected.append(math.fsum(group) / len(group) / math.fsum(raw))
    np.testing.assert_allclose(weights, expected, rtol=1e-12)


def test_an_update_neither_overflows_nor_vanishes() -> None:
    assert update_weights([1, 1], [1, 0], 1e4).tolist() == [1, 0]
    assert update_weights([1, 1], [1, 0], -1e4).tolist() == [0, 1]
    assert update_weights([1, 1], [0, 0], 1e4).tolist() == [0.5, 0.5]
    assert update_weights([1, 1], [1, 1], -1e4).tolist() == [0.5, 0.5]
    # The sample with the largest power has no weight, so it must not set the scale.
    assert update_weights([0, 1, 3], [1, 0, 0], 1e4).tolist() == [0, 0.25, 0.75]
    assert update_weights([1e308, 1e308], [1, 0], 0.0).tolist() == [0.5, 0.5]


@given(st.lists(st.booleans(), min_size=2, max_size=30), OPEN)
def test_an_expert_is_at_epsilon_under_its_own_update(wrong: list[bool], epsilon: float) -> None:
    # The odds of the error are multiplied by exp(alpha), which is odds(epsilon) / odds(e).
    weights = np.arange(1, len(wrong) + 1)
    error = weighted_error(wrong, weights)
    if 0 < error < 1:
        updated = update_weights(weights, wrong, expert_weight(error, epsilon))
        assert weighted_error(wrong, updated) == pytest.approx(epsilon, rel=1e-9)


def test_levels_by_hand() -> None:
    # Example 7 has three tokens, example 4 one, example 9 two; alpha = log 3 triples the wrong.
    # Their tokens become 3 1 1 | 1 | 3 3, over a sum of 12.
    item, wrong, alpha = [7, 7, 7, 4, 9, 9], [1, 0, 0, 0, 1, 1], math.log(3)
    uniform = np.full(6, 1 / 6)

    def updated(level: Level, window: int | None = None) -> np.ndarray:
        weights = update_weights(uniform, wrong, alpha, level=level, item=item, window=window)
        return np.round(36 * weights, 12)

    assert updated("token").tolist() == [9, 3, 3, 3, 9, 9]
    assert updated("example").tolist() == [5, 5, 5, 3, 9, 9]
    assert updated("window", 2).tolist() == [6, 6, 3, 3, 9, 9]
    assert updated("window", 1).tolist() == updated("token").tolist()
    assert updated("window", 3).tolist() == updated("example").tolist()
    # The levels part in the next round: e is 3/36 or 5/36 for an expert wrong on the second token.
    second = [0, 1, 0, 0, 0, 0]
    errors = []
    for level in ("token", "example"):
        kind: Level = "token" if level == "token" else "example"
        boosting = Boosting(6, epsilon=0.75, item=item, level=kind, max_rounds=2)
        assert boosting.add(wrong) == pytest.approx(alpha)
        boosting.add(second)
        errors.append(boosting.errors[1])
    np.testing.assert_allclose(errors, [3 / 36, 5 / 36])


def test_tokens_of_examples_need_not_be_adjacent() -> None:
    wrong, order = np.array([1, 0, 0, 0, 1, 1]), np.array([0, 3, 4, 1, 5, 2])
    item = np.array([7, 7, 7, 4, 9, 9])
    for level, window in (("example", None), ("window", 2)):
        kind: Level = "example" if level == "example" else "window"
        together = update_weights(np.ones(6), wrong, 1.0, level=kind, item=item, window=window)
        apart = update_weights(
            np.ones(6), wrong[order], 1.0, level=kind, item=item[order], window=window
        )
        np.testing.assert_allclose(apart, together[order])


def test_resample() -> None:
    drawn = resample([1, 0, 3], 40_000, seed=5)
    share = np.bincount(drawn, minlength=3) / 40_000
    assert share[1] == 0
    assert share[2] == pytest.approx(0.75, abs=0.01)  # 4.6 standard deviations
    assert (drawn == resample([2, 0, 6], 40_000, seed=5)).all()
    assert (drawn != resample([1, 0, 3], 40_000, seed=6)).any()
    assert drawn.dtype == np.int64


def loop_combine(p: np.ndarray, alphas: list[float], kind: str) -> np.ndarray:
    voters = [t for t in range(len(p)) if alphas[t] > 0]
    votes = {t: alphas[t] / sum(alphas[s] for s in voters) for t in voters} or {0: 1.0}
    out = np.zeros(p.shape[1:])
    for i, k in product(range(p.shape[1]), range(p.shape[2])):
        if kind == "probability":
            out[i, k] = sum(v * p[t, i, k] for t, v in votes.items())
        elif kind == "log_probability":
            out[i, k] = math.prod(p[t, i, k] ** v for t, v in votes.items())
        else:
            out[i, k] = sum(v for t, v in votes.items() if max(p[t, i]) == p[t, i, k])
    return out / out.sum(1, keepdims=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "alphas", [[0.7, 2.0, 0.1, 0.3], [-1.0, 2.0, 0.0, 0.3], [-1.0, 0.0, -2.0, 0.0]]
)
def test_combine_equals_a_loop(kind: Combination, alphas: list[float]) -> None:
    p = distributions(4, 7, 5)
    p[1, 0] = [0, 1, 0, 0, 0]  # rules out all classes but one
    got = combine(p, alphas, kind)
    np.testing.assert_allclose(got, loop_combine(p, alphas, kind), atol=1e-15, rtol=1e-12)
    np.testing.assert_allclose(got.sum(1), 1)


def test_combine_where_logs_end() -> None:
    tiny = np.array([[[1 - 1e-300, 1e-300]], [[1e-300, 1 - 1e-300]]])
    np.testing.assert_allclose(combine(tiny, [1, 1], "log_probability"), [[0.5, 0.5]])
    odds = combine(tiny, [3, 1], "log_probability")
    assert odds[0, 1] == pytest.approx(1e-150, rel=1e-9)
    # Each class ruled out by one of the experts: their mean is left, weighted by the votes.
    opposed = np.array([[[1.0, 0.0], [0.2, 0.8]], [[0.0, 1.0], [0.2, 0.8]]])
    got = combine(opposed, [3, 1], "log_probability")
    np.testing.assert_allclose(got, [[0.75, 0.25], [0.2, 0.8]])
    # An expert without a vote rules out nothing.
    np.testing.assert_allclose(combine(opposed, [1, -1], "log_probability")[0], [1, 0])
    rounded = combine([[[0.5, 0.5004]]], [1.0])
    np.testing.assert_allclose(rounded.sum(), 1, rtol=1e-15)
    np.testing.assert_allclose(combine(opposed, [1e308, 1e308])[0], [0.5, 0.5])
    assert combine([[[0.4, 0.4, 0.2]]], [1.0], "vote").tolist() == [[1, 0, 0]]


@pytest.mark.parametrize("n_classes", [2, 3, 7])
@pytest.mark.parametrize("more", [0, 1])
def test_a_useless_expert_stops(n_classes: int, more: int) -> None:
    # Wrong on exactly K-1 of K, whose float sum may lie on either side of 1 - 1/K; then above.
    n = 6 * n_classes
    boosting = Boosting(n, epsilon=chance_error(n_classes), max_rounds=4)
    wrong = np.arange(n) < n - 6 + more
    assert boosting.add(wrong) <= 1e-12
    assert boosting.finished and boosting.alphas == [] and boosting.experts == []
    assert boosting.reason.startswith("the expert of round 0 has error 0.")
    np.testing.assert_array_equal(boosting.weights, np.full(n, 1 / n))
    with pytest.raises(ValueError, match="the rounds are over: the expert of round 0"):
        boosting.add(wrong)


def test_a_useless_expert_redraws_and_costs_a_round() -> None:
    boosting = Boosting(4, epsilon=0.5, max_rounds=4, on_useless="redraw", random_seed=1)
    seeds = [boosting.seed]
    assert boosting.add([1, 0, 0, 0]) > 0
    np.testing.assert_allclose(boosting.weights, [1 / 2, 1 / 6, 1 / 6, 1 / 6])
    seeds.append(boosting.seed)
    assert boosting.add([1, 0, 0, 0]) == pytest.approx(0, abs=1e-12)
    np.testing.assert_array_equal(boosting.weights, [0.25] * 4)
    assert not boosting.finished
    seeds.append(boosting.seed)
    boosting.add([0, 1, 0, 0])
    assert boosting.experts == [0, 2] and boosting.alphas == pytest.approx([math.log(3)] * 2)
    seeds.append(boosting.seed)
    assert boosting.add([1, 1, 1, 1]) < 0
    assert boosting.reason == "max_rounds 4 reached"
    assert len(set(seeds)) == 4
    assert Boosting(4, epsilon=0.5, max_rounds=4, random_seed=1).seed == seeds[0]
    assert Boosting(4, epsilon=0.5, max_rounds=4, random_seed=2).seed != seeds[0]


def test_error_on_validation_data() -> None:
    boosting = Boosting(4, epsilon=0.4, max_rounds=3)
    # alpha = logit(0.4) - logit(0.1) = log(2/3) + log 9 = log 6, whatever the training error.
    assert boosting.add([1, 0, 0, 0], error=0.1) == pytest.approx(math.log(6))
    np.testing.assert_allclose(boosting.weights, [6 / 9, 1 / 9, 1 / 9, 1 / 9])
    boosting.add([0, 0, 0, 0], error=0.3)
    np.testing.assert_allclose(boosting.weights, [6 / 9, 1 / 9, 1 / 9, 1 / 9])
    boosting.add([0, 0, 0, 0], error=0.4)
    assert boosting.experts == [0, 1] and "not below 0.4" in boosting.reason


@given(st.integers(0, 40), OPEN)
def test_reference_epsilon_keeps_exactly_the_better(wrong: int, epsilon: float) -> None:
    error = wrong / 40
    boosting = Boosting(40, epsilon=epsilon, max_rounds=2)
    boosting.add(np.arange(40) < wrong)
    if abs(error - epsilon) > 1e-6:
        assert (boosting.experts == [0]) == (error < epsilon) == (not boosting.finished)


@pytest.mark.parametrize("on_useless", ["stop", "redraw"])
@pytest.mark.parametrize("level", ["token", "example", "window"])
def test_a_state_continues_identically(on_useless: Any, level: Any) -> None:
    rng = np.random.default_rng(4)
    item = np.sort(rng.integers(5, size=30))
    window = 2 if level == "window" else None
    boosting = Boosting(
        30,
        epsilon=0.4,
        item=item,
        level=level,
        window=window,
        max_rounds=6,
        on_useless=on_useless,
        random_seed=9,
    )
    again = Boosting.from_state(json.loads(json.dumps(boosting.state())))
    # Every third expert is useless; the state goes through JSON before each round.
    for share in (0.2, 0.3, 0.9, 0.2, 0.2, 0.9):
        if boosting.finished:
            break
        wrong = rng.random(30) < share
        assert again.seed == boosting.seed
        assert again.add(wrong) == boosting.add(wrong)
        assert again.state() == boosting.state()
        again = Boosting.from_state(json.loads(json.dumps(again.state())))
    assert boosting.finished and again.finished
    assert len(boosting.errors) == (3 if on_useless == "stop" else 6)


def test_state_is_a_copy_and_is_checked() -> None:
    boosting = Boosting(3, epsilon=0.5, max_rounds=3)
    state = boosting.state()
    boosting.add([1, 0, 0])
    assert state["alphas"] == [] and state["weights"] == [1 / 3] * 3
    with pytest.raises(ValueError, match=r"keys: \['reason'\]"):
        Boosting.from_state({k: v for k, v in state.items() if k != "reason"})
    with pytest.raises(ValueError, match=r"keys: \['extra'\]"):
        Boosting.from_state({**state, "extra": 1})
    with pytest.raises(ValueError, match=r"weights \(shape \(2,\)\) must be \(3,\)"):
        Boosting.from_state({**state, "weights": [0.5, 0.5]})


def test_bagging_draws_each_round_afresh() -> None:
    drawn = bagging_indices(2_000, 4, seed=0)
    assert drawn.shape == (4, 2_000) and drawn.min() >= 0 and drawn.max() < 2_000
    for row in drawn:
        # A sample is missed with probability (1 - 1/n)^n, that is 1/e; 4 standard deviations.
        assert len(set(row.tolist())) / 2_000 == pytest.approx(1 - 1 / math.e, abs=0.03)
    assert len({tuple(row) for row in drawn.tolist()}) == 4
    assert (bagging_indices(2_000, 2, seed=0) == drawn[:2]).all()
    assert (bagging_indices(2_000, 4, seed=1) != drawn).any()


def test_difficulty_boundary() -> None:
    difficulty = [3, 1, 2, 1, 3, 1, 2, 2, 2, 5]  # 1 three times, 2 four times, 3 twice, 5 once
    for share, boundary in [(0.1, 1), (0.3, 1), (0.31, 2), (0.7, 2), (0.71, 3), (0.91, 5)]:
        assert difficulty_boundary(difficulty, share) == boundary
    # 0.07 * 100 is 7.000000000000001 and 0.29 * 100 is 28.999999999999996.
    for percent in range(1, 100):
        assert difficulty_boundary(np.arange(100), percent / 100) == percent - 1
    assert difficulty_boundary([-0.5], 0.99) == -0.5


@given(
    st.lists(st.integers(-3, 3), min_size=1, max_size=12), st.fractions(0, 1, max_denominator=100)
)
def test_difficulty_boundary_is_the_smallest_with_its_share(
    difficulty: list[int], share: Fraction
) -> None:
    if 0 < share < 1:
        reached = [
            d
            for d in difficulty
            if Fraction(sum(x <= d for x in difficulty), len(difficulty)) >= share
        ]
        assert difficulty_boundary(difficulty, float(share)) == min(reached)


NAN, INF = float("nan"), float("inf")
HALF = [[[0.5, 0.5]]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: chance_error(1), "n_classes is 1"),
        (lambda: expert_weight(1.1, 0.5), "error is 1.1"),
        (lambda: expert_weight(NAN, 0.5), "error is nan"),
        (lambda: expert_weight(0.1, 1.0), "epsilon is 1.0"),
        (lambda: expert_weight(0.1, NAN), "epsilon is nan"),
        (lambda: expert_weight(0.1, 0.5, floor=0.0), "floor is 0.0"),
        (lambda: weighted_error([1, 0], [1.0]), r"wrong \(shape \(2,\)\) must be \(1,\)"),
        (lambda: weighted_error([1, 2], [1, 1]), r"wrong .* in \[0, 2\) at \(1,\): 2"),
        (lambda: weighted_error([0.0, NAN], [1, 1]), r"wrong .* at \(1,\): nan"),
        (lambda: weighted_error([], []), r"weights \(shape \(0,\)\)"),
        (lambda: weighted_error([1, 1], [0, 0]), r"weights \(shape \(2,\)\) is 0 everywhere"),
        (lambda: weighted_error([1, 1], [1, -1]), r"negative at \(1,\): -1"),
        (lambda: update_weights([1, NAN], [0, 1], 1), r"weights .* not finite at \(1,\): nan"),
        (lambda: update_weights([1, 1], [0, 1], INF), "alpha is inf"),
        (lambda: update_weights([1, 1], [0, 1], 1, level="example"), "item is None"),
        (
            lambda: update_weights([1, 1], [0, 1], 1, level="example", item=[0]),
            r"item \(shape \(1,\)\) must be \(2,\)",
        ),
        (
            lambda: update_weights([1, 1], [0, 1], 1, level="example", item=[0.5, 1]),
            r"item \(shape \(2,\)\) must be integers, not float64",
        ),
        (
            lambda: update_weights([1, 1], [0, 1], 1, level="window", item=[0, 1]),
            "window is None",
        ),
        (
            lambda: update_weights([1, 1], [0, 1], 1, level="window", item=[0, 1], window=0),
            "window is 0",
        ),
        (lambda: update_weights([1, 1], [0, 1], 1, window=2), "window is 2"),
        (
            lambda: update_weights([1, 1], [0, 1], 1, level="word"),  # type: ignore[arg-type]
            "level is 'word'",
        ),
        (lambda: resample([1, 1], 0, 0), "count is 0"),
        (lambda: resample([1, 1], 1, -1), "seed is -1"),
        (lambda: combine([[0.5, 0.5]], [1]), r"probabilities \(shape \(1, 2\)\)"),
        (lambda: combine(np.zeros((1, 0, 2)), [1]), r"probabilities \(shape \(1, 0, 2\)\)"),
        (lambda: combine([[[0.5, 0.5], [0.5, 0.502]]], [1]), r"is not 1 at \(0, 1\): 1\.002"),
        (lambda: combine([[[1.5, -0.5]]], [1]), r"negative at \(0, 0, 1\): -0\.5"),
        (lambda: combine([[[NAN, 1.0]]], [1]), r"not finite at \(0, 0, 0\)"),
        (lambda: combine(HALF, [1, 1]), r"alphas \(shape \(2,\)\) must be \(1,\)"),
        (lambda: combine(HALF, [NAN]), r"alphas .* not finite at \(0,\)"),
        (lambda: combine(HALF, [1], "mean"), "kind is 'mean'"),  # type: ignore[arg-type]
        (lambda: Boosting(0, epsilon=0.5, max_rounds=1), "n_samples is 0"),
        (lambda: Boosting(1, epsilon=0.5, max_rounds=0), "max_rounds is 0"),
        (lambda: Boosting(1, epsilon=0.0, max_rounds=1), "epsilon is 0.0"),
        (
            lambda: Boosting(1, epsilon=0.5, max_rounds=1, on_useless="go"),  # type: ignore[arg-type]
            "on_useless is 'go'",
        ),
        (lambda: Boosting(2, epsilon=0.5, max_rounds=1, item=[0]), r"item \(shape \(1,\)\)"),
        (lambda: Boosting(2, epsilon=0.5, max_rounds=1).add([1]), r"wrong .* must be \(2,\)"),
        (lambda: Boosting(2, epsilon=0.5, max_rounds=1).add([1, 0], error=2), "error is 2"),
        (lambda: bagging_indices(3, 0, 0), "rounds is 0"),
        (lambda: difficulty_boundary([1, NAN], 0.5), r"difficulty .* is not finite at \(1,\)"),
        (lambda: difficulty_boundary([1, 2], 1.0), "share is 1.0"),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        call()
    assert "\n" not in str(raised.value)
