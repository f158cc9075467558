"""The task and where its rows come from."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from raw2s.config.fields import Positive, Strict

GENERATION_TASKS = ("toy_slots", "slurp")
"""The tasks whose answers are text; the others have classes."""


class Data(Strict):
    """Where the rows come from: a hub data set by name, or local files."""

    hub: str | None = None
    """Name of the data set on the hub."""
    subset: str | None = None
    """The hub data set's configuration (for example a language)."""
    revision: str | None = None
    """The hub revision; one that has parquet files."""
    files: dict[str, str] = {}
    """Local files by split, relative to the data folder (json, jsonl, csv, parquet; .gz too)."""
    folder: str | None = None
    """The data folder. `--data` sets it, RAW2S_DATA where nothing else does. With it, files are
    read."""


class Task(Strict):
    """What is asked, of which data, and how many rows each split gets."""

    name: Literal["toy_topics", "toy_slots", "scenario", "slurp", "sciq", "cosmosqa"]
    """A key of `raw2s.tasks.TASKS`."""
    data: Data = Data()
    """The source of the rows; the toy worlds need none."""
    weak_rows: Positive = 600
    """Rows of split A, whose ground truth trains the weak models."""
    strong_rows: Positive = 2000
    """Rows of split B, which the weak models label for the strong one."""
    validation_rows: Positive = 200
    """Rows that choose the weak models' best epoch."""
    test_rows: Positive | None = None
    """Rows of the test split; none: all there are."""
    split_seed: int = 0
    """Seed of the draw of the splits (with `vary: everything` the run's seed is added)."""
    order: Literal["random", "easy_to_hard"] = "random"
    """easy_to_hard: A and validation are drawn from the easy rows, B from the hard ones, and the
    test keeps both."""
    easy_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Easy are the rows up to the difficulty that at least this share of the training rows does not
    exceed."""
    difficulty: str | None = None
    """A numeric column of the source's rows, higher is harder; none: the task's own measure."""
    options: dict[str, Any] = {}
    """The task's own options; an unknown one is an error."""

    @model_validator(mode="after")
    def _used_difficulty(self) -> Task:
        if self.difficulty is not None and self.order == "random":
            raise ValueError(f"difficulty {self.difficulty!r} needs order: easy_to_hard")
        return self
