"""Tokenizers trained from scratch, of five kinds.

The same texts give the same tokenizer. The trainers of the `tokenizers` library for Unigram and
WordPiece walk hash maps in a random order and differ from run to run, so these two vocabularies
are selected here from byte-pair merges, whose trainer breaks its ties by id.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

# For each kind, the special tokens in id order (id 0 first). That they differ from kind to kind,
# and that id 0 is not always padding, is on purpose: nothing downstream may rely on either.
SPECIAL_TOKENS: dict[str, dict[str, str]] = {
    "byte_bpe": {"eos": "<|end|>", "bos": "<|start|>", "pad": "<|pad|>"},
    "unigram": {"pad": "<pad>", "unk": "<unk>", "bos": "<s>", "eos": "</s>"},
    "metaspace_bpe": {"bos": "<s>", "eos": "</s>", "pad": "<pad>"},
    "character": {"unk": "<unk>", "pad": "<pad>", "bos": "<bos>", "eos": "<eos>"},
    "wordpiece": {"pad": "[PAD]", "unk": "[UNK]", "bos": "[BOS]", "eos": "[EOS]"},
}
BYTE_TOKENS = [f"<0x{byte:02X}>" for byte in range(256)]
WORDPIECE_PREFIX = "@@"
_UNIGRAM_ROUNDS = 4


def train_tokenizer(kind: str, texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a tokenizer of one kind on `texts`; at most `vocab_size` entries, specials included.

    Every kind has distinct padding, begin- and end-of-sequence tokens and puts the begin token,
    never the end token, around an encoded text. With `skip_special_tokens`, `decode(encode(t))`
    returns t

    - `byte_bpe`: for every text (bytes; no unknown token);
    - `character`: for texts of characters seen in training (others become the unknown token);
    - `unigram`: likewise, without a leading white space or a literal "▁" (Metaspace);
    - `metaspace_bpe`: for every text without a leading space or a literal "▁" (rare characters
      become byte tokens);
    - `wordpiece`: for texts of seen characters whose words and punctuation marks are each set off
      by one space (white space is not kept).

    Raises ValueError for an unknown kind, no text, or a vocabulary too small for the kind.
    """
    if kind not in SPECIAL_TOKENS:
        raise ValueError(f"kind must be one of {sorted(SPECIAL_TOKENS)}, got {kind!r}")
    corpus = list(texts)
    if not any(corpus):
        raise ValueError(f"texts must hold at least one non-empty text, got {len(corpus)} texts")
    specials = SPECIAL_TOKENS[kind]
    builders: dict[str, Callable[[list[str], int], Tokenizer]] = {
        "byte_bpe": _byte_bpe,
        "unigram": _unigram,
        "metaspace_bpe": _metaspace_bpe,
        "character": _character,
        "wordpiece": _wordpiece,
    }
    floor = len(specials) + (256 if kind in ("byte_bpe", "metaspace_bpe") else 2)
    if vocab_size < floor:
        raise ValueError(f"vocab_size must be at least {floor} for {kind!r}, got {vocab_size}")
    tokenizer = builders[kind](corpus, vocab_size)
    tokenizer.add_special_tokens(list(specials.values()))
    bos = specials["bos"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A",
        pair=f"{bos} $A $B:1",
        special_tokens=[(bos, tokenizer.token_to_id(bos))],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        clean_up_tokenization_spaces=False,
        **{f"{role}_token": token for role, token in specials.items()},
    )


def _byte_bpe(texts: list[str], vocab_size: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS["byte_bpe"].values()),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _metaspace_bpe(texts: list[str], vocab_size: int) -> Tokenizer:
    fixed = [*SPECIAL_TOKENS["metaspace_bpe"].values(), *BYTE_TOKENS]
    words = _words(texts, pre_tokenizers.Metaspace())
    learnt = _merges(words, vocab_size - len(fixed))
    entries = fixed + [piece for piece in learnt.pieces if piece not in set(fixed)]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={piece: index for index, piece in enumerate(entries)},
            merges=learnt.merges,
            byte_fallback=True,
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return tokenizer


