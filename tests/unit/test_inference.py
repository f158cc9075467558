"""Classification, generation and teacher-forced scores against one-row loops."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from raw2s.models.batching import context_length
from raw2s.models.encoding import encode_completion, encode_prompt
from raw2s.models.inference import classify, generate, score
from raw2s.models.loading import load_classifier
from raw2s.models.operations import run
from raw2s.models.sampling import row_seed, sampling_processors
from raw2s.models.scratch import new_model, train_tokenizer

ARCHITECTURES = ["gpt2", "opt", "gpt_neox", "bloom", "llama"]
KINDS = ["byte_bpe", "unigram", "metaspace_bpe", "character", "wordpiece"]
PAIRS = list(zip(ARCHITECTURES, KINDS, strict=True))
TEXTS = ["the café is open today .", "play some jazz now please", "what is the weather like"] * 5
PROMPTS = ["jazz", "the weather is open today now", "", "play the café", "what", "some like jazz"]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@cache
def tokenizer_of(kind: str) -> PreTrainedTokenizerFast:
    return train_tokenizer(kind, TEXTS, 280)


@cache
def make(architecture: str, kind: str) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    tokenizer = tokenizer_of(kind)
    model = new_model(architecture, tokenizer, hidden_size=32, layers=2, heads=4, context=64)
    # Fresh weights give nearly uniform predictions, which would hide many mistakes.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(6)
        # Some sequences end early.
        head = model.get_output_embeddings().weight
        head[tokenizer.eos_token_id] = head.mean(0) * 2 + head[tokenizer.eos_token_id]
    return model, tokenizer


def step_logprobs(model: PreTrainedModel, ids: list[int]) -> torch.Tensor:
    """The next token's log-probabilities (V,), from one row without padding or cache."""
    with torch.no_grad():
        logits = model(torch.tensor([ids]), use_cache=False).logits[0, -1]
    return logits.double().log_softmax(-1)


def loop_score(model: PreTrainedModel, prompt: list[int], completion: list[int]) -> list[float]:
    return [
        float(step_logprobs(model, prompt + completion[:k])[token])
        for k, token in enumerate(completion)
    ]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("kind", KINDS)
def test_scores_equal_a_loop_at_any_batch_size(architecture: str, kind: str) -> None:
    model, tokenizer = make(architecture, kind)
    completions = ["the café is open", " jazz ", "", "now", "play some jazz now", "weather"]
    one = score(model, tokenizer, PROMPTS, completions, batch_size=1)
    many = score(model, tokenizer, PROMPTS, completions, batch_size=8)
    for single, batched, prompt, completion in zip(one, many, PROMPTS, completions, strict=True):
        ids, spans = encode_completion(tokenizer, completion)
        expected = loop_score(model, encode_prompt(tokenizer, prompt), ids)
        for found in (single, batched):
            assert found.spans == spans and len(found.token_logprobs) == len(spans)
            np.testing.assert_allclose(
                [*found.token_logprobs, found.eos_logprob], expected, atol=1e-4
            )


@pytest.mark.parametrize(("architecture", "kind"), PAIRS)
def test_confidences_are_the_top_of_a_softmax_where_asked_for(architecture: str, kind: str) -> None:
    model, tokenizer = make(architecture, kind)
    texts = ["the café is open", "", "jazz " * 70, "play some jazz now"]
    rows = pd.DataFrame({"id": list("abcd"), "candidate": 0, "text": "what", "completion": texts})
    asked: dict[str, Any] = {"operation": "score", "batch_size": 4}
    found = run(model, tokenizer, rows, **asked, options={"confidences": True})
    # Bloom has no longest text.
    assert list(found["scored"]) == [True, True, architecture == "bloom", True]
    start = encode_prompt(tokenizer, "what")
    for text, row in zip(texts, found.to_dict("records"), strict=True):
        ids, _ = encode_completion(tokenizer, text)
        steps = range(len(ids) - 1) if row["scored"] else []
        expected = [float(step_logprobs(model, start + ids[:k]).exp().max()) for k in steps]
        np.testing.assert_allclose(row["confidences"], expected, atol=1e-4)
    plain = run(model, tokenizer, rows, **asked, options={})
    pd.testing.assert_frame_equal(plain, found.drop(columns="confidences"))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("kind", KINDS)
