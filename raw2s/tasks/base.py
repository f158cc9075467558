"""What every task offers, and how its rows are drawn into splits that share no input text."""

from __future__ import annotations

import hashlib
import json
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import pandas as pd

from raw2s import config
from raw2s.errors import ConfigError
from raw2s.tasks.answers import Slots
from raw2s.tasks.spans import Spans

SPLITS = ("weak", "strong", "validation", "test")
PARTS = {"weak": "easy", "strong": "hard", "validation": "easy"}
"""The part that each split is drawn from when the order is easy to hard; the test has both."""


class Task(ABC):
    """One data set: its rows as prompts with a label or a target, and its unlabelled text.

    Rows are data frames with the string columns `id` (unique and stable), `text` (the prompt),
    `gold` (JSON: the label, or the list of [type, filler] pairs), `key` (JSON list: the raw
    columns that precomputed labels are matched by) and `part` ("easy" or "hard"; "" in random
    order), and with `label` (int) in classification or `target` (the completion) in generation.
    Constructing a task reads nothing.
    """

    kind: ClassVar[Literal["classification", "generation"]]
    labels: tuple[str, ...]
    """The classes' names, or the slot types."""
    options: ClassVar[Mapping[str, Any]] = {}
    """The task's own options with their defaults."""

    def __init__(self, settings: config.Task) -> None:
        self.settings = settings
        self.chosen = chosen_options(settings.name, self.options, settings.options)

    @abstractmethod
    def splits(self, seed: int) -> dict[str, pd.DataFrame]:
        """The rows of `weak`, `strong`, `validation` and `test`, disjoint by input text."""

    @abstractmethod
    def corpus(self) -> list[str]:
        """Unlabelled documents in a fixed shuffled order; no label or target is in them."""

    @abstractmethod
    def digest(self) -> str:
        """Hex sha256 of what rows and corpus come from; equal sources give equal digests."""

    def corpus_digest(self) -> str:
        """Hex sha256 of what the corpus is made from: tasks with one corpus share models."""
        s = self.settings
        # What is held out of the corpus depends on how the splits are drawn.
        drawn = [s.split_seed, s.weak_rows, s.strong_rows, s.validation_rows, s.test_rows]
        parts = [] if s.order == "random" else [s.order, s.easy_share, s.difficulty]
        options = as_json(sorted(self.chosen.items()))
        return sha256("corpus", s.name, self.digest(), options, as_json(drawn + parts))

    def completion(self, slots: Slots) -> str:
        """The answer that states these (type, filler) pairs; generation only."""
        raise TypeError(f"{self.settings.name} is a classification task: no completions")

    def parse(self, answer: str) -> tuple[Slots, bool]:
        """The (type, filler) pairs of an answer, and whether it is malformed; generation only.

        Any text is accepted; what can be read of a malformed answer counts.
        """
        raise TypeError(f"{self.settings.name} is a classification task: no answers to parse")

    def slot_spans(self, answer: str) -> Spans:
        """Where each "type: filler" part of an answer stands; generation only.

        See `raw2s.tasks.spans`. Any text is accepted.
        """
        raise TypeError(f"{self.settings.name} is a classification task: no slots in its answers")


