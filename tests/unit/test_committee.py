"""Experts that answer as one model, against loops over single experts without cache or padding."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from raw2s.method.boosting import Combination, combine
from raw2s.models.committee import Committee, combined_logprobs, load_answering, write_committee
from raw2s.models.encoding import encode_completion, encode_prompt
from raw2s.models.inference import generate, score
from raw2s.models.loading import load_classifier
from raw2s.models.scratch import new_model, train_tokenizer

KINDS = get_args(Combination)
ARCHITECTURES = ["gpt2", "opt", "gpt_neox", "bloom", "llama"]
TEXTS = ["the café is open today .", "play some jazz now please", "what is the weather like"] * 5
PROMPTS = ["jazz", "the weather is open today now", "play the café", "some like jazz"]
VOTES = [0.5, 0.3, 0.2]


def experts(architecture: str) -> tuple[list[Any], Any]:
    tokenizer = train_tokenizer("byte_bpe", TEXTS, 280)
    models = [
        new_model(architecture, tokenizer, hidden_size=32, layers=2, heads=4, context=64, seed=seed)
        for seed in range(len(VOTES))
    ]
    for model in models:
        # Fresh weights give nearly uniform predictions, which would hide many mistakes.
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 2:
                    parameter.mul_(6)
    return models, tokenizer


def joint(models: list[Any], ids: list[int], kind: Combination) -> np.ndarray:
    """The next token's joint probabilities (V,), from one row without padding or cache."""
    with torch.no_grad():
        each = [
            m(torch.tensor([ids]), use_cache=False).logits[0, -1].double().softmax(-1)
            for m in models
        ]
    return combine([p[None].numpy() for p in each], VOTES, kind)[0]


@pytest.mark.parametrize("kind", ["probability", "log_probability"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_greedy_and_its_logprobs_are_the_joint_distributions(
    architecture: str, kind: Combination
) -> None:
    models, tokenizer = experts(architecture)
    committee = Committee(models, VOTES, kind).eval()
    answers = generate(committee, tokenizer, PROMPTS, max_new_tokens=8, batch_size=3)
    for prompt, [answer] in zip(PROMPTS, answers, strict=True):
        ids = encode_prompt(tokenizer, prompt)
        for token, logprob in zip(answer.token_ids, answer.token_logprobs, strict=True):
            expected = joint(models, ids, kind)
            assert token == expected.argmax()
            assert logprob == pytest.approx(np.log(expected[token]), abs=2e-4)
            ids.append(token)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_beam_search_with_caches_finds_what_it_finds_without(architecture: str) -> None:
    models, tokenizer = experts(architecture)
    committee = Committee(models, VOTES).eval()
    with_cache = generate(
        committee, tokenizer, PROMPTS, beams=3, sequences=3, max_new_tokens=8, batch_size=4
    )
    for prompt, beams in zip(PROMPTS, with_cache, strict=True):
        ids = torch.tensor([encode_prompt(tokenizer, prompt)])
        plain = super(Committee, committee).generate(
            ids, attention_mask=torch.ones_like(ids), num_beams=3, num_return_sequences=3,
            max_new_tokens=8, do_sample=False, use_cache=False, length_penalty=1.0,
            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
        expected = {
            tuple(
                token for token in row[ids.shape[1] :].tolist() if token != tokenizer.pad_token_id
            )
            for row in plain
        }
        end = [tokenizer.eos_token_id]
        found = {tuple(beam.token_ids + end * beam.finished) for beam in beams}
        assert found == expected


def test_scores_of_given_texts_are_the_joint_logprobs() -> None:
    models, tokenizer = experts("llama")
    [found] = score(Committee(models, VOTES).eval(), tokenizer, ["jazz"], ["now"], batch_size=1)
    ids = encode_prompt(tokenizer, "jazz")
    tokens = encode_completion(tokenizer, "now")[0]
    for token, logprob in zip(tokens, [*found.token_logprobs, found.eos_logprob], strict=True):
        assert logprob == pytest.approx(np.log(joint(models, ids, "probability")[token]), abs=1e-4)
        ids.append(token)


@pytest.mark.parametrize("kind", KINDS)
def test_combination_equals_the_numpy_one(kind: Combination) -> None:
    logits = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0)) * 3
    found = combined_logprobs(list(logits), VOTES, kind).exp().numpy()
    expected = combine(logits.double().softmax(-1).numpy(), VOTES, kind)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    np.testing.assert_allclose(found.sum(-1), 1.0, atol=1e-5)
    assert (found > 0).all()


def test_an_expert_without_a_vote_is_not_heard() -> None:
    logits = torch.randn(2, 4, 5)
    found = combined_logprobs(list(logits), [1.0, 0.0], "probability")
    torch.testing.assert_close(found, logits[0].log_softmax(-1))


def test_a_folder_with_a_committee_answers_as_one_classifier(tmp_path: Path) -> None:
    models, tokenizer = experts("gpt2")
    for number, model in enumerate(models[:2]):
        model.save_pretrained(tmp_path / "plain")
        tokenizer.save_pretrained(tmp_path / "plain")
        classifier = load_classifier(
            str(tmp_path / "plain"), num_labels=3, device="cpu", seed=number
        )
        classifier.save_pretrained(tmp_path / f"expert-{number}")
        tokenizer.save_pretrained(tmp_path / f"expert-{number}")
    write_committee(tmp_path, ["expert-0", "expert-1"], [3.0, 1.0], "probability")
    committee = load_answering(str(tmp_path), labels=3, device="cpu")
    ids = torch.tensor([encode_prompt(tokenizer, "jazz now")])
    mask = torch.ones_like(ids)
    with torch.no_grad():
        found = committee(input_ids=ids, attention_mask=mask).logits.softmax(-1)
        each = [
            load_classifier(str(tmp_path / f"expert-{n}"), num_labels=3, device="cpu")(
                input_ids=ids, attention_mask=mask
            )
            for n in range(2)
        ]
    expected = 0.75 * each[0].logits.softmax(-1) + 0.25 * each[1].logits.softmax(-1)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ["", ".", "..", "../expert-0", "/expert-0", "a/b"])
def test_experts_lie_in_their_committees_folder(name: str, tmp_path: Path) -> None:
    write_committee(tmp_path, [name], [1.0], "probability")
    with pytest.raises(ValueError, match="is no expert's folder in it"):
        load_answering(str(tmp_path), labels=3, device="cpu")
