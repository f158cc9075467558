"""Experts of EnsemW2S: weighted losses, mistakes, and the rounds, against loops and plain runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainingArguments, get_scheduler

from raw2s.config import Ensemble, Model, Training
from raw2s.models.committee import load_answering
from raw2s.models.encoding import encode_completion, encode_prompt
from raw2s.models.scratch import new_model, train_tokenizer
from raw2s.stages.experts import experts, experts_job
from raw2s.stages.training import no_progress
from raw2s.store import Job, Store
from raw2s.trainers.arguments import trainer_arguments
from raw2s.trainers.batches import (
    ClassificationCollator,
    ClassificationItem,
    GenerationCollator,
    GenerationItem,
    TargetSequence,
)
from raw2s.trainers.experts import train_experts, weighted
from raw2s.trainers.mistakes import mistakes, samples
from raw2s.trainers.sft import Loss, batch_loss, fine_tune

TEXTS = ["the café is open today", "play some jazz now", "what is the weather like"]
ANSWERS = ["yes", "jazz now", "cold today the café"]
TRAINING = Training(epochs=2, batch_size=4, learning_rate=5e-3, checkpoint_steps=1, seed=3)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("base")
    tokenizer = train_tokenizer("byte_bpe", [*TEXTS, *ANSWERS] * 3, 280)
    model = new_model("gpt2", tokenizer, hidden_size=16, layers=1, heads=2, context=64)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return {"path": str(folder)}


def classes(source: dict[str, Any], count: int = 12) -> list[ClassificationItem]:
    from raw2s.models.loading import load_tokenizer

    tokenizer = load_tokenizer(**source)
    return [
        ClassificationItem(
            encode_prompt(tokenizer, f"{TEXTS[i % 3]} {i}"),
            [[float(i % 3 == k) for k in range(3)]],
            [1.0],
        )
        for i in range(count)
    ]


def texts(source: dict[str, Any]) -> list[GenerationItem]:
    from raw2s.models.loading import load_tokenizer

    tokenizer = load_tokenizer(**source)
    items = []
    for text, answer in zip(TEXTS, ANSWERS, strict=True):
        prompt = encode_prompt(tokenizer, text)
        ids = prompt + encode_completion(tokenizer, answer)[0]
        items.append(GenerationItem([TargetSequence(ids, len(prompt))]))
    return items


def token_losses(source: dict[str, Any], items: list[GenerationItem]) -> list[tuple[float, bool]]:
    """(cross-entropy, whether the likeliest token is wrong) of each answer token, one by one."""
    model = load_answering(**source, labels=None)
    out = []
    for item in items:
        [s] = item.sequences
        for place in range(s.prompt_length, len(s.input_ids)):
            with torch.no_grad():
                logits = model(torch.tensor([s.input_ids[:place]])).logits[0, -1]
            token = s.input_ids[place]
            loss = torch.nn.functional.cross_entropy(logits[None], torch.tensor([token]))
            out.append((float(loss), int(logits.argmax()) != token))
    return out


def test_the_mean_over_items_is_the_weighted_sum_over_tokens(source: dict[str, Any]) -> None:
    items = texts(source)
    each = token_losses(source, items)
    weights = np.random.default_rng(0).dirichlet(np.ones(len(each)))
    batch = GenerationCollator(0)(weighted(items, weights))
    model = load_answering(**source, labels=None)
    with torch.no_grad():
        logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        logits = logits[batch["read"]]
    expected = sum(w * loss for w, (loss, _) in zip(weights, each, strict=True))
    assert float(batch_loss(logits, batch, Loss(), 0.0)) == pytest.approx(expected, rel=1e-4)
    lengths = [len(i.sequences[0].input_ids) - i.sequences[0].prompt_length for i in items]
    assert samples(items) == np.repeat(np.arange(len(items)), lengths).tolist()


def test_classification_weights_multiply_each_example(source: dict[str, Any]) -> None:
    items = classes(source, 5)
    weights = np.array([0.5, 0.0, 0.2, 0.2, 0.1])
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    batch = ClassificationCollator(0)(weighted(items, weights))
    labels = torch.tensor([i % 3 for i in range(5)])
    each = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    assert float(batch_loss(logits, batch, Loss(), 0.0)) == pytest.approx(
        float((torch.tensor(weights) * each).sum())
    )


def test_mistakes_of_tokens_equal_a_loop(source: dict[str, Any]) -> None:
    items = texts(source)
    expected = [wrong for _, wrong in token_losses(source, items)]
    assert mistakes(source, items, labels=None, batch_size=2).tolist() == expected


def test_mistakes_of_classes_equal_a_loop(source: dict[str, Any]) -> None:
    items = classes(source)
    model = load_answering(**source, labels=3, seed=7)
    with torch.no_grad():
        said = [
            int(
                model(
                    input_ids=torch.tensor([i.input_ids]),
                    attention_mask=torch.ones(1, len(i.input_ids)),
                ).logits.argmax()
            )
            for i in items
        ]
    found = mistakes(source, items, labels=3, batch_size=5, seed=7)
    assert found.tolist() == [s != i % 3 for i, s in enumerate(said)]


def grow(
    source: dict[str, Any],
    folder: Path,
    ensemble: dict[str, Any],
    progress: Any = None,
    **more: Any,
) -> dict[str, Any]:
    labels = more.get("labels", 3)
    items: Any = classes(source) if labels else texts(source)
    return train_experts(
        lambda: source, items, items, ensemble=Ensemble(name="boosted", of="base", **ensemble),
        labels=labels, training=TRAINING, learning_rate=5e-3, out=folder / "model",
        work=folder, progress=progress or no_progress,
    )  # fmt: skip


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_the_first_boosted_expert_is_the_weak_model(source: dict[str, Any], tmp_path: Path) -> None:
    notes = grow(source, tmp_path, {"rounds": 2, "epsilon": 0.9})
    assert len(notes["errors"]) == 2
    # No round's checkpoints stay for the next ones.
    assert not list(tmp_path.glob("round-*"))
    fine_tune(
        source, classes(source), labels=3, loss=Loss(), training=TRAINING, learning_rate=5e-3,
        out=tmp_path / "plain", work=tmp_path / "plain_work", progress=no_progress,
    )  # fmt: skip
    plain, first = weights_of(tmp_path / "plain"), weights_of(tmp_path / "model" / "expert-0")
    for name, value in plain.items():
        torch.testing.assert_close(first[name], value)


@pytest.mark.parametrize(
    "ensemble",
    [
        {"rounds": 3, "epsilon": 0.9},
        {"rounds": 3, "epsilon": 0.9, "use": "resampling"},
        {"rounds": 3, "method": "bagging"},
    ],
)
def test_a_killed_ensemble_goes_on_where_it_was(
    source: dict[str, Any], tmp_path: Path, ensemble: dict[str, Any]
) -> None:
    undisturbed = grow(source, tmp_path / "whole", ensemble)
    steps = 0

    def killed(done: int, total: int) -> bool:
        nonlocal steps
        steps += 1
        if steps == 10:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        grow(source, tmp_path / "killed", ensemble, killed)
    assert (tmp_path / "killed" / "rounds.json").is_file()
    assert grow(source, tmp_path / "killed", ensemble) == undisturbed
    for number in undisturbed["experts"]:
        one, other = (
            weights_of(tmp_path / name / "model" / f"expert-{number}")
            for name in ("whole", "killed")
        )
        for name, value in one.items():
            torch.testing.assert_close(other[name], value)


def test_tokens_are_boosted_and_answer_together(source: dict[str, Any], tmp_path: Path) -> None:
    notes = grow(source, tmp_path, {"rounds": 2, "epsilon": "chance"}, labels=None)
    assert notes["votes"] and all(vote > 0 for vote in notes["votes"])
    committee = load_answering(str(tmp_path / "model"), labels=None)
    assert committee(torch.tensor([[5, 6]])).logits.shape[:2] == (1, 2)


def test_a_useless_first_expert_stands_alone(source: dict[str, Any], tmp_path: Path) -> None:
    notes = grow(source, tmp_path, {"rounds": 3, "epsilon": 1e-6})
    assert notes["experts"] == [0] and notes["votes"] == [1.0]
    assert "not below" in notes["ended"] and len(notes["errors"]) == 1
    load_answering(str(tmp_path / "model"), labels=3)


def test_a_renamed_ensemble_is_the_same_work(source: dict[str, Any], tmp_path: Path) -> None:
    store, splits = Store(tmp_path), Job("splits", "x", {})
    rows = pd.DataFrame({"text": TEXTS, "label": [0, 1, 2]})
    with store.write(splits) as (folder, _):
        for name in ("weak", "validation"):
            rows.to_parquet(folder / f"{name}.parquet")

    def job(name: str, of: str, **more: Any) -> Job:
        return experts_job(
            f"x/{name}", Ensemble(name=name, of=of, rounds=1, **more),
            Model(name=of, path=source["path"]), None, splits, labels=3, training=TRAINING,
        )  # fmt: skip

    experts(job("boosted", "base"), store, 0, no_progress)
    assert store.has(job("other", "origin"))
    assert not store.has(job("boosted", "base", seed=1))


@pytest.mark.parametrize(
    ("schedule", "last"), [("constant", 1.0), ("linear", 1 / 8), ("cosine", 0.0380602)]
)
def test_every_schedule_has_its_warmup(tmp_path: Path, schedule: Any, last: float) -> None:
    training = Training(schedule=schedule, warmup=0.2)
    given = trainer_arguments(training, work=tmp_path, logs=tmp_path, learning_rate=1.0)
    arguments = TrainingArguments(**given)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = get_scheduler(
        arguments.lr_scheduler_type, optimizer, arguments.get_warmup_steps(10), 10
    )
    rates = []
    for _ in range(10):
        rates += scheduler.get_last_lr()
        optimizer.step()
        scheduler.step()
    # Two of ten steps rise; a cosine's last step is (1 + cos(7/8 pi)) / 2.
    assert rates[:3] == [0.0, 0.5, 1.0]
    assert rates[-1] == pytest.approx(last, abs=1e-6)
