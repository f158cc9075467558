"""Multiple-choice questions as binary rows: is this candidate the answer?"""

from __future__ import annotations

import random
from collections.abc import Sequence

from raw2s.tasks.base import normalised


def one_candidate(
    questions: Sequence[str], correct: Sequence[Sequence[str]], wrong: Sequence[Sequence[str]]
) -> list[tuple[str, int]]:
    """For each question one candidate and its label: a correct one (1) or a wrong one (0).

    Both labels are as frequent as the questions allow (a question may have candidates of one label
    only); which question gets which is fixed by the texts alone, not by their order. Raises
    ValueError for a question without any candidate.
    """
    for place, question in enumerate(questions):
        if not correct[place] and not wrong[place]:
            raise ValueError(f"question {place} has no candidate: {question[:80]!r}")
    generators = [random.Random(f"candidate of {normalised(question)}") for question in questions]
    free = [place for place in range(len(questions)) if correct[place] and wrong[place]]
    coins = {place: generators[place].random() for place in free}
    wanted = len(questions) // 2 - sum(not options for options in wrong)
    positive = set(sorted(free, key=lambda place: coins[place])[: max(0, wanted)])
    rows = []
    for place, rng in enumerate(generators):
        label = int(place in positive or not wrong[place])
        rows.append((rng.choice(list((correct if label else wrong)[place])), label))
    return rows
