"""Two workers with DeepSpeed train to what one process without it trains to."""

from __future__ import annotations

import contextlib
import gc
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from raw2s.config import Training
from raw2s.stages.training import no_progress
from raw2s.trainers.process import Progress, fresh_process

TEXTS = [f"the {a} {b} of {c} is {d}" for a in "abcd" for b in "efgh" for c in "ijkl" for d in "mn"]
ROWS = 16


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from raw2s.models.scratch import new_model, train_tokenizer

    folder = tmp_path_factory.mktemp("base")
    tokenizer = train_tokenizer("byte_bpe", TEXTS, 300)
    model = new_model("llama", tokenizer, hidden_size=32, layers=2, heads=2, context=64, seed=1)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def train(
    kind: str, base: str, out: str, training: Training, progress: Progress = no_progress
) -> dict[str, Any]:
    """One training of each kind, whichever process it is called in."""
    from raw2s.config import Auxiliary
    from raw2s.models.encoding import encode_completion, encode_prompt
    from raw2s.models.loading import load_tokenizer
    from raw2s.trainers.batches import ClassificationItem, GenerationItem, TargetSequence
    from raw2s.trainers.cdpo import Pair, train_cdpo
    from raw2s.trainers.sft import Loss, fine_tune

    tokenizer = load_tokenizer(base)
    prompts = [encode_prompt(tokenizer, text) for text in TEXTS[:ROWS]]
    answers = [encode_completion(tokenizer, f"{i % 5} or {i % 3}")[0] for i in range(ROWS)]
    folders: dict[str, Any] = {
        "out": Path(out) / "model",
        "work": Path(out) / "work",
        "progress": progress,
    }
    if kind == "cdpo":
        pairs = [
            Pair(
                prompt_ids=prompt, chosen_ids=answers[i], rejected_ids=answers[i - 1],
                ref_chosen_logps=-20.0, ref_rejected_logps=-21.0,
            )
            for i, prompt in enumerate(prompts)
        ]  # fmt: skip
        return train_cdpo(
            {"path": base}, pairs, beta=0.5, epsilon=0.1, training=training, **folders
        )
    items: Any = [
        ClassificationItem(prompt, [[0.2, 0.8], [0.9, 0.1]], [0.25, 0.75]) for prompt in prompts
    ]
    if kind == "experts":
        return boosted(base, list(zip(prompts, answers, strict=True)), training, **folders)
    if kind == "generation":
        items = [
            GenerationItem(
                [
                    TargetSequence(prompt + answers[i], len(prompt), 0.5),
                    TargetSequence(
                        prompt + answers[i - 1], len(prompt), 0.5,
                        units=[0] * (len(answers[i - 1]) - 1) + [1], unit_logprobs=[-1.5, -0.1],
                    ),
                ]
            )
            for i, prompt in enumerate(prompts)
        ]  # fmt: skip
    auxiliary = Auxiliary()
    if kind == "balanced":
        auxiliary = Auxiliary(gamma_max=1.0, prediction="balanced", window=20)
    return fine_tune(
        {"path": base},
        items,
        labels=None if kind == "generation" else 2,
        loss=Loss("evidential", auxiliary, target="full"),
        training=training,
        learning_rate=training.learning_rate,
        **folders,
    )


def boosted(
    base: str, texts: list[tuple[list[int], list[int]]], training: Training, **folders: Any
) -> dict[str, Any]:
    """Two boosted experts on answer tokens; the second, whose weights the first decides, counts."""
    import shutil

    from raw2s.config import Ensemble
    from raw2s.trainers.batches import GenerationItem, TargetSequence
    from raw2s.trainers.experts import train_experts

    truth = [
        GenerationItem([TargetSequence(prompt + answer, len(prompt))]) for prompt, answer in texts
    ]
    notes = train_experts(
        lambda: {"path": base}, truth, truth[:4],
        ensemble=Ensemble(name="x", of="y", rounds=2, epsilon=0.99), labels=None,
        training=training, learning_rate=training.learning_rate, **folders,
    )  # fmt: skip
    out = folders["out"]
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
    if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
        shutil.copy(out / "expert-1" / "model.safetensors", out / "model.safetensors")
    return notes | {"steps": 4}


