"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable


def markdown_table(heads: list[str], rows: list[list[str]]) -> str:
    """A table whose first column is text and whose others are numbers."""
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return "\n".join(_line(texts) for texts in [heads, rule, *rows])


def _line(texts: Iterable[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"
