"""The toy world's two tasks: which half of the topics a sentence is about, and what it mentions."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from typing import Any, ClassVar, Literal

import pandas as pd

from raw2s import config
from raw2s.tasks.answers import Slots, from_plain, to_plain
from raw2s.tasks.base import SPLITS, Task, as_json, check_splits, sha256, text_id
from raw2s.tasks.toy_world import DEFAULTS, PROMPT, SLOT_TYPES, VERSION, Options, Sentence, World

DEFAULT_TEST_ROWS = 1000


class _Toy(Task):
    """What both tasks share: one world, hence one corpus and one digest for equal options."""

    options: ClassVar[dict[str, Any]] = DEFAULTS

    def __init__(self, settings: config.Task) -> None:
        super().__init__(settings)
        self._world_options = Options(**self.chosen)

    @cached_property
    def world(self) -> World:
        """The generated vocabulary."""
        return World(self._world_options)

    def splits(self, seed: int) -> dict[str, pd.DataFrame]:
        """Fresh sentences for each seed, distinct over all splits (test: 1000 unless told)."""
        s = self.settings
        test_rows = s.test_rows or DEFAULT_TEST_ROWS
        sizes = (s.weak_rows, s.strong_rows, s.validation_rows, test_rows)
        sentences = iter(self._sentences(sum(sizes), str(seed)))
        return check_splits(
            {
                name: pd.DataFrame([self._row(next(sentences)) for _ in range(size)])
                for name, size in zip(SPLITS, sizes, strict=True)
            }
        )

    def corpus(self) -> list[str]:
        """The world's unlabelled documents."""
        return self.world.documents()

    def digest(self) -> str:
        """Of the generator's version and options: the same for both tasks in one world."""
        return sha256("toy world", str(VERSION), as_json(sorted(self.chosen.items())))

    def corpus_digest(self) -> str:
        """The world's: what one task's models have read serves the other's too."""
        return self.digest()

    @abstractmethod
    def _sentences(self, count: int, seed: str) -> list[Sentence]:
        """Distinct sentences as the task asks about."""

    @abstractmethod
    def _row(self, sentence: Sentence) -> dict[str, Any]:
        """A sentence as a row."""


class ToyTopics(_Toy):
    """Binary: is the sentence's hidden topic in the first half of the topics, or the second?"""

    kind: ClassVar[Literal["classification", "generation"]] = "classification"
    labels = ("first half", "second half")

    def _sentences(self, count: int, seed: str) -> list[Sentence]:
        return self.world.topic_rows(count, seed)

    def _row(self, sentence: Sentence) -> dict[str, Any]:
        label = int(sentence.topic >= self._world_options.topics // 2)
        return {
            "id": text_id(sentence.text),
            "text": sentence.text,
            "label": label,
            "gold": as_json(label),
            "key": as_json([sentence.text]),
        }


class ToySlots(_Toy):
    """Slot filling: the things that a sentence mentions, in order, each with its hidden type."""

    kind: ClassVar[Literal["classification", "generation"]] = "generation"
    labels = SLOT_TYPES

    def completion(self, slots: Slots) -> str:
        """`place: bake ; time: moti`."""
        return to_plain(slots)

    def parse(self, answer: str) -> tuple[Slots, bool]:
        """The (type, thing) pairs of a plain answer; see `raw2s.tasks.answers.from_plain`."""
        return from_plain(answer)

    def _sentences(self, count: int, seed: str) -> list[Sentence]:
        return self.world.slot_rows(count, seed)

    def _row(self, sentence: Sentence) -> dict[str, Any]:
        slots = [(kind, thing) for kind, thing, _ in sentence.things]
        return {
            "id": text_id(sentence.text),
            "text": sentence.text + PROMPT,
            "target": self.completion(slots),
            "gold": as_json(slots),
            "key": as_json([sentence.text]),
        }
