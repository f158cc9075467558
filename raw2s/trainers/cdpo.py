"""Conservative DPO (Eq. 9) through TRL, its reference log-probabilities computed beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import datasets
import torch
from trl import DPOConfig, DPOTrainer

from raw2s.config import Training
from raw2s.method.preference import robust_label_smoothing
from raw2s.models.loading import load_causal_lm, load_tokenizer
from raw2s.trainers.arguments import trainer_arguments
from raw2s.trainers.inputs import ExactInputs
from raw2s.trainers.process import (
    Keep,
    Progress,
    fresh_process,
    keeping_callback,
    last_checkpoint,
    progress_callback,
    save,
    step_of,
)


class Pair(TypedDict):
    """Token ids of a prompt and its two completions, and the reference's log-probability of each
    completion: the sum over its tokens, end of sequence included."""

    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]
    ref_chosen_logps: float
    ref_rejected_logps: float


class ConservativeDpoTrainer(ExactInputs, DPOTrainer):
    """TRL's trainer given token ids and reference log-probabilities: it neither tokenises (prompt
    and completion stay apart, see `raw2s.models.encoding`) nor ever holds a second model."""

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        return dataset

    def _precompute_ref_logps(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        return dataset


def conservative_loss_arguments(beta: float, epsilon: float) -> dict[str, Any]:
    """DPOConfig's arguments under which TRL's loss is cDPO.

    TRL 1.16 ignores `label_smoothing` for the usual `sigmoid` loss. Its `robust` loss with a
    smoothing of -eps / (1 - 2 eps) is (1 - eps) L(c, r) + eps L(r, c), term by term.
    """
    return {
        "loss_type": ["robust"],
        "label_smoothing": robust_label_smoothing(epsilon),
        "beta": beta,
    }


def train_cdpo(
    source: Mapping[str, Any],
    pairs: Sequence[Pair],
    *,
    beta: float,
    epsilon: float,
    training: Training,
    out: Path,
    work: Path,
    progress: Progress,
    keep: Keep | None = None,
) -> dict[str, Any]:
    """Train the student at `source` on preference pairs and save it in `out`.

    Returns steps, the one that this call went on from, tokens read (padding not counted), losses
    and the reward margins that TRL logs.
    """
    with fresh_process(training.seed):
        arguments = trainer_arguments(
            training,
            work=work,
            logs=out / "tensorboard",
            learning_rate=training.learning_rate,
        )
        config = DPOConfig(
            **arguments,
            **conservative_loss_arguments(beta, epsilon),
            precompute_ref_log_probs=True,
            max_length=None,
        )
        tokenizer = load_tokenizer(**source)
        dtype = torch.bfloat16 if training.precision == "bfloat16" else torch.float32
        trainer = ConservativeDpoTrainer(
            model=load_causal_lm(**source, dtype=dtype, device="cpu"),
            args=config,
            train_dataset=datasets.Dataset.from_list([dict(pair) for pair in pairs]),
            processing_class=tokenizer,
            callbacks=[progress_callback(progress)],
        )
        trainer.add_callback(keeping_callback(keep))
        checkpoint = last_checkpoint(work)
        trainer.train(resume_from_checkpoint=checkpoint)
        save(trainer, out)
        if trainer.is_world_process_zero():
            tokenizer.save_pretrained(str(out))
        history = trainer.state.log_history
        return {
            "steps": trainer.state.global_step,
            "from_step": step_of(checkpoint),
            "tokens": training.epochs * sum(map(_tokens, pairs)),
            "losses": [row["loss"] for row in history if "loss" in row],
            "margins": [row["rewards/margins"] for row in history if "rewards/margins" in row],
        }


def _tokens(pair: Pair) -> int:
    return 2 * len(pair["prompt_ids"]) + len(pair["chosen_ids"]) + len(pair["rejected_ids"])
