"""From a weak model's word probabilities to soft labels of the strong model's tokens (Sec. 4.1).

Both tokenizers cut the same text. Wherever both reach the same byte a chunk closes; words are the
chunks between white space. A word's probability is the product of its weak tokens' (Eq. 6), and
is split over its strong tokens by the strong model's confidence (Eq. 7).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from raw2s.method.targets import at_least_float32, check_finite, check_indices

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


@dataclass(frozen=True)
class WordTargets:
    """The word each strong token belongs to, and the words' log-probabilities."""

    unit: NDArray[np.int64]
    """(T,) word ids 0, 1, ... in order; the end of sequence, where given, is a unit of its own."""
    unit_logprob: NDArray[np.float64]
    """(U,) log P(W) of each word, by word id; `unit_logprob[unit]` is the one of each token."""


def byte_spans(text: str, char_offsets: Sequence[Span]) -> list[Span]:
    """UTF-8 byte spans of character spans (start, end) of `text`.

    Raises ValueError for a span outside the text or a text that UTF-8 cannot encode.
    """
    at = list(accumulate((len(char.encode()) for char in text), initial=0))
    spans = []
    for index, (start, end) in enumerate(char_offsets):
        if not 0 <= start <= end <= len(text):
            raise ValueError(f"char_offsets {index} is {(start, end)}, text has {len(text)}")
        spans.append((at[start], at[end]))
    return spans


