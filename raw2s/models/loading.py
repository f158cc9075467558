"""Load tokenizers, language models and classifiers from a folder or a hub name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

_WEIGHTS = ("*.safetensors", "*.bin", "*.safetensors.index.json", "*.bin.index.json")


def load_tokenizer(
    path: str, *, revision: str | None = None, trust_remote_code: bool = False
) -> PreTrainedTokenizerBase:
    """Load a tokenizer that has a padding token.

    Without one of its own, its end-of-sequence token pads as well: padding is told by the attention
    mask, never by the id, so the end of a sequence keeps its meaning. Raises ValueError for a
    tokenizer that has neither, FileNotFoundError for a local folder that is not there.
    """
    _check_folder(path)
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        path, revision=revision, trust_remote_code=trust_remote_code
    )
    if tokenizer.eos_token is None:
        raise ValueError(f"{path}: the tokenizer has no end-of-sequence token")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"
    return tokenizer


def load_causal_lm(
    path: str,
    *,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> PreTrainedModel:
    """Load a causal language model in evaluation mode.

    `dtype` None keeps the stored one; `device` None is the GPU if there is one, else the CPU.
    Raises FileNotFoundError for a local folder without weights, ValueError if the weights leave a
    part of the model uninitialised.
    """
    _check_weights(path)
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        path,
        dtype="auto" if dtype is None else dtype,
        revision=revision,
        trust_remote_code=trust_remote_code,
        output_loading_info=True,
    )
    model, info = loaded
    _check_complete(path, info["missing_keys"])
    return _placed(model, device)


def load_classifier(
    path: str,
    *,
    num_labels: int,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    seed: int = 0,
) -> PreTrainedModel:
    """Load a `num_labels`-way classifier in evaluation mode, from a language model or a classifier.

    Over a language model, the head is new and depends on `seed` alone; torch's global generator is
    left as it was. The model's padding id is that of `load_tokenizer`, since these models pool the
    last token that is not padding. Other arguments and errors as `load_causal_lm`; ValueError also
    for a saved classifier with another number of classes.
    """
    if num_labels < 2:
        raise ValueError(f"num_labels must be at least 2, got {num_labels}")
    _check_weights(path)
    source: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    config = AutoConfig.from_pretrained(path, **source)
    trained = any("SequenceClassification" in name for name in config.architectures or [])
    if trained and config.num_labels != num_labels:
        raise ValueError(
            f"num_labels is {num_labels}, the classifier in {path} has {config.num_labels} classes"
        )
    config.num_labels = num_labels
    config.pad_token_id = load_tokenizer(path, **source).pad_token_id
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model, info = AutoModelForSequenceClassification.from_pretrained(
            path,
            config=config,
            dtype="auto" if dtype is None else dtype,
            output_loading_info=True,
            **source,
        )
    head = () if trained else ("score.", "classifier.")
    _check_complete(path, {key for key in info["missing_keys"] if not key.startswith(head)})
    return _placed(model, device)


def _check_folder(path: str) -> None:
    # A name such as "facebook/opt-125m" is a hub's; one that starts like a path must be there.
    if path.startswith(("/", ".", "~")) and not Path(path).is_dir():
        raise FileNotFoundError(f"{path}: no such folder")


def _check_weights(path: str) -> None:
    _check_folder(path)
    folder = Path(path)
    if folder.is_dir() and not any(any(folder.glob(pattern)) for pattern in _WEIGHTS):
        raise FileNotFoundError(f"{path}: the folder holds no model weights (*.safetensors, *.bin)")


def _check_complete(path: str, missing: set[str]) -> None:
    if missing:
        raise ValueError(
            f"{path}: {len(missing)} parameters of the model are not in the weights, "
            f"first {min(missing)}"
        )


def _placed(model: Any, device: str | torch.device | None) -> PreTrainedModel:
    target = device or ("cuda" if torch.cuda.is_available() else "cpu")
    placed: PreTrainedModel = model.to(target).eval()
    return placed
