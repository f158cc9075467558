"""Tables on disk are read as plain data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from raw2s.errors import StorageError

if TYPE_CHECKING:
    import pyarrow

_EXTENSION = b"ARROW:extension:name"


def read_table(path: Path) -> pd.DataFrame:
    """The rows of a parquet file; raises StorageError for a column of an extension's type.

    Once Ray Data is imported, pyarrow knows a type of it whose values are read by unpickling them,
    so that a parquet file could run code.
    """
    import pyarrow.parquet

    check_plain(pyarrow.parquet.read_schema(path), str(path))
    return pd.read_parquet(path)


def check_plain(schema: pyarrow.Schema, where: str) -> None:
    """Raise StorageError for a type that a library has added to Arrow's, however deep it lies."""
    for column in schema:
        for field in _fields(column):
            added = (field.metadata or {}).get(_EXTENSION, b"").decode(errors="replace")
            if added or _is_extension(field.type):
                raise StorageError(
                    f"{where}: column {column.name!r} is not plain data ({added or field.type})"
                )


def _is_extension(kind: pyarrow.DataType) -> bool:
    import pyarrow

    return isinstance(kind, pyarrow.BaseExtensionType)


def _fields(field: pyarrow.Field) -> Iterator[pyarrow.Field]:
    """The field and what lies in it: a list's items, a structure's parts, a dictionary's values."""
    import pyarrow

    yield field
    kind = field.type
    if isinstance(kind, pyarrow.DictionaryType):
        yield from _fields(pyarrow.field("values", kind.value_type))
    for number in range(kind.num_fields):
        yield from _fields(kind.field(number))