def align(text: str, weak_spans: Sequence[Span], strong_spans: Sequence[Span]) -> list[Chunk]:
    """The chunks of `text`, in order: they cover all its bytes and all tokens of both sides.

    Spans are byte spans in order. White space that no token covers belongs to what follows (at
    the end of the text, to the last token). Overlapping tokens, as the byte tokens of one emoji,
    stay together; a zero-width token belongs to the next one, or to the last. Raises
    AlignmentError where a side leaves other characters uncovered, is out of order, or has no
    tokens while the other has some.
    """
    weak = _pieces("weak", text, weak_spans)
    strong = _pieces("strong", text, strong_spans)
    if bool(weak) != bool(strong):
        raise AlignmentError(
            f"{len(weak_spans)} weak and {len(strong_spans)} strong tokens for {text!r}"
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


def word_targets(
    text: str,
    weak_spans: Sequence[Span],
    weak_logprobs: ArrayLike,
    strong_spans: Sequence[Span],
    *,
    weak_eos_logprob: float | None,
) -> WordTargets:
    """Words and their log-probabilities (Eq. 6) for the strong tokens of `text`.

    Byte spans without special tokens; weak_logprobs one <= 0 for each weak span. With
    weak_eos_logprob the result has one more entry, the strong end-of-sequence token, a unit of
    its own. Raises AlignmentError (`align`) and ValueError for log-probabilities that do not fit.
    """
    logprobs = np.asarray(weak_logprobs, dtype=np.float64)
    if logprobs.shape != (len(weak_spans),):
        raise ValueError(f"weak_logprobs are {logprobs.shape}, there are {len(weak_spans)} spans")
    given = logprobs if weak_eos_logprob is None else np.append(logprobs, weak_eos_logprob)
    wrong = ~(np.isfinite(given) & (given <= 0))
    if wrong.any():
        first = int(wrong.argmax())
        raise ValueError(f"weak log-probability {first} must be finite and <= 0: {given[first]}")
    found = words(text, align(text, weak_spans, strong_spans))
    sums = [float(logprobs[w.weak.start : w.weak.stop].sum()) for w in found]
    lengths = [len(w.strong) for w in found]
    if weak_eos_logprob is not None:
        sums.append(weak_eos_logprob)
        lengths.append(1)
    unit = np.repeat(np.arange(len(lengths), dtype=np.int64), lengths)
    return WordTargets(unit, np.asarray(sums, dtype=np.float64))


def split_logprob(
    unit_logprob: Tensor,
    unit: Tensor,
    confidence: Tensor,
    *,
    rule: Literal["confidence", "uniform", "plus_sign"] = "confidence",
    temperature: float = 1.0,
) -> Tensor:
    """log P(s_j) = w_j log P(W) of every strong token (Eq. 7): (T,), detached, <= 0.

    unit_logprob (T,) log P(W) of the token's word; unit (T,) int64, one id a word, distinct over
    all sequences that are flattened into T, -1 for tokens that are no target (result 0);
    confidence (T,) C in [0, 1], the largest probability of the strong model at that step. Within
    a word w_j is proportional to exp(-C_j / T) (`confidence`), 1 (`uniform`) or exp(C_j / T)
    (`plus_sign`), so the w_j sum to 1 and the P(s_j) multiply to P(W). At least float32.
    """
    if not (unit_logprob.shape == unit.shape == confidence.shape) or unit.dim() != 1:
        raise ValueError(
            f"unit_logprob {tuple(unit_logprob.shape)}, unit {tuple(unit.shape)} and confidence "
            f"{tuple(confidence.shape)} must be one (T,)"
        )
    if not temperature > 0:
        raise ValueError(f"temperature must be > 0, it is {temperature}")
    if rule not in ("confidence", "uniform", "plus_sign"):
        raise ValueError(f"rule must be confidence, uniform or plus_sign, it is {rule!r}")
    dtype = torch.promote_types(unit_logprob.dtype, torch.float32)
    result = torch.zeros_like(unit_logprob, dtype=dtype, requires_grad=False)
    wanted = unit >= 0
    log_word = unit_logprob.detach()[wanted].to(dtype)
    certainty = confidence.detach()[wanted].to(dtype)
    for name, values in (("unit_logprob", log_word), ("confidence", certainty)):
        wrong = ~torch.isfinite(values)
        if bool(wrong.any()):
            raise ValueError(f"{name} of target token {int(wrong.nonzero()[0])} is not finite")
    sign = {"confidence": -1.0, "uniform": 0.0, "plus_sign": 1.0}[rule]
    ids, group = torch.unique(unit[wanted], return_inverse=True)
    score = sign * certainty / temperature
    highest = score.new_full((len(ids),), -torch.inf).scatter_reduce(0, group, score, "amax")
    power = torch.exp(score - highest[group])
    total = torch.zeros_like(highest).scatter_add(0, group, power)
    result[wanted] = power / total[group] * log_word
    return result


def full_target(
    logits: Tensor, labels: Tensor, target_logprob: Tensor, *, detach_tail: bool = True
) -> Tensor:
    """The soft label of a target token (Sec. 4.1), t at the label and (1 - t) q_j / (1 - q_s) off.

    logits (..., V), labels (...), target_logprob (...) <= 0; result (..., V) whose rows sum to 1.
    `detach_tail` stops the gradient through q.
    """
    z = at_least_float32(logits.detach() if detach_tail else logits)
    log_t = target_logprob.to(z.dtype).unsqueeze(-1)
    index = labels.unsqueeze(-1)
    tail = torch.softmax(z.scatter(-1, index, -torch.inf), -1) * -torch.expm1(log_t)
    return tail.scatter(-1, index, torch.exp(log_t))


def soft_targets(
    logits: Tensor,
    labels: Tensor,
    unit_logprob: Tensor,
    unit: Tensor,
    *,
    kind: Literal["full", "label_only", "one_hot"] = "full",
    rule: Literal["confidence", "uniform", "plus_sign"] = "confidence",
    temperature: float = 1.0,
) -> Tensor:
    """The strong model's soft token labels (T, V), detached (Sec. 4.1, Table 8).

    logits (T, V) the strong model's at the target tokens, labels (T,) those tokens, unit_logprob
    and unit (T,) as in `split_logprob`. With t = P(label) after the split, `full` puts t on the
    label and shares 1 - t out to the other tokens as the strong model does; `label_only` leaves
    them 0; `one_hot` has t = 1. To look at: the losses come to the same without such a table.
    """
    if logits.dim() != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(
            f"logits must be (T, V) and labels (T,), they are {tuple(logits.shape)} and "
            f"{tuple(labels.shape)}"
        )
    if kind not in ("full", "label_only", "one_hot"):
        raise ValueError(f"kind must be full, label_only or one_hot, it is {kind!r}")
    z = at_least_float32(logits.detach())
    check_finite("logits", z)
    check_indices("labels", labels, z.shape[1])
    log_t = torch.zeros_like(z[:, 0])
    if kind != "one_hot":
        confidence = z.softmax(-1).amax(-1)
        log_t = split_logprob(unit_logprob, unit, confidence, rule=rule, temperature=temperature)
    if kind == "full":
        return full_target(z, labels, log_t)
    place, t = labels.unsqueeze(-1), log_t.exp().to(z.dtype).unsqueeze(-1)
    return torch.zeros_like(z).scatter(-1, place, t)


def _pieces(side: str, text: str, spans: Sequence[Span]) -> list[tuple[int, int]]:
    """(byte where a piece ends, tokens up to there) of one side: pieces cover the whole text."""
    data = text.encode()
    inside: list[tuple[int, int]] = []  # the same, but white space after a piece not yet its own
    for index, (start, end) in enumerate(spans):
        if not 0 <= start <= end <= len(data):
            raise AlignmentError(f"{side} token {index} spans {(start, end)} of {len(data)} bytes")
        if start == end:
            continue
        covered = inside[-1][0] if inside else 0
        begun = spans[inside[-1][1] - 1][0] if inside else 0
        if start < begun:
            raise AlignmentError(f"{side} token {index} starts at {start}, one before at {begun}")
        _refuse_uncovered(side, text, data, covered, start)
        if start < covered:
            inside[-1] = (max(end, covered), index + 1)
        else:
            inside.append((end, index + 1))
    covered = inside[-1][0] if inside else 0
    _refuse_uncovered(side, text, data, covered, len(data))
    if inside:
        inside[-1] = (len(data), len(spans))
    elif spans:
        inside.append((len(data), len(spans)))
    return inside


def _refuse_uncovered(side: str, text: str, data: bytes, start: int, end: int) -> None:
    missing = data[start:end]
    if missing.decode(errors="replace").strip():
        raise AlignmentError(f"{side} tokens leave bytes {start} to {end} {missing!r} of {text!r}")


def _join(first: Chunk, second: Chunk) -> Chunk:
    return Chunk(
        range(first.weak.start, second.weak.stop),
        range(first.strong.start, second.strong.stop),
        first.start,
        second.end,
    )
