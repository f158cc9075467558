"""Slot filling on SLURP, the paper's generation task: from a spoken request to its slots."""

from __future__ import annotations

import random
from typing import Any, ClassVar, Literal

import pandas as pd

from raw2s import config
from raw2s.tasks import massive, source
from raw2s.tasks.answers import Slots, from_json, from_plain, to_json, to_plain
from raw2s.tasks.base import (
    Task,
    as_json,
    one_of,
)
from raw2s.tasks.scenario import unlabelled
from raw2s.tasks.spans import Spans, json_spans, plain_spans

# In the order of the paper's prompt (App. I).
SLOT_TYPES = (
    "event_name", "date", "person", "time", "news_topic", "relation", "list_name", "media_type",
    "business_name", "weather_descriptor", "music_genre", "house_place", "game_name", "food_type",
    "timeofday", "place_name", "definition_word", "email_address", "transport_agency",
    "movie_name", "artist_name", "transport_type", "joke_type", "movie_type", "time_zone",
    "music_descriptor", "device_type", "color_type", "meal_type", "player_setting",
    "podcast_name", "email_folder", "song_name", "change_amount", "business_type",
    "personal_info", "radio_name", "coffee_type", "audiobook_author", "audiobook_name",
    "currency_name", "playlist_name", "podcast_descriptor", "general_frequency", "music_album",
    "app_name", "order_type", "transport_name", "transport_descriptor", "cooking_type",
    "ingredient", "alarm_type", "drink_type", "sport_type", "game_type",
)  # fmt: skip

_PAPER = (
    "USER: Consider the following list of slot types provided to you: {types} Now consider the "
    "following sentence(s) containing one or more of the above slot types. Can you extract slots "
    "belonging to that slot list and their values in json format i.e. "
    '{{"slot type": "value"}}? ONLY print out the json, or only print {{}} if no slot. '
    '"{sentence}" ASSISTANT:'
)
_SHORT = "{sentence}\nslots:"
_LONGEST_SPAN = 3


class Slurp(Task):
    """Slot filling; splits A, B and validation from MASSIVE, the test from SLURP.

    Options: `prompt` is short or the paper's; `answer` is json (the paper's) or plain, shorter;
    `copy` is the share of the corpus's documents that repeat spans of their sentence in the
    answer's shape, which small models learn to copy from.
    """

    kind: ClassVar[Literal["classification", "generation"]] = "generation"
    labels = SLOT_TYPES
    options: ClassVar[dict[str, Any]] = {"prompt": "short", "answer": "json", "copy": 0.5}

    def __init__(self, settings: config.Task) -> None:
        super().__init__(settings)
        one_of("slurp", "prompt", self.chosen["prompt"], ("short", "paper"))
        one_of("slurp", "answer", self.chosen["answer"], ("json", "plain"))

    def splits(self, seed: int) -> dict[str, pd.DataFrame]:
        """The rows; sentences of the test are in no other split."""
        return massive.splits(self.settings, seed, self._row)

    def corpus(self) -> list[str]:
        """Training sentences without the test's and the validation's; a share teaches copying."""
        rng = random.Random("slurp copying")
        share = float(self.chosen["copy"])
        return [
            self._copying(sentence, rng) if rng.random() < share else sentence
            for sentence in unlabelled(self)
        ]

    def digest(self) -> str:
        """Of the files, or of the hub's name and revision."""
        return source.digest(self.settings.data)

    def completion(self, slots: Slots) -> str:
        """The answer in the chosen shape."""
        return to_json(slots) if self.chosen["answer"] == "json" else to_plain(slots)

    def parse(self, answer: str) -> tuple[Slots, bool]:
        """The pairs of an answer in the chosen shape; see `raw2s.tasks.answers`."""
        return from_json(answer) if self.chosen["answer"] == "json" else from_plain(answer)

    def slot_spans(self, answer: str) -> Spans:
        """Where each slot stands in an answer of the chosen shape; see `raw2s.tasks.spans`."""
        return json_spans(answer) if self.chosen["answer"] == "json" else plain_spans(answer)

    def prompt(self, sentence: str) -> str:
        """What the models see of a sentence."""
        if self.chosen["prompt"] == "short":
            return _SHORT.format(sentence=sentence)
        types = ", ".join(f'"{kind}"' for kind in SLOT_TYPES)
        return _PAPER.format(types=types, sentence=sentence)

    def _copying(self, sentence: str, rng: random.Random) -> str:
        """The sentence's short prompt, then one or two of its spans keyed by the word before each.

        The key is a word of the sentence, chosen blindly: nothing about slots is in it.
        """
        words = sentence.split()
        if len(words) < 2:
            return sentence
        spans: Slots = []
        start = 1
        for _ in range(rng.randint(1, 2)):
            if start >= len(words):
                break
            start = rng.randrange(start, len(words))
            end = min(len(words), start + rng.randint(1, _LONGEST_SPAN))
            spans.append((words[start - 1], " ".join(words[start:end])))
            start = end + 1
        return f"{_SHORT.format(sentence=sentence)} {self.completion(spans)}"

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": row["source_id"],
            "text": self.prompt(row["text"]),
            "target": self.completion(row["slots"]),
            "gold": as_json(row["slots"]),
            "key": as_json([row["text"]]),
        }
