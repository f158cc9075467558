"""A sweep's log, trials.jsonl: what the store does not tell of its trials.

Their seconds and errors, the order of Optuna's draws, and which configurations the sweep has
tested.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from raw2s.search.space import Values, key_of

INTERRUPTED = "interrupted"
"""The error of a trial of which no more is known than that it has started."""


@dataclass(frozen=True)
class Outcome:
    """What became of a trial: the scores of its seeds, or an error in one line; its seconds."""

    values: Values
    scores: list[float]
    seconds: float
    error: str = ""

    def after(self, before: Outcome | None) -> Outcome:
        """What counts of two equal draws: what one has given, the other does not take away."""
        return before if before and self.error and not before.error else self


@dataclass
class Told:
    """What a log tells: the outcomes by their values' keys, how many of its lines are of a trial
    that ended well, and the fingerprints of the tested results."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    well: int = 0
    tested: set[str] = field(default_factory=set)


class Log:
    """The file, to which lines are added only."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def add(self, outcome: Outcome, results: str) -> None:
        """Tell what became of a trial; `results` is the fingerprint of what it makes."""
        self._write({"results": results, **asdict(outcome)})

    def add_test(self, results: str) -> None:
        """Tell that a configuration is tested, of which these are the results."""
        self._write({"tested": results})

    def read(self, counts: Callable[[Values, str], bool]) -> Told:
        """What it tells of those trials that count, by their values and results."""
        told = Told()
        lines = self._file.read_text(encoding="utf-8").splitlines() if self._file.is_file() else []
        for record in filter(None, map(_record, lines)):
            if "tested" in record:
                told.tested.add(record["tested"])
                continue
            results, outcome = record.pop("results"), Outcome(**record)
            if counts(outcome.values, results):
                key = key_of(outcome.values)
                told.well += not outcome.error
                told.outcomes[key] = outcome.after(told.outcomes.get(key))
        return told

    def _write(self, record: Mapping[str, Any]) -> None:
        with self._file.open("a", encoding="utf-8") as file:
            # A line of its own, even after one that a kill has cut short.
            file.write("\n" + json.dumps(record) + "\n")


def _record(line: str) -> dict[str, Any]:
    """A line; nothing for one that is empty or that a kill has cut short."""
    try:
        return dict(json.loads(line))
    except json.JSONDecodeError:
        return {}
