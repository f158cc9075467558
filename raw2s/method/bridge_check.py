"""What the bridge takes for granted, measured on one text (Sec. 4.1).

Eq. 7 splits a word's weak log-probability by the strong model's confidence. It rests on two
beliefs: that both models are confident about the same words, and that within a word the split is
like the weak model's own. Where the strong model has read the text too, the first can be measured
on every word, the second on words of two or more chunks (pieces that both tokenizers cut out
whole): there the weak model's own share of log P(W) is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike

from raw2s.method.alignment import Chunk, Span, align, words
from raw2s.method.arrays import Array, check_finite_array, refuse
from raw2s.method.bridge import Rule, split_logprob

RULES: tuple[Rule, ...] = get_args(Rule)
CERTAIN = -1e-6
"""Above this log P(W) a word has no shares: those of nothing mean nothing."""


class Word(NamedTuple):
    """A word: log P(W) of both models, and how many tokens of each and chunks it has."""

    weak_logprob: float
    strong_logprob: float
    weak_tokens: int
    strong_tokens: int
    chunks: int


class ChunkShare(NamedTuple):
    """A chunk's share of its word's weak log P(W): the weak model's own and, by each rule of Eq. 7
    (T = 1), the sum of w_j over the chunk's strong tokens. A word's shares sum to 1."""

    word: int
    """The word's number in the text."""
    weak: float
    confidence: float
    uniform: float
    plus_sign: float


def check_text(
    text: str,
    weak_spans: Sequence[Span],
    weak_logprobs: ArrayLike,
    strong_spans: Sequence[Span],
    strong_logprobs: ArrayLike,
    confidence: ArrayLike,
) -> tuple[list[Word], list[ChunkShare]]:
    """The text's words, and the chunks of those words that have two or more and are not `CERTAIN`.

    Byte spans without special tokens; one log-probability <= 0 for each, of both models for the
    same text; confidence, of each strong token, the strong model's largest probability at that
    step. Raises AlignmentError (`align`) and ValueError for numbers that do not fit.
    """
    weak = _logprobs("weak_logprobs", weak_logprobs, len(weak_spans))
    strong = _logprobs("strong_logprobs", strong_logprobs, len(strong_spans))
    sure = check_finite_array("confidence", confidence, (len(strong_spans),))
    chunks = align(text, weak_spans, strong_spans)
    found = words(text, chunks)
    by_rule = {rule: _weights(found, sure, rule) for rule in RULES}
    told, shares = [], []
    for number, word in enumerate(found):
        inside = [chunk for chunk in chunks if chunk.strong.start in word.strong]
        whole = _sum(weak, word.weak)
        told.append(
            Word(whole, _sum(strong, word.strong), len(word.weak), len(word.strong), len(inside))
        )
        if len(inside) > 1 and whole <= CERTAIN:
            for chunk in inside:
                predicted = {rule: _sum(w, chunk.strong) for rule, w in by_rule.items()}
                shares.append(ChunkShare(number, _sum(weak, chunk.weak) / whole, **predicted))
    return told, shares


def _logprobs(name: str, values: ArrayLike, tokens: int) -> Array:
    logprobs = check_finite_array(name, values, (tokens,))
    refuse(logprobs > 0, name, logprobs.shape, "is not <= 0", logprobs)
    return logprobs


def _weights(found: Sequence[Chunk], confidence: Array, rule: Rule) -> Array:
    """w_j of every strong token (T,): what Eq. 7 makes of log P(W) = -1, turned positive."""
    owner = np.repeat(np.arange(len(found), dtype=np.int64), [len(w.strong) for w in found])
    unit = torch.from_numpy(owner)
    minus_one = torch.full(unit.shape, -1.0, dtype=torch.float64)
    split = split_logprob(minus_one, unit, torch.tensor(confidence), rule=rule)
    return np.asarray(-split.numpy(), dtype=np.float64)


def _sum(values: Array, tokens: range) -> float:
    return float(values[tokens.start : tokens.stop].sum())
