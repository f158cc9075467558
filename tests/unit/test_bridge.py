from __future__ import annotations

import math
from typing import Literal

import pytest
import torch

from raw2s.method.bridge import (
    AlignmentError,
    Chunk,
    align,
    byte_spans,
    soft_targets,
    split_logprob,
    word_targets,
    words,
)


def test_chunks_carry_their_own_probability() -> None:
    # "ab|c d" against "ab|c| d": three chunks, two words.
    weak, strong = [(0, 2), (2, 3), (3, 5)], [(0, 1), (1, 2), (2, 3), (3, 5)]
    found = word_targets(
        "abc d", weak, [-1.0, -2.0, -4.0], strong, weak_eos_logprob=-8.0, unit="chunk"
    )
    assert found.unit.tolist() == [0, 0, 1, 2, 3]
    assert found.unit_logprob.tolist() == [-1.0, -2.0, -4.0, -8.0]
    whole = word_targets("abc d", weak, [-1.0, -2.0, -4.0], strong, weak_eos_logprob=-8.0)
    assert whole.unit.tolist() == [0, 0, 0, 1, 2]
    assert whole.unit_logprob.tolist() == [-3.0, -4.0, -8.0]


def test_words_by_hand() -> None:
    text = "wake me"
    weak = [(0, 2), (2, 4), (4, 7)]  # wa|ke| me
    strong = [(0, 4), (5, 6), (6, 7)]  # wake|m|e without the space
    got = word_targets(text, weak, [-1.0, -2.0, -4.0], strong, weak_eos_logprob=-0.5)
    assert got.unit.tolist() == [0, 1, 1, 2]
    assert got.unit_logprob.tolist() == [-3.0, -4.0, -0.5]


def test_chunks_of_one_word_merge() -> None:
    text = "a,b c"
    both = [(0, 1), (1, 2), (2, 3), (3, 5)]
    chunks = align(text, both, both)
    assert len(chunks) == 4
    assert words(text, chunks) == [
        Chunk(range(0, 3), range(0, 3), 0, 3),
        Chunk(range(3, 4), range(3, 4), 3, 5),
    ]


def test_white_space_of_its_own_joins_the_next_word() -> None:
    text = " a  b \n"
    both = byte_spans(text, [(i, i + 1) for i in range(len(text))])
    pieces = [text[w.start : w.end] for w in words(text, align(text, both, both))]
    assert pieces == [" a", "  b \n"]
    trailing = [(0, 2), (2, 3)]
    pieces = ["a b"[w.start : w.end] for w in words("a b", align("a b", trailing, trailing))]
    assert pieces == ["a ", "b"]


def test_emoji_bytes_and_zero_width_tokens() -> None:
    text = "x😀y"
    spans_of_bytes = byte_spans(text, [(0, 1), (1, 2), (1, 2), (1, 2), (2, 2), (2, 3), (3, 3)])
    plain = byte_spans(text, [(0, 1), (1, 2), (2, 3)])
    chunks = align(text, spans_of_bytes, plain)
    assert [c.weak for c in chunks] == [range(0, 1), range(1, 4), range(4, 7)]
    assert [(c.start, c.end) for c in chunks] == [(0, 1), (1, 5), (5, 6)]


def test_an_accent_in_no_token_belongs_to_its_letter() -> None:
    """A tokenizer that normalises to NFC gives an e with an accent the span of the e alone."""
    text = "caf" + "e\u0323\u0301" + " x"
    letters = byte_spans(text, [(i, i + 1) for i in range(8)])
    composed = byte_spans(text, [(0, 4), (6, 8)])
    assert [(c.weak, c.strong) for c in align(text, letters, composed)] == [
        (range(0, 6), range(0, 1)),
        (range(6, 8), range(1, 2)),
    ]
    hangul = "\u1100\u1161\u11a8"
    assert len(align(hangul, [(0, 3)], [(0, 3), (3, 6), (6, 9)])) == 1
    with pytest.raises(AlignmentError, match=r"leaves bytes 3 to 4 b'x'"):
        align("e\u0301x", [(0, 1)], [(0, 4)])


def test_nested_tokens_stay_together() -> None:
    chunks = align("abcd", [(0, 3), (1, 2), (3, 4)], [(0, 1), (1, 3), (3, 4)])
    assert [(c.weak, c.strong) for c in chunks] == [
        (range(0, 2), range(0, 2)),
        (range(2, 3), range(2, 3)),
    ]


