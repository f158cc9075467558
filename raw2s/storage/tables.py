"""Tables on disk are read as plain data."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pandas as pd

from raw2s.errors import StorageError

if TYPE_CHECKING:
    import pyarrow

_EXTENSION = b"ARROW:extension:name"
# Arrow's own additions and pandas'; none of them is read by unpickling.
_PLAIN = ("arrow.json", "arrow.uuid", "arrow.bool8", "pandas.period", "pandas.interval")


def read_table(path: Path) -> pd.DataFrame:
    """The rows of a parquet file; raises StorageError for a column of a type that some library has
    added to Arrow's, but for pandas.

    Once Ray Data is imported, pyarrow knows a type of it whose values are read by unpickling them,
    so that a parquet file could run code.
    """
    # One file for both, though another may take its place meanwhile.
    with path.open("rb") as file:
        return _read(file, str(path))


def encoded(table: pd.DataFrame) -> bytes:
    """A table as the bytes of a parquet file."""
    return table.to_parquet(None, index=False)


def decoded(content: bytes) -> pd.DataFrame:
    """The table of such bytes; raises StorageError as `read_table`."""
    return _read(io.BytesIO(content), "a table")


def _read(file: IO[bytes], name: str) -> pd.DataFrame:
    import pyarrow.parquet

    for column in pyarrow.parquet.read_schema(file):
        for added in _added_types(column):
            if added not in _PLAIN:
                raise StorageError(f"{name}: column {column.name!r} is no plain data ({added})")
    file.seek(0)
    return pd.read_parquet(file)


def _added_types(field: pyarrow.Field) -> Iterator[str]:
    """Names of the types beyond Arrow's own in a column, however deep they lie: in a list's items,
    a structure's parts, a dictionary's values."""
    import pyarrow

    kind = field.type
    # Named by the type where its library is imported, else by the field.
    if isinstance(kind, pyarrow.BaseExtensionType):
        yield kind.extension_name
        yield from _added_types(pyarrow.field("storage", kind.storage_type))
    elif _EXTENSION in (field.metadata or {}):
        yield field.metadata[_EXTENSION].decode(errors="replace")
    if isinstance(kind, pyarrow.DictionaryType):
        yield from _added_types(pyarrow.field("values", kind.value_type))
    for number in range(kind.num_fields):
        yield from _added_types(kind.field(number))
