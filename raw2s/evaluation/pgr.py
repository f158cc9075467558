"""Performance gap recovered: how much of the way from weak to ceiling the student went."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raw2s.method.arrays import check_finite_array


@dataclass(frozen=True)
class Pgr:
    """A PGR, or the reason why there is none. Exactly one of the two says something."""

    value: float | None
    """The PGR; 0 is the weak model's level, 1 the ceiling's; neither bounds it."""
    reason: str
    """Why the PGR is undefined; empty where it is defined."""


def pgr(weak: float | Sequence[float] | Mapping[str, float], ceiling: float, student: float) -> Pgr:
    """Mean over the weak models of (student - weak) / (ceiling - weak).

    Source: Burns et al. 2023; with several weak models the mean of the PGRs against each. It is
    undefined as soon as the ceiling is not above one of the weak models.

    Args:
        weak: the score of the weak model, or of each of several; a mapping gives their names to
            the reason.
        ceiling: the score of the strong model trained on ground truth.
        student: the score of the strong model trained on weak labels.

    Raises:
        ValueError: no weak score, or a score that is not finite.
    """
    if isinstance(weak, Mapping):
        floors = dict(weak)
    elif isinstance(weak, int | float):
        floors = {"the weak model": float(weak)}
    else:
        floors = {f"weak model {i + 1}": float(w) for i, w in enumerate(weak)}
    check_finite_array("weak", list(floors.values()), ("N",))
    check_finite_array("ceiling", ceiling, ())
    check_finite_array("student", student, ())
    above = [f"{name} ({floor:.4f})" for name, floor in floors.items() if ceiling <= floor]
    if above:
        return Pgr(None, f"the ceiling ({ceiling:.4f}) is not above {', '.join(above)}")
    ratios = [(student - floor) / (ceiling - floor) for floor in floors.values()]
    return Pgr(math.fsum(ratios) / len(ratios), "")