def chosen_options(
    task: str, defaults: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Defaults overlaid with what is given; ConfigError for an unknown option or another type."""
    for name, value in given.items():
        if name not in defaults:
            there = ", ".join(sorted(defaults)) or "none"
            raise ConfigError(f"task {task} has no option {name!r}; there are: {there}")
        default = defaults[name]
        wanted = (int, float) if isinstance(default, float) else type(default)
        if not isinstance(value, wanted) or isinstance(value, bool) != isinstance(default, bool):
            raise ConfigError(
                f"task {task}: option {name} must be of type {type(default).__name__}, "
                f"it is {value!r}"
            )
    return {**defaults, **given}


def one_of(task: str, option: str, value: str, choices: Sequence[str]) -> str:
    """`value` if it is one of the choices, else ConfigError."""
    if value not in choices:
        raise ConfigError(
            f"task {task}: option {option} must be one of {', '.join(choices)}, it is {value!r}"
        )
    return value


def normalised(text: str) -> str:
    """The text as splits are compared by: lower case, white space collapsed."""
    return " ".join(text.lower().split())


def text_id(*parts: str) -> str:
    """A stable id from the input text: 16 hex digits, blind to case and spacing."""
    joined = "\x1f".join(normalised(part) for part in parts)
    return hashlib.sha256(joined.encode()).hexdigest()[:16]


def as_json(value: Any) -> str:
    """Compact JSON, non-ASCII kept."""
    return json.dumps(value, ensure_ascii=False)


def sha256(*parts: str | bytes) -> str:
    """Hex digest of length-prefixed parts, so that their boundaries count."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(f"{len(data)}:".encode())
        total.update(data)
    return total.hexdigest()


def draw_splits(
    rows: pd.DataFrame,
    sizes: Mapping[str, int | None],
    seed: int,
    *,
    group: str | None = None,
    balance: str | None = None,
) -> dict[str, pd.DataFrame]:
    """Draw disjoint splits of the sizes asked for, in the order of `sizes` (None: what is left).

    Rows with the same `text` (blind to case and spacing), or the same value of the column `group`,
    go to one split; what does not fit of such a unit is left out. Rows whose column `part`, if
    there is one, says easy or hard go to the splits of that part only (see `PARTS`). With
    `balance`, a column, every split has the same number of rows of each of its values (one more of
    the first where the size does not divide). Raises ConfigError for an empty split or too few
    rows, with the numbers.
    """
    values = sorted(rows[balance].unique().tolist()) if balance else [None]
    classes = rows[balance].tolist() if balance else [None] * len(rows)
    parts = rows["part"].tolist() if "part" in rows else [""] * len(rows)
    left = _units(rows, seed, group)
    drawn: dict[str, pd.DataFrame] = {}
    for name, size in sizes.items():
        suited = [[i for i in unit if suits(parts[i], name)] for unit in left]
        if size is None:
            quota = dict.fromkeys(values, len(rows))
            if balance:
                least = min(sum(classes[i] == v for unit in suited for i in unit) for v in values)
                quota = dict.fromkeys(values, least)
        else:
            share, odd = divmod(size, len(values))
            quota = {value: share + (place < odd) for place, value in enumerate(values)}
        taken: list[int] = []
        rest: list[list[int]] = []
        for unit, members in zip(left, suited, strict=True):
            fits = _fitting(members, classes, quota)
            if fits:
                taken += fits
            else:
                rest.append(unit)
        if not taken or (size is not None and len(taken) < size):
            asked = "at least 1" if size is None else str(size)
            kind = f" {PARTS[name]} ones" if name in PARTS and any(parts) else ""
            there = f"{len(taken)}{kind} there are"
            there += f" with balanced {balance}" if balance else ""
            raise ConfigError(f"split {name}: {asked} rows asked for, {there}")
        drawn[name] = rows.iloc[taken].reset_index(drop=True)
        left = rest
    return drawn


def suits(part: str, split: str) -> bool:
    """Whether a row of this part may go to the split; one without a part may go to any."""
    return part in ("", PARTS.get(split, part))


def _units(rows: pd.DataFrame, seed: int, group: str | None) -> list[list[int]]:
    """Row positions that must stay together, in a random order that only `seed` decides."""
    units: dict[str, list[int]] = {}
    for place, value in enumerate(rows[group or "text"].astype(str).tolist()):
        units.setdefault(normalised(value), []).append(place)
    order = list(units.values())
    random.Random(f"splits {seed}").shuffle(order)
    return order


def _fitting(unit: list[int], classes: list[Any], quota: dict[Any, int]) -> list[int]:
    """The unit's rows whose class has room; the quota is lowered by them."""
    fits = []
    for place in unit:
        if quota[classes[place]] > 0:
            quota[classes[place]] -= 1
            fits.append(place)
    return fits


def check_splits(splits: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The splits in their usual order, if none is empty and no text or id is in two of them.

    Raises ConfigError naming the split, and the text that two share.
    """
    owner: dict[str, str] = {}
    ids: set[str] = set()
    for name in SPLITS:
        frame = splits[name]
        if frame.empty:
            raise ConfigError(f"split {name} is empty")
        twice = frame["id"][frame["id"].duplicated() | frame["id"].isin(ids)]
        if len(twice):
            raise ConfigError(f"split {name}: the id {twice.iloc[0]!r} is there twice")
        ids.update(frame["id"])
        texts = {normalised(text): text for text in frame["text"]}
        for key, text in texts.items():
            if key in owner:
                raise ConfigError(f"splits {owner[key]} and {name} share the text {text[:80]!r}")
        owner.update(dict.fromkeys(texts, name))
    return {name: splits[name] for name in SPLITS}


def without_texts(rows: pd.DataFrame, *others: pd.DataFrame) -> pd.DataFrame:
    """The rows whose `text` is in none of the other frames."""
    taken = {normalised(text) for frame in others for text in frame["text"]}
    keep = [normalised(text) not in taken for text in rows["text"]]
    return rows[keep].reset_index(drop=True)


def shuffled(texts: Sequence[str]) -> list[str]:
    """Distinct texts in an order that depends on nothing but themselves and their first places."""
    order = list(dict.fromkeys(texts))
    random.Random("corpus").shuffle(order)
    return order


def rendered(
    rows: pd.DataFrame, render: Callable[[dict[str, Any]], dict[str, Any]]
) -> pd.DataFrame:
    """A frame of `render(row)` for every row, with the row's `part`."""
    records: list[dict[Any, Any]] = rows.to_dict("records")
    return pd.DataFrame([render(record) | {"part": record["part"]} for record in records])
