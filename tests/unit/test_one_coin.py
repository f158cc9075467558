"""One-coin model against planted accuracies, EM in loops over every answer, and closed forms."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Sequence

import numpy as np
import pytest

from raw2s.method.dawid_skene import DawidSkene
from raw2s.method.one_coin import Item, OneCoin

PLANTED = [0.9, 0.6, 0.75, 0.8, 0.55, 0.7]


def draw(
    accuracy: Sequence[float], answers: int, items: int, abstain: float = 0.0, seed: int = 0
) -> np.ndarray:
    """Votes (n, N), 0..m-1 or -1 for an abstention; voters err on all other answers alike."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(answers, size=(items, 1))
    size = (items, len(accuracy))
    wrong = (truth + rng.integers(1, answers, size)) % answers
    votes = np.where(rng.random(size) < accuracy, truth, wrong)
    votes[rng.random(size) < abstain] = -1
    return votes


def named(votes: np.ndarray) -> list[list[Hashable | None]]:
    """The votes as tuples of one word, None for -1."""
    return [[None if v < 0 else (f"answer {v}",) for v in item] for item in votes]


def joint(item: Item, accuracies: Sequence[float], answers: Sequence[Hashable]) -> dict:
    """P(truth, votes) of every answer, said or not, factor by factor."""
    m = len(answers)
    return {
        truth: math.prod(
            a if said == truth else (1 - a) / (m - 1)
            for said, a in zip(item, accuracies, strict=True)
            if said is not None
        )
        / m
        for truth in answers
    }


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("answers", [2, 3, 10, 50])
@pytest.mark.parametrize("voters", [3, 4, 6])
def test_recovers_planted_accuracies(voters: int, answers: int, seed: int) -> None:
    votes = draw(PLANTED[:voters], answers, 20_000, abstain=0.2 * (seed == 2), seed=seed)
    model = OneCoin(answers).fit(named(votes))
    # With three voters and two answers every accuracy rests on the ratio of two agreements.
    within = 0.03 if (voters, answers) == (3, 2) else 0.015
    np.testing.assert_allclose(model.accuracies_, PLANTED[:voters], atol=within, rtol=0)
    assert OneCoin().fit(named(votes)).n_answers_ == answers


@pytest.mark.parametrize(("answers", "abstain"), [(2, 0.0), (6, 0.0), (6, 0.4)])
def test_iterations_are_em_in_loops(answers: int, abstain: float) -> None:
    votes = named(draw([0.8, 0.6, 0.7, 0.3], answers, 40, abstain, seed=1))
    names = [(f"answer {k}",) for k in range(answers)]
    counted = [item for item in votes if sum(v is not None for v in item) > 1]
    posteriors: list[dict] = []
    for item in counted:
        count = {name: item.count(name) for name in names}
        leaders = [name for name in names if count[name] == max(count.values())]
        posteriors.append({name: (name in leaders) / len(leaders) for name in names})
    levels = []
    for _ in range(4):
        accuracies = []
        for i in range(4):
            chances = [
                p[item[i]]
                for item, p in zip(counted, posteriors, strict=True)
                if item[i] is not None
            ]
            least = 1 / (len(chances) + 2)
            accuracies.append(min(max(sum(chances) / len(chances), least), 1 - least))
        joints = [joint(item, accuracies, names) for item in counted]
        levels.append(sum(math.log(sum(p.values())) for p in joints))
        posteriors = [{k: v / sum(p.values()) for k, v in p.items()} for p in joints]
    model = OneCoin(answers, max_iterations=4, tolerance=0).fit(votes)
    assert model.iterations_ == 4
    np.testing.assert_allclose(model.accuracies_, accuracies, rtol=1e-10)
    np.testing.assert_allclose(model.log_likelihood_, levels, rtol=1e-10)
    for item, got in zip(votes, model.posterior(votes), strict=True):
        every = joint(item, accuracies, names)
        said = dict.fromkeys(v for v in item if v is not None)
        assert list(got) == list(said)
        assert got == pytest.approx({v: every[v] / sum(every.values()) for v in said})


@pytest.mark.parametrize("seed", range(5))
def test_the_log_likelihood_never_falls(seed: int) -> None:
    # Votes without any structure, of which no fit is easy.
    votes = named(np.random.default_rng(seed).integers(-1, 4, (80, 4)))
    model = OneCoin(max_iterations=200, tolerance=0).fit(votes)
    assert len(model.log_likelihood_) == model.iterations_ > 10
    assert np.diff(model.log_likelihood_).min() > -1e-10
    assert model.log_likelihood_[-1] > model.log_likelihood_[0] + 0.01


def test_tolerance_stops() -> None:
    votes = named(draw(PLANTED[:4], 2, 2_000))
    coarse, fine = (OneCoin(2, tolerance=t).fit(votes) for t in (1e-4, 1e-9))
    assert 1 < coarse.iterations_ < fine.iterations_ < 1000
    gains = np.diff(fine.log_likelihood_) / len(votes)
    assert gains[-1] <= 1e-9 < gains[-2]


@pytest.mark.parametrize("answers", [2, 5, 40])
def test_two_voters_are_equal_and_explain_their_agreement(answers: int) -> None:
    votes = draw([0.9, 0.6], answers, 2_000, abstain=0.3)
    votes[:500, 1] = -1  # The first votes far more often than the second.
    both = votes[(votes >= 0).all(1)]
    agreement = (both[:, 0] == both[:, 1]).mean()
    model = OneCoin(answers, tolerance=1e-12).fit(named(votes))
    first, second = model.accuracies_
    assert first == second > 1 / answers
    assert first**2 + (1 - first) ** 2 / (answers - 1) == pytest.approx(agreement, abs=1e-4)