KINDS = ("classification", "generation", "cdpo", "experts")
# ZeRO-3 first: DeepSpeed remembers its process group from one training to the next.
CASES = [(kind, zero) for kind in KINDS for zero in (3, 2, 0, None)]
HALF = [(kind, zero) for kind in KINDS for zero in (3, 2, 1, 0)]
"""In bfloat16."""
OFFLOADED = [("generation", 3), ("generation", 2), ("generation", 1), ("cdpo", 3)]
AGAIN = [(3, False), (3, True), (1, False)]
"""ZeRO stages, with and without offload, that a generation in bfloat16 is taken up again with."""


def settings(
    zero: Any, workers: int, precision: Any = "float32", offload: bool = False
) -> Training:
    return Training(
        epochs=2, batch_size=8, micro_batch_size=2, learning_rate=1e-3, schedule="constant",
        zero_stage=zero, workers=workers, precision=precision, offload=offload,
        gradient_checkpointing=zero == 3 and precision == "bfloat16",
    )  # fmt: skip


def shard_all() -> None:
    """Let ZeRO-3 shard these small models, too, of which it would keep every parameter whole."""
    from raw2s.trainers import arguments

    dictionary = arguments.deepspeed_dictionary

    def sharded(training: Training) -> dict[str, Any]:
        found = dictionary(training)
        if training.zero_stage == 3:
            found["zero_optimization"]["stage3_param_persistence_threshold"] = 0
        return found

    arguments.deepspeed_dictionary = sharded


class Killed(Exception):
    """Ends a training."""


def kill_after(step: int) -> Progress:
    def progress(done: int, total: int) -> bool:
        if done > step:
            raise Killed
        return False

    return progress


