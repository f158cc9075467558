from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from raw2s.method.bridge import (
    AlignmentError,
    Chunk,
    Span,
    align,
    byte_spans,
    soft_targets,
    split_logprob,
    word_targets,
    words,
)

CORPUS = [
    "wake me up at five am this week, please",
    '{"date": ["today"], "place": ["café münchen"]}',
    "the quick brown fox jumps over the lazy dog 😀 你好 世界",
    "wake the fox; wake the dog and play naïve jazz",
] * 4


def byte_level(add_prefix_space: bool, trim: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    if trim:
        from tokenizers import processors

        tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=120, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def word_piece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=150, special_tokens=["[UNK]"], show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def byte_fallback() -> Tokenizer:
    """Llama's kind: Metaspace by normaliser, unknown characters as bytes."""
    vocabulary = ["<unk>", *(f"<0x{b:02X}>" for b in range(256)), "▁"]
    vocabulary += sorted(set("wakeupthfivm"))
    ids = {token: i for i, token in enumerate(vocabulary)}
    merges = [("w", "a"), ("t", "h"), ("th", "e"), ("▁", "the"), ("▁", "wa")]
    for left, right in merges:
        ids.setdefault(left + right, len(ids))
    tokenizer = Tokenizer(models.BPE(ids, merges, unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    return tokenizer


@lru_cache
def tokenizer(name: str) -> Tokenizer:
    makers: dict[str, Callable[[], Tokenizer]] = {
        "bytes": lambda: byte_level(False, False),
        "bytes_prefix": lambda: byte_level(True, False),
        "bytes_trim": lambda: byte_level(True, True),
        "unigram": unigram,
        "word_piece": word_piece,
        "byte_fallback": byte_fallback,
    }
    return makers[name]()


NAMES = ["bytes", "bytes_prefix", "bytes_trim", "unigram", "word_piece", "byte_fallback", "char"]


def spans(name: str, text: str) -> list[Span]:
    if name == "char":
        return byte_spans(text, [(i, i + 1) for i in range(len(text))])
    return byte_spans(text, tokenizer(name).encode(text, add_special_tokens=False).offsets)


def slow_chunks(text: str, sides: list[list[Span]]) -> list[tuple[list[int], list[int], int, int]]:
    """Reference: cut wherever no token of either side, with its white space, crosses a byte."""
    n = len(text.encode())
    owners = []
    for side in sides:
        owner: list[set[int]] = [set() for _ in range(n)]
        for index, (start, end) in enumerate(side):
            for byte in range(start, end):
                owner[byte].add(index)
        real = [i for i, (s, e) in enumerate(side) if e > s]
        for byte in range(n):
            if not owner[byte]:
                later = [i for i in real if side[i][0] > byte]
                owner[byte].add(later[0] if later else real[-1])
        for index, (start, end) in enumerate(side):
            if start == end:
                later = [i for i in real if i > index]
                anchor = later[0] if later else real[-1]
                for byte in range(n):
                    if anchor in owner[byte]:
                        owner[byte].add(index)
        owners.append(owner)
    cuts = [0]
    for byte in range(1, n):
        if all(
            max(set().union(*owner[:byte])) < min(set().union(*owner[byte:])) for owner in owners
        ):
            cuts.append(byte)
    cuts.append(n)
    result = []
    for start, end in zip(cuts, cuts[1:], strict=False):
        weak, strong = (sorted(set().union(*owner[start:end])) for owner in owners)
        result.append((weak, strong, start, end))
    return result


TEXT = st.one_of(
    st.text(max_size=20),
    st.text(alphabet="abw the\n\t,.'é😀👩\u200d🚀你\u0301ﬁ\u00a0\u2028", max_size=24),
    st.lists(st.sampled_from(["wake", "up", "the", "fox😀", "münchen", '["a"]']), max_size=8).map(
        " ".join
    ),
)


@settings(max_examples=150, deadline=None)
@given(TEXT, st.sampled_from(NAMES), st.sampled_from(NAMES))
def test_alignment_is_exact_or_refused(text: str, weak_name: str, strong_name: str) -> None:
    weak, strong = spans(weak_name, text), spans(strong_name, text)
    try:
        chunks = align(text, weak, strong)
    except AlignmentError:
        covered = [set().union(*(range(s, e) for s, e in side)) for side in (weak, strong)]
        at = [end for _, end in byte_spans(text, [(i, i + 1) for i in range(len(text))])]
        solid = {end - 1 for char, end in zip(text, at, strict=True) if not char.isspace()}
        disordered = any(
            any(later < earlier for earlier, later in zip(s, s[1:], strict=False))
            for s in ([a for a, b in side if b > a] for side in (weak, strong))
        )
        one_empty = bool(weak) != bool(strong)
        assert one_empty or disordered or not all(solid <= c for c in covered)
        return
    assert [i for c in chunks for i in c.weak] == list(range(len(weak)))
    assert [i for c in chunks for i in c.strong] == list(range(len(strong)))
    if not weak:
        assert not chunks and not text.strip()
        return
    assert [c.start for c in chunks] + [len(text.encode())] == [0] + [c.end for c in chunks]
    if any(s < e for s, e in weak) and any(s < e for s, e in strong):
        got = [(list(c.weak), list(c.strong), c.start, c.end) for c in chunks]
        assert got == slow_chunks(text, [weak, strong])
    merged = words(text, chunks)
    assert [i for c in merged for i in c.strong] == list(range(len(strong)))
    data = text.encode()
    for left, right in zip(merged, merged[1:], strict=False):
        assert left.end == right.start
        around = data[: left.end].decode()[-1] + data[right.start :].decode()[0]
        assert any(char.isspace() for char in around)
        assert data[right.start : right.end].decode().strip()


@settings(max_examples=100, deadline=None)
@given(TEXT, st.sampled_from(NAMES), st.sampled_from(NAMES), st.floats(0.05, 5), st.booleans())
def test_split_keeps_every_word_and_the_whole(
    text: str, weak_name: str, strong_name: str, temperature: float, eos: bool
) -> None:
    weak, strong = spans(weak_name, text), spans(strong_name, text)
    rng = np.random.default_rng(len(text))
    weak_logprobs = -rng.exponential(3, len(weak))
    try:
        targets = word_targets(
            text, weak, weak_logprobs, strong, weak_eos_logprob=-0.25 if eos else None
        )
    except AlignmentError:
        assume(False)
        return
    assert len(targets.unit) == len(strong) + eos
    assert sorted(set(targets.unit.tolist())) == list(range(len(targets.unit_logprob)))
    confidence = torch.tensor(rng.random(len(targets.unit)))
    got = split_logprob(
        torch.tensor(targets.unit_logprob[targets.unit]),
        torch.tensor(targets.unit),
        confidence,
        temperature=temperature,
    )
    assert got.sum().item() == pytest.approx(weak_logprobs.sum() - 0.25 * eos, abs=1e-9)
    for unit in set(targets.unit.tolist()):
        inside = targets.unit == unit
        assert got[torch.tensor(inside)].sum().item() == pytest.approx(
            targets.unit_logprob[unit], abs=1e-9
        )
    if eos:
        assert got[-1].item() == -0.25


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


def test_nested_tokens_stay_together() -> None:
    chunks = align("abcd", [(0, 3), (1, 2), (3, 4)], [(0, 1), (1, 3), (3, 4)])
    assert [(c.weak, c.strong) for c in chunks] == [
        (range(0, 2), range(0, 2)),
        (range(2, 3), range(2, 3)),
    ]


def test_incomplete_covers_are_refused() -> None:
    with pytest.raises(AlignmentError, match=r"strong tokens leave bytes 1 to 2 b'b'"):
        align("abc", [(0, 3)], [(0, 1), (2, 3)])
    with pytest.raises(AlignmentError, match="weak tokens leave bytes 2 to 3"):
        align("abc", [(0, 2)], [(0, 3)])
    with pytest.raises(AlignmentError, match="weak token 2 starts at 0"):
        align("abc", [(0, 2), (1, 3), (0, 1)], [(0, 3)])
    with pytest.raises(AlignmentError, match="0 weak and 1 strong"):
        align(" ", [], [(0, 1)])
    with pytest.raises(AlignmentError, match="spans"):
        align("abc", [(0, 4)], [(0, 3)])
    assert align(" ", [], []) == []
    assert issubclass(AlignmentError, ValueError)


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="char_offsets 1"):
        byte_spans("ab", [(0, 1), (1, 3)])
    with pytest.raises(ValueError, match="log-probability 0"):
        word_targets("a", [(0, 1)], [0.5], [(0, 1)], weak_eos_logprob=None)
    with pytest.raises(ValueError, match="2 spans"):
        word_targets("ab", [(0, 1), (1, 2)], [-1.0], [(0, 2)], weak_eos_logprob=None)
    unit, one = torch.tensor([0, 0]), torch.ones(2)
    with pytest.raises(ValueError, match="temperature"):
        split_logprob(-one, unit, one, temperature=0.0)
    with pytest.raises(ValueError, match="confidence of target token 1"):
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
