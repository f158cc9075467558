"""Weights are read from safetensors files of the model's own folder, whatever an index says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from raw2s.models.loading import load_causal_lm, load_classifier
from raw2s.models.scratch import new_model, train_tokenizer


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    tokenizer = train_tokenizer("byte_bpe", ["play jazz"], 260)
    model = new_model("gpt2", tokenizer, hidden_size=16, layers=2, heads=2, context=16)
    model.save_pretrained(tmp_path / "model", max_shard_size="20KB")
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_shards_are_read(sharded: Path) -> None:
    assert len(list(sharded.glob("*.safetensors"))) > 1
    load_causal_lm(str(sharded), device="cpu")


@pytest.mark.parametrize("name", ["adapter_model.bin", "other.safetensors.index.json"])
@pytest.mark.parametrize("within", [None, "text_config"])
def test_a_configuration_that_names_weights_is_refused(
    sharded: Path, name: str, within: str | None
) -> None:
    config = json.loads((sharded / "config.json").read_text())
    named = {"transformers_weights": name}
    config |= {within: config | named} if within else named
    (sharded / "config.json").write_text(json.dumps(config))
    torch.save({}, sharded / name)
    with pytest.raises(ValueError, match="names a file of weights of its own"):
        load_causal_lm(str(sharded), device="cpu")


@pytest.mark.parametrize("name", ["pickled.bin", "../model-00001-of-00002.safetensors", "/a.bin"])
def test_an_index_that_names_other_files_is_refused(sharded: Path, name: str) -> None:
    path = sharded / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    torch.save({}, sharded / "pickled.bin")
    index["weight_map"] = dict.fromkeys(index["weight_map"], name)
    path.write_text(json.dumps(index))
    for load, options in ((load_causal_lm, {}), (load_classifier, {"num_labels": 2})):
        with pytest.raises(ValueError, match="no safetensors file of its own"):
            load(str(sharded), device="cpu", **options)