def test_greedy_generation_equals_a_loop(architecture: str, kind: str) -> None:
    model, tokenizer = make(architecture, kind)
    found = generate(model, tokenizer, PROMPTS, max_new_tokens=6, batch_size=4)
    for prompt, answers in zip(PROMPTS, found, strict=True):
        (answer,) = answers
        start = encode_prompt(tokenizer, prompt)
        ids: list[int] = []
        while len(ids) < 6 and (not ids or ids[-1] != tokenizer.eos_token_id):
            ids.append(int(step_logprobs(model, start + ids).argmax()))
        expected = loop_score(model, start, ids)
        finished = ids[-1] == tokenizer.eos_token_id
        assert answer.finished == finished == (answer.eos_logprob is not None)
        assert answer.token_ids == ids[: len(ids) - finished]
        given = answer.token_logprobs + ([answer.eos_logprob] if finished else [])
        np.testing.assert_allclose(given, expected, atol=1e-4)
        assert answer.score == pytest.approx(np.mean(expected), abs=1e-4)
        assert answer.text == answer.text.strip()
        assert sum(end - begin for begin, end in answer.spans) == len(answer.text.encode())


def test_both_ends_of_generation_are_seen() -> None:
    """The tests above mean little if no sequence ends, or every one does at once."""
    endings = set()
    for architecture, kind in PAIRS:
        model, tokenizer = make(architecture, kind)
        for answers in generate(
            model, tokenizer, PROMPTS, beams=4, sequences=4, max_new_tokens=6, batch_size=8
        ):
            endings |= {(answer.finished, len(answer.token_ids) > 1) for answer in answers}
    assert {(True, True), (False, True)} <= endings


@pytest.mark.parametrize(("architecture", "kind"), PAIRS)
def test_beam_search(architecture: str, kind: str) -> None:
    model, tokenizer = make(architecture, kind)
    settings = {"beams": 4, "sequences": 3, "max_new_tokens": 5}
    found = generate(model, tokenizer, PROMPTS, **settings, batch_size=4)
    alone = generate(model, tokenizer, PROMPTS, **settings, batch_size=1)
    for prompt, answers, others in zip(PROMPTS, found, alone, strict=True):
        assert len({tuple(answer.token_ids) for answer in answers}) == 3
        assert [a.score for a in answers] == sorted((a.score for a in answers), reverse=True)
        assert [a.token_ids for a in answers] == [a.token_ids for a in others]
        for answer in answers:
            ids = answer.token_ids + ([tokenizer.eos_token_id] if answer.finished else [])
            expected = loop_score(model, encode_prompt(tokenizer, prompt), ids)
            assert answer.score == pytest.approx(np.mean(expected), abs=1e-4)


def test_beam_search_finds_the_best_of_all() -> None:
    # With as many beams as the vocabulary has tokens, two steps are an exhaustive search.
    tokenizer = train_tokenizer("character", ["abba cab"], 9)
    model = new_model("gpt2", tokenizer, hidden_size=16, layers=1, heads=2, context=16, seed=5)
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(30)
    (answers,) = generate(
        model, tokenizer, ["ab"], beams=len(tokenizer), max_new_tokens=2, batch_size=1
    )
    start, eos = encode_prompt(tokenizer, "ab"), tokenizer.eos_token_id
    first = step_logprobs(model, start)
    options = {(eos,): float(first[eos])}
    for a in range(len(tokenizer)):
        if a != eos:
            for b, value in enumerate(step_logprobs(model, [*start, a])):
                options[a, b] = float(first[a] + value) / 2
    assert answers[0].score == pytest.approx(max(options.values()), abs=1e-4)


