"""Pieces of the page as HTML text; every value from outside is escaped."""

from __future__ import annotations

import html
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import groupby
from string import Template
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


def page(title: str, links: Iterable[tuple[str, str]], sections: Iterable[str]) -> str:
    """A whole page: title, a link (anchor, name) to each section, and the sections' HTML."""
    template = resources.files("raw2s.reports").joinpath("page.html").read_text(encoding="utf-8")
    body = [f"<header><h1>{escape(title)}</h1>", "<nav>"]
    body += [f'<a href="#{anchor}">{escape(name)}</a>' for anchor, name in links]
    body += ["</nav></header>", "<main>", *sections, "</main>"]
    return Template(template).substitute(title=escape(title), body="\n".join(body))


def facts(found: Iterable[tuple[str, str]]) -> str:
    """Names and values in large letters, side by side."""
    items = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in found)
    return f'<dl class="facts">{items}</dl>'


def sortable_table(
    columns: Sequence[tuple[str, str]], rows: Iterable[Row], *, text_columns: Collection[int]
) -> str:
    """A table that is sorted by a click on a header.

    Args:
        columns: (group, header) of each; neighbours of one group share a head above theirs, and
            without any group there is no such line.
        rows: a cell for each column.
        text_columns: the positions of the columns of text; the others are numbers.
    """

    def number(position: int) -> str:
        return "" if position in text_columns else ' class="number"'

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


def how_it_was_run(details: Mapping[str, Any]) -> str:
    """The section of a run's details: a mapping is a table ("stages": {stage: seconds} is shown as
    durations), a text of several lines a block, any other value a line."""
    lines: dict[str, Any] = {}
    tables: list[str] = []
    blocks: list[str] = []
    for key, value in details.items():
        heading = key.replace("_", " ").capitalize()
        if key == "stages":
            durations = {stage: duration(float(seconds)) for stage, seconds in value.items()}
            tables.append(pairs("Time of each stage", durations))
        elif isinstance(value, Mapping):
            tables.append(pairs(heading, value))
        elif "\n" in str(value):
            blocks.append(f"<h3>{escape(heading)}</h3><pre>{escape(value)}</pre>")
        else:
            lines[heading] = value
    if lines:
        tables.insert(0, pairs("Run", lines))
    return "\n".join(
        [
            '<section id="run"><h2>How it was run</h2><div class="columns">',
            *tables,
            "</div>",
            *blocks,
            "</section>",
        ]
    )


def duration(seconds: float) -> str:
    """Seconds as "5.1 s", "2 min 05 s" or "3 h 07 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
