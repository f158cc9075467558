"""Dawid-Skene against planted parameters, Bayes item by item, and EM written out in loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from raw2s.method.dawid_skene import DawidSkene
from raw2s.method.label_models import DawidSkene as Reexported
from raw2s.method.label_models import MajorityVote

PRIOR = {2: [0.35, 0.65], 5: [0.1, 0.3, 0.2, 0.25, 0.15]}
QUALITY = [0.9, 0.75, 0.6, 0.8, 0.55]


def confusions(classes: int) -> np.ndarray:
    """(N, K, K), each voter better on some classes than on others and with favourite errors."""
    rng = np.random.default_rng(classes)
    matrices = np.empty((len(QUALITY), classes, classes))
    for i, quality in enumerate(QUALITY):
        for k in range(classes):
            right = quality + rng.uniform(-0.08, 0.08)
            wrong = rng.dirichlet(np.full(classes - 1, 2.0)) * (1 - right)
            matrices[i, k] = np.insert(wrong, k, right)
    return matrices


def draw(
    classes: int, rows: int, abstain: float = 0.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.choice(classes, rows, p=PRIOR[classes])
    chance = confusions(classes).cumsum(-1)[:, truth].transpose(1, 0, 2)  # (n, N, K)
    votes = (rng.random((rows, len(QUALITY), 1)) > chance[..., :-1]).sum(-1)
    votes[rng.random(votes.shape) < abstain] = -1
    return votes, truth


def bayes(vote: np.ndarray, prior: np.ndarray, confusion: np.ndarray) -> list[float]:
    """P(class | votes of one item), product by product."""
    joint = [
        prior[k] * math.prod(confusion[i, k, v] for i, v in enumerate(vote) if v >= 0)
        for k in range(len(prior))
    ]
    return [j / sum(joint) for j in joint]


@pytest.mark.parametrize(("classes", "abstain"), [(2, 0.0), (2, 0.2), (5, 0.0), (5, 0.2)])
def test_recovers_planted_parameters(classes: int, abstain: float) -> None:
    votes, truth = draw(classes, 20_000, abstain)
    model = DawidSkene(classes).fit(votes)
    # The rarest class has 2,000 items; a fifth less of them is a tenth more error.
    within = 0.02 if abstain == 0 else 0.023
    np.testing.assert_allclose(model.confusion_, confusions(classes), atol=within, rtol=0)
    np.testing.assert_allclose(model.prior_, PRIOR[classes], atol=0.02)
    cast = votes >= 0
    right = ((votes == truth[:, None]) & cast).sum(0) / cast.sum(0)
    np.testing.assert_allclose(model.accuracies_, right, atol=0.02)
    np.testing.assert_allclose(model.confusion_.sum(-1), 1)
    assert model.iterations_ < 1000


@pytest.mark.parametrize("classes", [2, 5])
def test_posterior_is_bayes(classes: int) -> None:
    votes, _ = draw(classes, 300, 0.3)
    model = DawidSkene(classes).fit(votes)
    expected = [bayes(v, model.prior_, model.confusion_) for v in votes]
    np.testing.assert_allclose(model.predict_proba(votes), expected, atol=1e-10, rtol=0)


def test_many_voters_do_not_underflow() -> None:
    truth = np.random.default_rng(0).integers(3, size=60)
    votes = np.repeat(truth[:, None], 2000, axis=1)
    model = DawidSkene(3).fit(votes)
    assert model.predict_proba(votes).argmax(1).tolist() == truth.tolist()
    assert np.isfinite(model.log_likelihood_).all()


@pytest.mark.parametrize("abstain", [0.0, 0.3])
def test_iterations_are_em_in_loops(abstain: float) -> None:
    votes, _ = draw(5, 60, abstain)
    votes[7] = -1
    smoothing, steps = 2.0, 3
    counted = [v for v in votes if (v >= 0).any()]
    posterior = MajorityVote(5).predict_proba(counted)
    levels = []
    for _ in range(steps):
        prior = np.full(5, smoothing / 5)
        confusion = np.full((len(QUALITY), 5, 5), smoothing / 5)
        for vote, p in zip(counted, posterior, strict=True):
            prior += p
            for i, v in enumerate(vote):
                if v >= 0:
                    confusion[i, :, v] += p
        prior /= prior.sum()
        confusion /= confusion.sum(-1, keepdims=True)
        posterior = np.array([bayes(v, prior, confusion) for v in counted])
        level = smoothing / 5 * (np.log(prior).sum() + np.log(confusion).sum())
        for vote in counted:
            level += math.log(
                sum(
                    prior[k] * math.prod(confusion[i, k, v] for i, v in enumerate(vote) if v >= 0)
                    for k in range(5)
                )
            )
        levels.append(level)
    model = DawidSkene(5, smoothing=smoothing, max_iterations=steps, tolerance=0).fit(votes)
    assert model.iterations_ == steps
    np.testing.assert_allclose(model.prior_, prior, rtol=1e-10)
    np.testing.assert_allclose(model.confusion_, confusion, rtol=1e-10)
    np.testing.assert_allclose(model.log_likelihood_, levels, rtol=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_the_log_likelihood_never_falls(seed: int) -> None:
    # Votes without any structure, of which no fit is easy.
    votes = np.random.default_rng(seed).integers(-1, 4, (80, 4))
    model = DawidSkene(4, max_iterations=300, tolerance=0).fit(votes)
    assert model.iterations_ == len(model.log_likelihood_) > 20
    assert np.diff(model.log_likelihood_).min() > -1e-10
    assert model.log_likelihood_[-1] > model.log_likelihood_[0] + 0.1


def test_tolerance_and_max_iterations_stop() -> None:
    votes, _ = draw(2, 2_000)
    coarse = DawidSkene(2, tolerance=1e-4).fit(votes)
    fine = DawidSkene(2, tolerance=1e-9).fit(votes)
    assert 1 < coarse.iterations_ < fine.iterations_
    gains = np.diff(fine.log_likelihood_) / len(votes)
    assert gains[-1] <= 1e-9 < gains[-2]
    assert DawidSkene(2, max_iterations=4, tolerance=0).fit(votes).iterations_ == 4


@pytest.mark.parametrize("classes", [2, 5])
def test_beats_the_majority_where_quality_differs(classes: int) -> None:
    votes, truth = draw(classes, 5_000, seed=1)
    majority = MajorityVote(classes).predict_proba(votes).argmax(1)
    learned = DawidSkene(classes).fit(votes).predict_proba(votes).argmax(1)
    assert (learned == truth).mean() > (majority == truth).mean() + 0.02


def test_a_permutation_of_classes_permutes_the_result() -> None:
    votes, _ = draw(5, 500, 0.2)
    order = np.array([3, 0, 4, 1, 2])  # class k is called order[k]
    renamed = np.where(votes < 0, -1, order[votes])
    one, other = (DawidSkene(5, max_iterations=30, tolerance=0).fit(v) for v in (votes, renamed))
    np.testing.assert_allclose(other.prior_[order], one.prior_, atol=1e-9)
    np.testing.assert_allclose(other.confusion_[:, order][:, :, order], one.confusion_, atol=1e-9)
    np.testing.assert_allclose(
        other.predict_proba(renamed)[:, order], one.predict_proba(votes), atol=1e-9
    )


def test_a_row_without_votes_gives_the_prior_and_teaches_nothing() -> None:
    votes, _ = draw(5, 400, 0.2)
    silent = np.full((200, len(QUALITY)), -1)
    model, padded = (DawidSkene(5).fit(v) for v in (votes, np.vstack([votes, silent])))
    np.testing.assert_allclose(model.predict_proba(silent[:2]), [model.prior_] * 2)
    np.testing.assert_allclose(padded.prior_, model.prior_, atol=1e-4)
    np.testing.assert_allclose(padded.confusion_, model.confusion_, atol=1e-3)


def test_unseen_votes_stay_possible() -> None:
    truth = np.arange(300) % 3
    votes = np.stack([truth] * 3 + [np.full(300, -1)], axis=1)
    model = DawidSkene(3, smoothing=1.5).fit(votes)
    # 100 items of each class, half a pseudo-vote in each cell: (100 + 1/2) / (100 + 3/2).
    np.testing.assert_allclose(model.accuracies_, [100.5 / 101.5] * 3 + [1 / 3], rtol=1e-3)
    posterior = model.predict_proba([[0, 1, 2, -1]])
    np.testing.assert_allclose(posterior, [[1 / 3] * 3])


def test_refuses() -> None:
    votes, _ = draw(2, 50)
    model = DawidSkene(2)
    with pytest.raises(ValueError, match="fit comes before"):
        model.predict_proba(votes)
    with pytest.raises(ValueError, match=r"at \(0, 1\): 2"):
        model.fit([[0, 2], [1, -2]])
    with pytest.raises(ValueError, match=r"at \(1, 0\): nan"):
        model.fit([[0, 1], [np.nan, 1]])
    with pytest.raises(ValueError, match=r"not a whole number in \[-1, 2\) at \(0, 0\): 0\.5"):
        model.fit([[0.5, 1]])
    with pytest.raises(ValueError, match=r"votes \(shape \(0, 3\)\)"):
        model.fit(np.empty((0, 3), dtype=int))
    with pytest.raises(ValueError, match=r"votes \(shape \(3,\)\)"):
        model.fit([0, 1, 1])
    with pytest.raises(
        ValueError, match=r"votes \(shape \(1, 2\)\) has no row in which a voter votes"
    ):
        model.fit([[-1, -1]])
    with pytest.raises(ValueError, match=r"votes \(shape \(50, 3\)\) must be \(n, 5\)"):
        model.fit(votes).predict_proba(votes[:, :3])
    with pytest.raises(ValueError, match="n_classes"):
        DawidSkene(1)
    with pytest.raises(ValueError, match="smoothing"):
        DawidSkene(2, smoothing=0)
    with pytest.raises(ValueError, match="max_iterations"):
        DawidSkene(2, max_iterations=0)
    with pytest.raises(ValueError, match="tolerance"):
        DawidSkene(2, tolerance=float("nan"))


def test_is_among_the_label_models() -> None:
    assert Reexported is DawidSkene
