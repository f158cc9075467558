"""The sentences behind both SLURP tasks: MASSIVE en-US for training, SLURP's test for testing.

MASSIVE's English sentences are SLURP's, ids included, with light edits; its train partition stands
in for SLURP's. Sentences that the test has too are left out of training.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pandas as pd

from raw2s.config import Data, Task
from raw2s.errors import ConfigError
from raw2s.tasks import source
from raw2s.tasks.answers import Slots
from raw2s.tasks.base import check_splits, draw_splits, normalised, rendered, without_texts

_SLOT = re.compile(r"\[\s*([^\[\]:]+?)\s*:\s*([^\[\]]*?)\s*\]")


def training(data: Data) -> pd.DataFrame:
    """Columns source_id, text, scenario, slots: MASSIVE's train partition, in its order."""
    frame = source.read(data, "train")
    source.require(frame, ["id", "utt", "scenario", "annot_utt"], "MASSIVE train")
    return _massive(_partition(frame, "train"), "MASSIVE train")


def testing(data: Data) -> pd.DataFrame:
    """The same columns of the test: SLURP's file or the hub's MASSIVE, whichever is named."""
    frame = source.read(data, "test")
    if "sentence" not in frame.columns:
        source.require(frame, ["id", "utt", "scenario", "annot_utt"], "MASSIVE test")
        return _massive(_partition(frame, "test"), "MASSIVE test")
    source.require(frame, ["slurp_id", "sentence", "scenario", "entities"], "SLURP test")
    slots = [[(e["type"], e["filler"]) for e in entities] for entities in frame["entities"]]
    return _checked("SLURP test", frame, "slurp_id", "sentence", slots)


def both(data: Data) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training without the test's sentences and without repeats, and the test without repeats."""
    test = testing(data).drop_duplicates("normal", ignore_index=True)
    train = training(data).drop_duplicates("normal", ignore_index=True)
    return without_texts(train, test), test


def splits(
    settings: Task, seed: int, row: Callable[[dict[str, Any]], dict[str, Any]]
) -> dict[str, pd.DataFrame]:
    """A, B and validation drawn from the train partition, test from SLURP's; `row` renders."""
    train, test = both(settings.data)
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


def _massive(frame: pd.DataFrame, where: str) -> pd.DataFrame:
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
        }
    )
