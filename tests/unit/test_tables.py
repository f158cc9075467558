"""Parquet is read as plain data, whoever wrote it."""

from __future__ import annotations

import contextlib
import pickle
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raw2s.errors import ConfigError, StorageError
from raw2s.storage.tables import read_table
from raw2s.tasks.source import read_file

BINARY = pa.large_binary()
PICKLED = {b"ARROW:extension:name": b"ray.data.arrow_pickled_object"}


class Touches:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    values = pa.array([pickle.dumps(Touches(tmp_path / "ran"))], BINARY)
    schema = pa.schema([pa.field("text", BINARY, metadata=PICKLED)])
    pq.write_table(pa.table([values], schema=schema), tmp_path / "rows.parquet")
    return tmp_path / "rows.parquet"


def test_a_table_that_would_run_code_is_refused(hostile: Path) -> None:
    import ray.data  # noqa: F401  (teaches pyarrow the type)

    ran = hostile.with_name("ran")
    with pytest.raises(StorageError, match="column 'text' is no plain data .*pickled_object"):
        read_table(hostile)
    with pytest.raises(ConfigError, match="cannot be read.*'text'"):
        read_file(hostile)
    assert not ran.exists()
    # The danger is real: pandas alone runs it.
    with contextlib.suppress(Exception):
        pd.read_parquet(hostile)
    assert ran.exists()


@pytest.mark.parametrize("imported", [False, True])
@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.field("item", BINARY, metadata=PICKLED)),
        pa.struct([pa.field("part", BINARY, metadata=PICKLED)]),
        pa.list_(pa.struct([pa.field("part", BINARY, metadata=PICKLED)])),
    ],
    ids=str,
)
def test_wherever_it_lies(kind: pa.DataType, imported: bool, tmp_path: Path) -> None:
    if imported:
        import ray.data  # noqa: F401
    pq.write_table(pa.schema([("deep", kind)]).empty_table(), tmp_path / "deep.parquet")
    with pytest.raises(StorageError, match="'deep'"):
        read_table(tmp_path / "deep.parquet")


def test_plain_tables_are_read(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "id": ["a", "b"], "kind": pd.Categorical(["x", "y"]), "label": [1, 2],
            "probabilities": [[[0.5, 0.5]], [[0.1, 0.9]]], "slots": [{"a": "b"}, {"a": "c"}],
            "month": pd.period_range("2026-01", periods=2, freq="M"),
        }
    )  # fmt: skip
    frame.to_parquet(tmp_path / "rows.parquet", index=False)
    read, wanted = read_table(tmp_path / "rows.parquet"), pd.read_parquet(tmp_path / "rows.parquet")
    assert read.astype(str).equals(wanted.astype(str)) and list(read["id"]) == ["a", "b"]
