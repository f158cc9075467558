"""Weights of the weak models learned from their votes alone, without ground truth.

A label model estimates a_i, the probability that a vote of model i is right. For independent voters
that err on all other classes alike and a uniform prior, the most probable class is the one with the
largest sum over its voters of log((K-1) a_i / (1 - a_i)): the weighted majority vote of Nitzan &
Paroush (1982), there for K = 2.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from raw2s.method.arrays import Array, check_at_least, check_one_of, check_whole, refuse
from raw2s.method.dawid_skene import DawidSkene
from raw2s.method.ensemble import check_weights
from raw2s.method.label_models import FlyingSquid, Votes, signed_votes

Kind = Literal["log_odds", "accuracy"]


def learned_weights(votes: ArrayLike, n_classes: int, *, kind: Kind = "log_odds") -> Array:
    """Weights (N,) that sum to 1, of class votes (n, N): 0..K-1, -1 abstains.

    `accuracy`: lambda_i proportional to a_i. `log_odds`: to max(0, log((K-1) a_i / (1 - a_i))), so
    a model no better than chance counts nothing; equal weights where none is better. There a_i is
    at most 1 - 1/(n+2), about what n votes can show, so that no model outvotes all others for good.

    a_i comes from FlyingSquid for K = 2 and three or more models, as long as both classes are voted
    for and every two models vote on some item in common (its triplets need that), and from
    DawidSkene otherwise. Either takes the models together to be better than chance.

    Raises:
        ValueError: votes out of range, no votes at all, or an unknown `kind`.
    """
    check_one_of("kind", kind, get_args(Kind))
    check_at_least("n_classes", n_classes, 2)
    array = check_whole("votes", votes, ("n", "N"), -1, n_classes)
    accuracies = _accuracies(array, n_classes)
    if kind == "accuracy":
        return check_weights(accuracies, len(accuracies))
    return log_odds_weights(accuracies, n_classes, len(array))


def log_odds_weights(accuracies: Array, n_answers: int, n_votes: int) -> Array:
    """Weights (..., N), rows that sum to 1, proportional to max(0, log((K-1) a_i / (1 - a_i))).

    Equal where no a_i (..., N) in [0, 1] of a row is better than chance, 1/K for K = `n_answers`.
    a_i counts as at most 1 - 1/(n+2), about what n = `n_votes` can show, so that no model outvotes
    all others.
    """
    refuse(~np.isfinite(accuracies), "accuracies", accuracies.shape, "is not finite", accuracies)
    right = np.clip(accuracies, 0.0, 1 - 1 / (n_votes + 2))
    with np.errstate(divide="ignore"):
        odds = np.maximum(0.0, np.log((n_answers - 1) * right) - np.log1p(-right))
    equal = np.full(odds.shape, 1 / odds.shape[-1])
    total = odds.sum(-1, keepdims=True)
    return np.divide(odds, total, out=equal, where=total > 0)


def _accuracies(votes: Votes, n_classes: int) -> Array:
    if n_classes != 2 or votes.shape[1] < 3:
        return DawidSkene(n_classes).fit(votes).accuracies_
    signed = signed_votes(votes)
    cast = (signed != 0).astype(np.float64)
    if not ((cast.T @ cast).all() and (signed == -1).any() and (signed == 1).any()):
        return DawidSkene(n_classes).fit(votes).accuracies_
    accuracies = FlyingSquid().fit(signed).accuracies
    return np.where(_signs(signed) < 0, 1 - accuracies, accuracies)


def _signs(signed: Votes) -> Array:
    """Negative (N,) where a model is worse than chance; FlyingSquid takes all to be better.

    Off its diagonal the second moment is c c^T, c_i = 2 a_i - 1, times the number of joint votes.
    Turning every model with c_i < 0 makes it non-negative, so by Perron's theorem its first
    eigenvector has the signs of c; the sign of the whole is the one that favours most models.
    """
    values = signed.astype(np.float64)
    first = np.linalg.eigh(values.T @ values)[1][:, -1]
    return np.asarray(first * np.sign(first.sum()), dtype=np.float64)
