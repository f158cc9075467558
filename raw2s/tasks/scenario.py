"""Which of SLURP's 18 scenarios a spoken request belongs to (MASSIVE en-US, SLURP's test)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import pandas as pd

from raw2s.errors import ConfigError
from raw2s.tasks import massive, source
from raw2s.tasks.base import (
    Task,
    as_json,
    draw_splits,
    shuffled,
    without_texts,
)

SCENARIOS = (
    "alarm", "audio", "calendar", "cooking", "datetime", "email", "general", "iot", "lists",
    "music", "news", "play", "qa", "recommendation", "social", "takeaway", "transport", "weather",
)  # fmt: skip


class Scenario(Task):
    """18 classes; split A, B and validation from MASSIVE's train partition."""

    kind: ClassVar[Literal["classification", "generation"]] = "classification"
    labels = SCENARIOS

    def splits(self, seed: int) -> dict[str, pd.DataFrame]:
        """The rows; sentences of the test are in no other split."""
        return massive.splits(self.settings, seed, self._row)

    def corpus(self) -> list[str]:
        """All training sentences without the test's and, of split seed's draw, the validation's."""
        return unlabelled(self)

    def digest(self) -> str:
        """Of the files, or of the hub's name and revision."""
        return source.digest(self.settings.data)

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        if row["scenario"] not in SCENARIOS:
            raise ConfigError(f"scenario: unknown class {row['scenario']!r}, id {row['source_id']}")
        label = SCENARIOS.index(row["scenario"])
        return {
            "id": row["source_id"],
            "text": row["text"],
            "label": label,
            "gold": as_json(label),
            "key": as_json([row["text"]]),
        }


def unlabelled(task: Task) -> list[str]:
    """The sentences of MASSIVE's train partition that are not in test or validation, shuffled.

    Validation is that of the task's own `split_seed`, so that one corpus serves every run.
    """
    s = task.settings
    train, _ = massive.both(s)
    sizes = {"weak": s.weak_rows, "strong": s.strong_rows, "validation": s.validation_rows}
    validation = draw_splits(train, sizes, s.split_seed)["validation"]
    return shuffled(without_texts(train, validation)["text"].tolist())
