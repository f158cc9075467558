"""Easy to hard (EnsemW2S, arXiv 2410.04571): how difficult a row is, and which part it is of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from raw2s import config
from raw2s.errors import ConfigError
from raw2s.method.boosting import difficulty_boundary
from raw2s.tasks import source


def with_difficulty(
    frame: pd.DataFrame, text: str, settings: config.Task, where: str
) -> pd.DataFrame:
    """The frame with the column `difficulty`: higher is harder.

    It is the column that the settings name, or else the number of words of the column `text`.
    Raises ConfigError for a column that is not there, or a row whose value is no finite number.
    """
    name = settings.difficulty
    if name is None:
        return frame.assign(difficulty=[float(len(str(value).split())) for value in frame[text]])
    source.require(frame, [name], where)
    values = frame[name].tolist()
    numbers = [_number(value) for value in values]
    for place, number in enumerate(numbers):
        if not math.isfinite(number):
            raise ConfigError(
                f"{where}: difficulty {name!r} of row {place} must be a finite number, "
                f"it is {values[place]!r}"
            )
    return frame.assign(difficulty=numbers)


def boundary_of(settings: config.Task, difficulties: Sequence[float]) -> float | None:
    """The highest difficulty that is easy, told from the training rows; None in random order.

    Raises ConfigError if there are no training rows or none of them is hard.
    """
    if settings.order == "random":
        return None
    if not difficulties:
        raise ConfigError(f"task {settings.name}: no training row is left")
    boundary = difficulty_boundary(difficulties, settings.easy_share)
    if max(difficulties) <= boundary:
        raise ConfigError(
            f"task {settings.name}: no hard row is left, none of {len(difficulties)} is above "
            f"difficulty {boundary:g}, the boundary of easy_share {settings.easy_share}"
        )
    return boundary


def part_of(difficulty: float, boundary: float | None) -> str:
    """Which part a row of this difficulty is of: easy or hard, "" without a boundary."""
    if boundary is None:
        return ""
    return "easy" if difficulty <= boundary else "hard"


def with_parts(
    settings: config.Task, training: pd.DataFrame, *others: pd.DataFrame
) -> list[pd.DataFrame]:
    """The frames with the column `part`, all by the boundary of the first one's `difficulty`."""
    boundary = boundary_of(settings, training["difficulty"].tolist())
    return [
        frame.assign(part=[part_of(value, boundary) for value in frame["difficulty"]])
        for frame in (training, *others)
    ]


def _number(value: Any) -> float:
    """The value as a number, NaN for what is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
