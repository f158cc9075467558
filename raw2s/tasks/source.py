"""Rows as they come: local files, or a data set on the hub."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from raw2s.config import Data
from raw2s.errors import ConfigError, StorageError
from raw2s.storage.tables import read_table
from raw2s.tasks.base import as_json, sha256

FORMATS = (".jsonl", ".json", ".csv", ".parquet")


def is_local(data: Data) -> bool:
    """Whether rows are read from files: a data folder is given."""
    return data.folder is not None


def has(data: Data, split: str) -> bool:
    """Whether a local file is named for this split."""
    return is_local(data) and split in data.files


def path_of(data: Data, split: str) -> Path:
    """The local file of a split; ConfigError if none is named or it is not there."""
    if data.folder is None:
        raise ConfigError(f"task data: no folder for the local file of {split!r}; give --data")
    if split not in data.files:
        named = ", ".join(sorted(data.files)) or "none"
        raise ConfigError(f"task data: files names no {split!r}; named are: {named}")
    folder = os.path.normpath(data.folder)
    path = Path(os.path.normpath(Path(folder) / data.files[split]))
    # By name: what lies in the folder may be a link.
    if not path.is_relative_to(folder):
        raise ConfigError(f"task data: the file of {split!r} lies outside the data folder: {path}")
    if not path.is_file():
        raise ConfigError(f"task data: no file {path} for {split!r}")
    return path


def read(data: Data, split: str) -> pd.DataFrame:
    """The rows of a split: of its local file where there is a data folder, else of the hub's split.

    Raises ConfigError where neither is named, a file is missing, or a file cannot be read.
    """
    if is_local(data):
        return read_file(path_of(data, split))
    if data.hub is None:
        raise ConfigError(f"task data: {split!r} needs a data folder (--data) or a hub data set")
    import datasets

    try:
        loaded = datasets.load_dataset(data.hub, data.subset, revision=data.revision, split=split)
    except (OSError, ValueError) as error:
        # The hub cannot be reached, or holds no such data set, subset, revision or split.
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"data set {data.hub}, {split!r} cannot be had: {reason}") from error
    frame = loaded.to_pandas()
    for name, feature in loaded.features.items():
        if isinstance(feature, datasets.ClassLabel):
            names = dict(enumerate(feature.names))
            frame[name] = frame[name].map(names)
    return pd.DataFrame(frame)


def read_file(path: Path) -> pd.DataFrame:
    """The rows of a json (list), jsonl, csv or parquet file, .gz too; ConfigError if unreadable.

    Text is kept as text: no column is turned into dates, numbers or missing values by guesswork.
    """
    suffixes = [suffix for suffix in path.suffixes if suffix != ".gz"]
    kind = suffixes[-1] if suffixes else ""
    try:
        if kind == ".parquet":
            return read_table(path)
        if kind == ".csv":
            return pd.read_csv(path, keep_default_na=False, dtype=str)
        if kind in (".json", ".jsonl"):
            return pd.read_json(
                path, lines=kind == ".jsonl", dtype=False, convert_dates=False, orient="records"
            )
    except (ValueError, OSError, StorageError) as error:
        raise ConfigError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    raise ConfigError(f"{path} is of no known format; those are {', '.join(FORMATS)} (and .gz)")


def require(frame: pd.DataFrame, columns: Sequence[str], where: str) -> pd.DataFrame:
    """The frame, if it has rows and these columns; else ConfigError naming what is missing."""
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        there = ", ".join(map(str, frame.columns))
        raise ConfigError(f"{where} lacks the column {', '.join(missing)}; it has: {there}")
    if frame.empty:
        raise ConfigError(f"{where} has no rows")
    return frame


def digest(data: Data, more: Sequence[Path] = ()) -> str:
    """Hex sha256 of the local files' contents, or of the hub's name, subset and revision."""
    if not is_local(data):
        return sha256("hub", as_json([data.hub, data.subset, data.revision]))
    parts: list[str] = ["files"]
    for split in sorted(data.files):
        parts += [split, _content(path_of(data, split))]
    return sha256(*parts, *(_content(path) for path in more))


def _content(path: Path) -> str:
    if not path.is_file():
        raise ConfigError(f"task data: no file {path}")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