@pytest.mark.parametrize(("architecture", "kind"), PAIRS)
def test_a_learnt_answer_comes_back_with_its_scores(architecture: str, kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    model = new_model(architecture, tokenizer, hidden_size=32, layers=1, heads=2, context=64)
    prompt, answer = "jazz now", "the café is open ."
    start, (ids, spans) = encode_prompt(tokenizer, prompt), encode_completion(tokenizer, answer)
    row = torch.tensor([start + ids])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(100):
        optimizer.zero_grad()
        model(row, labels=row).loss.backward()
        optimizer.step()
    (found,) = generate(model, tokenizer, [prompt], beams=3, max_new_tokens=30, batch_size=2)
    (scored,) = score(model, tokenizer, [prompt], [answer], batch_size=2)
    assert found[0].text == answer and found[0].finished
    assert found[0].token_ids == ids[:-1]
    # White space that a tokenizer drops is in its decoded text but in none of its own spans.
    assert [end for _, end in found[0].spans][-1] == spans[-1][1] == len(answer.encode())
    np.testing.assert_allclose(found[0].token_logprobs, scored.token_logprobs, atol=1e-4)
    assert found[0].eos_logprob == pytest.approx(scored.eos_logprob, abs=1e-4)


def test_sampling_depends_on_seed_and_prompt_only() -> None:
    model, tokenizer = make("llama", "metaspace_bpe")
    settings = {"sample": True, "sequences": 3, "max_new_tokens": 6, "seed": 1}

    def ids(prompts: list[str], batch_size: int, **change: int) -> list[list[list[int]]]:
        found = generate(model, tokenizer, prompts, **settings | change, batch_size=batch_size)
        return [[answer.token_ids for answer in answers] for answers in found]

    state = torch.random.get_rng_state()
    whole = ids(PROMPTS, 8)
    assert torch.equal(state, torch.random.get_rng_state())
    assert ids(PROMPTS, 1) == whole
    assert ids(PROMPTS[::-1], 2) == whole[::-1]
    assert ids(PROMPTS, 8, seed=2) != whole
    assert any(len({tuple(draw) for draw in draws}) > 1 for draws in whole)


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (2.0, 1.0), (1.0, 0.6)])
def test_samples_follow_the_distribution(temperature: float, top_p: float) -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, 1.5])
    draws = 2000
    seeds = [row_seed(3, "prompt", draw) for draw in range(draws)]
    processors = sampling_processors(seeds, temperature, top_p, torch.device("cpu"))
    noisy = processors(torch.zeros((draws, 1), dtype=torch.long), logits.repeat(draws, 1))
    shares = np.bincount(noisy.argmax(-1).numpy(), minlength=5) / draws
    expected = (logits / temperature).softmax(-1).numpy()
    if top_p < 1:  # 0.47 alone falls short of 0.6, with 0.28 it does not
        expected = np.where([True, False, False, False, True], expected, 0)
        expected /= expected.sum()
    np.testing.assert_allclose(shares, expected, atol=0.045)
    assert (shares[expected == 0] == 0).all()


def test_sampled_tokens_follow_the_model() -> None:
    model, tokenizer = make("gpt2", "character")
    (answers,) = generate(
        model, tokenizer, ["what"], sample=True, sequences=300, max_new_tokens=1, seed=0,
        temperature=4.0, batch_size=1,
    )  # fmt: skip
    expected = (step_logprobs(model, encode_prompt(tokenizer, "what")) / 4).softmax(-1).numpy()
    written = [a.token_ids[0] if a.token_ids else tokenizer.eos_token_id for a in answers]
    shares = np.bincount(written, minlength=len(tokenizer)) / 300
    np.testing.assert_allclose(shares, expected, atol=0.1)
    assert len(set(written)) > 3


