"""Label model for any number of classes: a confusion matrix for each voter (Dawid & Skene 1979).

Voters are taken as independent given the class and as abstaining at random. With class prior pi_k
and confusion matrices C^(i)_kv = P(voter i says v | class k, it votes), expectation maximisation
climbs, over the items with at least one vote,

  L = sum_items log sum_k pi_k prod_{i votes} C^(i)_{k, vote_i} + s/K (sum log pi + sum log C)

whose second term is a symmetric Dirichlet prior: s pseudo-votes for each row of a confusion matrix
and for the class prior, spread evenly.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from raw2s.method.arrays import Array, Indices, check_at_least, check_whole


class DawidSkene:
    """Class prior and confusion matrices from class votes 0..K-1, -1 abstains.

    EM starts from the majority vote, so classes keep their meaning as long as the voters together
    are better than chance. One or two voters identify little beyond what the start says.

    Args:
        n_classes: K >= 2.
        smoothing: s > 0, pseudo-votes; with them a vote that was never seen stays possible. They
            are shared by the cells of a row, so that many classes do not flatten the matrices.
        max_iterations: at least 1.
        tolerance: stop when L rises by no more than this for each item; >= 0.
    """

    prior_: Array
    """P(class), (K,)."""
    confusion_: Array
    """P(vote | class, it votes), (N, K, K): voter, class, vote."""
    accuracies_: Array
    """P(the vote is right | it is cast), (N,): sum_k pi_k C^(i)_kk."""
    log_likelihood_: Array
    """L after each iteration, (iterations_,), in nats; it never falls."""
    iterations_: int
    """Iterations done; `max_iterations` where EM has not converged."""

    def __init__(
        self,
        n_classes: int,
        *,
        smoothing: float = 1.0,
        max_iterations: int = 1000,
        tolerance: float = 1e-8,
    ) -> None:
        check_at_least("n_classes", n_classes, 2)
        if not (math.isfinite(smoothing) and smoothing > 0):
            raise ValueError(f"smoothing must be finite and > 0, it is {smoothing}")
        check_at_least("max_iterations", max_iterations, 1)
        if not tolerance >= 0:
            raise ValueError(f"tolerance must be >= 0, it is {tolerance}")
        self.n_classes = n_classes
        self.smoothing = smoothing
        self.max_iterations = max_iterations
        self.tolerance = tolerance
        self._pseudo_votes = smoothing / n_classes
        self._voters: int | None = None

    def fit(self, votes: ArrayLike) -> DawidSkene:
        """Estimate from class votes (n, N).

        Raises ValueError for votes outside {-1, 0..K-1}, and where nobody votes on anything.
        """
        array = check_whole("votes", votes, ("n", "N"), -1, self.n_classes)
        # An item without votes says nothing: its likelihood is 1 whatever the parameters are.
        silent = (array < 0).all(-1)
        if silent.all():
            raise ValueError(f"votes (shape {array.shape}) has no row in which a voter votes")
        array = array[~silent]
        # Equal rows have equal posteriors, and few voters and classes make few different rows.
        rows, counts = np.unique(array, axis=0, return_counts=True)
        said = (rows[:, :, None] == np.arange(self.n_classes)).astype(np.float64)
        leads = said.sum(1) == said.sum(1).max(-1, keepdims=True)
        posterior = leads / leads.sum(-1, keepdims=True)
        history: list[float] = []
        for _ in range(self.max_iterations):
            log_prior, log_confusion = self._maximise(said, posterior * counts[:, None])
            log_joint = _log_joint(rows, log_prior, log_confusion)
            log_evidence = np.logaddexp.reduce(log_joint, axis=-1)
            posterior = np.exp(log_joint - log_evidence[:, None])
            penalty = self._pseudo_votes * (log_prior.sum() + log_confusion.sum())
            history.append(float(counts @ log_evidence + penalty))
            if len(history) > 1 and history[-1] - history[-2] <= self.tolerance * len(array):
                break
        self.prior_, self.confusion_ = np.exp(log_prior), np.exp(log_confusion)
        self.accuracies_ = np.einsum("k,ikk->i", self.prior_, self.confusion_)
        self.log_likelihood_ = np.asarray(history, dtype=np.float64)
        self.iterations_ = len(history)
        self._voters = array.shape[1]
        return self

    def predict_proba(self, votes: ArrayLike) -> Array:
        """P(class | votes) (n, K) of class votes (n, N); a row without votes gets the prior.

        Raises ValueError before `fit`, and for another number of voters than `fit` saw.
        """
        if self._voters is None:
            raise ValueError("fit comes before predict_proba")
        array = check_whole("votes", votes, ("n", self._voters), -1, self.n_classes)
        log_joint = _log_joint(array, np.log(self.prior_), np.log(self.confusion_))
        log_evidence = np.logaddexp.reduce(log_joint, axis=-1, keepdims=True)
        return np.asarray(np.exp(log_joint - log_evidence), dtype=np.float64)

    def _maximise(self, said: Array, weights: Array) -> tuple[Array, Array]:
        """Log prior (K,) and log confusion (N, K, K) at the maximum of L's lower bound.

        `said` (r, N, K) is 1 at the vote, `weights` (r, K) how many items of each class a row is.
        """
        prior = weights.sum(0) + self._pseudo_votes
        confusion = np.einsum("riv,rk->ikv", said, weights, optimize=True) + self._pseudo_votes
        log_prior = np.log(prior) - np.log(prior.sum())
        return log_prior, np.log(confusion) - np.log(confusion.sum(-1, keepdims=True))


def _log_joint(votes: Indices, log_prior: Array, log_confusion: Array) -> Array:
    """log P(class, votes) (n, K)."""
    voters, classes, _ = log_confusion.shape
    # Voter, vote, class; the last vote, which -1 picks, is the abstention: it multiplies by 1.
    table = np.zeros((voters, classes + 1, classes))
    table[:, :classes] = log_confusion.transpose(0, 2, 1)
    total = np.tile(log_prior, (len(votes), 1))
    for voter in range(voters):
        total += table[voter, votes[:, voter]]
    return total