def test_incomplete_covers_are_refused() -> None:
    with pytest.raises(AlignmentError, match=r"strong_spans .* leaves bytes 1 to 2 b'b'"):
        align("abc", [(0, 3)], [(0, 1), (2, 3)])
    with pytest.raises(AlignmentError, match="weak_spans .* leaves bytes 2 to 3"):
        align("abc", [(0, 2)], [(0, 3)])
    with pytest.raises(AlignmentError, match=r"starts before byte 1.* at \(2,\): \(0, 1\)"):
        align("abc", [(0, 2), (1, 3), (0, 1)], [(0, 3)])
    with pytest.raises(
        AlignmentError, match=r"weak_spans \(shape \(0, 2\)\) and strong_spans \(shape \(1, 2\)\)"
    ):
        align(" ", [], [(0, 1)])
    with pytest.raises(
        AlignmentError, match=r"weak_spans \(shape \(1, 2\)\) is outside the text's 3 bytes"
    ):
        align("abc", [(0, 4)], [(0, 3)])
    assert align(" ", [], []) == []
    assert issubclass(AlignmentError, ValueError)


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"char_offsets .* at \(1,\): \(1, 3\)"):
        byte_spans("ab", [(0, 1), (1, 3)])
    with pytest.raises(ValueError, match=r"weak_logprobs .* is not <= 0 at \(0,\): 0\.5"):
        word_targets("a", [(0, 1)], [0.5], [(0, 1)], weak_eos_logprob=None)
    with pytest.raises(ValueError, match=r"weak_logprobs \(shape \(1,\)\) must be \(2,\)"):
        word_targets("ab", [(0, 1), (1, 2)], [-1.0], [(0, 2)], weak_eos_logprob=None)
    unit, one = torch.tensor([0, 0]), torch.ones(2)
    with pytest.raises(ValueError, match="temperature"):
        split_logprob(-one, unit, one, temperature=0.0)
    with pytest.raises(ValueError, match=r"confidence .* is not finite at \(1,\)"):
        split_logprob(-one, unit, torch.tensor([0.5, float("nan")]))


def test_split_rules() -> None:
    unit = torch.tensor([-1, 7, 7, 3, -1])
    log_word = torch.tensor([-9.0, -2.0, -2.0, -1.0, -9.0], dtype=torch.float64)
    sure = torch.tensor([float("nan"), 0.9, 0.1, 0.4, 0.0], dtype=torch.float64)
    share = math.exp(-0.9 / 0.5) / (math.exp(-0.9 / 0.5) + math.exp(-0.1 / 0.5))
    got = split_logprob(log_word, unit, sure, temperature=0.5)
    expected = torch.tensor([0.0, -2 * share, -2 * (1 - share), -1.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(got, expected)
    assert got[1] > got[2]  # the surer token has the higher probability
    plus = split_logprob(log_word, unit, sure, rule="plus_sign", temperature=0.5)
    torch.testing.assert_close(plus[1:3], expected[1:3].flip(0))
    uniform = split_logprob(log_word, unit, sure, rule="uniform")
    assert uniform.tolist() == [0, -1, -1, -1, 0]
    cold = split_logprob(log_word, unit, sure, temperature=1e-4)
    torch.testing.assert_close(cold[1:3], torch.tensor([0.0, -2.0], dtype=torch.float64))


@pytest.mark.parametrize("rule", ["confidence", "uniform", "plus_sign"])
def test_soft_targets_are_the_three_kinds_of_table_8(
    rule: Literal["confidence", "uniform", "plus_sign"],
) -> None:
    logits = torch.randn(4, 9, generator=torch.Generator().manual_seed(0)).double()
    labels, unit = torch.tensor([3, 1, 8, 0]), torch.tensor([0, 0, 1, 1])
    words = torch.tensor([-0.7, -0.7, -1.5, -1.5]).double()
    full, label_only, one_hot = (
        soft_targets(logits, labels, words, unit, kind=kind, rule=rule, temperature=0.5)
        for kind in ("full", "label_only", "one_hot")
    )
    assert torch.equal(one_hot, torch.nn.functional.one_hot(labels, 9).double())
    t = label_only.gather(1, labels[:, None]).flatten()
    torch.testing.assert_close(t[:2].prod(), torch.tensor(-0.7).double().exp())
    torch.testing.assert_close(t[2:].prod(), torch.tensor(-1.5).double().exp())
    assert torch.equal(label_only.count_nonzero(1), torch.ones(4, dtype=torch.int64))
    torch.testing.assert_close(full.sum(1), torch.ones(4).double())
    # Off the label the student's own distribution, in its proportions.
    for row, label in enumerate(labels):
        others = [j for j in range(9) if j != label]
        ratio = full[row, others] / logits.softmax(-1)[row, others]
        torch.testing.assert_close(ratio, ratio[0].expand(8))
        torch.testing.assert_close(full[row, label], t[row])


def test_soft_targets_name_bad_labels() -> None:
    with pytest.raises(ValueError, match="labels"):
        soft_targets(torch.zeros(1, 3), torch.tensor([3]), torch.zeros(1), torch.zeros(1).long())
