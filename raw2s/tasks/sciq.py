"""SciQ in binary form: is this candidate the answer to the science question?"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import pandas as pd

from raw2s import config
from raw2s.errors import ConfigError
from raw2s.tasks import source
from raw2s.tasks.base import (
    Task,
    as_json,
    check_splits,
    draw_splits,
    normalised,
    one_of,
    rendered,
    shuffled,
    text_id,
)
from raw2s.tasks.binary import one_candidate
from raw2s.tasks.difficulty import with_difficulty, with_parts

_CHOICES = ["question", "correct_answer", "distractor1", "distractor2", "distractor3"]


class SciQ(Task):
    """Two balanced classes, one row a question.

    Options: `form` is `plain`, "Q: question A: candidate"; or `support`, with the supporting text
    first, where the rows have one. `strong_from`, a file (relative to the data folder) of
    precomputed weak labels with columns question and candidate: split B is drawn from its rows, A
    from questions that are not in it.
    """

    kind: ClassVar[Literal["classification", "generation"]] = "classification"
    labels = ("wrong", "correct")
    options: ClassVar[dict[str, Any]] = {"form": "plain", "strong_from": ""}

    def __init__(self, settings: config.Task) -> None:
        super().__init__(settings)
        one_of("sciq", "form", self.chosen["form"], ("plain", "support"))

    def splits(self, seed: int) -> dict[str, pd.DataFrame]:
        """The rows; questions of validation and test are left out of training."""
        s = self.settings
        validation, test = self._held_out("validation"), self._held_out("test")
        pool = _without(source_rows(self), validation, test)
        # A question in both is the test's.
        validation = _without(validation, test)
        weak, pool, validation, test = with_parts(s, one_each(pool), pool, validation, test)
        draw = partial(draw_splits, seed=seed, group="question", balance="label")
        drawn = draw(validation, {"validation": s.validation_rows})
        drawn |= draw(test, {"test": s.test_rows})
        if labelled := self._labelled_file():
            strong = _matching(pool, labelled)
            weak = weak[~weak["question_key"].isin(set(strong["question_key"]))]
            weak = weak.reset_index(drop=True)
            drawn |= draw(strong, {"strong": s.strong_rows})
            drawn |= draw(weak, {"weak": s.weak_rows})
        else:
            drawn |= draw(weak, {"weak": s.weak_rows, "strong": s.strong_rows})
        return check_splits({name: rendered(rows, self._row) for name, rows in drawn.items()})

    def corpus(self) -> list[str]:
        """Training questions with each candidate, rendered, without validation's and test's."""
        held_out = [self._held_out(name) for name in ("validation", "test")]
        pool = _without(source_rows(self), *held_out)
        return shuffled([self._text(row) for row in pool.to_dict("records")])

    def digest(self) -> str:
        """Of the files (that of `strong_from` too), or of the hub's name and revision."""
        labelled = self._labelled_file()
        return source.digest(self.settings.data, [labelled] if labelled else [])

    def _labelled_file(self) -> Path | None:
        name: str = self.chosen["strong_from"]
        if not name:
            return None
        folder = self.settings.data.folder
        if folder is None:
            raise ConfigError(f"sciq: option strong_from {name!r} needs a data folder (--data)")
        return Path(folder) / name

    def _held_out(self, split: str) -> pd.DataFrame:
        frame = source.read(self.settings.data, split)
        return one_each(_candidates(frame, self.settings, f"SciQ {split}"))

    def _text(self, row: dict[Any, Any]) -> str:
        text = f"Q: {row['question']} A: {row['candidate']}"
        with_support = self.chosen["form"] == "support" and row["support"]
        return f"{row['support']} {text}" if with_support else text

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": text_id(row["question"], row["candidate"]),
            "text": self._text(row),
            "label": int(row["label"]),
            "gold": as_json(int(row["label"])),
            "key": as_json([row["question"], row["candidate"]]),
        }


def source_rows(task: Task) -> pd.DataFrame:
    """All training rows: question, candidate, label, support, difficulty, question_key."""
    return _candidates(source.read(task.settings.data, "train"), task.settings, "SciQ train")


def _candidates(frame: pd.DataFrame, settings: config.Task, where: str) -> pd.DataFrame:
    """Binary rows from the binary or the four-option form.

    A (question, candidate) with both labels, which SciQ has where it repeats a question with other
    options, is left out; one that repeats with one label is there once.
    """
    if "candidate" in frame.columns:
        source.require(frame, ["question", "candidate", "label"], where)
        frame = with_difficulty(frame, "question", settings, where)
        rows = frame[["question", "candidate", "label", "difficulty"]].copy()
        rows["support"] = ""
    else:
        source.require(frame, _CHOICES, where)
        frame = with_difficulty(frame, "question", settings, where)
        support = frame["support"] if "support" in frame.columns else ""
        parts = [
            pd.DataFrame(
                {
                    "question": frame["question"],
                    "candidate": frame[column],
                    "label": int(column == "correct_answer"),
                    "support": support,
                    "difficulty": frame["difficulty"],
                }
            )
            for column in _CHOICES[1:]
        ]
        rows = pd.concat(parts, ignore_index=True)
    labels = rows["label"].astype(str)
    if not labels.isin(["0", "1"]).all():
        raise ConfigError(f"{where}: labels must be 0 or 1, one is {labels.iloc[0]!r}")
    rows["label"] = labels.astype(int)
    rows["question_key"] = [normalised(text) for text in rows["question"]]
    rows["candidate_key"] = [normalised(text) for text in rows["candidate"]]
    keys = ["question_key", "candidate_key"]
    rows = rows[rows.groupby(keys)["label"].transform("nunique") == 1]
    return rows.drop_duplicates(keys, ignore_index=True)


def one_each(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a question, both labels as frequent as the candidates allow."""
    places: dict[str, tuple[list[int], list[int]]] = {}
    columns = zip(rows["question_key"], rows["label"], strict=True)
    for place, (key, label) in enumerate(columns):
        places.setdefault(key, ([], []))[label].append(place)
    names = [[[str(place) for place in options] for options in pair] for pair in places.values()]
    picked = one_candidate(list(places), [pair[1] for pair in names], [pair[0] for pair in names])
    return rows.iloc[[int(name) for name, _ in picked]].reset_index(drop=True)


def _without(rows: pd.DataFrame, *others: pd.DataFrame) -> pd.DataFrame:
    taken = {key for frame in others for key in frame["question_key"]}
    return rows[~rows["question_key"].isin(taken)].reset_index(drop=True)


def _matching(rows: pd.DataFrame, path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise ConfigError(f"sciq: option strong_from: no file {path}")
    frame = source.require(source.read_file(path), ["question", "candidate"], str(path))
    keys = {
        (normalised(question), normalised(candidate))
        for question, candidate in zip(frame["question"], frame["candidate"], strict=True)
    }
    own = zip(rows["question_key"], rows["candidate_key"], strict=True)
    return rows[[pair in keys for pair in own]].reset_index(drop=True)
