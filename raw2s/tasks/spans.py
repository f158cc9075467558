"""Where the slots of an answer stand: byte spans of its "type: filler" parts as written.

A span is (slot type, start, end): bytes of the answer's UTF-8, type and filler included, what
separates the parts not. Spans are in order and disjoint. What cannot be read has none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from raw2s.tasks.answers import JOINT

Spans = list[tuple[str, int, int]]

_GAP = re.compile(r"[ \t\n\r]*")


def plain_spans(answer: str) -> Spans:
    """The spans of a plain answer: one for each pair of `from_plain`; never raises."""
    spans: Spans = []
    for part in re.finditer("[^;]+", answer):
        kind, _, filler = part.group().partition(":")
        if kind.strip() and filler.strip():
            start = part.start() + len(part.group()) - len(part.group().lstrip())
            end = start + len(part.group().strip())
            spans.append((" ".join(kind.split()), start, end))
    return _in_bytes(answer, spans)


def json_spans(answer: str) -> Spans:
    """The spans of a JSON answer: one for each key with a filler; never raises.

    Of a malformed answer those of its first object up to the fault. Values that are no text have
    none, nor has what they hold.
    """
    try:
        if not isinstance(json.loads(answer), dict):
            return []
    except (ValueError, RecursionError):
        pass
    before, brace, _ = answer.partition("{")
    spans: Spans = []
    for kind, filler, start, end in _members(answer, len(before) + len(brace)):
        says = isinstance(filler, str) and filler.replace(JOINT.strip(), "").strip()
        if says and kind.strip():
            spans.append((kind.strip(), start, end))
    return _in_bytes(answer, spans)


def _members(text: str, at: int) -> Iterator[tuple[str, Any, int, int]]:
    """Key, value, start and end (characters) of a JSON object's members, from behind its brace.

    Ends at the first fault; a member counts if a comma, a brace or the text's end follows it.
    """
    decoder = json.JSONDecoder()
    while True:
        start = _skip_gap(text, at)
        if not text.startswith('"', start):
            return
        try:
            key, colon = decoder.raw_decode(text, start)
            colon = _skip_gap(text, colon)
            if not text.startswith(":", colon):
                return
            value, end = decoder.raw_decode(text, _skip_gap(text, colon + 1))
        except (ValueError, RecursionError):
            return
        at = _skip_gap(text, end)
        if at < len(text) and text[at] not in ",}":
            return
        yield key, value, start, end
        if not text.startswith(",", at):
            return
        at += 1


def _skip_gap(text: str, at: int) -> int:
    found = _GAP.match(text, at)
    return found.end() if found else at


def _in_bytes(text: str, spans: Spans) -> Spans:
    """Spans of characters as spans of bytes."""

    def size(part: str) -> int:
        # A lone surrogate has no UTF-8; its three bytes are counted all the same.
        return len(part.encode("utf-8", "surrogatepass"))

    return [
        (kind, before := size(text[:start]), before + size(text[start:end]))
        for kind, start, end in spans
    ]
