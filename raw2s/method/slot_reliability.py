"""Weights of the weak models in slot filling, learned from their answers without ground truth.

A vote is about an item and a slot type that at least one model names there: each model's fillers of
that type, none included. `OneCoin` estimates from such votes how often a model is right.

It takes errors for unrelated, but models that miss a slot agree on "none": where most of them miss,
that passes for the truth, and the model that finds the slot gets too low a weight.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from raw2s.method.arrays import Array, check_at_least, check_shape, fault_at
from raw2s.method.ensemble import average
from raw2s.method.one_coin import OneCoin
from raw2s.method.reliability import log_odds_weights

Entity = tuple[str, str]
Fillers = tuple[str, ...]
Vote = tuple[Fillers, ...]


@dataclass(frozen=True)
class SlotWeights:
    """Weights (N,) of the models that sum to 1: from all votes, and from those of one slot type."""

    overall: Array
    by_type: dict[str, Array]

    def of(self, slot_type: str) -> Array:
        """The type's own weights where there are any, else the overall ones."""
        return self.by_type.get(slot_type, self.overall)


def slot_weights(
    answers: Sequence[Sequence[Sequence[Entity]]], *, per_type: bool, least_votes: int = 20
) -> SlotWeights:
    """Weights of N models from their answers: answers[i][n] are model i's entities for item n.

    Weights are proportional to max(0, log((m - 1) a_i / (1 - a_i))), as in `log_odds_weights`: a_i
    is how often a vote of model i is right, m the number of different votes. They are equal where
    no model is better than chance and where there are no votes.

    Args:
        answers: (type, filler) pairs in any order. Fillers are compared in lower case with their
            white space collapsed, types as they are.
        per_type: also learn weights from the votes of each type that has `least_votes` or more.
        least_votes: at least 1.

    Raises:
        ValueError: no models, models with different numbers of items, or an entity that is not a
            pair of strings.
    """
    check_shape("answers", (len(answers),), ("N",))
    check_at_least("least_votes", least_votes, 1)
    votes = _votes_by_type(answers)
    pooled = [vote for of_type in votes.values() for vote in of_type]
    enough = {kind: v for kind, v in votes.items() if per_type and len(v) >= least_votes}
    return SlotWeights(
        overall=_weights(pooled) if pooled else average(len(answers)),
        by_type={kind: _weights(of_type) for kind, of_type in enough.items()},
    )


def _weights(votes: Sequence[Vote]) -> Array:
    model = OneCoin().fit(votes)
    return log_odds_weights(model.accuracies_, model.n_answers_, len(votes))


def _votes_by_type(answers: Sequence[Sequence[Sequence[Entity]]]) -> dict[str, list[Vote]]:
    """Each type's votes, an item each: every model's sorted fillers of the type, () for none."""
    items = len(answers[0])
    for i, of_model in enumerate(answers):
        check_shape(f"answers[{i}]", (len(of_model),), (items,))
    votes: dict[str, list[Vote]] = defaultdict(list)
    for n in range(items):
        fillers = [
            _fillers_by_type(of_model[n], f"answers[{i}][{n}]")
            for i, of_model in enumerate(answers)
        ]
        for kind in dict.fromkeys(kind for of_model in fillers for kind in of_model):
            votes[kind].append(tuple(of_model.get(kind, ()) for of_model in fillers))
    return dict(votes)


def _fillers_by_type(entities: Sequence[Entity], name: str) -> dict[str, Fillers]:
    found: dict[str, list[str]] = defaultdict(list)
    for index, entity in enumerate(entities):
        pair = not isinstance(entity, str) and len(entity) == 2
        if not (pair and all(isinstance(part, str) for part in entity)):
            fault = "is no (type, filler) of strings"
            raise ValueError(fault_at(name, (len(entities),), fault, (index,), entity))
        kind, filler = entity
        found[kind].append(" ".join(filler.lower().split()))
    return {kind: tuple(sorted(fillers)) for kind, fillers in found.items()}