@pytest.mark.parametrize("voters", [3, 4])
def test_votes_that_treat_all_voters_alike_give_equal_accuracies(voters: int) -> None:
    for pattern in ("aab", "aabc", "abcd", "aaaa"):
        votes = list(itertools.permutations(pattern[:voters]))
        accuracies = OneCoin().fit(votes).accuracies_
        np.testing.assert_allclose(accuracies, accuracies[0], rtol=1e-12)


def test_names_do_not_matter_and_a_permutation_of_voters_permutes() -> None:
    votes = draw(PLANTED[:4], 5, 300, abstain=0.2)
    order = [2, 0, 3, 1]
    model = OneCoin().fit(named(votes))
    renamed = [[None if v < 0 else 7 * (4 - int(v)) for v in item] for item in votes]
    np.testing.assert_allclose(OneCoin().fit(renamed).accuracies_, model.accuracies_, rtol=1e-9)
    permuted = OneCoin().fit(named(votes[:, order])).accuracies_
    np.testing.assert_allclose(permuted, model.accuracies_[order], rtol=1e-9)


@pytest.mark.parametrize("classes", [2, 4])
def test_ranks_voters_as_dawid_skene_does(classes: int) -> None:
    votes = draw(PLANTED, classes, 5_000)
    confusion = DawidSkene(classes).fit(votes).accuracies_
    one_coin = OneCoin(classes).fit(named(votes)).accuracies_
    assert one_coin.argsort().tolist() == confusion.argsort().tolist() == [4, 1, 5, 2, 3, 0]
    np.testing.assert_allclose(one_coin, confusion, atol=0.02)


def test_a_lone_vote_teaches_nothing_and_is_as_right_as_its_voter() -> None:
    votes = named(draw(PLANTED[:3], 4, 500))
    lone: list[list[Hashable | None]] = [["lone", None, None]] * 400
    model, padded = OneCoin(4).fit(votes), OneCoin(4).fit([*votes, *lone])
    assert padded.accuracies_.tolist() == model.accuracies_.tolist()
    alone, silent = model.posterior([lone[0], [None] * 3])
    assert alone == pytest.approx({"lone": model.accuracies_[0]}) and silent == {}


def test_accuracies_stay_off_0_and_1_and_are_chance_without_company() -> None:
    votes = [["x", "x", "x", None], ["y", "y", "y", None], ["z", "z", None, None]]
    accuracies = OneCoin().fit(votes).accuracies_
    np.testing.assert_allclose(accuracies, [1 - 1 / 5, 1 - 1 / 5, 1 - 1 / 4, 1 / 3])
    outvoted = OneCoin().fit([["x", "x", "x", "y"]] * 8).accuracies_
    np.testing.assert_allclose(outvoted, [0.9, 0.9, 0.9, 0.1])
    assert OneCoin(8).fit([["x"], ["y"]]).accuracies_.tolist() == [1 / 8]
    assert OneCoin().fit([[None, None]]).accuracies_.tolist() == [1 / 2, 1 / 2]


def test_a_voter_worse_than_chance_supports_the_other_answers() -> None:
    votes = draw([0.9, 0.9, 0.9, 0.05], 2, 5_000)
    model = OneCoin().fit(named(votes))
    np.testing.assert_allclose(model.accuracies_, [0.9, 0.9, 0.9, 0.05], atol=0.02)
    (split,) = model.posterior([[("answer 0",), ("answer 1",), None, ("answer 0",)]])
    assert split[("answer 1",)] > 0.9


def test_many_voters_do_not_underflow() -> None:
    model = OneCoin(50).fit([[name] * 1500 for name in "abc"])
    assert np.isfinite(model.log_likelihood_).all()
    (split,) = model.posterior([["a"] * 1000 + ["b"] * 500])
    assert split == pytest.approx({"a": 1, "b": 0})


def test_refuses() -> None:
    with pytest.raises(ValueError, match=r"votes \(shape \(0, 0\)\) must be \(n, N\)"):
        OneCoin().fit([])
    with pytest.raises(ValueError, match=r"votes \(shape \(1, 0\)\) must be \(n, N\)"):
        OneCoin().fit([[]])
    with pytest.raises(ValueError, match=r"votes\[1\] \(shape \(3,\)\) must be \(2,\)"):
        OneCoin().fit([["a", "b"], ["a", "b", "c"]])
    with pytest.raises(ValueError, match=r"more different .* n_answers 2 at \(1,\): 3"):
        OneCoin(2).fit([["a", "a", "b"], ["a", "b", "c"]])
    with pytest.raises(ValueError, match="fit comes before posterior"):
        OneCoin().posterior([["a", "b"]])
    with pytest.raises(ValueError, match=r"votes\[0\] \(shape \(1,\)\) must be \(2,\)"):
        OneCoin().fit([["a", "b"]]).posterior([["a"]])
    with pytest.raises(ValueError, match="n_answers"):
        OneCoin(1)
    with pytest.raises(ValueError, match="max_iterations"):
        OneCoin(max_iterations=0)
    with pytest.raises(ValueError, match="tolerance"):
        OneCoin(tolerance=float("nan"))
