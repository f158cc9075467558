"""Cosmos QA in binary form: is this candidate the answer to the question about the story?"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import pandas as pd

from raw2s.errors import ConfigError
from raw2s.tasks import source
from raw2s.tasks.base import (
    Task,
    as_json,
    check_splits,
    draw_splits,
    normalised,
    rendered,
    shuffled,
    text_id,
)
from raw2s.tasks.binary import one_candidate
from raw2s.tasks.difficulty import with_difficulty, with_parts

_ANSWERS = ["answer0", "answer1", "answer2", "answer3"]


class CosmosQA(Task):
    """Two balanced classes, one row a question; all questions about one story in one split.

    The test is drawn from the validation data, whose labels are public, and so are the other
    splits where no training file is named.
    """

    kind: ClassVar[Literal["classification", "generation"]] = "classification"
    labels = ("wrong", "correct")

    def splits(self, seed: int) -> dict[str, pd.DataFrame]:
        """The rows; stories of the test are in no other split.

        Where all splits come from one file, `test_rows: null` takes what the others leave.
        """
        drawn = self._drawn(seed)
        return check_splits({name: rendered(rows, _row) for name, rows in drawn.items()})

    def corpus(self) -> list[str]:
        """Stories with their questions, without the stories of test and validation."""
        drawn = self._drawn(self.settings.split_seed)
        held_out = {
            normalised(context)
            for name in ("validation", "test")
            for context in drawn[name]["context"]
        }
        pool = one_each(self._read("train" if self._has_training() else "validation"))
        return shuffled(
            [
                f"{context} Q: {question}"
                for context, question in zip(pool["context"], pool["question"], strict=True)
                if normalised(context) not in held_out
            ]
        )

    def _drawn(self, seed: int) -> dict[str, pd.DataFrame]:
        s = self.settings
        training = {"weak": s.weak_rows, "strong": s.strong_rows, "validation": s.validation_rows}
        test_rows = {"test": s.test_rows}
        held_out = one_each(self._read("validation"))
        if self._has_training():
            pool = one_each(self._read("train"))
            stories = {normalised(context) for context in held_out["context"]}
            pool = pool[[normalised(context) not in stories for context in pool["context"]]]
            pool, held_out = with_parts(s, pool.reset_index(drop=True), held_out)
            drawn = draw_splits(held_out, test_rows, seed, group="context", balance="label")
            drawn |= draw_splits(pool, training, seed, group="context", balance="label")
        else:
            (held_out,) = with_parts(s, held_out)
            sizes = training | test_rows
            drawn = draw_splits(held_out, sizes, seed, group="context", balance="label")
        return drawn

    def digest(self) -> str:
        """Of the files, or of the hub's name and revision."""
        return source.digest(self.settings.data)

    def _has_training(self) -> bool:
        return not source.is_local(self.settings.data) or source.has(self.settings.data, "train")

    def _read(self, split: str) -> pd.DataFrame:
        where = f"Cosmos QA {split}"
        frame = source.read(self.settings.data, split)
        source.require(frame, ["id", "context", "question", *_ANSWERS, "label"], where)
        return with_difficulty(frame, "question", self.settings, where)


def one_each(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a question: context, question, candidate, label, difficulty; no repeats.

    Raises ConfigError for a label that is not 0 to 3, naming the row.
    """
    records: list[dict[Any, Any]] = frame.to_dict("records")
    correct, wrong = [], []
    for place, record in enumerate(records):
        if str(record["label"]) not in ("0", "1", "2", "3"):
            raise ConfigError(
                f"Cosmos QA: the label of row {place} must be 0 to 3, it is {record['label']!r}"
            )
        right = int(record["label"])
        answers = [str(record[name]) for name in _ANSWERS]
        correct.append([answers[right]])
        # An answer that is there twice, once as the correct one, is not wrong.
        wrong.append([text for text in answers if normalised(text) != normalised(answers[right])])
    questions = [f"{record['context']}\n{record['question']}" for record in records]
    rows = pd.DataFrame(one_candidate(questions, correct, wrong), columns=["candidate", "label"])
    rows["context"] = frame["context"].tolist()
    rows["question"] = frame["question"].tolist()
    rows["difficulty"] = frame["difficulty"].tolist()
    kept = pd.Series([normalised(question) for question in questions]).drop_duplicates().index
    return rows.loc[kept].reset_index(drop=True)


def _row(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": text_id(row["context"], row["question"], row["candidate"]),
        "text": f"{row['context']} Q: {row['question']} A: {row['candidate']}",
        "label": int(row["label"]),
        "gold": as_json(int(row["label"])),
        "key": as_json([row["question"], row["candidate"]]),
    }
