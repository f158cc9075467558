"""Supervised fine-tuning: weak models, ceilings and students, with the losses of `raw2s.method`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, TrainerCallback, TrainingArguments

from raw2s.config import Auxiliary, Evidential, Training
from raw2s.method import losses
from raw2s.method.balanced import BalancedPredictions
from raw2s.method.bridge import split_logprob
from raw2s.method.evidential import clamped_share
from raw2s.models.loading import load_causal_lm, load_classifier, load_tokenizer
from raw2s.trainers.arguments import trainer_arguments
from raw2s.trainers.batches import (
    ClassificationCollator,
    ClassificationItem,
    GenerationCollator,
    GenerationItem,
    distinct,
)
from raw2s.trainers.best import BestEpoch, EachEpoch
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


@dataclass(frozen=True)
class Loss:
    """Which loss: the fields of a `raw2s.config.Strategy` that training needs."""

    loss: losses.Loss = "cross_entropy"
    auxiliary: Auxiliary | None = None
    evidential: Evidential = Evidential()
    target: losses.TargetKind = "one_hot"
    split: Literal["confidence", "uniform", "plus_sign"] = "confidence"
    temperature: float = 1.0

    def gamma(self, progress: float) -> float:
        """The auxiliary loss's weight when `progress` in [0, 1] of training is done."""
        if self.auxiliary is None:
            return 0.0
        a = self.auxiliary
        return losses.gamma(progress, a.gamma_max, a.schedule, warmup=a.warmup)

    def evidential_options(self, progress: float) -> dict[str, Any]:
        """Keyword arguments of `evidential_loss`, its coefficient annealed (App. H)."""
        e = self.evidential
        rise = min(1.0, progress / e.annealing) if e.annealing > 0 else 1.0
        return {
            "evidence": e.evidence,
            "reg_coef": e.reg_coef * rise,
            "regulariser": e.regulariser,
            "clamp": e.clamp,
            "max_regulariser": e.max_regulariser,
        }