def test_stored_generation_settings_do_not_count() -> None:
    model, tokenizer = make("gpt2", "byte_bpe")
    before = generate(model, tokenizer, PROMPTS, beams=2, max_new_tokens=6, batch_size=8)
    stored = model.generation_config
    stored.repetition_penalty, stored.suppress_tokens = 9.0, before[0][0].token_ids[:1]
    try:
        after = generate(model, tokenizer, PROMPTS, beams=2, max_new_tokens=6, batch_size=8)
        assert model.generation_config is stored
    finally:
        stored.repetition_penalty, stored.suppress_tokens = 1.0, None
    assert before == after


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("pad", ["own", "eos"])
def test_classify_pools_the_last_token(architecture: str, pad: str, tmp_path: Path) -> None:
    tokenizer = train_tokenizer("byte_bpe", TEXTS, 280)
    model, _ = make(architecture, "byte_bpe")
    if pad == "eos":
        tokenizer.pad_token = tokenizer.eos_token
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    classifier = load_classifier(str(tmp_path), num_labels=3, device="cpu", seed=1)
    mark = tokenizer.pad_token
    texts = ["jazz", f"the {mark} café {mark} is open", "what is the weather like today", "now"]
    texts += [f"jazz{mark}{mark}", f"{mark}now"]
    found = classify(classifier, tokenizer, texts, batch_size=4)
    assert found.shape == (6, 3) and found.dtype == np.float32
    for row, text in zip(found, texts, strict=True):
        ids = torch.tensor([encode_prompt(tokenizer, text)])
        with torch.no_grad():
            hidden = classifier.base_model(ids).last_hidden_state[0, -1]
            expected = classifier.score(hidden)
        np.testing.assert_allclose(row, expected.numpy(), atol=1e-5)
    np.testing.assert_allclose(
        classify(classifier, tokenizer, texts, batch_size=1), found, atol=1e-5
    )
    assert np.ptp(found, axis=0).max() > 1e-3
    assert classify(classifier, tokenizer, [], batch_size=4).shape == (0, 3)
    rows = pd.DataFrame({"id": list("abcdef"), "text": texts})
    table = run(classifier, tokenizer, rows, operation="classify", options={}, batch_size=4)
    np.testing.assert_array_equal(np.stack(table["logits"]), found)
    odds = np.exp(found.astype(np.float64))
    shares = odds / odds.sum(-1, keepdims=True)
    np.testing.assert_allclose(np.stack(table["probabilities"]), shares, rtol=1e-5)
    classifier.config.pad_token_id = tokenizer.bos_token_id
    with pytest.raises(ValueError, match="model pads with id"):
        classify(classifier, tokenizer, texts, batch_size=4)


def test_too_long_and_bad_settings() -> None:
    model, tokenizer = make("opt", "character")
    long = "jazz " * 11
    with pytest.raises(ValueError, match=r"prompts\[1\] needs 65 tokens with max_new_tokens 10"):
        generate(model, tokenizer, ["a", long[:-1]], max_new_tokens=10, batch_size=1)
    generate(model, tokenizer, [long[:-1]], max_new_tokens=9, batch_size=1)
    with pytest.raises(ValueError, match=r"completions\[0\] needs 101 tokens"):
        score(model, tokenizer, [""], ["ja" * 49 + "z"], batch_size=1)
    with pytest.raises(ValueError, match="1 prompts but 2 completions"):
        score(model, tokenizer, ["a"], ["a", "b"], batch_size=1)
    for settings, message in (
        ({"sequences": 2}, "sequences must be in"),
        ({"beams": 2, "sample": True}, "beams must be 1"),
        ({"max_new_tokens": 0}, "max_new_tokens must be"),
        ({"sample": True, "temperature": 0.0}, "temperature must be positive"),
        ({"sample": True, "top_p": 1.5}, "top_p must be in"),
    ):
        with pytest.raises(ValueError, match=message):
            generate(model, tokenizer, ["a"], **{"max_new_tokens": 4} | settings, batch_size=1)
    with pytest.raises(ValueError, match="batch_size must be"):
        score(model, tokenizer, ["a"], ["a"], batch_size=0)
    assert generate(model, tokenizer, [], batch_size=2) == []
    lengths = {a: context_length(make(a, k)[0].config) for a, k in PAIRS}
    assert lengths == dict.fromkeys(ARCHITECTURES, 64) | {"bloom": None}
