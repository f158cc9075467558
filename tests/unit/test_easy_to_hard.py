"""Easy to hard: each split's part, one boundary for all rows, and what cannot be split so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from raw2s import config
from raw2s.errors import ConfigError
from raw2s.tasks import Task, make
from raw2s.tasks.base import draw_splits, normalised
from raw2s.tasks.scenario import SCENARIOS
from raw2s.tasks.toy_world import Options, Sentence, World

SPLITS = {"weak": {"easy"}, "strong": {"hard"}, "validation": {"easy"}, "test": {"easy", "hard"}}


def words(number: int, i: int) -> str:
    return " ".join(f"w{i}x{place}" for place in range(number))


def length(i: int) -> int:
    """Number of words; later rows, which are more often the test's, have more."""
    return 3 + i % 6 + i // 200


def level(i: int) -> int:
    """Another difficulty, of which later rows have less."""
    return (i * 7) % 5 - i // 200


def slurp_rows(partition: str, places: range) -> list[dict[str, Any]]:
    return [
        {
            "id": f"{partition} {i}",
            "partition": partition,
            "scenario": SCENARIOS[i % 18],
            "utt": words(length(i), i),
            "annot_utt": words(length(i), i),
            "level": level(i),
        }
        for i in places
    ]


def sciq_rows(places: range) -> list[dict[str, Any]]:
    rows = []
    for i in places:
        row = {"question": words(length(i), i), "level": level(i)}
        rows += [
            {**row, "candidate": f"{say} {i}", "label": int(say == "yes")} for say in ("yes", "no")
        ]
    return rows


def sciq_choices(places: range) -> list[dict[str, Any]]:
    wrong = {f"distractor{n}": f"no {n}" for n in (1, 2, 3)}
    return [
        {"question": words(length(i), i), "correct_answer": "yes", "level": level(i), **wrong}
        for i in places
    ]


def cosmos_rows(stories: range) -> list[dict[str, Any]]:
    return [
        {
            "id": f"{story} {i}",
            "context": f"Story {story}.",
            "question": words(length(i), i),
            **{f"answer{n}": f"{n} of {i}" for n in range(4)},
            "label": i % 4,
            "level": level(i),
        }
        for story in stories
        for i in range(3 * story, 3 * story + 3)
    ]


FILES: dict[str, dict[str, list[dict[str, Any]]]] = {
    "slurp": {
        "train": slurp_rows("train", range(300)),
        "test": slurp_rows("test", range(290, 340)),
    },
    "sciq": {
        "train": sciq_rows(range(300)),
        "validation": sciq_rows(range(290, 340)),
        "test": sciq_choices(range(330, 380)),
    },
    "cosmosqa": {"train": cosmos_rows(range(100)), "validation": cosmos_rows(range(90, 120))},
    "cosmosqa, one file": {"validation": cosmos_rows(range(150))},
}
FILES["scenario"] = FILES["slurp"]
# The training rows are those below, without what tests or validation have too.
POOLS = {"slurp": 290, "scenario": 290, "sciq": 290, "cosmosqa": 270, "cosmosqa, one file": 450}


def task(name: str, folder: Path, **settings: Any) -> Task:
    """The task on its rows above, as csv files."""
    for split, rows in FILES[name].items():
        pd.DataFrame(rows).to_csv(folder / f"{split}.csv", index=False)
    data = {"folder": str(folder), "files": {split: f"{split}.csv" for split in FILES[name]}}
    sizes = {"weak_rows": 40, "strong_rows": 30, "validation_rows": 10}
    raw = {"name": name.partition(",")[0], "data": data, "order": "easy_to_hard"}
    return make(config.Task.model_validate({**raw, **sizes, **settings}))


def units_of(owner: dict[str, str], split: str) -> list[str]:
    return [unit for unit, name in owner.items() if name == split]


def of_row(row: dict[str, Any]) -> tuple[str, int]:
    """A row's sentence or question, and its number."""
    text = json.loads(row["key"])[0]
    return text, int(text.split()[0][1:].split("x")[0])


