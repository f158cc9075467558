"""In and out of distribution: every system on the easy and on the hard part of the test.

With splits from easy to hard (EnsemW2S) the weak models learn from easy rows and the student from
hard ones; the test has both.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from raw2s.reports import cells
from raw2s.reports.elements import Row, escape, sortable_table
from raw2s.reports.markdown import markdown_table
from raw2s.reports.table import summarise

if TYPE_CHECKING:
    from rich.table import Table

PARTS = {"easy": "Easy, in distribution", "hard": "Hard, out of distribution"}
_HEADERS = ("Score", "95 % interval", "PGR", "vs best weak")
_COLUMNS = (("", "System"), *((group, h) for group in PARTS.values() for h in _HEADERS))
PARTS_LEGEND = (
    "Easy and hard: the test, cut where A, which the weak models learn from, is cut from B, which "
    "they label for the student. Floor, ceiling and best weak model are each part's own."
)


def summarise_parts(results: pd.DataFrame) -> pd.DataFrame:
    """The rows of `summarise` for each part of the test, with the column `part`; empty for results
    in random order."""
    found = [
        summarise(results[results["part"] == part]).assign(part=part)
        for part in PARTS
        if (results["part"] == part).any()
    ]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame({"experiment": []})


def parts_markdown(parts: pd.DataFrame) -> list[str]:
    """One experiment's table and notes; parts: its rows of `summarise_parts`."""
    heads = [f"{group} {header}".strip() for group, header in _COLUMNS]
    texts = [_row_texts(system) for system in _systems(parts)]
    return [markdown_table(heads, texts), *_notes(parts)]


def parts_html(parts: pd.DataFrame) -> str:
    """The same for a page; `PARTS_LEGEND` says what it shows."""
    rows = [
        Row(next(iter(system.values()))["role"], _row_texts(system), _sort_values(system))
        for system in _systems(parts)
    ]
    notes = "".join(f"<p>{escape(note)}</p>" for note in _notes(parts))
    return sortable_table(_COLUMNS, rows, text_columns=[0]) + notes


def parts_table(experiment: str, parts: pd.DataFrame) -> Table:
    """Its scores and PGRs alone, for a terminal of 80 columns or more."""
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    shown = [
        place for place, (_, header) in enumerate(_COLUMNS) if header in ("System", "Score", "PGR")
    ]
    table = Table(title=f"{experiment}: easy (in), hard (out of distribution)", box=SIMPLE)
    for place in shown:
        group, header = _COLUMNS[place]
        title = f"{group.partition(',')[0]} {header.lower()}" if group else header
        table.add_column(title, justify="right" if group else "left")
    for system in _systems(parts):
        texts = _row_texts(system)
        table.add_row(*(Text(texts[place]) for place in shown))
    table.caption = Text("\n".join(_notes(parts)))
    return table


def _systems(parts: pd.DataFrame) -> list[dict[str, pd.Series]]:
    """One experiment's systems, in order of appearance: the row of each part."""
    return [
        {str(row["part"]): row for _, row in rows.iterrows()}
        for _, rows in parts.groupby("system", sort=False)
    ]


def _notes(parts: pd.DataFrame) -> list[str]:
    """Why PGRs are undefined: one sentence for each part and reason."""
    return cells.pgr_notes(
        parts.assign(experiment=parts["experiment"] + ", " + parts["part"] + " part")
    )


def _row_texts(of_part: dict[str, pd.Series]) -> list[str]:
    """One text for each of _COLUMNS; a dash where a part was not answered."""
    texts = [str(next(iter(of_part.values()))["system"])]
    for part in PARTS:
        if part not in of_part:
            texts += [cells.NONE] * len(_HEADERS)
            continue
        named = dict(zip(cells.HEADERS, cells.row_texts(of_part[part]), strict=True))
        texts += [named[header] for header in _HEADERS]
    return texts


def _sort_values(of_part: dict[str, pd.Series]) -> list[str | float]:
    """What each cell of `_row_texts` sorts by; NaN where it has no value."""
    values: list[str | float] = [str(next(iter(of_part.values()))["system"])]
    for part in PARTS:
        if part not in of_part:
            values += [math.nan] * len(_HEADERS)
            continue
        named = dict(zip(cells.HEADERS, cells.sort_values(of_part[part]), strict=True))
        values += [named[header] for header in _HEADERS]
    return values
