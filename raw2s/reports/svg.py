"""A matplotlib figure as SVG to put inside a page: text as text, the page's own text colour."""

from __future__ import annotations

import hashlib
import html
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#010203"
"""Stands for the page's text colour; `inline_svg` replaces it by currentColor."""


@contextmanager
def figure_style() -> Iterator[None]:
    """Settings under which figures are made and drawn."""
    import matplotlib as mpl

    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "raw2s",
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
    }
    inked = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    with mpl.rc_context(settings | dict.fromkeys(inked, INK)):
        yield


def inline_svg(figure: Figure, label: str) -> str:
    """The figure as an <svg> element with a transparent background.

    Args:
        figure: made and drawn inside `figure_style`.
        label: what the figure shows, in words, for readers who cannot see it.
    """
    buffer = io.StringIO()
    figure.savefig(
        buffer,
        format="svg",
        transparent=True,
        bbox_inches="tight",
        metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
    )
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip().replace(INK, "currentColor")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # Ids are global in a page: two figures with an "axes_1" would borrow each other's clip paths.
    prefix = "f" + hashlib.sha256((label + text).encode()).hexdigest()[:10] + "-"
    text = re.sub(r'\bid="', f'id="{prefix}', text)
    text = re.sub(r'(href="|url\()#', rf"\1#{prefix}", text)
    head, body = text.split(">", 1)
    # At most its natural size, so that letters are as tall in a small figure as in a large one.
    head = re.sub(r' width="([^"]+)"', r' style="max-width: \1"', head)
    head = re.sub(r' height="[^"]+"', "", head)
    return f'{head} role="img" aria-label="{html.escape(label)}">{body}'