def brute_force(difficulties: list[int], share: float) -> int:
    """The boundary by its definition."""
    return min(
        d for d in difficulties if sum(x <= d for x in difficulties) / len(difficulties) >= share
    )


@pytest.mark.parametrize("difficulty", [None, "level"])
@pytest.mark.parametrize("share", [0.3, 0.5])
@pytest.mark.parametrize("name", FILES)
def test_every_row_is_of_the_part_its_difficulty_says(
    name: str, share: float, difficulty: str | None, tmp_path: Path
) -> None:
    made = task(name, tmp_path, easy_share=share, difficulty=difficulty)
    splits = made.splits(0)
    measure: Callable[[int], int] = level if difficulty else length
    boundary = brute_force([measure(i) for i in range(POOLS[name])], share)
    owner: dict[str, str] = {}
    for split, frame in splits.items():
        assert set(frame["part"]) == SPLITS[split]
        for row in frame.to_dict("records"):
            question, number = of_row(row)
            assert row["part"] == ("easy" if measure(number) <= boundary else "hard")
            unit = row["text"].split(" Q:")[0] if name.startswith("cosmosqa") else question
            assert owner.setdefault(normalised(unit), split) == split
        if name.startswith(("sciq", "cosmosqa")):
            assert frame["label"].mean() == 0.5
    assert [len(splits[split]) for split in ("weak", "strong", "validation")] == [40, 30, 10]
    # Every word of a sentence and every story's number is its own, so that this finds them all.
    corpus = " ".join(f" {normalised(text)} " for text in made.corpus())
    inside = {split: {f" {unit} " in corpus for unit in units_of(owner, split)} for split in SPLITS}
    assert inside["validation"] == inside["test"] == {False} and True in inside["strong"]


@pytest.mark.parametrize("name", ["slurp", "scenario", "sciq", "cosmosqa"])
def test_the_test_keeps_its_rows(name: str, tmp_path: Path) -> None:
    ordered, drawn = task(name, tmp_path), task(name, tmp_path, order="random")
    kept, rows = ordered.splits(3)["test"], drawn.splits(3)
    assert kept.drop(columns="part").equals(rows["test"].drop(columns="part"))
    assert {part for frame in rows.values() for part in frame["part"]} == {""}
    assert ordered.corpus_digest() != drawn.corpus_digest()


def test_sciq_draws_the_hard_rows_from_the_labelled_file(tmp_path: Path) -> None:
    pd.DataFrame(sciq_rows(range(100, 200))).to_csv(tmp_path / "labels.csv", index=False)
    splits = task("sciq", tmp_path, options={"strong_from": "labels.csv"}).splits(0)
    for split, frame in splits.items():
        assert set(frame["part"]) == SPLITS[split]
        inside = [of_row(row)[1] in range(100, 200) for row in frame.to_dict("records")]
        assert all(inside) if split == "strong" else not any(inside)


def test_a_unit_of_both_parts_serves_one_split() -> None:
    frame = pd.DataFrame(
        {
            "text": [f"t{i}" for i in range(40)],
            "story": [f"s{i // 2}" for i in range(40)],
            "part": ["easy", "hard"] * 20,
        }
    )
    drawn = draw_splits(frame, {"weak": 8, "strong": 7, "test": None}, 0, group="story")
    assert [len(rows) for rows in drawn.values()] == [8, 7, 10]
    assert [set(rows["part"]) for rows in drawn.values()] == [{"easy"}, {"hard"}, {"easy", "hard"}]
    assert sum(rows["story"].nunique() for rows in drawn.values()) == 20
    with pytest.raises(ConfigError, match="strong: 13 rows asked for, 12 hard ones there are$"):
        draw_splits(frame, {"weak": 8, "strong": 13}, 0, group="story")


