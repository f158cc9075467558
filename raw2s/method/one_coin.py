"""Label model for open votes: one accuracy for each voter (one-coin Dawid & Skene 1979).

An open vote is any answer, so there are no fixed classes. The item's true answer is uniform over m
answers; voter i gives it with probability a_i, and otherwise each of the other m - 1 alike.
Voters are independent given the truth and abstain at random. With

  s_t = sum_{i says t} log((m - 1) a_i / (1 - a_i)),

0 for each of the m - d answers that nobody gives where d are given, expectation maximisation climbs

  L = sum_items [ sum_{i votes} log((1 - a_i) / (m - 1)) - log m + log sum_t exp(s_t) ],

over the items on which two or more vote: one vote alone has likelihood 1/m whatever a_i is.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from raw2s.method.arrays import Array, Indices, check_at_least, check_shape, fault_at

Item = Sequence[Hashable | None]


class OneCoin:
    """Accuracies from n items of N answers; None abstains, answers are compared by `==`.

    EM starts from the majority vote, so the voters together are taken to be better than chance.
    Two voters get equal accuracies: how often they agree does not say which one is right.

    Args:
        n_answers: m >= 2; by default the number of different answers in the votes of `fit`.
        max_iterations: at least 1.
        tolerance: stop when L rises by no more than this for each item; >= 0.
    """

    n_answers_: int
    """m."""
    accuracies_: Array
    """a_i (N,), in [1/(n+2), 1 - 1/(n+2)] for a voter with n votes beside another's; chance, 1/m,
    for one without any."""
    log_likelihood_: Array
    """L after each iteration, (iterations_,), in nats; it never falls."""
    iterations_: int
    """Iterations done; `max_iterations` where EM has not converged."""

    def __init__(
        self,
        n_answers: int | None = None,
        *,
        max_iterations: int = 1000,
        tolerance: float = 1e-8,
    ) -> None:
        if n_answers is not None:
            check_at_least("n_answers", n_answers, 2)
        check_at_least("max_iterations", max_iterations, 1)
        if not tolerance >= 0:
            raise ValueError(f"tolerance must be >= 0, it is {tolerance}")
        self.n_answers = n_answers
        self.max_iterations = max_iterations
        self.tolerance = tolerance
        self._voters: int | None = None

    def fit(self, votes: Sequence[Item]) -> OneCoin:
        """Estimate from n >= 1 items of N >= 1 answers each.

        Raises ValueError for no items or voters, items of different lengths, and an item with more
        than m different answers.
        """
        voters = len(votes[0]) if len(votes) > 0 else 0
        check_shape("votes", (len(votes), voters), ("n", "N"))
        seen = len({answer for item in votes for answer in item if answer is not None})
        answers = max(2, seen) if self.n_answers is None else self.n_answers
        patterns = _patterns(votes, voters, answers)
        patterns = patterns[(patterns >= 0).sum(-1) > 1]
        # Equal patterns have equal posteriors, and few voters make few different ones.
        rows, counts = np.unique(patterns, axis=0, return_counts=True)
        said = (rows[:, :, None] == np.arange(voters)).astype(np.float64)
        leads = said.sum(1) == said.sum(1).max(-1, keepdims=True)
        posterior = leads / leads.sum(-1, keepdims=True)
        history: list[float] = []
        for _ in range(self.max_iterations):
            accuracies = _maximise(said, posterior, counts, answers)
            log_joint = _log_joint(rows, accuracies, answers)
            log_evidence = np.logaddexp.reduce(log_joint, axis=-1)
            posterior = np.exp(log_joint - log_evidence[:, None])[:, :voters]
            history.append(float(counts @ log_evidence))
            if len(history) > 1 and history[-1] - history[-2] <= self.tolerance * len(patterns):
                break
        self.n_answers_ = answers
        self.accuracies_ = accuracies
        self.log_likelihood_ = np.asarray(history, dtype=np.float64)
        self.iterations_ = len(history)
        self._voters = voters
        return self

    def posterior(self, votes: Sequence[Item]) -> list[dict[Hashable, float]]:
        """P(answer is the truth | the item's votes) of the answers given, for each of n items.

        What is missing to 1 is the probability of an answer that nobody gives.

        Raises ValueError before `fit`, for another number of voters than `fit` saw, and for an
        item with more than m different answers.
        """
        if self._voters is None:
            raise ValueError("fit comes before posterior")
        patterns = _patterns(votes, self._voters, self.n_answers_)
        log_joint = _log_joint(patterns, self.accuracies_, self.n_answers_)
        probabilities = np.exp(log_joint - np.logaddexp.reduce(log_joint, -1, keepdims=True))
        return [
            {answer: float(p) for answer, p in zip(_given(item), row, strict=False)}
            for item, row in zip(votes, probabilities, strict=True)
        ]


def _given(item: Item) -> list[Hashable]:
    """The item's different answers, in the order of the voters that give them first."""
    return list(dict.fromkeys(answer for answer in item if answer is not None))


def _patterns(votes: Sequence[Item], voters: int, answers: int) -> Indices:
    """Who agrees with whom (n, N): the place of each answer in `_given`, -1 for an abstention."""
    rows = np.full((len(votes), voters), -1, dtype=np.int64)
    for index, item in enumerate(votes):
        check_shape(f"votes[{index}]", (len(item),), (voters,))
        place = {answer: k for k, answer in enumerate(_given(item))}
        if len(place) > answers:
            fault = f"has more different answers than n_answers {answers}"
            raise ValueError(fault_at("votes", rows.shape, fault, (index,), len(place)))
        rows[index] = [-1 if answer is None else place[answer] for answer in item]
    return rows


def _maximise(said: Array, posterior: Array, counts: Indices, answers: int) -> Array:
    """a_i (N,) at the maximum of L's lower bound within [1/(n+2), 1 - 1/(n+2)].

    `said` (r, N, N) is 1 at the voter's answer, `posterior` (r, N) that of the answers given,
    `counts` (r,) how many items have the pattern.
    """
    right = np.einsum("rik,rk,r->i", said, posterior, counts)
    cast = np.einsum("rik,r->i", said, counts)
    least = 1 / (cast + 2)
    # The bound is concave in a_i, so clipping its maximum gives the maximum within the limits.
    accuracies = np.clip(right / np.maximum(cast, 1), least, 1 - least)
    return np.where(cast > 0, accuracies, 1 / answers)


def _log_joint(patterns: Indices, accuracies: Array, answers: int) -> Array:
    """log P(truth, votes) (n, N + 1): a column for each answer given, the last for all others."""
    voters = len(accuracies)
    log_right = np.log(accuracies)
    log_wrong = np.log1p(-accuracies) - np.log(answers - 1)
    said = patterns[:, :, None] == np.arange(voters)
    given = patterns.max(-1) + 1
    scores = np.einsum("nik,i->nk", said, log_right - log_wrong)
    scores = np.where(np.arange(voters) < given[:, None], scores, -np.inf)
    with np.errstate(divide="ignore"):
        others = np.log(answers - given)
    all_wrong = (patterns >= 0) @ log_wrong - np.log(answers)
    return np.column_stack([scores, others]) + all_wrong[:, None]
