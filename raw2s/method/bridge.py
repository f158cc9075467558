"""From a weak model's word probabilities to soft labels of the strong model's tokens (Sec. 4.1).

Both tokenizers cut the same text (`raw2s.method.alignment`). A word's probability is the product
of its weak tokens' (Eq. 6), and is split over its strong tokens by the strong model's confidence
(Eq. 7).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from raw2s.method.alignment import AlignmentError as AlignmentError
from raw2s.method.alignment import Chunk as Chunk
from raw2s.method.alignment import Span, align, words
from raw2s.method.alignment import byte_spans as byte_spans
from raw2s.method.arrays import (
    Array,
    Indices,
    check_finite_array,
    check_one_of,
    check_shape,
    refuse,
)
from raw2s.method.targets import at_least_float32, check_finite, check_indices, refuse_tensor

Unit = Literal["word", "chunk"]
Rule = Literal["confidence", "uniform", "plus_sign"]
TargetKind = Literal["full", "label_only", "one_hot"]


@dataclass(frozen=True)
class WordTargets:
    """The word each strong token belongs to, and the words' log-probabilities."""

    unit: Indices
    """(T,) word ids 0, 1, ... in order; the end of sequence, where given, is a unit of its own."""
    unit_logprob: Array
    """(U,) log P(W) of each word, by word id; `unit_logprob[unit]` is the one of each token."""


def word_targets(
    text: str,
    weak_spans: Sequence[Span],
    weak_logprobs: ArrayLike,
    strong_spans: Sequence[Span],
    *,
    weak_eos_logprob: float | None,
    unit: Unit = "word",
) -> WordTargets:
    """Words and their log-probabilities (Eq. 6) for the strong tokens of `text`.

    unit: "word", or "chunk" for the smallest pieces that both tokenizers cut out whole, of which a
    word has one or more. Byte spans without special tokens; weak_logprobs one <= 0 for each weak
    span. With weak_eos_logprob the result has one more entry, the strong end-of-sequence token, a
    unit of its own. Raises AlignmentError (`align`) and ValueError for log-probabilities that do
    not fit.
    """
    logprobs = check_finite_array("weak_logprobs", weak_logprobs, (len(weak_spans),))
    refuse(logprobs > 0, "weak_logprobs", logprobs.shape, "is not <= 0", logprobs)
    if weak_eos_logprob is not None and not -math.inf < weak_eos_logprob <= 0:
        raise ValueError(f"weak_eos_logprob must be finite and <= 0, it is {weak_eos_logprob}")
    check_one_of("unit", unit, get_args(Unit))
    found = align(text, weak_spans, strong_spans)
    if unit == "word":
        found = words(text, found)
    sums = [float(logprobs[w.weak.start : w.weak.stop].sum()) for w in found]
    lengths = [len(w.strong) for w in found]
    if weak_eos_logprob is not None:
        sums.append(weak_eos_logprob)
        lengths.append(1)
    owner = np.repeat(np.arange(len(lengths), dtype=np.int64), lengths)
    return WordTargets(owner, np.asarray(sums, dtype=np.float64))


def split_logprob(
    unit_logprob: Tensor,
    unit: Tensor,
    confidence: Tensor,
    *,
    rule: Rule = "confidence",
    temperature: float = 1.0,
) -> Tensor:
    """log P(s_j) = w_j log P(W) of every strong token (Eq. 7): (T,), detached, <= 0.

    unit_logprob (T,) log P(W) of the token's word; unit (T,) int64, one id a word, distinct over
    all sequences that are flattened into T, -1 for tokens that are no target (result 0);
    confidence (T,) C in [0, 1], the largest probability of the strong model at that step. Within
    a word w_j is proportional to exp(-C_j / T) (`confidence`), 1 (`uniform`) or exp(C_j / T)
    (`plus_sign`), so the w_j sum to 1 and the P(s_j) multiply to P(W). At least float32.

    Raises ValueError for shapes that differ, and at targets for what is not finite and a
    unit_logprob above 0.
    """
    check_shape("unit", unit.shape, (unit.numel(),))
    check_shape("unit_logprob", unit_logprob.shape, unit.shape)
    check_shape("confidence", confidence.shape, unit.shape)
    if not temperature > 0:
        raise ValueError(f"temperature must be > 0, it is {temperature}")
    check_one_of("rule", rule, get_args(Rule))
    dtype = torch.promote_types(unit_logprob.dtype, torch.float32)
    result = torch.zeros_like(unit_logprob, dtype=dtype, requires_grad=False)
    wanted = unit >= 0
    for name, values in (("unit_logprob", unit_logprob), ("confidence", confidence)):
        refuse_tensor(wanted & ~torch.isfinite(values), name, unit.shape, "is not finite", values)
    above = wanted & (unit_logprob > 0)
    refuse_tensor(above, "unit_logprob", unit.shape, "is not <= 0", unit_logprob)
    log_word = unit_logprob.detach()[wanted].to(dtype)
    certainty = confidence.detach()[wanted].to(dtype)
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
    `detach_tail` stops the gradient through q. The arguments are taken as they are: the losses and
    `soft_targets` check them.
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
    kind: TargetKind = "full",
    rule: Rule = "confidence",
    temperature: float = 1.0,
) -> Tensor:
    """The strong model's soft token labels (T, V), detached (Sec. 4.1, Table 8).

    logits (T, V) the strong model's at the target tokens, labels (T,) those tokens, unit_logprob
    and unit (T,) as in `split_logprob`. With t = P(label) after the split, `full` puts t on the
    label and shares 1 - t out to the other tokens as the strong model does; `label_only` leaves
    them 0; `one_hot` has t = 1. To look at: the losses come to the same without such a table.
    """
    check_shape("logits", logits.shape, ("T", "V"))
    check_shape("labels", labels.shape, logits.shape[:1])
    check_one_of("kind", kind, get_args(TargetKind))
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
