"""Bagging (Breiman 1996): the comparison to boosting at equal cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from raw2s.method.arrays import check_at_least, check_item, check_wrong
from raw2s.method.ensemble import Array
from raw2s.method.sample_weights import bagging_indices


class Bagging:
    """The rounds of bagging, with the face of `raw2s.method.boosting.Boosting`.

    Each round draws as many examples as there are, with replacement; every expert has one vote.

    Args:
        n_samples: n.
        item: (n,) the example of each sample, all of whose samples are drawn together; without it
            each sample is an example.
        max_rounds: how many experts are trained.
        random_seed: of the draws.

    Raises:
        ValueError: an argument out of range.
    """

    def __init__(
        self,
        n_samples: int,
        *,
        item: ArrayLike | None = None,
        max_rounds: int,
        random_seed: int = 0,
    ) -> None:
        check_at_least("n_samples", n_samples, 1)
        check_at_least("max_rounds", max_rounds, 1)
        check_at_least("random_seed", random_seed, 0)
        self.n_samples, self.max_rounds, self.random_seed = n_samples, max_rounds, random_seed
        self.item = np.arange(n_samples) if item is None else check_item(item, n_samples)
        self.errors: list[float] = []
        """Each round's share of wrong samples."""

    @property
    def training_weights(self) -> Array:
        """(n,) how often the coming round draws each sample, as shares that sum to 1."""
        _, example = np.unique(self.item, return_inverse=True)
        examples = int(example.max()) + 1
        drawn = bagging_indices(examples, len(self.errors) + 1, self.random_seed)[-1]
        counts = np.bincount(drawn, minlength=examples)[example]
        return np.asarray(counts / counts.sum(), dtype=np.float64)

    @property
    def experts(self) -> list[int]:
        """The round, from 0, of each expert: all of them."""
        return list(range(len(self.errors)))

    @property
    def alphas(self) -> list[float]:
        """One vote each."""
        return [1.0] * len(self.errors)

    @property
    def reason(self) -> str:
        """Why the rounds are over; empty while they are not."""
        return f"max_rounds {self.max_rounds} reached" if self.finished else ""

    @property
    def finished(self) -> bool:
        """Whether the rounds are over."""
        return len(self.errors) == self.max_rounds

    def add(self, wrong: ArrayLike, *, error: float | None = None) -> float:
        """Take one expert's errors (n,), or its error measured elsewhere, and return its vote."""
        if self.finished:
            raise ValueError(f"no expert can be added, the rounds are over: {self.reason}")
        found = check_wrong(wrong, self.n_samples)
        self.errors.append(float(found.mean()) if error is None else float(error))
        return 1.0

    def state(self) -> dict[str, Any]:
        """Everything as numbers and lists, for JSON."""
        return {
            "n_samples": self.n_samples,
            "item": self.item.tolist(),
            "max_rounds": self.max_rounds,
            "random_seed": self.random_seed,
            "errors": list(self.errors),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Bagging:
        """The object whose `state` this is."""
        options = dict(state)
        errors = options.pop("errors")
        bagging = cls(options.pop("n_samples"), **options)
        bagging.errors = list(errors)
        return bagging