def _unigram(texts: list[str], vocab_size: int) -> Tokenizer:
    """A Unigram model: log-probabilities by hard (Viterbi) expectation maximisation.

    Starts from twice as many byte-pair pieces as wanted; each round re-segments the words, drops
    the rarest pieces on the way down to the size wanted, and re-estimates the probabilities.
    """
    specials = list(SPECIAL_TOKENS["unigram"].values())
    unk = specials.index("<unk>")
    size = vocab_size - len(specials)
    words = _words(texts, pre_tokenizers.Metaspace())
    start = _merges(words, 2 * size, alphabet_limit=size // 2 + 1)
    counts = Counter(dict.fromkeys(start.pieces, 0))
    for word, times in words.items():
        for token in start.model.tokenize(word):
            counts[token.value] += times
    characters = [piece for piece in start.pieces if len(piece) == 1][:size]
    model = _unigram_model(specials, unk, counts)
    for step in range(1, _UNIGRAM_ROUNDS + 1):
        keep = size + (len(counts) - size) * (_UNIGRAM_ROUNDS - step) // _UNIGRAM_ROUNDS
        counts = _most_frequent(counts, keep, always=characters)
        model = _unigram_model(specials, unk, counts)
        counts = Counter(dict.fromkeys(counts, 0))
        for word, times in words.items():
            for token in model.tokenize(word):
                if token.value in counts:
                    counts[token.value] += times
    tokenizer = Tokenizer(_unigram_model(specials, unk, counts))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


def _unigram_model(specials: Sequence[str], unk: int, counts: Counter[str]) -> models.Unigram:
    # Half a count each keeps pieces that no segmentation uses at a finite log-probability.
    total = sum(counts.values()) + 0.5 * len(counts)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    scores = [(piece, math.log((count + 0.5) / total)) for piece, count in ranked]
    return models.Unigram([(token, 0.0) for token in specials] + scores, unk, False)


def _wordpiece(texts: list[str], vocab_size: int) -> Tokenizer:
    """Greedy longest-match pieces, chosen by how often byte-pair merging uses them in a place."""
    specials = list(SPECIAL_TOKENS["wordpiece"].values())
    size = vocab_size - len(specials)
    words = _words(texts, pre_tokenizers.BertPreTokenizer())
    learnt = _merges(words, size, alphabet_limit=max(1, size // 4))
    characters = [piece for piece in learnt.pieces if len(piece) == 1]
    # A character in both forms makes every word of known characters representable.
    both = [form for c in characters for form in (c, WORDPIECE_PREFIX + c)][:size]
    counts: Counter[str] = Counter()
    for word, times in words.items():
        for place, token in enumerate(learnt.model.tokenize(word)):
            counts[token.value if place == 0 else WORDPIECE_PREFIX + token.value] += times
    pieces = sorted(_most_frequent(counts, size, always=both))
    entries = specials + [piece for piece in pieces if piece not in specials]
    tokenizer = Tokenizer(
        models.WordPiece(
            vocab={piece: index for index, piece in enumerate(entries)},
            unk_token="[UNK]",
            continuing_subword_prefix=WORDPIECE_PREFIX,
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix=WORDPIECE_PREFIX, cleanup=False)
    return tokenizer


def _character(texts: list[str], vocab_size: int) -> Tokenizer:
    specials = list(SPECIAL_TOKENS["character"].values())
    counts = Counter(character for text in texts for character in text)
    entries = specials + sorted(_most_frequent(counts, vocab_size - len(specials)))
    tokenizer = Tokenizer(
        models.WordLevel({piece: i for i, piece in enumerate(entries)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


@dataclass(frozen=True)
class _Merges:
    """Byte-pair merges learnt from words."""

    model: models.BPE
    pieces: list[str]  # in id order: characters first, then as merged
    merges: list[tuple[str, str]]


def _merges(words: Counter[str], size: int, alphabet_limit: int | None = None) -> _Merges:
    """Learn at most `size` pieces; the most frequent characters get at most half by default."""
    counts: Counter[str] = Counter()
    for word, times in words.items():
        for character in word:
            counts[character] += times
    # The trainer's own limit breaks ties between equally frequent characters at random, and joins
    # the neighbours of a character that it leaves out: cut the words there first.
    limit = max(1, size // 2) if alphabet_limit is None else alphabet_limit
    alphabet = sorted(_most_frequent(counts, limit))
    rare = re.compile("[^" + re.escape("".join(alphabet)) + "]+")
    parts = (part for word, n in words.items() for part in rare.split(word) * n if part)
    tokenizer = Tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(parts, trainer)
    learnt = json.loads(tokenizer.to_str())["model"]
    vocabulary: dict[str, int] = learnt["vocab"]
    merges = [(left, right) for left, right in learnt["merges"]]
    pieces = sorted(vocabulary, key=vocabulary.__getitem__)
    return _Merges(models.BPE(vocab=vocabulary, merges=merges), pieces, merges)


def _words(texts: Iterable[str], splitter: pre_tokenizers.PreTokenizer) -> Counter[str]:
    """How often each word occurs, in order of first occurrence."""
    return Counter(word for text in texts for word, _ in splitter.pre_tokenize_str(text))


def _most_frequent(counts: Counter[str], keep: int, always: Iterable[str] = ()) -> Counter[str]:
    """The `keep` most frequent entries, those of `always` first; ties in alphabetical order."""
    first = set(always)
    ranked = sorted(
        counts.keys() | first, key=lambda piece: (piece not in first, -counts[piece], piece)
    )
    return Counter({piece: counts[piece] for piece in ranked[:keep]})
