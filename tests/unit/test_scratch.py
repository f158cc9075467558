"""Tokenizers and models from scratch, and loading them back."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from raw2s.models.loading import load_causal_lm, load_classifier, load_tokenizer
from raw2s.models.scratch import count_parameters, new_model, train_tokenizer
from raw2s.models.vocabularies import SPECIAL_TOKENS

KINDS = sorted(SPECIAL_TOKENS)
ARCHITECTURES = ["gpt2", "opt", "gpt_neox", "bloom", "llama"]
SIZES = {"hidden_size": 32, "layers": 2, "heads": 4, "context": 64}
VOCABULARY = 330


def make_texts() -> list[str]:
    """Sentences of invented words, the same in every process."""
    rng = random.Random(0)
    words = [
        "".join(rng.choice("abcdefghijklé") for _ in range(rng.randint(2, 7))) for _ in range(200)
    ]
    return [" ".join(rng.choice(words) for _ in range(8)) + " ." for _ in range(300)]


TEXTS = make_texts()


@pytest.mark.parametrize("kind", KINDS)
def test_tokenizer_round_trip_offsets_and_saving(kind: str, tmp_path: Path) -> None:
    tokenizer = train_tokenizer(kind, TEXTS, VOCABULARY)
    assert len(tokenizer) <= VOCABULARY
    specials = {tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id}
    assert len(specials) == 3 and None not in specials
    tokenizer.save_pretrained(tmp_path)
    loaded = load_tokenizer(str(tmp_path))
    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert loaded.special_tokens_map == tokenizer.special_tokens_map
    for text in TEXTS[:50]:
        encoded = tokenizer(text, return_offsets_mapping=True)
        ids = encoded["input_ids"]
        assert ids[0] == tokenizer.bos_token_id and ids[-1] != tokenizer.eos_token_id
        assert tokenizer.unk_token_id not in ids
        # Longer units than characters are learnt.
        assert len(ids) - 1 == len(text) if kind == "character" else len(ids) < 0.8 * len(text)
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
        offsets = encoded["offset_mapping"][1:]
        covered = {place for start, end in offsets for place in range(start, end)}
        assert all(c.isspace() or i in covered for i, c in enumerate(text))
        assert [start for start, _ in offsets] == sorted(start for start, _ in offsets)
        assert loaded(text)["input_ids"] == ids
        assert loaded.decode(ids, skip_special_tokens=True) == text


@pytest.mark.parametrize("kind", ["byte_bpe", "metaspace_bpe"])
def test_byte_kinds_keep_unseen_characters(kind: str) -> None:
    tokenizer = train_tokenizer(kind, TEXTS, VOCABULARY)
    text = 'Ünseen 🙂 {"k": "日本"}\n\tend'
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


def test_unseen_characters_are_unknown_elsewhere() -> None:
    for kind in ("unigram", "character", "wordpiece"):
        tokenizer = train_tokenizer(kind, TEXTS, VOCABULARY)
        assert tokenizer.unk_token_id in tokenizer("日")["input_ids"]


def test_small_vocabulary_keeps_the_frequent_characters() -> None:
    texts = ["aaaa bbb cc d"]
    tokenizer = train_tokenizer("character", texts, len(SPECIAL_TOKENS["character"]) + 3)
    assert set(tokenizer.get_vocab()) - set(SPECIAL_TOKENS["character"].values()) == {"a", "b", " "}


def test_training_is_the_same_in_another_process() -> None:
    # Hash maps in the tokenizers library start from another seed in every process.
    program = (
        "from tests.unit.test_scratch import *\n"
        "for k in KINDS: print(train_tokenizer(k, TEXTS, VOCABULARY).backend_tokenizer.to_str())"
    )
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root), "PYTHONHASHSEED": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, env=environment, capture_output=True, text=True
    )
    here = [train_tokenizer(k, TEXTS, VOCABULARY).backend_tokenizer.to_str() for k in KINDS]
    assert done.stdout.splitlines() == here, done.stderr[-2000:]


@pytest.mark.parametrize(
    ("kind", "texts", "size", "message"),
    [
        ("sentencepiece", ["a"], 300, "kind must be one of"),
        ("unigram", [""], 300, "texts must hold"),
        ("byte_bpe", ["a"], 258, "at least 259"),
    ],
)
def test_bad_tokenizer_requests(kind: str, texts: list[str], size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train_tokenizer(kind, texts, size)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_new_model_saves_and_loads(architecture: str, tmp_path: Path) -> None:
    tokenizer = train_tokenizer("unigram", TEXTS, 100)
    state = torch.random.get_rng_state()
    model = new_model(architecture, tokenizer, **SIZES, seed=3)
    assert torch.equal(state, torch.random.get_rng_state())
    ids = torch.tensor([tokenizer(TEXTS[0])["input_ids"]])
    with torch.no_grad():
        logits = model(ids).logits
        again = new_model(architecture, tokenizer, **SIZES, seed=3)(ids).logits
        other = new_model(architecture, tokenizer, **SIZES, seed=4)(ids).logits
    assert logits.shape == (1, ids.shape[1], len(tokenizer))
    assert torch.equal(logits, again) and not torch.allclose(logits, other)
    names = ("pad_token_id", "bos_token_id", "eos_token_id")
    for name in names:
        wanted = getattr(tokenizer, name)
        assert getattr(model.config, name) == wanted
        assert getattr(model.generation_config, name) == wanted
    tied = model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert tied == (architecture in ("gpt2", "opt", "bloom"))
    # In one folder, as after training: the tokenizer must not be rebuilt as the family's own.
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert load_tokenizer(str(tmp_path))(TEXTS[0])["input_ids"] == ids[0].tolist()
    loaded = load_causal_lm(str(tmp_path), device="cpu")
    assert count_parameters(loaded) == count_parameters(model)
    with torch.no_grad():
        assert torch.allclose(loaded(ids).logits, logits, atol=1e-6)


@pytest.mark.parametrize("architecture", ["gpt2", "opt", "gpt_neox", "llama"])
def test_the_whole_context_is_usable(architecture: str) -> None:
    tokenizer = train_tokenizer("character", TEXTS, 40)
    model = new_model(architecture, tokenizer, **SIZES | {"context": 9})
    with torch.no_grad():
        assert model(torch.full((1, 9), 5)).logits.isfinite().all()


def test_count_parameters_by_hand() -> None:
    tokenizer = train_tokenizer("character", TEXTS, 40)
    model = new_model("gpt2", tokenizer, **SIZES | {"layers": 1})
    h, v = 32, len(tokenizer)
    layer = 2 * 2 * h + (h * 3 * h + 3 * h) + (h * h + h) + (h * 4 * h + 4 * h) + (4 * h * h + h)
    assert count_parameters(model) == v * h + 64 * h + layer + 2 * h


@pytest.mark.parametrize(
    ("architecture", "change", "message"),
    [
        ("bert", {}, "architecture must be one of"),
        ("gpt2", {"heads": 5}, "hidden_size must be a multiple"),
        ("gpt2", {"layers": 0}, "layers must be at least 1, got 0"),
        ("bloom", {"intermediate_size": 8}, "intermediate_size must be"),
        ("opt", {"dropout": 1.0}, "dropout must be in"),
    ],
)
def test_bad_model_requests(architecture: str, change: dict[str, float], message: str) -> None:
    tokenizer = train_tokenizer("character", TEXTS, 40)
    with pytest.raises(ValueError, match=message):
        new_model(architecture, tokenizer, **SIZES | change)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_classifier_over_a_language_model(architecture: str, tmp_path: Path) -> None:
    tokenizer = train_tokenizer("unigram", TEXTS, 100)
    model = new_model(architecture, tokenizer, **SIZES)
    model.save_pretrained(tmp_path / "lm")
    tokenizer.save_pretrained(tmp_path / "lm")
    path = str(tmp_path / "lm")
    first, second = (
        load_classifier(path, num_labels=3, device="cpu", seed=seed).eval() for seed in (1, 2)
    )
    torch.manual_seed(99)
    again = load_classifier(path, num_labels=3, device="cpu", seed=1)
    assert torch.equal(first.score.weight, again.score.weight)
    assert not torch.equal(first.score.weight, second.score.weight)
    assert first.config.pad_token_id == tokenizer.pad_token_id
    # The body is the language model's, not a new one.
    assert torch.equal(first.get_input_embeddings().weight, model.get_input_embeddings().weight)
    bodies = zip(first.base_model.named_parameters(), model.base_model.parameters(), strict=True)
    assert all(torch.equal(mine, its) for (_, mine), its in bodies)
    first.save_pretrained(tmp_path / "classifier")
    tokenizer.save_pretrained(tmp_path / "classifier")
    saved = load_classifier(str(tmp_path / "classifier"), num_labels=3, device="cpu", seed=7)
    assert torch.equal(saved.score.weight, first.score.weight)
    with pytest.raises(ValueError, match="num_labels is 2"):
        load_classifier(str(tmp_path / "classifier"), num_labels=2)


def test_loading_names_what_is_missing(tmp_path: Path) -> None:
    tokenizer = train_tokenizer("character", TEXTS, 40)
    tokenizer.save_pretrained(tmp_path)
    for load in (load_causal_lm, lambda path: load_classifier(path, num_labels=2)):
        with pytest.raises(FileNotFoundError, match="holds no model weights"):
            load(str(tmp_path))
        with pytest.raises(FileNotFoundError, match="no such folder"):
            load(str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="no such folder"):
        load_tokenizer(str(tmp_path / "nowhere"))


def test_incomplete_weights_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tokenizer = train_tokenizer("character", TEXTS, 40)
    new_model("llama", tokenizer, **SIZES).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"first model\.layers\.1\.mlp\.up_proj\.weight"):
        load_causal_lm(str(tmp_path))


def test_missing_padding_token_becomes_the_end_token(tmp_path: Path) -> None:
    tokenizer = train_tokenizer("byte_bpe", TEXTS, 300)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path)
    loaded = load_tokenizer(str(tmp_path))
    assert loaded.pad_token_id == loaded.eos_token_id == tokenizer.eos_token_id
