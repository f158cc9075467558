"""cDPO's pairs against a brute-force scorer, and its loss as TRL's own trainer computes it."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from raw2s.method.preference import (
    Score,
    cdpo_loss,
    combine_scores,
    preference_pair,
    sequence_score,
)

BETA = 2.0
PROMPTS = ["wake me", "play", "what is the weather", "now"]
CHOSEN = ["at seven", "jazz now", "fine", "yes please"]
REJECTED = ["at", "some jazz", "not so fine today", "no"]


def tiny() -> tuple[PreTrainedModel, PreTrainedModel, PreTrainedTokenizerFast]:
    """A policy and a reference that differ, each sure enough of itself for margins to matter."""
    from raw2s.models.scratch import new_model, train_tokenizer

    tokenizer = train_tokenizer("byte_bpe", PROMPTS + CHOSEN + REJECTED, 300)
    made = [
        new_model("llama", tokenizer, hidden_size=16, layers=1, heads=2, context=64, seed=seed)
        for seed in (1, 2)
    ]
    for model in made:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(4 if parameter.ndim == 2 else 1)
    return made[0], made[1], tokenizer


def slow_logprobs(model: PreTrainedModel, prompt: list[int], completion: list[int]) -> list[float]:
    """The log-probabilities of a completion's tokens, one forward pass each."""
    found = []
    for place, token in enumerate(completion):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + completion[:place]])).logits[0, -1]
        found.append(float(logits.double().log_softmax(-1)[token]))
    return found


@pytest.mark.parametrize("kind", ["mean", "sum", "probability"])
def test_sampled_pairs_against_a_brute_force_scorer(kind: Score) -> None:
    """Two judges with tokenizers of their own; of all pairs the one that is furthest apart."""
    from raw2s.models.encoding import encode_completion, encode_prompt
    from raw2s.models.inference import generate, score
    from raw2s.models.scratch import new_model, train_tokenizer

    student, _, tokenizer = tiny()
    judges, weights = [], [0.3, 0.7]
    for seed, name in enumerate(["byte_bpe", "metaspace_bpe"]):
        own = train_tokenizer(name, PROMPTS + CHOSEN + REJECTED, 290)
        judge = new_model("gpt2", own, hidden_size=16, layers=1, heads=2, context=64, seed=seed)
        judges.append((judge, own))
    drawn = generate(
        student, tokenizer, PROMPTS, sample=True, sequences=6, max_new_tokens=3, seed=3,
        batch_size=4,
    )  # fmt: skip
    made = 0
    for prompt, answers in zip(PROMPTS, drawn, strict=True):
        texts = [answer.text for answer in answers]
        columns, slow = [], np.zeros(len(texts))
        for (judge, own), weight in zip(judges, weights, strict=True):
            scored = score(judge, own, [prompt] * len(texts), texts, batch_size=4)
            columns.append(
                [sequence_score([*s.token_logprobs, s.eos_logprob], kind) for s in scored]
            )
            for place, text in enumerate(texts):
                logprobs = slow_logprobs(
                    judge, encode_prompt(own, prompt), encode_completion(own, text)[0]
                )
                total = math.fsum(logprobs)
                by_kind = {
                    "mean": total / len(logprobs),
                    "sum": total,
                    "probability": math.exp(total),
                }
                slow[place] += weight * by_kind[kind]
        combined = combine_scores(np.transpose(columns), weights)
        np.testing.assert_allclose(combined, slow, rtol=1e-4, atol=1e-9)
        found = preference_pair(texts, combined)
        distinct = [(a, b) for a in range(6) for b in range(6) if texts[a] != texts[b]]
        if not distinct:
            assert found is None
            continue
        assert found is not None
        made += 1
        chosen, rejected = max(distinct, key=lambda pair: slow[pair[0]] - slow[pair[1]])
        assert (texts[found[0]], texts[found[1]]) == (texts[chosen], texts[rejected])
    assert made > 1


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.3, 0.45])
@pytest.mark.parametrize("reference", ["given", "computed ahead", "second model"])
def test_the_loss_is_the_closed_form(reference: str, epsilon: float, tmp_path: Path) -> None:
    import datasets
    from trl import DPOConfig, DPOTrainer

    from raw2s.models.encoding import encode_completion, encode_prompt
    from raw2s.trainers.cdpo import ConservativeDpoTrainer, conservative_loss_arguments

    class OnTokenIds(DPOTrainer):
        def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
            return dataset

    policy, other, tokenizer = tiny()
    rows: list[dict[str, Any]] = [
        {
            "prompt_ids": encode_prompt(tokenizer, prompt),
            "chosen_ids": encode_completion(tokenizer, chosen)[0],
            "rejected_ids": encode_completion(tokenizer, rejected)[0],
        }
        for prompt, chosen, rejected in zip(PROMPTS, CHOSEN, REJECTED, strict=True)
    ]
    logprobs = [
        torch.tensor([sum(slow_logprobs(model, row["prompt_ids"], row[side])) for row in rows])
        for model in (policy, other)
        for side in ("chosen_ids", "rejected_ids")
    ]
    expected = cdpo_loss(*logprobs, beta=BETA, epsilon=epsilon).mean().item()
    plain = cdpo_loss(*logprobs, beta=BETA, epsilon=0.0).mean().item()
    assert abs(expected - plain) >= 0.2 * epsilon  # plain DPO, which TRL's usual options give
    given = reference == "given"
    if given:
        for row, chosen, rejected in zip(rows, logprobs[2], logprobs[3], strict=True):
            row["ref_chosen_logps"], row["ref_rejected_logps"] = float(chosen), float(rejected)
    trainer = (ConservativeDpoTrainer if given else OnTokenIds)(
        model=copy.deepcopy(policy),
        ref_model=None if given else other,
        args=DPOConfig(
            **conservative_loss_arguments(BETA, epsilon),
            precompute_ref_log_probs=reference != "second model",
            output_dir=str(tmp_path), max_steps=1, per_device_train_batch_size=4, logging_steps=1,
            report_to=[], use_cpu=True, bf16=False, disable_tqdm=True, max_length=None,
            remove_unused_columns=False,
        ),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tokenizer,
    )  # fmt: skip
    trainer.train()
    logged = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    assert logged == [pytest.approx(expected, abs=2e-4)]
    assert (trainer.ref_model is None) == given
