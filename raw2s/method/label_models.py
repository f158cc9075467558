"""Label models: one posterior from the votes of several weak models.

Class votes are 0..K-1 with -1 for an abstention (`MajorityVote`, `DawidSkene`); signed votes are
-1, +1 with 0 for an abstention (`FlyingSquid`). `signed_votes` turns the first into the second.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from raw2s.method.arrays import (
    Array,
    Indices,
    as_array,
    check_at_least,
    check_whole,
    normalised,
    refuse,
)
from raw2s.method.dawid_skene import DawidSkene as DawidSkene
from raw2s.method.ensemble import mean_probability

Votes = Indices

_ROUNDING = 1e-12  # solving for a probability that is 0 leaves this much or less


def signed_votes(votes: ArrayLike) -> Votes:
    """Votes (n, N) or (n,) in {-1 abstains, 0, 1} as {0 abstains, -1, +1}; the shape stays."""
    dimensions = as_array("votes", votes).ndim
    array = check_whole("votes", votes, ("n",) if dimensions == 1 else ("n", "N"), -1, 2)
    return np.where(array < 0, 0, 2 * array - 1)


class MajorityVote:
    """The class with most votes; equal leaders share, and without votes all classes do."""

    def __init__(self, n_classes: int) -> None:
        check_at_least("n_classes", n_classes, 2)
        self.n_classes = n_classes

    def fit(self, votes: ArrayLike) -> MajorityVote:
        """Check the votes (n, N); there is nothing to learn."""
        check_whole("votes", votes, ("n", "N"), -1, self.n_classes)
        return self

    def predict_proba(self, votes: ArrayLike) -> Array:
        """(n, K) of class votes (n, N)."""
        array = check_whole("votes", votes, ("n", "N"), -1, self.n_classes)
        counts = (array[:, :, None] == np.arange(self.n_classes)).sum(1)
        leads = counts == counts.max(-1, keepdims=True)
        return np.asarray(leads / leads.sum(-1, keepdims=True), dtype=np.float64)


class WeightedMean:
    """The weighted mean of the weak models' probabilities; `weights` (N,) are normalised."""

    def __init__(self, weights: Sequence[float]) -> None:
        self.weights = normalised("weights", weights, ("N",))

    def fit(self, probabilities: ArrayLike) -> WeightedMean:
        """Check the probabilities (n, N, K); there is nothing to learn."""
        mean_probability(probabilities, self.weights)
        return self

    def predict_proba(self, probabilities: ArrayLike) -> Array:
        """(n, K) of probabilities (n, N, K)."""
        return mean_probability(probabilities, self.weights)


class FlyingSquid:
    """Triplet label model (Fu et al. 2020) for two classes and three or more voters.

    Voters are taken as independent given the class, better than chance, equally accurate on both
    classes and abstaining at random. `class_balance` is [P(class 0), P(class 1)]; uniform without.
    The library estimates each P(vote, class); the posterior is computed here, because the
    library's own divides by P(class) once too seldom and so counts a non-uniform balance twice.
    """

    def __init__(self, class_balance: Sequence[float] | None = None) -> None:
        given = [0.5, 0.5] if class_balance is None else class_balance
        balance = normalised("class_balance", given, (2,))
        refuse(balance == 0, "class_balance", balance.shape, "is not > 0", balance)
        self.class_balance = balance
        self.joint: Array | None = None
        """P(vote, class) (N, 3, 2) after `fit`, votes in the order -1, 0, +1."""

    def fit(self, votes: ArrayLike) -> FlyingSquid:
        """Estimate from signed votes (n, N).

        Raises ValueError for fewer than three voters, no rows, votes outside {-1, 0, +1}, and
        votes without any -1 but with 0: those are 0/1 votes, which would be read as abstentions.
        """
        array = check_whole("votes", votes, ("n", "N"), -1, 2)
        voters = array.shape[1]
        if voters < 3:
            raise ValueError(f"votes (shape {array.shape}) must be (n, N) with N >= 3 voters")
        if not (array == -1).any() and (array == 0).any():
            raise ValueError(
                f"votes (shape {array.shape}) must be -1 and +1, 0 abstains; they are 0 and 1: "
                "see signed_votes"
            )
        with _quiet():
            # A triplet seed would reseed Python's global generator; the mean needs none.
            model = _library().LabelModel(voters, triplet_seed=None)
            model.fit(array.astype(np.float64), class_balance=self.class_balance.copy())
        joint = np.empty((voters, 3, 2))
        for _, factor in model.clique_marginals:
            # The library's cliques are (one voter, the class), its states sorted upwards.
            voter = int(factor.variables[0].removeprefix("lambda_"))
            joint[voter] = factor.values
        self.joint = joint
        return self

    @property
    def accuracies(self) -> Array:
        """P(the vote is right | it is cast) (N,); 1/2 for a voter that never votes.

        Raises ValueError before `fit`. The library counts a triplet whose voters have no item in
        common as chance, so a voter that never votes pulls the others down.
        """
        if self.joint is None:
            raise ValueError("fit comes before accuracies")
        right = self.joint[:, 0, 0] + self.joint[:, 2, 1]
        cast = self.joint[:, [0, 2]].sum((1, 2))
        votes = cast > _ROUNDING
        return np.where(votes, right / np.where(votes, cast, 1.0), 0.5)

    def predict_proba(self, votes: ArrayLike) -> Array:
        """[P(class 0), P(class 1)] (n, 2) of signed votes (n, N): class 0 is -1, class 1 is +1."""
        if self.joint is None:
            raise ValueError("fit comes before predict_proba")
        voters = len(self.joint)
        array = check_whole("votes", votes, ("n", voters), -1, 2)
        likelihood = self.joint / self.class_balance
        # An abstention says nothing about the class, and neither does a vote never seen.
        likelihood[:, 1] = 1.0
        likelihood[likelihood.sum(-1) < _ROUNDING] = 1.0
        with np.errstate(divide="ignore"):
            log_likelihood = np.log(likelihood)
        log_posterior = log_likelihood[np.arange(voters), array + 1].sum(1)
        log_posterior = log_posterior + np.log(self.class_balance)
        highest = log_posterior.max(-1, keepdims=True)
        # Both classes ruled out, each by another voter: only the balance is left.
        ruled_out = np.isinf(highest)
        log_posterior = np.where(ruled_out, np.log(self.class_balance), log_posterior)
        power = np.exp(log_posterior - np.where(ruled_out, 0.0, highest))
        return np.asarray(power / power.sum(-1, keepdims=True), dtype=np.float64)


def _library() -> Any:
    import pgmpy.models

    if not hasattr(pgmpy.models, "MarkovModel"):
        # pgmpy 1 renames the class under which flyingsquid imports it.
        pgmpy.models.MarkovModel = pgmpy.models.DiscreteMarkovNetwork
    import flyingsquid.label_model

    return flyingsquid.label_model


@contextmanager
def _quiet() -> Iterator[None]:
    # pgmpy logs one line for each clique of its junction tree about the renamed class.
    logger = logging.getLogger("pgmpy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.addFilter(_nothing)
        try:
            yield
        finally:
            logger.removeFilter(_nothing)


def _nothing(record: logging.LogRecord) -> bool:
    return False
