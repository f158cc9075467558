"""Label model with an accuracy for each answer: how confident its model is, and what it says.

As in Raykar et al. (2010) and Yan et al. (2010) the true class y is hidden, and how often voter i
is right varies over items. Its vote v comes with a confidence c, the log-odds of its largest
probability, standardised over items:

  P(v | y, c) proportional to exp(b_v + [v = y] s_v(c)),    s_v(c) = w_0 + w_1 c + u_v,

a logistic regression in which b says how readily the voter names a class whatever the truth, and s
how much more readily where it is true (quasi-independence, Goodman 1968). It is normalised over v:
were P(right) itself regressed on the class that is said, moving all items to one class could raise
the likelihood. Voters are independent given y, and confidence alone tells no class. With class
prior pi, expectation maximisation climbs

  L = sum_items log sum_y pi_y prod_i P(v_i | y, c_i) - r/2 sum_i |(b, w, u)_i|^2 + 1/K sum log pi.

No feature of an answer is its agreement with others: that would be a vote in disguise.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import logit

from raw2s.method.arrays import Array, Indices, check_at_least, check_distributions
from raw2s.method.reliability import log_odds_weights

SUREST = 1 - 1e-4
"""A largest probability counts as at most this, so that log-odds stay finite and comparable."""


class Gate:
    """Accuracies and weights of N models' answers, item by item, from probabilities alone.

    EM starts from the majority vote, so the models together are taken to be better than chance.
    One or two models identify little beyond what the start says.

    Args:
        ridge: r > 0, the precision of a normal prior of every parameter; it keeps a model that is
            always right, or never says a class, finite.
        max_iterations: at least 1.
        tolerance: stop when L rises by no more than this for each item; >= 0.
    """

    prior_: Array
    """pi (K,)."""
    bias_: Array
    """b (N, K)."""
    skill_: Array
    """(N, K + 2): w_0, w_1, and u for each class."""
    log_likelihood_: Array
    """L after each iteration, (iterations_,), in nats; it never falls."""
    iterations_: int
    """Iterations done; `max_iterations` where EM has not converged."""

    def __init__(
        self, *, ridge: float = 1.0, max_iterations: int = 500, tolerance: float = 1e-6
    ) -> None:
        if not (math.isfinite(ridge) and ridge > 0):
            raise ValueError(f"ridge must be finite and > 0, it is {ridge}")
        check_at_least("max_iterations", max_iterations, 1)
        if not tolerance >= 0:
            raise ValueError(f"tolerance must be >= 0, it is {tolerance}")
        self.ridge = ridge
        self.max_iterations = max_iterations
        self.tolerance = tolerance
        self._shape: tuple[int, int] | None = None

    def fit(self, probabilities: ArrayLike) -> Gate:
        """Estimate from probabilities (B, N, K); a model's vote is its first most probable class.

        Raises ValueError for another shape, and for rows that are no distributions.
        """
        array = check_distributions("probabilities", probabilities, ("B", "N", "K"))
        items, models, classes = array.shape
        votes, log_odds = array.argmax(-1), _log_odds(array)
        self._centre, spread = log_odds.mean(0), log_odds.std(0)
        # A model that is always equally confident has no spread but rounding.
        self._spread = np.where(spread > 1e-6, spread, 1.0)
        confidence = (log_odds - self._centre) / self._spread
        counts = (votes[:, :, None] == np.arange(classes)).sum(1)
        leads = counts == counts.max(-1, keepdims=True)
        posterior = leads / leads.sum(-1, keepdims=True)
        parameters = np.zeros((models, 2 * classes + 2))
        history: list[float] = []
        for _ in range(self.max_iterations):
            prior = posterior.sum(0) + 1 / classes
            prior /= prior.sum()
            log_joint = np.tile(np.log(prior), (items, 1))
            for i in range(models):
                answers = votes[:, i], confidence[:, i]
                parameters[i] = _maximise(parameters[i], *answers, posterior, self.ridge)
                log_joint += _log_vote(parameters[i], *answers)
            log_evidence = np.logaddexp.reduce(log_joint, axis=-1)
            posterior = np.exp(log_joint - log_evidence[:, None])
            penalty = self.ridge / 2 * (parameters**2).sum() - np.log(prior).mean()
            history.append(float(log_evidence.sum() - penalty))
            if len(history) > 1 and history[-1] - history[-2] <= self.tolerance * items:
                break
        self.prior_ = prior
        self.bias_, self.skill_ = parameters[:, :classes], parameters[:, classes:]
        self.log_likelihood_ = np.asarray(history, dtype=np.float64)
        self.iterations_ = len(history)
        self._items, self._shape = items, (models, classes)
        return self

    def accuracies(self, probabilities: ArrayLike) -> Array:
        """P(the model's answer is right | its vote and confidence), (B, N), of probabilities
        (B, N, K), were all classes alike likely: a prior is no merit of a model.

        Raises ValueError before `fit`, for other N or K than `fit` saw, and as `fit`.
        """
        if self._shape is None:
            raise ValueError("fit comes before accuracies")
        array = check_distributions("probabilities", probabilities, ("B", *self._shape))
        votes = array.argmax(-1)
        confidence = (_log_odds(array) - self._centre) / self._spread
        parameters = np.hstack([self.bias_, self.skill_])
        right = np.empty(votes.shape)
        for i in range(votes.shape[1]):
            log_vote = _log_vote(parameters[i], votes[:, i], confidence[:, i])
            log_right = np.take_along_axis(log_vote, votes[:, i, None], axis=-1)[:, 0]
            right[:, i] = np.exp(log_right - np.logaddexp.reduce(log_vote, axis=-1))
        return right

    def weights(self, probabilities: ArrayLike) -> Array:
        """Weights (B, N), rows that sum to 1, of probabilities (B, N, K): `log_odds_weights` of
        the accuracies, for as many votes as `fit` saw items. Raises as `accuracies`."""
        accuracies = self.accuracies(probabilities)
        return log_odds_weights(accuracies, len(self.prior_), self._items)


def _log_odds(probabilities: Array) -> Array:
    return np.asarray(logit(np.minimum(probabilities.max(-1), SUREST)), dtype=np.float64)


def _log_right_wrong(parameters: Array, confidence: Array) -> tuple[Array, Array, Array]:
    """log P(v = y | y, c) and log P(v != y | y, c), (n, K) by y, and log P(v | y, v != y), (K, K).

    Parameters (2K + 2,) are b, w_0, w_1, u of one voter; confidence is (n,).
    """
    classes = len(parameters) // 2 - 1
    bias, (intercept, slope), of_class = np.split(parameters, [classes, classes + 2])
    others = np.where(np.eye(classes), -np.inf, bias)
    any_other = np.logaddexp.reduce(others, axis=-1)
    right = bias + intercept + slope * confidence[:, None] + of_class
    both = np.logaddexp(right, any_other)
    return right - both, any_other - both, others - any_other[:, None]


def _log_vote(parameters: Array, votes: Indices, confidence: Array) -> Array:
    """log P(v | y, c), (n, K) by y, of votes (n,) and confidence (n,)."""
    log_right, log_wrong, log_other = _log_right_wrong(parameters, confidence)
    said = votes[:, None] == np.arange(log_right.shape[1])
    return np.where(said, log_right, log_wrong + log_other.T[votes])


def _maximise(
    parameters: Array, votes: Indices, confidence: Array, posterior: Array, ridge: float
) -> Array:
    """One voter's parameters (2K + 2,) at the maximum of L's lower bound, from `parameters` on.

    The bound is a concave, multinomial logistic regression with weights `posterior` (n, K).
    """
    classes = posterior.shape[1]
    said = votes[:, None] == np.arange(classes)
    counts = said.sum(0)

    def falling(values: Array) -> tuple[float, Array]:
        """Minus the bound, and its gradient."""
        log_right, log_wrong, log_other = _log_right_wrong(values, confidence)
        log_vote = np.where(said, log_right, log_wrong + log_other.T[votes])
        right, wrong = posterior * np.exp(log_right), posterior * np.exp(log_wrong)
        excess = posterior * said - right
        expected = right.sum(0) + wrong.sum(0) @ np.exp(log_other)
        slopes = [excess.sum(), confidence @ excess.sum(1)]
        gradient = np.concatenate([counts - expected, slopes, excess.sum(0)]) - ridge * values
        bound = (posterior * log_vote).sum() - ridge / 2 * (values @ values)
        return -float(bound), -gradient

    return np.asarray(minimize(falling, parameters, jac=True, method="L-BFGS-B").x)
