"""Two tokenizers' cuts of one text: chunks that both cut out whole, and words.

Wherever both reach the same byte a chunk closes; words are the chunks between white space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from unicodedata import combining, normalize

from raw2s.method.arrays import fault_at

Span = tuple[int, int]


class AlignmentError(ValueError):
    """The tokens of one side do not cover the text."""


@dataclass(frozen=True)
class Chunk:
    """A piece of text that both tokenizers cut out whole."""

    weak: range
    """Indices of its weak tokens, at least one."""
    strong: range
    """Indices of its strong tokens, at least one."""
    start: int
    """First byte."""
    end: int
    """Byte after the last."""


def byte_spans(text: str, char_offsets: Sequence[Span]) -> list[Span]:
    """UTF-8 byte spans of character spans (start, end) of `text`.

    Raises ValueError for a span outside the text or a text that UTF-8 cannot encode.
    """
    at = list(accumulate((len(char.encode()) for char in text), initial=0))
    spans = []
    for index, (start, end) in enumerate(char_offsets):
        if not 0 <= start <= end <= len(text):
            fault = f"is outside the text's {len(text)} characters"
            shape = (len(char_offsets), 2)
            raise ValueError(fault_at("char_offsets", shape, fault, (index,), (start, end)))
        spans.append((at[start], at[end]))
    return spans


def align(text: str, weak_spans: Sequence[Span], strong_spans: Sequence[Span]) -> list[Chunk]:
    """The chunks of `text`, in order: they cover all its bytes and all tokens of both sides.

    Spans are byte spans in order. White space that no token covers belongs to what follows (at
    the end of the text, to the last token). A combining mark that no token covers, or what else NFC
    composes with the character before, belongs to that one: tokenizers that normalise give both
    the span of one. Overlapping tokens, as the byte tokens of one emoji, stay together; a
    zero-width token belongs to the next one, or to the last.

    Raises AlignmentError where a side leaves other characters uncovered, is out of order, or has no
    tokens while the other has some.
    """
    weak = _pieces("weak_spans", text, weak_spans)
    strong = _pieces("strong_spans", text, strong_spans)
    if bool(weak) != bool(strong):
        raise AlignmentError(
            f"weak_spans (shape {(len(weak_spans), 2)}) and strong_spans (shape "
            f"{(len(strong_spans), 2)}) must both have tokens for {text!r}, or neither"
        )
    weak_tokens, strong_tokens = dict(weak), dict(strong)
    chunks: list[Chunk] = []
    start = first_weak = first_strong = 0
    for end in sorted(weak_tokens.keys() & strong_tokens.keys()):
        after_weak, after_strong = weak_tokens[end], strong_tokens[end]
        chunks.append(
            Chunk(range(first_weak, after_weak), range(first_strong, after_strong), start, end)
        )
        start, first_weak, first_strong = end, after_weak, after_strong
    return chunks


def words(text: str, chunks: Sequence[Chunk]) -> list[Chunk]:
    """`chunks` merged into words: a boundary stays only where white space touches it.

    A piece that is only white space belongs to the next word, or to the last.
    """
    data = text.encode()
    merged: list[Chunk] = []
    pending: Chunk | None = None
    for chunk in chunks:
        pending = chunk if pending is None else _join(pending, chunk)
        piece = data[pending.start : pending.end].decode(errors="replace")
        after = data[pending.end : pending.end + 4].decode(errors="replace")[:1]
        if piece.strip() and (piece[-1].isspace() or after.isspace()):
            merged.append(pending)
            pending = None
    if pending is not None:
        if merged and not data[pending.start : pending.end].decode(errors="replace").strip():
            merged[-1] = _join(merged[-1], pending)
        else:
            merged.append(pending)
    return merged


def _pieces(name: str, text: str, spans: Sequence[Span]) -> list[tuple[int, int]]:
    """(byte where a piece ends, tokens up to there) of one side: pieces cover the whole text."""
    data, shape = text.encode(), (len(spans), 2)

    def misplaced(index: int, fault: str) -> AlignmentError:
        return AlignmentError(fault_at(name, shape, fault, (index,), spans[index]))

    inside: list[tuple[int, int]] = []  # the same, but white space after a piece not yet its own
    for index, (start, end) in enumerate(_with_combining(data, spans)):
        if not 0 <= start <= end <= len(data):
            raise misplaced(index, f"is outside the text's {len(data)} bytes")
        if start == end:
            continue
        covered = inside[-1][0] if inside else 0
        begun = spans[inside[-1][1] - 1][0] if inside else 0
        if start < begun:
            raise misplaced(index, f"starts before byte {begun}, where one before it starts")
        _refuse_uncovered(name, shape, data[covered:start], covered, text)
        if start < covered:
            inside[-1] = (max(end, covered), index + 1)
        else:
            inside.append((end, index + 1))
    covered = inside[-1][0] if inside else 0
    _refuse_uncovered(name, shape, data[covered:], covered, text)
    if inside:
        inside[-1] = (len(data), len(spans))
    elif spans:
        inside.append((len(data), len(spans)))
    return inside


def _with_combining(data: bytes, spans: Sequence[Span]) -> list[Span]:
    """Spans that take in the combining characters after them that are in no span."""
    widened, following = list(spans), len(data)
    for index in reversed(range(len(spans))):
        start, end = spans[index]
        if start == end:
            continue
        text = data[start:end].decode(errors="replace")
        for char in data[end:following].decode(errors="replace"):
            composed = len(normalize("NFC", text + char)) <= len(normalize("NFC", text))
            if not (composed or combining(char)):
                break
            text, end = text + char, end + len(char.encode())
        widened[index] = (start, end)
        following = start
    return widened


def _refuse_uncovered(name: str, shape: Span, gap: bytes, start: int, text: str) -> None:
    if gap.decode(errors="replace").strip():
        raise AlignmentError(
            f"{name} (shape {shape}) leaves bytes {start} to {start + len(gap)} {gap!r} of {text!r}"
        )


def _join(first: Chunk, second: Chunk) -> Chunk:
    return Chunk(
        range(first.weak.start, second.weak.stop),
        range(first.strong.start, second.strong.stop),
        first.start,
        second.end,
    )
