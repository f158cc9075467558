"""Classifiers from architectures that have none: remote code with a language model alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from raw2s.config import Training
from raw2s.models.inference import classify
from raw2s.models.loading import load_classifier, load_tokenizer
from raw2s.models.scratch import new_model, train_tokenizer
from raw2s.stages.training import no_progress
from raw2s.trainers.batches import ClassificationItem
from raw2s.trainers.sft import Loss, fine_tune

TEXTS = ["jazz", "the weather is open today now", "play the café"] * 8
CODE = """
from transformers import GPT2Config, GPT2LMHeadModel

class OwnConfig(GPT2Config):
    model_type = "own"

class OwnForCausalLM(GPT2LMHeadModel):
    config_class = OwnConfig
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A model whose repository brings its code: a causal language model, tied, no classifier."""
    path = tmp_path / "own"
    tokenizer = train_tokenizer("byte_bpe", TEXTS, 280)
    new_model("gpt2", tokenizer, hidden_size=32, layers=2, heads=4, context=64).save_pretrained(
        path
    )
    tokenizer.save_pretrained(path)
    (path / "own.py").write_text(CODE)
    settings = json.loads((path / "config.json").read_text())
    names = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnForCausalLM"}
    settings |= {"model_type": "own", "architectures": ["OwnForCausalLM"], "auto_map": names}
    (path / "config.json").write_text(json.dumps(settings))
    return str(path)


def test_its_code_runs_only_where_it_is_trusted(folder: str) -> None:
    with pytest.raises(ValueError, match="trust_remote_code"):
        load_classifier(folder, num_labels=3)


def test_the_head_reads_the_last_token_whatever_the_padding(folder: str) -> None:
    tokenizer = load_tokenizer(folder)
    model = load_classifier(folder, num_labels=3, trust_remote_code=True, device="cpu", seed=1)
    found = classify(model, tokenizer, TEXTS[:3], batch_size=3)
    for text, row in zip(TEXTS[:3], found, strict=True):
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        hidden = model.transformer(ids).last_hidden_state[0, -1]
        expected = model.get_output_embeddings().weight @ hidden
        torch.testing.assert_close(torch.as_tensor(row), expected, atol=1e-6, rtol=1e-5)
    # The input embeddings are not the head's, though the language model had tied them.
    assert model.get_input_embeddings().weight.shape[0] > 3


def test_the_head_depends_on_the_seed_alone(folder: str) -> None:
    def head(seed: int) -> torch.Tensor:
        model = load_classifier(folder, num_labels=2, trust_remote_code=True, seed=seed)
        return model.get_output_embeddings().weight.detach().cpu()

    state = torch.random.get_rng_state()
    first = head(1)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first, head(1)) and not torch.equal(first, head(2))


def test_it_learns_and_comes_back_from_its_folder(folder: str, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(folder)
    labels = [TEXTS.index(text) for text in TEXTS]
    items = [
        ClassificationItem(
            tokenizer(text)["input_ids"], [[float(k == label) for k in range(3)]], [1.0]
        )
        for text, label in zip(TEXTS, labels, strict=True)
    ]
    out = tmp_path / "out"
    fine_tune(
        {"path": folder, "trust_remote_code": True}, items, labels=3, loss=Loss(),
        training=Training(epochs=8, batch_size=4, learning_rate=3e-3), learning_rate=3e-3,
        out=out, work=tmp_path / "work", progress=no_progress,
    )  # fmt: skip
    saved = load_classifier(str(out), num_labels=3, trust_remote_code=True, device="cpu", seed=9)
    found = classify(saved, load_tokenizer(str(out)), TEXTS, batch_size=5)
    assert found.argmax(-1).tolist() == labels
    with pytest.raises(ValueError, match="has 3 classes"):
        load_classifier(str(out), num_labels=2, trust_remote_code=True)
