"""Several experts that answer as one model: at each step their distributions are combined.

The experts are one architecture with one tokenizer. A committee's folder holds the tokenizer, one
folder an expert, and committee.json: the experts' folders, their votes, and how they are combined.
"""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import DynamicCache, GenerationMixin, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast

from raw2s.method.boosting import Combination
from raw2s.method.ensemble import check_weights
from raw2s.models.loading import load_causal_lm, load_classifier

FILE = "committee.json"

# The share of the mean distribution in a vote: it orders what nobody voted for, and ties.
_UNDECIDED = 1e-6


def combined_logprobs(
    logits: Sequence[torch.Tensor], votes: Sequence[float], kind: Combination
) -> torch.Tensor:
    """Log-probabilities (..., K), float32, of the experts' joint distribution.

    As `raw2s.method.boosting.combine`, on logits (..., K) of each expert; votes >= 0 sum to 1.
    Under "vote" a millionth goes to the experts' mean distribution, so that a beam search can go
    on where no expert voted.
    """
    mean = geometric = chosen = None
    for values, vote in zip(logits, votes, strict=True):
        if vote == 0:
            continue
        own = values.float().log_softmax(-1)
        if kind == "log_probability":
            geometric = vote * own if geometric is None else geometric + vote * own
            continue
        mine = own + torch.log(own.new_tensor(vote))
        mean = mine if mean is None else torch.logaddexp(mean, mine)
        if kind == "vote":
            ballot = torch.zeros_like(own).scatter(-1, own.argmax(-1, keepdim=True), vote)
            chosen = ballot if chosen is None else chosen + ballot
    if geometric is not None:
        return geometric.log_softmax(-1)
    if mean is None:
        raise ValueError(f"votes {list(votes)} are all 0")
    if chosen is None:
        return mean
    return torch.log((1 - _UNDECIDED) * chosen + _UNDECIDED * mean.exp())


class _Caches(Cache):
    """The experts' key-value caches as one: what a beam search reorders, it reorders in all."""

    def __init__(self, experts: Sequence[PreTrainedModel]) -> None:
        self.of_expert = [DynamicCache(config=expert.config) for expert in experts]
        super().__init__(layers=[layer for cache in self.of_expert for layer in cache.layers])


class Committee(PreTrainedModel, GenerationMixin):
    """Experts behind the interface of one model: its logits are combined log-probabilities."""

    # It attends to nothing itself: whatever the experts' configuration asks for is theirs to do.
    _supports_sdpa = _supports_flash_attn = _supports_flex_attn = True

    def __init__(
        self,
        experts: Sequence[PreTrainedModel],
        votes: Sequence[float],
        kind: Combination = "probability",
    ) -> None:
        super().__init__(copy.deepcopy(experts[0].config))
        self.experts = torch.nn.ModuleList(experts)
        self.votes = check_weights(votes, len(experts)).tolist()
        self.kind: Combination = kind
        self._takes_positions = "position_ids" in inspect.signature(experts[0].forward).parameters

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        **inputs: Any,
    ) -> CausalLMOutputWithPast:
        """Every expert reads the same; `logits` are the combined log-probabilities, float32."""
        if position_ids is not None and self._takes_positions:
            inputs["position_ids"] = position_ids
        caches = past_key_values.of_expert if isinstance(past_key_values, _Caches) else None
        logits = []
        for number, expert in enumerate(self.experts):
            if caches is not None:
                inputs["past_key_values"] = caches[number]
            found = expert(input_ids=input_ids, attention_mask=attention_mask, **inputs)
            logits.append(found.logits)
        return CausalLMOutputWithPast(
            logits=combined_logprobs(logits, self.votes, self.kind), past_key_values=past_key_values
        )

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """As any model's, each expert with a cache of its own."""
        experts: Any = self.experts
        any_model: Any = GenerationMixin
        return any_model.generate(self, *args, past_key_values=_Caches(experts), **kwargs)


def write_committee(
    folder: Path, experts: Sequence[str], votes: Sequence[float], kind: Combination
) -> None:
    """Name the experts (folders below `folder`) that answer together."""
    content = {"experts": list(experts), "votes": list(votes), "combine": kind}
    (folder / FILE).write_text(json.dumps(content, indent=1), encoding="utf-8")


def load_answering(path: str, *, labels: int | None, **source: Any) -> PreTrainedModel:
    """A model that answers: the committee that a folder holds, else the model in it (or the hub's).

    labels: number of classes of a classifier, None for a language model. Other arguments and
    errors as `load_causal_lm` and `load_classifier`.
    """
    if (Path(path) / FILE).is_file():
        content = json.loads((Path(path) / FILE).read_text(encoding="utf-8"))
        for name in content["experts"]:
            if name in ("", ".", "..") or Path(name).name != name:
                raise ValueError(f"{path}: {name!r} is no expert's folder in it")
        experts = [
            load_answering(str(Path(path) / name), labels=labels, **source)
            for name in content["experts"]
        ]
        return Committee(experts, content["votes"], content["combine"]).eval()
    if labels is None:
        return load_causal_lm(path, **source)
    return load_classifier(path, num_labels=labels, **source)