@pytest.mark.parametrize(
    ("settings", "value", "message"),
    [
        ({"difficulty": "grade"}, 0, "MASSIVE test lacks the column grade; it has: id, partition"),
        ({"difficulty": "scenario"}, 0, "difficulty 'scenario' of row 0 must be a finite number"),
        ({"difficulty": "level"}, None, "MASSIVE test: difficulty 'level' of row 7 .* it is ''"),
        (
            {"difficulty": "level"},
            "inf",
            "MASSIVE test: difficulty 'level' of row 7 .* it is 'inf'",
        ),
        ({"easy_share": 0.95}, 0, "no hard row is left, none of 290 is above difficulty 9"),
        ({"strong_rows": 200}, 0, "split strong: 200 rows asked for, 111 hard ones there are"),
    ],
)
def test_what_cannot_be_split(
    settings: dict[str, Any], value: object, message: str, tmp_path: Path
) -> None:
    made = task("slurp", tmp_path, **settings)
    rows = slurp_rows("test", range(290, 340))
    rows[7]["level"] = value
    pd.DataFrame(rows).to_csv(tmp_path / "test.csv", index=False)
    with pytest.raises(ConfigError, match=message) as raised:
        made.splits(0)
    assert "\n" not in str(raised.value)


def test_a_difficulty_needs_the_order_it_is_for() -> None:
    with pytest.raises(ValueError, match="difficulty 'level' needs order: easy_to_hard"):
        config.Task(name="slurp", difficulty="level")
    for share in (0, 1):
        with pytest.raises(ValueError, match="easy_share"):
            config.Task(name="slurp", order="easy_to_hard", easy_share=share)


# --- the toy worlds ----------------------------------------------------------------------------

SMALL = {"topic_words": 20, "slot_words": 8, "documents": 10}
WORLD = World(Options(**SMALL))
TOPIC_OF = {word: topic for topic, words in enumerate(WORLD.topic_words) for word in words}


def toy(name: str, options: dict[str, Any] | None = None, **settings: Any) -> Task:
    sizes = {"weak_rows": 60, "strong_rows": 60, "validation_rows": 20, "test_rows": 600}
    raw = {"name": name, "order": "easy_to_hard", "options": {**SMALL, **(options or {})}}
    return make(config.Task.model_validate({**raw, **sizes, **settings}))


def strangers(sentence: Sentence) -> int:
    return sum(TOPIC_OF[word] != sentence.topic for word in sentence.text.split())


def things_and_types(sentence: Sentence) -> int:
    kinds = [
        kind for kind, words in WORLD.things.items() for w in sentence.text.split() if w in words
    ]
    return len(kinds) + len(set(kinds))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    ("name", "measure", "stream"),
    [
        ("toy_topics", strangers, WORLD.topic_rows),
        ("toy_slots", things_and_types, WORLD.slot_rows),
    ],
)
def test_toy_sentences_go_where_their_difficulty_belongs(
    name: str, measure: Callable[[Sentence], int], stream: Callable[..., Any], seed: int
) -> None:
    splits = toy(name).splits(seed)
    # For every seed the boundary is the same.
    boundary = brute_force([measure(sentence) for sentence in stream("difficulty", 1000)], 0.5)
    drawn = stream(str(seed), 5000)
    for split, frame in splits.items():
        for text, part in zip(frame["text"], frame["part"], strict=True):
            # The next sentence of the stream that fits, none passed over that would have.
            for sentence in drawn:
                easy = measure(sentence) <= boundary
                if split == "test" or easy == (split != "strong"):
                    break
            assert text.removesuffix(" >") == sentence.text
            assert part == ("easy" if easy else "hard")
        assert set(frame["part"]) == SPLITS[split]


def test_toy_worlds_without_a_hard_row_or_a_column_say_so() -> None:
    with pytest.raises(ConfigError, match="no hard row is left, none of .* above difficulty 0"):
        toy("toy_topics", {"on_topic": 1.0}).splits(0)
    with pytest.raises(ConfigError, match="no hard row is left, none of .* above difficulty 2"):
        toy("toy_slots", {"slots": 1}).splits(0)
    tiny = {"topics": 2, "topic_words": 1, "mention_content": 1, "slot_words": 1}
    # One thing makes an easy sentence, of 2 content words, 4 things and 2 words on either side.
    with pytest.raises(ConfigError, match="split weak: 60 distinct sentences asked for, 32 found"):
        toy("toy_slots", tiny, easy_share=0.05).splits(0)
    with pytest.raises(ConfigError, match="a toy world has no column 'level'"):
        toy("toy_slots", difficulty="level")
