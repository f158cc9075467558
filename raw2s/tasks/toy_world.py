"""A made-up language whose topics and slot types show only in how its words keep company.

It has two kinds of sentence. One is about a hidden topic: content words, most of them the topic's.
The other ends with one or two things, each of a hidden slot type, between two small words:

    content content before thing after before thing after

What a thing is called says nothing about its type; but in unlabelled text the words right before
and after it are, now and then, ones that only its type has. In the rows of a task they never are.
So reading much unlabelled text is what teaches the classes, and a model that has read more labels
better: the weak models have read little, each another part, and therefore err differently.

Some documents repeat, after their sentence, its things in the shape of an answer with the word
before each in place of its type. That teaches copying, which small models do not find on their own
in so little text.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

from raw2s.errors import ConfigError

VERSION = 3
SLOT_TYPES = ("name", "place", "time", "dish")
CONSONANTS = "bcdfghjklmnprstvz"
VOWELS = "aeiou"
PROMPT = " >"


@dataclass(frozen=True)
class Options:
    """What the world is like; each a task option of the same name."""

    world_seed: int = 0
    """Which words mean what."""
    topics: int = 6
    """Hidden topics; the first half of them is class 0 of the topic task, the rest class 1."""
    topic_words: int = 120
    """Content words of a topic."""
    content: int = 5
    """Content words of a sentence about a topic in a task's rows."""
    document_content: int = 10
    """The same in unlabelled text: longer company shows the topics sooner."""
    mention_content: int = 2
    """Content words of a sentence that mentions things."""
    on_topic: float = 0.75
    """Chance that a content word is from the sentence's topic; else it is from any topic."""
    slot_words: int = 20
    """Things of a slot type."""
    slots: int = 2
    """Most things in a sentence that mentions things; there is at least one."""
    mentions: float = 0.5
    """Share of unlabelled documents that mention things; the others are about a topic."""
    cue: float = 0.5
    """Chance, in unlabelled text, that the word before (likewise after) a thing is its type's."""
    copy: float = 1.0
    """Share of the mentioning documents that repeat their things after the sentence."""
    documents: int = 24000
    """Unlabelled documents."""

    def __post_init__(self) -> None:
        chances = ("on_topic", "mentions", "cue", "copy")
        for name in DEFAULTS:
            if name in ("world_seed", *chances):
                continue
            if (count := getattr(self, name)) < 1:
                raise ConfigError(f"toy world: {name} must be at least 1, it is {count}")
        for name in chances:
            if not 0 <= (chance := getattr(self, name)) <= 1:
                raise ConfigError(f"toy world: {name} must be in [0, 1], it is {chance}")
        if self.topics % 2:
            raise ConfigError(f"toy world: topics must be even, it is {self.topics}")
        needed = self.topics * self.topic_words + len(SLOT_TYPES) * self.slot_words
        most = (len(CONSONANTS) * len(VOWELS)) ** 2 - len(SLOT_TYPES)
        if needed > most:
            raise ConfigError(f"toy world: {needed} words asked for, {most} there are")


DEFAULTS: dict[str, Any] = {field.name: field.default for field in fields(Options)}


@dataclass(frozen=True)
class Sentence:
    """A sentence with what is hidden in it."""

    text: str
    topic: int
    things: list[tuple[str, str, str]]
    """(type, thing, the word before it), in order."""


class World:
    """The vocabulary of one world, and sentences from it."""

    def __init__(self, options: Options) -> None:
        self.options = options
        rng = random.Random(f"toy world {options.world_seed}")
        syllables = [c + v for c in CONSONANTS for v in VOWELS]
        words = [a + b for a in syllables for b in syllables if a + b not in SLOT_TYPES]
        rng.shuffle(words)
        taken = iter(words)
        self.topic_words = [
            [next(taken) for _ in range(options.topic_words)] for _ in range(options.topics)
        ]
        self.things = {
            kind: [next(taken) for _ in range(options.slot_words)] for kind in SLOT_TYPES
        }
        rng.shuffle(syllables)
        marks = iter(syllables)
        self.plain_before = [next(marks), next(marks)]
        self.plain_after = [next(marks), next(marks)]
        self.before = {kind: next(marks) for kind in SLOT_TYPES}
        self.after = {kind: next(marks) for kind in SLOT_TYPES}

    def about(self, rng: random.Random, content: int) -> Sentence:
        """A sentence of so many content words about a topic."""
        topic = rng.randrange(self.options.topics)
        return Sentence(" ".join(self._content(rng, content, topic)), topic, [])

    def mention(self, rng: random.Random, cue: float) -> Sentence:
        """A sentence that mentions things; `cue`: chance that a word beside a thing tells."""
        o = self.options
        topic = rng.randrange(o.topics)
        parts = self._content(rng, o.mention_content, topic)
        count = rng.randint(1, o.slots)
        things: list[tuple[str, str, str]] = []
        for _ in range(count):
            kind = rng.choice(SLOT_TYPES)
            thing = rng.choice(self.things[kind])
            before = self.before[kind] if rng.random() < cue else rng.choice(self.plain_before)
            after = self.after[kind] if rng.random() < cue else rng.choice(self.plain_after)
            parts += [before, thing, after]
            things.append((kind, thing, before))
        return Sentence(" ".join(parts), topic, things)

    def topic_rows(self, seed: str, draws: int) -> Iterator[Sentence]:
        """The distinct sentences about topics of so many draws."""
        rng = random.Random(f"toy topics {self.options.world_seed} {seed}")
        return _distinct(draws, lambda: self.about(rng, self.options.content))

    def slot_rows(self, seed: str, draws: int) -> Iterator[Sentence]:
        """The same of sentences that mention things; no word beside a thing tells its type."""
        rng = random.Random(f"toy slots {self.options.world_seed} {seed}")
        return _distinct(draws, lambda: self.mention(rng, cue=0.0))

    def off_topic(self, sentence: Sentence) -> int:
        """How many words of a sentence about a topic are other topics' words."""
        own = self.topic_words[sentence.topic]
        return sum(word not in own for word in sentence.text.split())

    def documents(self) -> list[str]:
        """Unlabelled text of both kinds."""
        o = self.options
        rng = random.Random(f"toy corpus {o.world_seed}")
        return [
            self._mentioning(rng)
            if rng.random() < o.mentions
            else self.about(rng, o.document_content).text
            for _ in range(o.documents)
        ]

    def _mentioning(self, rng: random.Random) -> str:
        sentence = self.mention(rng, self.options.cue)
        copied = rng.random() < self.options.copy
        return f"{sentence.text}{PROMPT} {repeated(sentence)}" if copied else sentence.text

    def _content(self, rng: random.Random, count: int, topic: int) -> list[str]:
        words = []
        for _ in range(count):
            on_topic = rng.random() < self.options.on_topic
            source = topic if on_topic else rng.randrange(self.options.topics)
            words.append(rng.choice(self.topic_words[source]))
        return words


def _distinct(draws: int, draw: Callable[[], Sentence]) -> Iterator[Sentence]:
    seen: set[str] = set()
    for _ in range(draws):
        sentence = draw()
        if sentence.text not in seen:
            seen.add(sentence.text)
            yield sentence


def repeated(sentence: Sentence) -> str:
    """A sentence's things in the shape of an answer, each named by the word before it."""
    return " ; ".join(f"{before}: {thing}" for _, thing, before in sentence.things)