def weights_in(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return weights_in(folder / "model")


def test_two_workers_with_each_zero_stage_equal_one_process(
    base: Path, tmp_path: Path, ray_session: None
) -> None:
    """All of them in one Ray Train run, so that a process that trains again is tried too."""
    import ray.cloudpickle
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    # Workers cannot import a test module.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])

    def loop(config: dict[str, Any]) -> None:
        from raw2s.trainers.process import quiet

        quiet()
        torch.set_num_threads(1)
        shard_all()
        for kind, zero in CASES:
            train(kind, config["base"], f"{config['out']}/{kind}-{zero}", settings(zero, 2))
        for kind, zero in HALF:
            out = f"{config['out']}/{kind}-{zero}-half"
            train(kind, config["base"], out, settings(zero, 2, "bfloat16"))
        for kind, zero in OFFLOADED:
            out = f"{config['out']}/{kind}-{zero}-offloaded"
            train(kind, config["base"], out, settings(zero, 2, offload=True))
        once = settings(None, 2).model_copy(update={"checkpoint_steps": 1})
        with contextlib.suppress(Killed):
            train("generation", config["base"], f"{config['out']}/plain", once, kill_after(1))
        # Ended by an error after two steps, and taken up again.
        for zero, offload in AGAIN:
            whole = settings(zero, 2, "bfloat16", offload)
            out = f"{config['out']}/generation-{zero}-{offload}"
            train("generation", config["base"], f"{out}-whole", whole)
            again, out = whole.model_copy(update={"checkpoint_steps": 1}), f"{out}-again"
            with contextlib.suppress(Killed):
                train("generation", config["base"], out, again, kill_after(2))
            notes = train("generation", config["base"], out, again)
            assert notes["from_step"] == 2
        with fresh_process(0):
            # The next training would have all of the memory.
            assert not [kept for kept in gc.get_objects() if isinstance(kept, PreTrainedModel)]

    TorchTrainer(
        loop,
        train_loop_config={"base": str(base), "out": str(tmp_path)},
        scaling_config=ScalingConfig(num_workers=2, resources_per_worker={"CPU": 1}),
        run_config=RunConfig(name="zero", storage_path=str(tmp_path / "ray")),
    ).fit()
    # After others with DeepSpeed one without it is without it.
    [checkpoint] = tmp_path.glob("plain/work/checkpoint-1")
    assert (checkpoint / "optimizer.pt").exists() and not list(checkpoint.glob("global_step*"))
    start = weights_in(base)
    for kind in KINDS:
        notes = train(kind, str(base), str(tmp_path / f"{kind}-one"), settings(None, 1))
        one = weights(tmp_path / f"{kind}-one")
        assert notes["steps"] == 4
        moved = max(float((one[k] - start[k]).abs().max()) for k in one if k in start)
        assert moved > 1e-3
        same = [f"{kind}-{zero}" for zero in (None, 0, 2, 3)]
        same += [f"{kind}-{zero}-offloaded" for other, zero in OFFLOADED if other == kind]
        for case in same:
            two = weights(tmp_path / case)
            assert two.keys() == one.keys()
            for name, tensor in one.items():
                torch.testing.assert_close(
                    two[name], tensor, atol=2e-5, rtol=1e-3, msg=f"{case}: {name}"
                )
    for kind, zero in HALF:
        # Adam's first steps may go either way where a gradient is nearly nothing.
        half = weights(tmp_path / f"{kind}-{zero}-half")
        one = weights(tmp_path / f"{kind}-one")
        assert {tensor.dtype for tensor in half.values()} == {torch.bfloat16}
        moves = [
            torch.cat([(end[k].float() - start[k]).flatten() for k in one if k in start])
            for end in (half, one)
        ]
        alike = float(torch.cosine_similarity(*moves, dim=0))
        # Stage 0 also adds its micro-batches up in bfloat16.
        assert alike > (0.98 if zero else 0.6), f"{kind}, ZeRO {zero}, bfloat16: {alike}"
    for zero, offload in AGAIN:
        torch.testing.assert_close(
            weights(tmp_path / f"generation-{zero}-{offload}-again"),
            weights(tmp_path / f"generation-{zero}-{offload}-whole"),
            atol=0, rtol=0, msg=lambda said, case=(zero, offload): f"{case}: {said}",
        )  # fmt: skip


@pytest.mark.parametrize("kind", ["generation", "balanced"])
def test_a_training_that_was_cut_short_ends_as_one_that_was_not(
    kind: str, base: Path, tmp_path: Path
) -> None:
    whole = settings(None, 1).model_copy(update={"checkpoint_steps": 1})
    train(kind, str(base), str(tmp_path / "whole"), whole)
    # None after the last step: the model itself is saved.
    assert [path.name for path in tmp_path.glob("whole/work/*")] == ["checkpoint-3"]

    with pytest.raises(Killed):
        train(kind, str(base), str(tmp_path / "cut"), whole, kill_after(2))
    assert list((tmp_path / "cut" / "work").glob("checkpoint-*"))
    notes = train(kind, str(base), str(tmp_path / "cut"), whole)
    assert notes["steps"] == 4 and notes["from_step"] == 2
    for name, tensor in weights(tmp_path / "whole").items():
        assert torch.equal(weights(tmp_path / "cut")[name], tensor), name


@pytest.mark.parametrize(
    ("wanted", "every", "kept"),
    [(None, 9, []), (1, 9, [1]), (2, 9, [2]), (3, 9, [3]), (4, 9, []), (None, 2, [2]),
     (3, 2, [2, 3])],
)  # fmt: skip
def test_a_checkpoint_is_kept_when_it_is_wanted(
    wanted: int | None, every: int, kept: list[int], base: Path, tmp_path: Path
) -> None:
    """Where an epoch ends after its validation; none after the last step."""
    from raw2s.models.encoding import encode_prompt
    from raw2s.models.loading import load_tokenizer
    from raw2s.trainers.batches import ClassificationItem
    from raw2s.trainers.process import last_checkpoint, step_of
    from raw2s.trainers.sft import Loss, fine_tune

    tokenizer = load_tokenizer(str(base))
    seen: list[int] = []
    validated: list[int] = []

    def keep(gather: Any, first: bool) -> None:
        newest = last_checkpoint(tmp_path / "work")
        assert newest is not None
        seen.append(step_of(newest))
        state = json.loads((Path(newest) / "trainer_state.json").read_text())
        validated.append(sum("eval_loss" in row for row in state["log_history"]))

    items = [
        ClassificationItem(encode_prompt(tokenizer, text), [[0.2, 0.8]], [1.0])
        for text in TEXTS[:ROWS]
    ]
    notes = fine_tune(
        {"path": str(base)}, items, labels=2, loss=Loss(), validation=items[:4],
        training=settings(None, 1).model_copy(
            update={"keep_best": True, "checkpoint_steps": every}
        ),
        learning_rate=1e-3, out=tmp_path / "model", work=tmp_path / "work", keep=keep,
        progress=lambda done, total: done == wanted,
    )  # fmt: skip
    assert seen == kept
    assert validated == [step // 2 for step in kept]
    assert notes["from_step"] == 0
    if kept:
        # One that a full disk cut short does not count.
        newest = tmp_path / "work" / f"checkpoint-{kept[-1]}" / "trainer_state.json"
        newest.write_text("{")
        assert step_of(last_checkpoint(tmp_path / "work")) < kept[-1]


def test_the_best_epoch_is_found_by_another_machine(base: Path, tmp_path: Path) -> None:
    """Which takes up what another kept in a later epoch, in a folder of another name."""
    import shutil

    from raw2s.models.encoding import encode_prompt
    from raw2s.models.loading import load_tokenizer
    from raw2s.trainers.batches import ClassificationItem
    from raw2s.trainers.sft import Loss, fine_tune

    tokenizer = load_tokenizer(str(base))
    here, there = tmp_path / "here", tmp_path / "there"

    def items(label: list[float]) -> list[ClassificationItem]:
        prompts = [encode_prompt(tokenizer, text) for text in TEXTS[:ROWS]]
        return [ClassificationItem(prompt, [label], [1.0]) for prompt in prompts]

    def keep(gather: Any, first: bool) -> None:
        shutil.rmtree(there, ignore_errors=True)
        shutil.copytree(here / "work", there / "work")

    def trained(folder: Path, **kept: Any) -> dict[str, Any]:
        # What it learns is wrong on validation, so the first epoch is the best.
        return fine_tune(
            {"path": str(base)}, items([0.1, 0.9]), labels=2, loss=Loss(),
            validation=items([0.9, 0.1]), learning_rate=1e-3,
            training=settings(None, 1).model_copy(
                update={"keep_best": True, "checkpoint_steps": 3}
            ),
            out=folder / "model", work=folder / "work", progress=no_progress, **kept,
        )  # fmt: skip

    whole = trained(here, keep=keep)
    assert whole["from_step"] == 0
    later = weights_in(there / "work" / "checkpoint-3")
    # The best epoch has its weights alone.
    assert not list(there.glob("work/best-*/optimizer*"))
    shutil.rmtree(here / "work")
    again = trained(there)
    assert again["from_step"] == 3
    for told in ("best_step", "best_validation_loss"):
        assert again[told] == whole[told]
    assert again["best_step"] == 2
    found = weights(there)
    for name, tensor in weights(here).items():
        assert torch.equal(found[name], tensor), name
    assert any(not torch.equal(found[name], tensor) for name, tensor in later.items())


def test_trl_computes_the_conservative_loss_and_holds_one_model(base: Path, tmp_path: Path) -> None:
    """The first loss that TRL's trainer logs, against the closed form, for several epsilons."""
    import raw2s.trainers.cdpo as cdpo
    from raw2s.method.preference import cdpo_loss
    from raw2s.models.encoding import encode_completion, encode_prompt
    from raw2s.models.inference import score
    from raw2s.models.loading import load_causal_lm, load_tokenizer

    tokenizer, model = load_tokenizer(str(base)), load_causal_lm(str(base), device="cpu")
    prompts, chosen, rejected = TEXTS[:4], ["a", "a b", "c", "d e"], ["b", "c", "a b c", "a"]

    def logps(texts: list[str]) -> torch.Tensor:
        found = score(model.eval(), tokenizer, prompts, texts, batch_size=4)
        return torch.tensor([sum(s.token_logprobs) + s.eos_logprob for s in found])

    policy = logps(chosen), logps(rejected)
    reference = (policy[0] - torch.tensor([0.5, -1.0, 2.0, 0.0]), policy[1] + 0.3)
    held: list[Any] = []

    class Watched(cdpo.ConservativeDpoTrainer):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            held.append(self.ref_model)

    original, cdpo.ConservativeDpoTrainer = cdpo.ConservativeDpoTrainer, Watched  # type: ignore[misc]
    try:
        for epsilon in (0.0, 0.1, 0.3):
            notes = cdpo.train_cdpo(
                {"path": str(base)},
                [
                    cdpo.Pair(
                        prompt_ids=encode_prompt(tokenizer, prompts[i]),
                        chosen_ids=encode_completion(tokenizer, chosen[i])[0],
                        rejected_ids=encode_completion(tokenizer, rejected[i])[0],
                        ref_chosen_logps=float(reference[0][i]),
                        ref_rejected_logps=float(reference[1][i]),
                    )
                    for i in range(4)
                ],
                beta=2.0,
                epsilon=epsilon,
                training=Training(epochs=1, batch_size=4, learning_rate=1e-6),
                out=tmp_path / f"{epsilon}",
                work=tmp_path / f"{epsilon}-work",
                progress=no_progress,
            )
            expected = cdpo_loss(*policy, *reference, beta=2.0, epsilon=epsilon).mean()
            assert notes["losses"][0] == pytest.approx(float(expected), abs=2e-4)
    finally:
        cdpo.ConservativeDpoTrainer = original  # type: ignore[misc]
    assert held == [None, None, None]
