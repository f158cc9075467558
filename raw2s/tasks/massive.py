"""The sentences behind both SLURP tasks: MASSIVE en-US for training, SLURP's test for testing.

MASSIVE's English sentences are SLURP's, ids included, with light edits; its train partition stands
in for SLURP's. Sentences that the test has too are left out of training.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pandas as pd

from raw2s.config import Task
from raw2s.errors import ConfigError
from raw2s.tasks import source
from raw2s.tasks.answers import Slots
from raw2s.tasks.base import check_splits, draw_splits, normalised, rendered, without_texts
from raw2s.tasks.difficulty import with_difficulty, with_parts

_SLOT = re.compile(r"\[\s*([^\[\]:]+?)\s*:\s*([^\[\]]*?)\s*\]")


def training(settings: Task) -> pd.DataFrame:
    """MASSIVE's train partition, in its order.

    Columns source_id, text, normal, scenario, slots and difficulty.
    """
    frame = source.read(settings.data, "train")
    source.require(frame, ["id", "utt", "scenario", "annot_utt"], "MASSIVE train")
    return _massive(_partition(frame, "train"), settings, "MASSIVE train")


def testing(settings: Task) -> pd.DataFrame:
    """The same columns of the test: SLURP's file or the hub's MASSIVE, whichever is named."""
    frame = source.read(settings.data, "test")
    if "sentence" not in frame.columns:
        source.require(frame, ["id", "utt", "scenario", "annot_utt"], "MASSIVE test")
        return _massive(_partition(frame, "test"), settings, "MASSIVE test")
    source.require(frame, ["slurp_id", "sentence", "scenario", "entities"], "SLURP test")
    frame = with_difficulty(frame, "sentence", settings, "SLURP test")
    slots = [[(e["type"], e["filler"]) for e in entities] for entities in frame["entities"]]
    return _checked("SLURP test", frame, "slurp_id", "sentence", slots)


def both(settings: Task) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training without the test's sentences and without repeats, and the test without repeats.

    With the column `part`.
    """
    test = testing(settings).drop_duplicates("normal", ignore_index=True)
    train = training(settings).drop_duplicates("normal", ignore_index=True)
    train, test = with_parts(settings, without_texts(train, test), test)
    return train, test


def splits(
    settings: Task, seed: int, row: Callable[[dict[str, Any]], dict[str, Any]]
) -> dict[str, pd.DataFrame]:
    """A, B and validation drawn from the train partition, test from SLURP's; `row` renders."""
    train, test = both(settings)
    sizes = {
        "weak": settings.weak_rows,
        "strong": settings.strong_rows,
        "validation": settings.validation_rows,
    }
    drawn = draw_splits(train, sizes, seed)
    drawn |= draw_splits(test, {"test": settings.test_rows}, seed)
    return check_splits({name: rendered(rows, row) for name, rows in drawn.items()})


def slots_of(annotated: str) -> Slots:
    """The (type, filler) pairs of `wake me at [time : five am]`, in order."""
    return [(kind, " ".join(filler.split())) for kind, filler in _SLOT.findall(annotated)]


def _partition(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """One partition of a file that holds all; the hub's splits hold one each."""
    if "partition" not in frame.columns:
        return frame
    part = frame[frame["partition"] == name]
    if part.empty:
        there = ", ".join(sorted(map(str, frame["partition"].unique())))
        raise ConfigError(f"MASSIVE has no partition {name!r}; it has: {there}")
    return part.reset_index(drop=True)


def _massive(frame: pd.DataFrame, settings: Task, where: str) -> pd.DataFrame:
    frame = with_difficulty(frame, "utt", settings, where)
    slots = [slots_of(annotated) for annotated in frame["annot_utt"]]
    return _checked(where, frame, "id", "utt", slots)


def _checked(
    where: str, frame: pd.DataFrame, id_column: str, text_column: str, slots: list[Any]
) -> pd.DataFrame:
    texts = [" ".join(str(text).split()) for text in frame[text_column]]
    if "" in texts:
        raise ConfigError(f"{where}: the sentence of row {texts.index('')} is empty")
    return pd.DataFrame(
        {
            "source_id": frame[id_column].astype(str).tolist(),
            "text": texts,
            "normal": [normalised(text) for text in texts],
            "scenario": frame["scenario"].astype(str).tolist(),
            "slots": slots,
            "difficulty": frame["difficulty"].tolist(),
        }
    )
