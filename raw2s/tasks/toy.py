"""The toy world's two tasks: which half of the topics a sentence is about, and what it mentions."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from typing import Any, ClassVar, Literal

import pandas as pd

from raw2s import config
from raw2s.errors import ConfigError
from raw2s.tasks.answers import Slots, from_plain, to_plain
from raw2s.tasks.base import SPLITS, Task, as_json, check_splits, sha256, suits, text_id
from raw2s.tasks.difficulty import boundary_of, part_of
from raw2s.tasks.spans import Spans, plain_spans
from raw2s.tasks.toy_world import DEFAULTS, PROMPT, SLOT_TYPES, VERSION, Options, Sentence, World

DEFAULT_TEST_ROWS = 1000
BOUNDARY_DRAWS = 1000
DRAWS_A_ROW = 100  # many of them repeat another one in a small world, or are of another part


class _Toy(Task):
    """What both tasks share: one world, hence one corpus and one digest for equal options."""

    options: ClassVar[dict[str, Any]] = DEFAULTS

    def __init__(self, settings: config.Task) -> None:
        super().__init__(settings)
        if settings.difficulty is not None:
            raise ConfigError(
                f"task {settings.name}: a toy world has no column {settings.difficulty!r}, "
                "its difficulty is its own"
            )
        self._world_options = Options(**self.chosen)

    @cached_property
    def world(self) -> World:
        """The generated vocabulary."""
        return World(self._world_options)

    @cached_property
    def boundary(self) -> float | None:
        """The highest difficulty that is easy, told from sentences that are the same for every
        seed; None in random order."""
        sentences = self._sentences("difficulty", BOUNDARY_DRAWS)
        return boundary_of(self.settings, [self._difficulty(sentence) for sentence in sentences])

    def splits(self, seed: int) -> dict[str, pd.DataFrame]:
        """Fresh sentences for each seed, distinct over all splits (test: 1000 unless told).

        One after another the splits take the next sentences that are of their part.
        """
        s = self.settings
        test_rows = s.test_rows or DEFAULT_TEST_ROWS
        sizes = (s.weak_rows, s.strong_rows, s.validation_rows, test_rows)
        rows = self._rows(str(seed), DRAWS_A_ROW * sum(sizes))
        splits: dict[str, pd.DataFrame] = {}
        for name, size in zip(SPLITS, sizes, strict=True):
            frame = pd.DataFrame(islice((row for row in rows if suits(row["part"], name)), size))
            if len(frame) < size:
                raise ConfigError(
                    f"toy world, split {name}: {size} distinct sentences asked for, "
                    f"{len(frame)} found; give it more words"
                )
            splits[name] = frame
        return check_splits(splits)

    def corpus(self) -> list[str]:
        """The world's unlabelled documents."""
        return self.world.documents()

    def digest(self) -> str:
        """Of the generator's version and options: the same for both tasks in one world."""
        return sha256("toy world", str(VERSION), as_json(sorted(self.chosen.items())))

    def corpus_digest(self) -> str:
        """The world's: what one task's models have read serves the other's too."""
        return self.digest()

    def _rows(self, seed: str, draws: int) -> Iterator[dict[str, Any]]:
        for sentence in self._sentences(seed, draws):
            part = part_of(self._difficulty(sentence), self.boundary)
            yield self._row(sentence) | {"part": part}

    @abstractmethod
    def _sentences(self, seed: str, draws: int) -> Iterator[Sentence]:
        """The distinct ones of so many sentences as the task asks about."""

    @abstractmethod
    def _difficulty(self, sentence: Sentence) -> int:
        """How difficult a sentence is; higher is harder."""

    @abstractmethod
    def _row(self, sentence: Sentence) -> dict[str, Any]:
        """A sentence as a row."""


class ToyTopics(_Toy):
    """Binary: is the sentence's hidden topic in the first half of the topics, or the second?"""

    kind: ClassVar[Literal["classification", "generation"]] = "classification"
    labels = ("first half", "second half")

    def _sentences(self, seed: str, draws: int) -> Iterator[Sentence]:
        return self.world.topic_rows(seed, draws)

    def _difficulty(self, sentence: Sentence) -> int:
        """How many of its words are from other topics."""
        return self.world.off_topic(sentence)

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

    def slot_spans(self, answer: str) -> Spans:
        """Where each slot stands in a plain answer; see `raw2s.tasks.spans.plain_spans`."""
        return plain_spans(answer)

    def _sentences(self, seed: str, draws: int) -> Iterator[Sentence]:
        return self.world.slot_rows(seed, draws)

    def _difficulty(self, sentence: Sentence) -> int:
        """How many things it mentions, and of how many types."""
        return len(sentence.things) + len({kind for kind, _, _ in sentence.things})

    def _row(self, sentence: Sentence) -> dict[str, Any]:
        slots = [(kind, thing) for kind, thing, _ in sentence.things]
        return {
            "id": text_id(sentence.text),
            "text": sentence.text + PROMPT,
            "target": self.completion(slots),
            "gold": as_json(slots),
            "key": as_json([sentence.text]),
        }
