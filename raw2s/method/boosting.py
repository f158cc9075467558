"""Boosting of experts (EnsemW2S, arXiv 2410.04571), after multi-class AdaBoost (SAMME, Zhu et al.).

What a sample is, and how its weight moves: `raw2s.method.sample_weights`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from raw2s.method.arrays import (
    Array,
    check_at_least,
    check_distributions,
    check_finite_array,
    check_item,
    check_one_of,
    check_weight_rows,
    check_wrong,
)
from raw2s.method.ensemble import check_weights
from raw2s.method.sample_weights import (
    Level,
    drawn_weights,
    groups_of,
    update_weights,
    weighted_error,
)

Combination = Literal["probability", "log_probability", "vote"]
OnUseless = Literal["stop", "redraw"]

FLOOR = 1e-10

_ROUNDING = 1e-9  # alpha of an expert whose error is epsilon but for the rounding of summed weights


def chance_error(n_classes: int) -> float:
    """1 - 1/K, the error of guessing among K classes or K choices: epsilon of SAMME."""
    check_at_least("n_classes", n_classes, 2)
    return 1.0 - 1.0 / n_classes


def expert_weight(error: float, epsilon: float, floor: float = FLOOR) -> float:
    """alpha = log((1-e)/e) + log(1/(1-epsilon) - 1) = logit(epsilon) - logit(e).

    It is positive exactly when e < epsilon. With `chance_error` as epsilon it is SAMME's.

    Args:
        error: e in [0, 1], cut to [floor, 1 - floor] so that alpha is finite.
        epsilon: the reference error, in (floor, 1 - floor).
        floor: in [1e-15, 0.5); the largest alpha is logit(epsilon) - logit(floor).

    Raises:
        ValueError: an argument out of range.
    """
    _check_reference(epsilon, floor)
    _check_error(error)
    e = min(max(error, floor), 1.0 - floor)
    # The logits would cancel near e = epsilon. The ratio of the odds is 1 plus a term that has
    # the sign of epsilon - e, so the sign is right to the last bit.
    if e <= epsilon:
        return math.log1p((epsilon - e) / (e * (1.0 - epsilon)))
    return -math.log1p((e - epsilon) / (epsilon * (1.0 - e)))


def combine(
    probabilities: ArrayLike, alphas: ArrayLike, kind: Combination = "probability"
) -> Array:
    """The experts' joint distribution (n, K) over classes or next tokens.

    Experts with alpha <= 0 have no vote; where none has a positive alpha the first expert is
    taken alone. The others' votes v_t are their alphas over the sum of them.

    Args:
        probabilities: (T, n, K) of T experts; rows that are off 1 by rounding are normalised.
        alphas: (T,), finite.
        kind: "probability" is sum_t v_t p_t; "log_probability" is exp(sum_t v_t log p_t),
            normalised, and where the experts together rule out every class "probability" takes
            its place; "vote" gives each expert's v_t to its likeliest class (the first of equals),
            whose argmax is SAMME's prediction.

    Raises:
        ValueError: rows that are no distribution, alphas that do not fit, an unknown kind.
    """
    check_one_of("kind", kind, get_args(Combination))
    array = check_distributions("probabilities", probabilities, ("T", "n", "K"))
    votes = _votes(alphas, len(array))
    kept = votes > 0
    votes, array = votes[kept], array[kept] / array[kept].sum(-1, keepdims=True)
    if kind == "vote":
        joint = np.zeros(array.shape[1:])
        rows = np.arange(array.shape[1])
        for vote, expert_rows in zip(votes, array, strict=True):
            joint[rows, expert_rows.argmax(-1)] += vote
        return joint
    mean = np.tensordot(votes, array, 1)
    if kind == "probability":
        return np.asarray(mean, dtype=np.float64)
    with np.errstate(divide="ignore"):
        logs = np.einsum("t,tnk->nk", votes, np.log(array))
    highest = logs.max(-1, keepdims=True)
    ruled_out = np.isneginf(highest)
    powers = np.where(ruled_out, mean, np.exp(logs - np.where(ruled_out, 0.0, highest)))
    return np.asarray(powers / powers.sum(-1, keepdims=True), dtype=np.float64)


class Boosting:
    """The state of the rounds: sample weights, the experts' alphas, and when to stop.

    Each round one expert is trained with `training_weights`, and `add` is told where it is wrong.
    An expert whose alpha is not positive has no vote: "stop" ends the rounds; "redraw" sets the
    weights back to uniform and goes on. Either way a round is one trained expert, kept or not, so
    `max_rounds` bounds the cost.

    Args:
        n_samples: n.
        epsilon: the reference error: `chance_error`, a measured error, or any number in
            (floor, 1 - floor).
        item, level, window: as for `update_weights`.
        resampling: whether a sample's weight decides how often it is drawn, not its loss's share.
        max_rounds: how many experts are trained at most.
        on_useless: "stop" or "redraw".
        floor: as for `expert_weight`.
        random_seed: of the resampling seeds.

    Raises:
        ValueError: an argument out of range.
    """

    def __init__(
        self,
        n_samples: int,
        *,
        epsilon: float,
        item: ArrayLike | None = None,
        level: Level = "token",
        window: int | None = None,
        resampling: bool = False,
        max_rounds: int,
        on_useless: OnUseless = "stop",
        floor: float = FLOOR,
        random_seed: int = 0,
    ) -> None:
        check_at_least("n_samples", n_samples, 1)
        check_at_least("max_rounds", max_rounds, 1)
        check_at_least("random_seed", random_seed, 0)
        check_one_of("on_useless", on_useless, get_args(OnUseless))
        _check_reference(epsilon, floor)
        groups_of(n_samples, level, item, window)
        self.n_samples, self.max_rounds, self.random_seed = n_samples, max_rounds, random_seed
        self.epsilon, self.floor = float(epsilon), float(floor)
        self.level: Level = level
        self.window = window
        self.item = None if item is None else check_item(item, n_samples)
        self.on_useless: OnUseless = on_useless
        self.resampling = resampling
        self.weights: Array = np.full(n_samples, 1.0 / n_samples)
        """(n,) summing to 1, under which the next expert's error counts."""
        self.alphas: list[float] = []
        """One for each kept expert. Empty at the end, when no expert beat epsilon: the first
        alone is then `combine(probabilities[:1], [0.0])`."""
        self.experts: list[int] = []
        """The round, from 0, of each kept expert."""
        self.errors: list[float] = []
        """The error of every round's expert, kept or not."""
        self.reason = ""
        """Why the rounds are over; empty while they are not."""

    @property
    def finished(self) -> bool:
        """Whether the rounds are over."""
        return bool(self.reason)

    @property
    def seed(self) -> int:
        """The resampling seed of the coming round; another one after every `add`."""
        sequence = np.random.SeedSequence([self.random_seed, len(self.errors)])
        return int(sequence.generate_state(1)[0])

    @property
    def training_weights(self) -> Array:
        """(n,) each sample's share in the coming round's loss, summing to 1: `weights`, or how
        often they draw it."""
        if not self.resampling:
            return self.weights
        return drawn_weights(
            self.weights, self.seed, level=self.level, item=self.item, window=self.window
        )

    def add(self, wrong: ArrayLike, *, error: float | None = None) -> float:
        """Take one expert's errors and return its alpha; kept when it is positive beyond rounding.

        A kept expert's number is the last of `experts`. One without any error leaves the weights
        as they are.

        Args:
            wrong: (n,) booleans, on the samples that carry the weights.
            error: e measured elsewhere, on validation data; without it the weighted error.

        Raises:
            ValueError: the rounds are over, or an argument out of range.
        """
        if self.finished:
            raise ValueError(f"no expert can be added, the rounds are over: {self.reason}")
        errors = check_wrong(wrong, self.n_samples)
        e = weighted_error(errors, self.weights) if error is None else float(error)
        alpha = expert_weight(e, self.epsilon, self.floor)
        number = len(self.errors)
        useless = alpha <= _ROUNDING
        if not useless:
            self.weights = update_weights(
                self.weights, errors, alpha, level=self.level, item=self.item, window=self.window
            )
            self.alphas.append(alpha)
            self.experts.append(number)
        elif self.on_useless == "redraw":
            self.weights = np.full(self.n_samples, 1.0 / self.n_samples)
        else:
            self.reason = (
                f"the expert of round {number} has error {e:.6g}, not below {self.epsilon:.6g}"
            )
        self.errors.append(e)
        if not self.finished and len(self.errors) == self.max_rounds:
            self.reason = f"max_rounds {self.max_rounds} reached"
        return alpha

    def state(self) -> dict[str, Any]:
        """Everything as numbers, strings and lists, for JSON; floats survive it exactly."""
        return {
            "n_samples": self.n_samples,
            "epsilon": self.epsilon,
            "item": None if self.item is None else self.item.tolist(),
            "level": self.level,
            "window": self.window,
            "resampling": self.resampling,
            "max_rounds": self.max_rounds,
            "on_useless": self.on_useless,
            "floor": self.floor,
            "random_seed": self.random_seed,
            "weights": self.weights.tolist(),
            "alphas": list(self.alphas),
            "experts": list(self.experts),
            "errors": list(self.errors),
            "reason": self.reason,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Boosting:
        """The object whose `state` this is; ValueError for other keys or weights that misfit."""
        options = dict(state)
        progress = ("weights", "alphas", "experts", "errors", "reason")
        expected = set(cls(1, epsilon=0.5, max_rounds=1).state())
        if set(options) != expected:
            odd = sorted(expected ^ set(options))
            raise ValueError(f"state lacks or does not know these keys: {odd}")
        weights, alphas, experts, errors, reason = (options.pop(key) for key in progress)
        boosting = cls(options.pop("n_samples"), **options)
        # Normalising again could change the last bit, and so the rounds to come.
        boosting.weights = check_weight_rows("weights", weights, (boosting.n_samples,))
        boosting.alphas, boosting.experts = list(alphas), list(experts)
        boosting.errors, boosting.reason = list(errors), str(reason)
        return boosting


def difficulty_boundary(difficulty: ArrayLike, share: float) -> float:
    """The highest difficulty that is easy, d: at least `share` of the examples do not exceed it.

    It is the smallest of the difficulties with |{i: difficulty_i <= d}| / n >= share. Examples up
    to d, equals included, are easy, the others hard; where many are equal there may be none.

    Args:
        difficulty: (n,) finite, higher is harder.
        share: in (0, 1).

    Raises:
        ValueError: an argument out of range.
    """
    array = np.sort(check_finite_array("difficulty", difficulty))
    if not 0.0 < share < 1.0:
        raise ValueError(f"share is {share}, expected a number between 0 and 1")
    # Shares are compared, not counts: 0.07 * 100 is above 7, but 7 / 100 is 0.07.
    shares = np.arange(1, len(array) + 1) / len(array)
    return float(array[np.searchsorted(shares, share)])


def _votes(alphas: ArrayLike, experts: int) -> Array:
    array = check_finite_array("alphas", alphas, (experts,))
    votes = np.maximum(array, 0.0)
    if votes.max() == 0:
        votes[0] = 1.0
    return check_weights(votes, experts)


def _check_error(error: float) -> None:
    if not 0.0 <= error <= 1.0:
        raise ValueError(f"error is {error}, expected a number in [0, 1]")


def _check_reference(epsilon: float, floor: float) -> None:
    # Below 1e-15 the upper limit 1 - floor may round to 1.
    if not 1e-15 <= floor < 0.5:
        raise ValueError(f"floor is {floor}, expected a number in [1e-15, 0.5)")
    if not floor < epsilon < 1.0 - floor:
        raise ValueError(f"epsilon is {epsilon}, expected a number between {floor} and 1 - {floor}")
