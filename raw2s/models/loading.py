"""Load tokenizers, language models and classifiers from a folder or a hub name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, cached_file

from raw2s.models import heads
from raw2s.models.batching import context_length

_END_OF_TEXT = "<|endoftext|>"
_WEIGHTS = ("*.safetensors", SAFE_WEIGHTS_INDEX_NAME)


def load_tokenizer(
    path: str, *, revision: str | None = None, trust_remote_code: bool = False
) -> PreTrainedTokenizerBase:
    """Load a tokenizer that has a padding token.

    Without one of its own, its end-of-sequence token pads as well: padding is told by the attention
    mask, never by the id, so the end of a sequence keeps its meaning. A tokenizer that names no
    end-of-sequence token but knows <|endoftext|> (Qwen-7B) ends with that. Raises ValueError for
    one that knows neither, FileNotFoundError for a local folder that is not there.
    """
    _check_folder(path)
    source: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(path, **source)
    if tokenizer.eos_token is None:
        if tokenizer.convert_tokens_to_ids(_END_OF_TEXT) in (None, tokenizer.unk_token_id):
            raise ValueError(f"{path}: the tokenizer has no end-of-sequence token")
        tokenizer = AutoTokenizer.from_pretrained(path, eos_token=_END_OF_TEXT, **source)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"
    return tokenizer


def load_context(
    path: str, *, revision: str | None = None, trust_remote_code: bool = False
) -> int | None:
    """The longest sequence in tokens that a model can read, from its configuration alone; None if
    it has no limit."""
    config = AutoConfig.from_pretrained(
        path, revision=revision, trust_remote_code=trust_remote_code
    )
    return context_length(config)


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
    _check_weights(path, revision)
    source: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    return _placed(_causal_lm(path, dtype, source), device)


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
    left as it was. An architecture that has no classifier gets the head of
    `raw2s.models.heads`. The model's padding id is that of `load_tokenizer`, since these models
    pool the last token that is not padding. Other arguments and errors as `load_causal_lm`;
    ValueError also for a saved classifier with another number of classes.
    """
    if num_labels < 2:
        raise ValueError(f"num_labels must be at least 2, got {num_labels}")
    _check_weights(path, revision)
    source: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    config = AutoConfig.from_pretrained(path, **source)
    in_place = getattr(config, heads.MARK, None)
    trained = any("SequenceClassification" in name for name in config.architectures or [])
    classes = in_place or (config.num_labels if trained else num_labels)
    if classes != num_labels:
        raise ValueError(
            f"num_labels is {num_labels}, the classifier in {path} has {classes} classes"
        )
    if in_place or not _has_classifier(config):
        with torch.random.fork_rng():
            model = _in_place(path, num_labels, dtype, source, seed, saved=in_place)
        return _placed(model, device)
    config.num_labels = num_labels
    config.pad_token_id = load_tokenizer(path, **source).pad_token_id
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model, info = AutoModelForSequenceClassification.from_pretrained(
            path,
            config=config,
            dtype="auto" if dtype is None else dtype,
            output_loading_info=True,
            use_safetensors=True,
            **source,
        )
    head = () if trained else ("score.", "classifier.")
    _check_complete(path, {key for key in info["missing_keys"] if not key.startswith(head)})
    return _placed(model, device)


def _causal_lm(
    path: str, dtype: torch.dtype | None, source: dict[str, Any], **options: Any
) -> PreTrainedModel:
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        path,
        dtype="auto" if dtype is None else dtype,
        output_loading_info=True,
        use_safetensors=True,
        **source,
        **options,
    )
    model, info = loaded
    _check_complete(path, info["missing_keys"])
    causal_lm: PreTrainedModel = model
    return causal_lm


def _in_place(
    path: str,
    num_labels: int,
    dtype: torch.dtype | None,
    source: dict[str, Any],
    seed: int,
    *,
    saved: int | None,
) -> PreTrainedModel:
    """A language model with a head in place of its own; `saved` if the folder holds that head."""
    # A saved head is no vocabulary's, so its size does not match.
    model = _causal_lm(path, dtype, source, ignore_mismatched_sizes=saved is not None)
    model = heads.classify_in_place(model, num_labels, seed=seed)
    model.config.pad_token_id = load_tokenizer(path, **source).pad_token_id
    if saved is not None:
        head = model.get_output_embeddings().weight
        name = next(name for name, weight in model.named_parameters() if weight is head)
        with torch.no_grad():
            head.copy_(_tensor(path, name))
    return model


def _tensor(path: str, name: str) -> torch.Tensor:
    for file in sorted(Path(path).glob("*.safetensors")):
        with safe_open(file, "pt") as tensors:
            if name in tensors.keys():  # noqa: SIM118  (not a dictionary)
                return tensors.get_tensor(name)
    raise ValueError(f"{path}: the weights have no {name}")


def _has_classifier(config: PreTrainedConfig) -> bool:
    own_code = getattr(config, "auto_map", None) or {}
    name = "AutoModelForSequenceClassification"
    return type(config) in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING or name in own_code


def _check_folder(path: str) -> None:
    # A name such as "facebook/opt-125m" is a hub's; one that starts like a path must be there.
    if path.startswith(("/", ".", "~")) and not Path(path).is_dir():
        raise FileNotFoundError(f"{path}: no such folder")


def _check_weights(path: str, revision: str | None) -> None:
    _check_folder(path)
    folder = Path(path)
    if folder.is_dir() and not any(any(folder.glob(pattern)) for pattern in _WEIGHTS):
        raise FileNotFoundError(
            f"{path}: the folder holds no model weights (*.safetensors; pickled ones are not read)"
        )
    # Both may name files of any format, and transformers reads them as what they are called.
    if _names_weights(PreTrainedConfig.get_config_dict(path, revision=revision)[0]):
        raise ValueError(f"{path}: its config.json names a file of weights of its own")
    # Whatever keeps the index from being had is told when the model is loaded.
    index = cached_file(
        path,
        SAFE_WEIGHTS_INDEX_NAME,
        revision=revision,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_connection_errors=False,
    )
    shards = json.loads(Path(index).read_bytes()).get("weight_map", {}) if index else {}
    for name in shards.values():
        if not name.endswith(".safetensors") or Path(name).name != name:
            raise ValueError(f"{path}: its index names {name!r}, no safetensors file of its own")


def _names_weights(config: Any) -> bool:
    """Whether a configuration, or one within it (a model of several parts has one for its text),
    names a file of weights."""
    if isinstance(config, list):
        return any(map(_names_weights, config))
    if not isinstance(config, dict):
        return False
    return "transformers_weights" in config or any(map(_names_weights, config.values()))


def _check_complete(path: str, missing: set[str]) -> None:
    if missing:
        raise ValueError(
            f"{path}: {len(missing)} parameters of the model are not in the weights, "
            f"first {min(missing)}"
        )


def _placed(model: Any, device: str | torch.device | None) -> PreTrainedModel:
    target = device or ("cuda" if torch.cuda.is_available() else "cpu")
    # DeepSpeed has placed a model that it shards.
    placed: PreTrainedModel = model if is_deepspeed_zero3_enabled() else model.to(target)
    return placed.eval()
