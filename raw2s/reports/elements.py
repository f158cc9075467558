"""Pieces of the page as HTML text; every value from outside is escaped."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any


@dataclass(frozen=True)
class Row:
    """A table's row: its class, the text of each cell, and what the cell sorts by."""

    kind: str
    texts: Sequence[str]
    sort_values: Sequence[str | float]
    """A string or a number each; NaN, for no value, comes last."""


def escape(value: object) -> str:
    """The value as text that is safe inside an element or an attribute."""
    return html.escape(str(value))


def sortable_table(
    columns: Sequence[tuple[str, str]], rows: Iterable[Row], *, text_columns: int
) -> str:
    """A table that is sorted by a click on a header.

    Args:
        columns: (group, header) of each; neighbours of one group share a head above theirs, and
            without any group there is no such line.
        rows: a cell for each column.
        text_columns: how many of the first columns are text; the others are numbers.
    """

    def number(position: int) -> str:
        return "" if position < text_columns else ' class="number"'

    groups = ""
    if any(group for group, _ in columns):
        spans = "".join(
            f'<th colspan="{len(list(members))}">{escape(group)}</th>'
            for group, members in groupby(group for group, _ in columns)
        )
        groups = f'<tr class="groups">{spans}</tr>'
    heads = "".join(
        f"<th{number(position)}><button>{escape(header)}</button></th>"
        for position, (_, header) in enumerate(columns)
    )
    body = []
    for row in rows:
        filled = zip(row.texts, row.sort_values, strict=True)
        cells = "".join(
            f'<td{number(position)} data-value="{escape(_sort_key(value))}">{escape(text)}</td>'
            for position, (text, value) in enumerate(filled)
        )
        body.append(f'<tr class="{escape(row.kind)}">{cells}</tr>')
    return (
        '<div class="scroll"><table class="results wide">'
        f"<thead>{groups}<tr>{heads}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def _sort_key(value: str | float) -> str:
    if isinstance(value, float) and math.isnan(value):
        return ""
    # As the page's script reads it.
    return "Infinity" if value == math.inf else str(value)


def figure(kind: str, svg: str, caption: str) -> str:
    """A drawing and what it shows."""
    return (
        f'<figure class="{kind}"><div class="scroll">{svg}</div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def pairs(heading: str, values: Mapping[str, Any]) -> str:
    """A small table of names and values under a heading; whole numbers with commas."""
    rows = "".join(
        f'<tr><td>{escape(key)}</td><td class="number">{escape(_count(value))}</td></tr>'
        for key, value in values.items()
    )
    return f'<div><h3>{escape(heading)}</h3><div class="scroll"><table>{rows}</table></div></div>'


def _count(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
