from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from raw2s.method.label_models import (
    FlyingSquid,
    MajorityVote,
    Votes,
    WeightedMean,
    signed_votes,
)

ACCURACY = np.array([0.9, 0.75, 0.7, 0.8])


def draw(rows: int, positive: float, abstain: float, seed: int = 0) -> tuple[Votes, Votes]:
    rng = np.random.default_rng(seed)
    truth = np.where(rng.random(rows) < positive, 1, -1)
    right = rng.random((rows, len(ACCURACY))) < ACCURACY
    votes = np.where(right, truth[:, None], -truth[:, None])
    votes[rng.random(votes.shape) < abstain] = 0
    return votes, truth


def posterior(vote: tuple[int, ...], accuracy: np.ndarray, positive: float) -> float:
    """P(class 1) by Bayes, voter by voter."""
    chance = {1: positive, -1: 1 - positive}
    for v, a in zip(vote, accuracy, strict=True):
        for y in chance:
            chance[y] *= 1 if v == 0 else a if v == y else 1 - a
    return chance[1] / (chance[1] + chance[-1])


@pytest.mark.parametrize(("positive", "abstain"), [(0.5, 0.0), (0.2, 0.0), (0.2, 0.3), (0.7, 0.1)])
def test_flyingsquid_is_the_true_posterior(positive: float, abstain: float) -> None:
    votes, truth = draw(100_000, positive, abstain)
    model = FlyingSquid([1 - positive, positive]).fit(votes)
    patterns = list(itertools.product([-1, 0, 1] if abstain else [-1, 1], repeat=4))
    got = model.predict_proba(patterns)
    np.testing.assert_allclose(got.sum(1), 1)
    expected = [posterior(v, ACCURACY, positive) for v in patterns]
    np.testing.assert_allclose(got[:, 1], expected, atol=0.035)
    # Calibrated overall: the mean posterior is the balance, which a doubled prior misses.
    assert model.predict_proba(votes)[:, 1].mean() == pytest.approx((truth == 1).mean(), abs=0.01)


def test_flyingsquid_is_the_triplet_closed_form() -> None:
    votes, _ = draw(5_000, 0.5, 0.0, seed=3)
    three = votes[:, :3]
    moment = three.T @ three / len(three)
    correlation = [
        np.sqrt(moment[i, j] * moment[i, k] / moment[j, k])
        for i, j, k in [(0, 1, 2), (1, 0, 2), (2, 0, 1)]
    ]
    up = (three == 1).mean(0)
    joint = FlyingSquid().fit(three).joint
    assert joint is not None
    for i in range(3):
        agree = (1 + correlation[i]) / 2
        # P(+,+) + P(-,-) = agree, P(+,+) + P(+,-) = up, P(+,+) + P(-,+) = 1/2.
        both = (agree + up[i] + 0.5 - 1) / 2
        assert joint[i, 2, 1] == pytest.approx(both)
        assert joint[i, 2, 0] == pytest.approx(up[i] - both)
        assert joint[i, 0, 1] == pytest.approx(0.5 - both)
        np.testing.assert_allclose(joint[i, 1], 0, atol=1e-12)


def test_flyingsquid_agrees_with_its_library_where_that_is_right() -> None:
    from flyingsquid.label_model import LabelModel

    votes, _ = draw(400, 0.5, 0.2, seed=1)
    library = LabelModel(4)
    library.fit(votes)
    expected = library.predict_proba(votes, verbose=False)
    got = FlyingSquid().fit(votes).predict_proba(votes)
    np.testing.assert_allclose(got, expected, rtol=1e-9)


def test_flyingsquid_repeats_and_is_quiet(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    votes, _ = draw(300, 0.4, 0.1, seed=2)
    first = FlyingSquid([0.6, 0.4]).fit(votes).predict_proba(votes)
    capfd.readouterr()
    caplog.clear()
    random.seed(12345)
    state = random.getstate()
    again = FlyingSquid([0.6, 0.4]).fit(votes).predict_proba(votes)
    assert random.getstate() == state
    assert np.array_equal(first, again)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_flyingsquid_abstentions_leave_the_balance() -> None:
    votes, _ = draw(2_000, 0.3, 0.0)
    model = FlyingSquid([0.7, 0.3]).fit(votes)
    none = np.zeros((1, 4), dtype=int)
    np.testing.assert_allclose(model.predict_proba(none), [[0.7, 0.3]])
    assert model.joint is not None
    model.joint[:, 1] = [1e-17, 0]  # what is left of a probability of 0 by rounding
    np.testing.assert_allclose(model.predict_proba(none), [[0.7, 0.3]])
    model.joint[:, 0] = [0, 1e-17]
    np.testing.assert_allclose(model.predict_proba(none - 1), [[0.7, 0.3]])


def test_flyingsquid_refuses() -> None:
    votes, _ = draw(50, 0.5, 0.0)
    with pytest.raises(ValueError, match="0 and 1"):
        FlyingSquid().fit((votes + 1) // 2)
    with pytest.raises(ValueError, match=r"votes \(shape \(50, 2\)\) .* N >= 3 voters"):
        FlyingSquid().fit(votes[:, :2])
    with pytest.raises(ValueError, match=r"at \(0, 0\): 2"):
        FlyingSquid().fit(votes * 0 + 2)
    with pytest.raises(
        ValueError, match=r"votes \(shape \(0, 4\)\) must be \(n, N\) with n, N > 0"
    ):
        FlyingSquid().fit(votes[:0])
    with pytest.raises(ValueError, match="fit comes before"):
        FlyingSquid().predict_proba(votes)
    with pytest.raises(ValueError, match=r"votes \(shape \(50, 3\)\) must be \(n, 4\)"):
        FlyingSquid().fit(votes).predict_proba(votes[:, :3])
    with pytest.raises(ValueError, match=r"class_balance .* is not > 0 at \(1,\)"):
        FlyingSquid([1.0, 0.0])


def test_signed_votes() -> None:
    assert signed_votes([[0, 1, -1]]).tolist() == [[-1, 1, 0]]


def test_majority_vote() -> None:
    got = MajorityVote(3).fit([[0, 0, 2]]).predict_proba([[0, 0, 2], [1, 2, -1], [-1, -1, -1]])
    np.testing.assert_allclose(got, [[1, 0, 0], [0, 0.5, 0.5], [1 / 3] * 3])
    with pytest.raises(ValueError, match=r"votes .* in \[-1, 3\) at \(0, 1\): 3"):
        MajorityVote(3).predict_proba([[0, 3]])


def test_weighted_mean() -> None:
    p = [[[0.9, 0.1], [0.5, 0.5]]]
    np.testing.assert_allclose(WeightedMean([3, 1]).fit(p).predict_proba(p), [[0.8, 0.2]])
