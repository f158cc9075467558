"""The one convention for turning prompts and completions into tokens, and tokens into text.

A prompt keeps the special tokens that its tokenizer puts in front. A completion is stripped text,
tokenized on its own and closed by the end-of-sequence token. The two lists of ids are joined;
prompt and completion are never tokenized together, because tokenizers such as Metaspace add a space
in front of whatever they are given, and merges may cross the border.

Every token of a completion has a byte span in the UTF-8 of the completion's text.
"""

from __future__ import annotations

import os
from itertools import accumulate

from transformers import PreTrainedTokenizerBase

Span = tuple[int, int]


def encode_prompt(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of a prompt: as the tokenizer encodes it, without end tokens at its end.

    Trailing end-of-sequence, separator and padding tokens are dropped, so the last token is never
    the padding token: a classifier that pools the last token other than padding pools the right
    one. An empty prompt is the begin-of-sequence token, or the end-of-sequence token where the
    tokenizer has no other. Raises ValueError if it has neither.
    """
    ids: list[int] = list(tokenizer(text)["input_ids"])
    ends = {tokenizer.eos_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id}
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else end_id(tokenizer)
    while ids and ids[-1] in ends:
        ids.pop()
    return ids or [start]


def encode_completion(
    tokenizer: PreTrainedTokenizerBase, text: str
) -> tuple[list[int], list[Span]]:
    """Token ids of a completion with the end-of-sequence token last, and the byte spans.

    `text` is stripped first. There is one (start, end) span for each token except the
    end-of-sequence token, half open, over the UTF-8 of the stripped text. Tokens that share a
    character (bytes of one emoji) all carry that character's span; white space that the tokenizer
    drops is in no span. A slow tokenizer tells no offsets: its tokens have the spans of what they
    decode to, zero-wide ones where that is not the text. Raises ValueError for a tokenizer without
    an end token.
    """
    stripped = text.strip()
    if not tokenizer.is_fast:
        ids = tokenizer(stripped, add_special_tokens=False)["input_ids"]
        spelled, spans = decoded_spans(tokenizer, ids)
        if spelled != stripped:
            spans = [(0, 0)] * len(ids)
        return [*ids, end_id(tokenizer)], spans
    encoded = tokenizer(stripped, add_special_tokens=False, return_offsets_mapping=True)
    byte_at = _byte_positions(stripped)
    spans = [(byte_at[start], byte_at[end]) for start, end in encoded["offset_mapping"]]
    return [*encoded["input_ids"], end_id(tokenizer)], spans


def decoded_spans(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> tuple[str, list[Span]]:
    """The stripped text that `ids` spell without special tokens, and each token's byte span in it.

    For ids that a model wrote, which need not be the tokenizer's own encoding of the text. `ids`
    has no end-of-sequence token. The spans follow each other without gap or overlap and cover the
    text exactly: a token's span is what it adds to the decoded prefix. Of several tokens that spell
    one character the last has its span; the others, special tokens and stripped white space are
    zero wide.
    """
    raw = decode(tokenizer, ids)
    text = raw.strip()
    lead = len(raw) - len(raw.lstrip())
    # An unfinished character decodes to a replacement mark that is not in the full text, so the
    # common part of prefix and text ends before it.
    reached = [
        len(os.path.commonprefix([decode(tokenizer, ids[: end + 1]), raw]))
        for end in range(len(ids))
    ]
    byte_at = _byte_positions(text)
    ends = [
        byte_at[min(max(place - lead, 0), len(text))] for place in accumulate(reached, func=max)
    ]
    return text, list(zip([0, *ends], ends, strict=False))


def decode(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    """The text of `ids`, special tokens left out and nothing cleaned up."""
    text = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    if not isinstance(text, str):
        raise TypeError(f"ids must be one sequence, the tokenizer decoded {type(text).__name__}")
    return text


def end_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id of the end-of-sequence token. Raises ValueError if there is none."""
    if tokenizer.eos_token_id is None:
        raise ValueError(f"tokenizer {tokenizer.name_or_path!r} has no end-of-sequence token")
    return int(tokenizer.eos_token_id)


def _byte_positions(text: str) -> list[int]:
    """Where each character starts in the UTF-8 of `text`, and its length last: (len(text) + 1,)."""
    return [0, *accumulate(len(c.encode("utf-8", "surrogatepass")) for c in text)]
