"""Prompts, completions and generated ids: ids and byte spans."""

from __future__ import annotations

import random

import pytest
from tokenizers import processors
from transformers import PreTrainedTokenizerFast

from raw2s.models.encoding import decode, decoded_spans, encode_completion, encode_prompt
from raw2s.models.scratch import train_tokenizer
from raw2s.models.vocabularies import SPECIAL_TOKENS

KINDS = sorted(SPECIAL_TOKENS)
TEXTS = [
    "the café is open today .",
    "play some jazz 🙂 now please",
    "日本 jazz café 🙂🙂 .",
    "a  b",
] * 9
TRAINED = {kind: train_tokenizer(kind, TEXTS, 320) for kind in KINDS}


def check_cover(text: str, spans: list[tuple[int, int]]) -> None:
    """Spans follow each other from byte 0 to the last."""
    place = 0
    for start, end in spans:
        assert start == place and end >= start
        place = end
    assert place == len(text.encode())


@pytest.mark.parametrize("kind", KINDS)
def test_prompt_keeps_front_specials_only(kind: str) -> None:
    tokenizer = TRAINED[kind]
    plain = tokenizer("jazz café", add_special_tokens=False)["input_ids"]
    assert encode_prompt(tokenizer, "jazz café") == [tokenizer.bos_token_id, *plain]
    assert encode_prompt(tokenizer, "") == [tokenizer.bos_token_id]
    eos = tokenizer.eos_token
    inside = encode_prompt(tokenizer, f"jazz{eos}café{eos}{tokenizer.pad_token}")
    assert inside[-1] not in (tokenizer.eos_token_id, tokenizer.pad_token_id)
    assert tokenizer.eos_token_id in inside


def test_prompt_loses_the_end_that_its_tokenizer_adds() -> None:
    bert_like = train_tokenizer("wordpiece", TEXTS, 320)
    bert_like.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[BOS] $A [EOS]",
        special_tokens=[(t, bert_like.convert_tokens_to_ids(t)) for t in ("[BOS]", "[EOS]")],
    )
    assert bert_like("jazz")["input_ids"][-1] == bert_like.eos_token_id
    assert encode_prompt(bert_like, "jazz") == encode_prompt(TRAINED["wordpiece"], "jazz")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["  the café is open .\n", "jazz 🙂 café", "", "日本 🙂🙂", "é"])
def test_completion_spans_match_the_tokens_text(kind: str, text: str) -> None:
    tokenizer = TRAINED[kind]
    ids, spans = encode_completion(tokenizer, text)
    raw = text.strip().encode()
    assert ids[-1] == tokenizer.eos_token_id and len(spans) == len(ids) - 1
    covered = {place for start, end in spans for place in range(start, end)}
    assert all(chr(b).isspace() or i in covered for i, b in enumerate(raw))
    for (start, end), token in zip(spans, ids, strict=False):
        piece = raw[start:end].decode()  # spans never cut a character
        spelt = decode(tokenizer, [token])
        if spelt and "\ufffd" not in spelt:
            assert spelt.strip() == piece.strip()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["the café is open .", "jazz 🙂 café", "", "日本 🙂🙂", "a b"])
def test_decoded_spans_agree_with_encoding(kind: str, text: str) -> None:
    tokenizer = TRAINED[kind]
    ids, given = encode_completion(tokenizer, text)
    found, spans = decoded_spans(tokenizer, ids[:-1])
    assert found == text and len(spans) == len(given)
    check_cover(text, spans)
    # A token ends where the tokenizer says, unless its character is spelt by several tokens.
    for k, (mine, its) in enumerate(zip(spans, given, strict=True)):
        if its not in given[k + 1 :]:
            assert mine[1] == its[1]


@pytest.mark.parametrize("kind", KINDS)
def test_decoded_spans_of_any_ids_cover_the_text(kind: str) -> None:
    tokenizer = TRAINED[kind]
    rng = random.Random(0)
    for _ in range(60):
        ids = [rng.randrange(len(tokenizer)) for _ in range(rng.randint(0, 12))]
        text, spans = decoded_spans(tokenizer, ids)
        assert text == decode(tokenizer, ids).strip() and len(spans) == len(ids)
        check_cover(text, spans)
        for token, (start, end) in zip(ids, spans, strict=True):
            if token in tokenizer.all_special_ids:
                assert start == end


def test_one_emoji_in_four_byte_tokens() -> None:
    tokenizer = train_tokenizer("byte_bpe", ["plain words"], 259)
    ids, spans = encode_completion(tokenizer, "a🙂b")
    assert spans == [(0, 1), (1, 5), (1, 5), (1, 5), (1, 5), (5, 6)]
    expected = [(0, 1), (1, 1), (1, 1), (1, 1), (1, 5), (5, 6)]
    assert decoded_spans(tokenizer, ids[:-1]) == ("a🙂b", expected)


def test_tokenizer_without_an_end_is_refused() -> None:
    backend = TRAINED["character"].backend_tokenizer
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    with pytest.raises(ValueError, match="end-of-sequence"):
        encode_completion(tokenizer, "jazz")
    with pytest.raises(ValueError, match="end-of-sequence"):
        encode_prompt(tokenizer, "")


def test_a_slow_tokenizer_has_the_spans_of_what_its_tokens_spell() -> None:
    from transformers import ByT5Tokenizer, CanineTokenizer

    text = "café 😀 now"
    for tokenizer in (ByT5Tokenizer(), CanineTokenizer(eos_token="\ue000")):
        assert not tokenizer.is_fast
        ids, spans = encode_completion(tokenizer, f" {text} ")
        assert len(spans) == len(ids) - 1
        pieces = [text.encode()[start:end].decode() for start, end in spans]
        assert [piece for piece in pieces if piece] == list(text)
    # Ten characters in fourteen bytes: the last byte of each carries its span.
    assert [len(piece) for piece in _byt5_pieces(text)] == [
        1,
        1,
        1,
        0,
        1,
        1,
        0,
        0,
        0,
        1,
        1,
        1,
        1,
        1,
    ]


def _byt5_pieces(text: str) -> list[str]:
    from transformers import ByT5Tokenizer

    _, spans = encode_completion(ByT5Tokenizer(), text)
    return [text.encode()[start:end].decode() for start, end in spans]
