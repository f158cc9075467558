"""The toy world: what it hides, what it shows, and that it repeats itself."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict

import pytest

from raw2s import config
from raw2s.errors import ConfigError
from raw2s.tasks import make
from raw2s.tasks.base import normalised
from raw2s.tasks.toy_world import SLOT_TYPES, Options, World

SMALL = {"topic_words": 20, "slot_words": 8, "documents": 400}


def task(name: str = "toy_slots", **options: object) -> config.Task:
    return config.Task(
        name=name,
        weak_rows=40,
        strong_rows=60,
        validation_rows=20,
        test_rows=50,
        options={**SMALL, **options},
    )


@pytest.mark.parametrize("name", ["toy_topics", "toy_slots"])
def test_rows_repeat_and_differ_by_seed(name: str) -> None:
    first, again = make(task(name)).splits(3), make(task(name)).splits(3)
    other = make(task(name)).splits(4)
    assert [len(first[s]) for s in ("weak", "strong", "validation", "test")] == [40, 60, 20, 50]
    for split in first:
        assert first[split].equals(again[split])
        assert not first[split].equals(other[split])
    texts = [normalised(t) for frame in first.values() for t in frame["text"]]
    assert len(set(texts)) == len(texts)
    ids = [i for frame in first.values() for i in frame["id"]]
    assert len(set(ids)) == len(ids)


def test_both_tasks_share_one_world() -> None:
    topics, slots = make(task("toy_topics")), make(task("toy_slots"))
    assert topics.corpus() == slots.corpus()
    assert topics.digest() == slots.digest()
    assert make(task("toy_slots", world_seed=1)).digest() != slots.digest()
    assert make(task("toy_slots", world_seed=1)).corpus() != slots.corpus()


def test_label_is_the_half_that_most_words_come_from() -> None:
    options = {"on_topic": 1.0}
    frame = make(task("toy_topics", **options)).splits(0)["strong"]
    world = World(Options(**{**SMALL, **options}))  # type: ignore[arg-type]
    half = {w: int(t >= 3) for t, words in enumerate(world.topic_words) for w in words}
    for text, label, gold in zip(frame["text"], frame["label"], frame["gold"], strict=True):
        assert {half[word] for word in text.split() if word in half} == {label}
        assert json.loads(gold) == label
    assert set(frame["label"]) == {0, 1}


def test_targets_name_the_things_in_order() -> None:
    t = make(task("toy_slots"))
    world = World(Options(**SMALL))
    kind_of = {word: kind for kind, words in world.things.items() for word in words}
    for row in t.splits(0)["test"].to_dict("records"):
        expected = [(kind_of[word], word) for word in row["text"].split() if word in kind_of]
        assert [tuple(pair) for pair in json.loads(row["gold"])] == expected
        assert t.parse(row["target"]) == (expected, False)
        assert row["target"] == " ; ".join(f"{kind}: {word}" for kind, word in expected)


def test_rows_do_not_tell_types_but_unlabelled_text_does() -> None:
    world = World(Options(cue=1.0))
    rows = world.slot_rows("x", 300)
    neighbours = defaultdict(Counter)  # type: ignore[var-annotated]
    for sentence in rows:
        for kind, _, before in sentence.things:
            neighbours[kind][before] += 1
    assert all(set(count) == set(world.plain_before) for count in neighbours.values())
    rng = random.Random(0)
    for _ in range(50):
        for kind, _, before in world.mention(rng, 1.0).things:
            assert before == world.before[kind]


def test_corpus_never_holds_a_type_name_and_copies_what_is_there() -> None:
    documents = make(task("toy_slots", copy=0.5)).corpus()
    assert len(documents) == 400
    copying = [d for d in documents if ">" in d]
    assert 60 < len(copying) < 150
    for document in documents:
        assert not set(document.replace(":", " ").split()) & set(SLOT_TYPES)
    for document in copying:
        sentence, answer = document.split(" > ")
        words = sentence.split()
        for part in answer.split(" ; "):
            before, thing = part.split(": ")
            assert any(pair == (before, thing) for pair in zip(words, words[1:], strict=False))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nonsense": 1}, "no option 'nonsense'"),
        ({"cue": 1.5}, r"cue must be in \[0, 1\]"),
        ({"topics": 5}, "even"),
        ({"topics": 0}, "topics must be at least 1"),
        ({"topics": "six"}, "must be of type int"),
        ({"topics": True}, "must be of type int"),
        ({"topic_words": 5000}, "words asked for"),
    ],
)
def test_impossible_worlds(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(task("toy_slots", **options))


def test_too_small_a_world_says_so() -> None:
    tiny = {"topics": 2, "topic_words": 1, "mention_content": 1, "slots": 1, "slot_words": 1}
    with pytest.raises(ConfigError, match="distinct sentences asked for"):
        make(task("toy_slots", **tiny)).splits(0)