def batch_loss(
    logits: torch.Tensor,
    batch: Mapping[str, torch.Tensor],
    loss: Loss,
    progress: float,
    on_regulariser: Callable[[torch.Tensor], None] | None = None,
    predict: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> torch.Tensor:
    """The loss of one batch of either collator (see `raw2s.trainers.batches`); a scalar.

    logits: (B, K) of a classifier, or (P, V) of a language model at the positions to be `read`.
    on_regulariser is called with the evidential regulariser's values before they are cut; predict
    gives the student's own classes (B,) of logits (B, K), their argmax without it.
    """
    shared: dict[str, Any] = {
        "loss": loss.loss,
        "gamma": loss.gamma(progress),
        "evidential": loss.evidential_options(progress) | {"on_regulariser": on_regulariser},
    }
    if "targets" in batch:
        prediction = predict(logits) if predict is not None else None
        return losses.classification_loss(
            logits,
            batch["targets"],
            batch["weights"],
            prediction=prediction,
            example_weight=batch["example_weight"],
            **shared,
        )
    labels, places = batch["labels"], batch["places"]
    target_logprob = torch.zeros_like(batch["unit_logprobs"], dtype=torch.float32)
    if loss.target != "one_hot":
        used = labels != -100
        with torch.no_grad():
            confidence = logits.float().softmax(-1).amax(-1)[places[used]]
            target_logprob[used] = split_logprob(
                batch["unit_logprobs"][used],
                batch["units"][used],
                confidence,
                rule=loss.split,
                temperature=loss.temperature,
            )
    return losses.sequence_loss(
        logits,
        labels,
        target_logprob,
        batch["sequence_weights"],
        places=places,
        target_kind=loss.target,
        token_weight=batch["token_weights"],
        **shared,
    )


class SupervisedTrainer(ExactInputs):
    """transformers' Trainer with `batch_loss`."""

    # batch_loss is the mean over a micro-batch's rows, so accumulated ones are to be averaged.
    loss_is_scaled_for_ga = False

    def __init__(
        self,
        *args: Any,
        loss: Loss,
        balanced: BalancedPredictions | None = None,
        best: BestEpoch | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.loss = loss
        self.balanced = balanced
        self.best = best
        if best is not None:
            self.add_callback(EachEpoch())
        if balanced is not None:
            self.add_callback(_recall_window(balanced))
        self._cut: list[float] = []

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log the share of regulariser values that `max_regulariser` cut, beside the loss."""
        if self._cut and "loss" in logs:
            logs["regulariser_cut"] = sum(self._cut) / len(self._cut)
            self._cut.clear()
        super().log(logs, *args, **kwargs)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        # Before the file that makes a checkpoint whole.
        if self.balanced is not None:
            file = _window_file(self.args, self.state.global_step)
            file.parent.mkdir(parents=True, exist_ok=True)
            save_file({"recent": self.balanced.recent.contiguous()}, file)
        super()._save_checkpoint(model, trial)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Validate; the best epoch's weights are kept."""
        metrics = super().evaluate(*args, **kwargs)
        if self.best is not None:
            self.best.see(self, metrics["eval_loss"])
        return metrics

    def _count_cut(self, values: torch.Tensor) -> None:
        self._cut.append(clamped_share(values, self.loss.evidential.max_regulariser))

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The batch's loss; the schedules follow the share of steps done."""
        # The output layer runs where there is a target: prompts have none.
        some = {"logits_to_keep": inputs["read"]} if "read" in inputs else {}
        outputs = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            use_cache=False,
            **some,
        )
        progress = self.state.global_step / max(1, self.state.max_steps)
        limited = self.loss.evidential.max_regulariser is not None
        on_regulariser = self._count_cut if limited else None
        predict = self.balanced.predict if self.balanced is not None and model.training else None
        loss = batch_loss(outputs.logits, inputs, self.loss, progress, on_regulariser, predict)
        return (loss, outputs) if return_outputs else loss

    def prediction_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[torch.Tensor, None, None]:
        """Validation wants the loss alone."""
        with torch.no_grad():
            return self.compute_loss(model, self._prepare_inputs(inputs)).detach(), None, None


def _window_file(args: TrainingArguments, step: int) -> Path:
    """The last predictions in a checkpoint, one file a rank."""
    name = f"predictions-{args.process_index}.safetensors"
    return Path(str(args.output_dir)) / f"checkpoint-{step}" / name


def _recall_window(balanced: BalancedPredictions) -> TrainerCallback:
    """Take the last predictions up again."""

    class Window(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            file = _window_file(args, state.global_step)
            if file.is_file():
                balanced.recent = load_file(file)["recent"]

    return Window()


def _balanced(loss: Loss, items: Items, labels: int | None) -> BalancedPredictions | None:
    """With the class shares of the items' targets, if the loss wants it."""
    auxiliary = loss.auxiliary
    if auxiliary is None or auxiliary.prediction != "balanced" or labels is None:
        return None
    labels_of = [
        np.asarray(item.weights) @ np.asarray(item.targets)
        for item in items
        if isinstance(item, ClassificationItem)
    ]
    shares = np.mean(labels_of, axis=0)
    return BalancedPredictions(list(shares / shares.sum()), auxiliary.window)


Items = Sequence[ClassificationItem] | Sequence[GenerationItem]


def fine_tune(
    source: Mapping[str, Any],
    items: Items,
    *,
    labels: int | None,
    loss: Loss,
    training: Training,
    learning_rate: float,
    out: Path,
    work: Path,
    progress: Progress,
    validation: Items | None = None,
    keep: Keep | None = None,
) -> dict[str, Any]:
    """Train a model and save it in `out` as an ordinary transformers folder.

    source: `path`, `revision`, `trust_remote_code` of the model to start from. labels: number of
    classes, or None for a language model. With validation rows and `training.keep_best` the epoch
    of the lowest validation loss is kept. `work` holds checkpoints; a killed call, made again, goes
    on from the last; `keep` is called after each. Returns steps, the one that this call went on
    from, the one kept as the best, tokens read (padding not counted) and the logged losses. All
    ranks call it; rank 0's files count.
    """
    with fresh_process(training.seed):
        arguments = TrainingArguments(
            **trainer_arguments(
                training,
                work=work,
                logs=out / "tensorboard",
                learning_rate=learning_rate,
            )
        )
        tokenizer = load_tokenizer(**source)
        model = _load(source, labels, training)
        collator: Any = (
            GenerationCollator(tokenizer.pad_token_id)
            if labels is None
            else ClassificationCollator(tokenizer.pad_token_id)
        )
        best = BestEpoch(work) if training.keep_best and validation is not None else None
        trainer = SupervisedTrainer(
            model=model,
            args=arguments,
            train_dataset=items,
            eval_dataset=validation,
            data_collator=collator,
            callbacks=[progress_callback(progress)],
            loss=loss,
            balanced=_balanced(loss, items, labels),
            best=best,
        )
        trainer.add_callback(keeping_callback(keep))
        checkpoint = last_checkpoint(work)
        trainer.train(resume_from_checkpoint=checkpoint)
        if best is not None:
            best.put(trainer, out)
        else:
            save(trainer, out)
        if trainer.is_world_process_zero():
            tokenizer.save_pretrained(str(out))
        return {
            "steps": trainer.state.global_step,
            "from_step": step_of(checkpoint),
            "tokens": training.epochs * sum(map(_tokens, items)),
            "best_validation_loss": best and best.loss,
            "best_step": best and best.step,
            "losses": [row["loss"] for row in trainer.state.log_history if "loss" in row],
            "regulariser_cut": [
                row["regulariser_cut"]
                for row in trainer.state.log_history
                if "regulariser_cut" in row
            ],
        }


def _tokens(item: ClassificationItem | GenerationItem) -> int:
    if isinstance(item, ClassificationItem):
        return len(item.input_ids)
    return sum(map(len, distinct(item.sequences)))


def _load(source: Mapping[str, Any], labels: int | None, training: Training) -> PreTrainedModel:
    dtype = torch.bfloat16 if training.precision == "bfloat16" else torch.float32
    # The trainer moves the model (DeepSpeed shards it), so it is read into the host's memory.
    if labels is None:
        return load_causal_lm(**source, dtype=dtype, device="cpu")
    return load_classifier(
        **source, num_labels=labels, dtype=dtype, device="cpu", seed=training.seed
    )
