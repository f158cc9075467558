"""The bridge between any two tokenizers, trained here and real, against a slow reference."""

from __future__ import annotations

import gzip
import math
import random
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import trainers as training

from raw2s.method.bridge import (
    AlignmentError,
    Span,
    align,
    byte_spans,
    split_logprob,
    word_targets,
)
from raw2s.models.scratch import train_tokenizer

CORPUS = [
    "wake me up at five am this week, please",
    '{"date": ["today"], "place": ["café münchen"]}',
    "the quick brown fox jumps over the lazy dog 😀 你好 世界",
    "wake the fox; wake the dog and play naïve jazz",
] * 4
UNKNOWN = {"[UNK]", "<unk>"}
BYTE_LEVEL = ["byte_bpe", "bytes_prefix", "bytes_trim"]
OTHERS = ["metaspace_bpe", "unigram", "wordpiece", "wordpiece_bert", "character", "byte_fallback"]
TRAINED = BYTE_LEVEL + OTHERS
REAL = ["gpt2", "gpt_neox", "opt", "minimind"]
"""All byte-level."""


def bytes_with_prefix(trim: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim)
    trainer = training.BpeTrainer(
        vocab_size=330,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def wordpiece_bert() -> Tokenizer:
    """BERT's normaliser changes lengths and drops control characters."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = training.WordPieceTrainer(
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


@cache
def trained(name: str) -> Tokenizer:
    makers: dict[str, Callable[[], Tokenizer]] = {
        "bytes_prefix": lambda: bytes_with_prefix(trim=False),
        "bytes_trim": lambda: bytes_with_prefix(trim=True),
        "wordpiece_bert": wordpiece_bert,
        "byte_fallback": byte_fallback,
    }
    if name in makers:
        return makers[name]()
    return train_tokenizer(name, CORPUS, 330).backend_tokenizer


@cache
def real(folder: Path, name: str) -> Tokenizer:
    place = folder / "tokenizers" / name
    if name == "gpt_neox":
        packed = gzip.decompress((place / "20B_tokenizer.json.gz").read_bytes())
        return Tokenizer.from_str(packed.decode())
    if name == "opt":
        tokenizer = Tokenizer(
            models.BPE.from_file(str(place / "vocab.json"), str(place / "merges.txt"))
        )
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        return tokenizer
    return Tokenizer.from_file(str(place / "tokenizer.json"))


def spans(tokenizer: Tokenizer, text: str) -> list[Span]:
    """Byte spans of the tokens; special ones, the unknown token among them, are dropped by name."""
    encoded = tokenizer.encode(text, add_special_tokens=False)
    unknown = [tokenizer.token_to_id(name) for name in UNKNOWN]
    kept = [o for o, i in zip(encoded.offsets, encoded.ids, strict=True) if i not in unknown]
    return byte_spans(text, kept)


Piece = tuple[list[int], list[int], int, int]
"""Weak tokens, strong tokens, first byte, byte after the last."""


def slow_chunks(text: str, sides: list[list[Span]]) -> list[Piece]:
    """Reference: cut wherever no token of either side, with its white space, crosses a byte."""
    n = len(text.encode())
    # What is in no token is white space, or an accent that NFC composes with what precedes it.
    accent = [not char.isspace() for char in text for _ in char.encode()]
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
                earlier = [i for i in real if side[i][1] <= byte]
                owner[byte].add(later[0] if later and not accent[byte] else earlier[-1])
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
    return [pieces(owners, start, end) for start, end in zip(cuts, cuts[1:], strict=False)]


def pieces(owners: list[list[set[int]]], start: int, end: int) -> Piece:
    weak, strong = (sorted(set().union(*owner[start:end])) for owner in owners)
    return weak, strong, start, end


def slow_words(text: str, chunks: list[Piece]) -> list[Piece]:
    """Reference: chunks cut at every white space, white space alone given to what follows."""
    data = text.encode()
    cuts = [0]
    for _, _, _, end in chunks[:-1]:
        beside = data[:end].decode()[-1] + data[end:].decode()[0]
        if any(char.isspace() for char in beside) and data[cuts[-1] : end].decode().strip():
            cuts.append(end)
    if len(cuts) > 1 and not data[cuts[-1] :].decode().strip():
        cuts.pop()
    cuts.append(len(data))
    words = []
    for start, end in zip(cuts, cuts[1:], strict=False):
        inside = [chunk for chunk in chunks if start <= chunk[2] < end]
        weak, strong = ([i for chunk in inside for i in chunk[side]] for side in (0, 1))
        words.append((weak, strong, start, end))
    return words


TEXT = st.one_of(
    st.text(max_size=20),
    st.text(alphabet="abw the\n\t,.'é😀👩\u200d🚀你\u0301ﬁ\u00a0\u2028", max_size=24),
    st.lists(
        st.sampled_from(
            ["wake", " up", "the", "fox😀", "münchen", '["a"]', "{", "世界", "e\u0301"]
        ),
        max_size=8,
    ).map(" ".join),
)


def check(text: str, weak: list[Span], strong: list[Span], seed: int, eos: bool) -> None:
    """Aligned exactly, every word right and no probability lost; or refused for a reason."""
    rng = np.random.default_rng(seed)
    logprobs = -rng.exponential(3, len(weak))
    try:
        targets = word_targets(
            text, weak, logprobs, strong, weak_eos_logprob=-0.25 if eos else None
        )
    except AlignmentError as error:
        check_refusal(text, {"weak_spans": weak, "strong_spans": strong}, str(error))
        return
    unit, unit_logprob = targets.unit[: len(strong)], targets.unit_logprob
    if any(s < e for s, e in weak) and any(s < e for s, e in strong):
        chunks = slow_chunks(text, [weak, strong])
        found = align(text, weak, strong)
        assert [(list(c.weak), list(c.strong), c.start, c.end) for c in found] == chunks
        words = slow_words(text, chunks)
        assert len(words) == len(unit_logprob) - eos
        for number, (weak_tokens, strong_tokens, _, _) in enumerate(words):
            expected = math.fsum(logprobs[i] for i in weak_tokens)
            assert unit_logprob[number] == pytest.approx(expected, abs=1e-9)
            assert np.flatnonzero(unit == number).tolist() == strong_tokens
    split = split_logprob(
        torch.tensor(unit_logprob[targets.unit]),
        torch.tensor(targets.unit),
        torch.tensor(rng.random(len(targets.unit))),
        temperature=float(rng.uniform(0.05, 5)),
    )
    # P is the product of the words' probabilities, and so is every word's of its tokens'.
    assert split.sum().item() == pytest.approx(math.fsum(logprobs) - 0.25 * eos, abs=1e-9)
    for number, logprob in enumerate(unit_logprob):
        inside = torch.tensor(targets.unit == number)
        assert split[inside].sum().item() == pytest.approx(logprob, abs=1e-9)


def check_refusal(text: str, sides: dict[str, list[Span]], message: str) -> None:
    """The bytes that the error names are in no token; or a side has no tokens, or is disordered."""
    found = re.match(r"(\w+) .* leaves bytes (\d+) to (\d+) (b.*) of ", message, re.DOTALL)
    if found:
        side, start, end = found[1], int(found[2]), int(found[3])
        missing = text.encode()[start:end]
        assert repr(missing) == found[4] and missing.decode().strip()
        assert not any(s < end and start < e for s, e in sides[side])
    elif "must both have tokens" in message:
        assert sum(not side for side in sides.values()) == 1
    else:
        side = next(name for name in sides if message.startswith(name))
        starts = [s for s, e in sides[side] if e > s]
        assert starts != sorted(starts)


@settings(max_examples=300, deadline=None)
@given(TEXT, st.sampled_from(TRAINED), st.sampled_from(TRAINED), st.integers(0, 99), st.booleans())
def test_trained_tokenizers(text: str, weak: str, strong: str, seed: int, eos: bool) -> None:
    check(text, spans(trained(weak), text), spans(trained(strong), text), seed, eos)


@settings(max_examples=300, deadline=None)
@given(
    TEXT,
    st.sampled_from(REAL),
    st.sampled_from(REAL + TRAINED),
    st.booleans(),
    st.integers(0, 99),
    st.booleans(),
)
def test_real_tokenizers(
    data_folder: Path, text: str, one: str, other: str, swap: bool, seed: int, eos: bool
) -> None:
    sides = [
        spans(real(data_folder, name) if name in REAL else trained(name), text)
        for name in ((other, one) if swap else (one, other))
    ]
    check(text, sides[0], sides[1], seed, eos)


def sentences(count: int) -> list[str]:
    """Plain words with, in half of them, an emoji, a combining mark, CJK or a control character."""
    rng = random.Random(0)
    plain = ["wake", "me", "at five,", "the fox", '{"date": ["today"]}', "münchen", "\n", " "]
    odd = ["😀", "👩\u200d🚀", "e\u0301", "你好", "ß", "ﬁ", "\x07bell", "\x00", "\u200b", "Ω≈ç"]
    return [
        " ".join([*rng.choices(plain, k=4), *rng.choices(odd, k=rng.randrange(2)), "now"])
        for _ in range(count)
    ]


def refusals(tokenizer: Tokenizer, texts: list[str]) -> int:
    """How many texts cannot be bridged into a tokenizer's tokens; each refusal names its bytes."""
    count = 0
    for text in texts:
        weak = spans(trained("byte_bpe"), text)
        strong = spans(tokenizer, text)
        try:
            align(text, weak, strong)
        except AlignmentError as error:
            assert "leaves bytes" in str(error)
            check_refusal(text, {"weak_spans": weak, "strong_spans": strong}, str(error))
            count += 1
    return count


def report(rates: dict[str, int], total: int, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\nrefused of {total} texts:")
        for name, count in rates.items():
            print(f"  {name:<16}{count / total:6.1%}")


def test_refusal_rate_of_trained_tokenizers(capsys: pytest.CaptureFixture[str]) -> None:
    texts = sentences(400)
    rates = {name: refusals(trained(name), texts) for name in TRAINED}
    report(rates, len(texts), capsys)
    assert {rates[name] for name in BYTE_LEVEL} == {0}
    # Bytes for unknown characters leave nothing out either.
    assert rates["metaspace_bpe"] == rates["byte_fallback"] == 0
    # An unknown token, and a control character that a normaliser drops.
    for name in ("wordpiece", "wordpiece_bert", "character", "unigram"):
        assert 0 < rates[name] < len(texts)
    with pytest.raises(AlignmentError, match=r"strong_spans .* leaves bytes 3 to 4 b'\\x07'"):
        align("the\x07", [(0, 4)], spans(trained("wordpiece_bert"), "the\x07"))


def test_refusal_rate_of_real_tokenizers(
    data_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = sentences(400)
    rates = {name: refusals(real(data_folder, name), texts) for name in REAL}
    report(rates, len(texts), capsys)
    assert set(rates.values()) == {0}
