"""A small model from scratch learns the language of the task's unlabelled text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from raw2s.config import Scratch
from raw2s.models.loading import load_tokenizer
from raw2s.models.scratch import count_parameters, new_model
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


def pretrain(
    texts: Sequence[str],
    scratch: Scratch,
    *,
    tokenizer: Path,
    out: Path,
    work: Path,
    progress: Progress,
    keep: Keep | None = None,
) -> dict[str, Any]:
    """Train a language model on `texts` and save it, with its tokenizer, in `out`.

    Each text is one sequence between begin and end tokens, cut at the context length. `work` holds
    checkpoints, from which a killed call goes on. Returns the number of parameters and the logged
    losses.
    """
    from transformers import DataCollatorForLanguageModeling, Trainer, TrainingArguments

    p = scratch.pretraining
    tokens = load_tokenizer(str(tokenizer))
    with fresh_process(scratch.seed):
        model = new_model(
            scratch.architecture,
            tokens,
            hidden_size=scratch.hidden_size,
            layers=scratch.layers,
            heads=scratch.heads,
            context=scratch.context,
            seed=scratch.seed,
        )
        rows = [
            {"input_ids": (ids + [tokens.eos_token_id])[: scratch.context]}
            for ids in tokens(list(texts))["input_ids"]
        ]
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=str(work),
                num_train_epochs=p.epochs,
                per_device_train_batch_size=p.batch_size,
                learning_rate=p.learning_rate,
                lr_scheduler_type="cosine",
                warmup_steps=0.1,
                weight_decay=p.weight_decay,
                bf16=p.precision == "autocast",
                save_strategy="steps",
                save_steps=p.checkpoint_steps,
                save_total_limit=1,
                logging_steps=20,
                report_to="none",
                disable_tqdm=True,
                seed=scratch.seed,
                use_cpu=not torch.cuda.is_available(),
                dataloader_pin_memory=torch.cuda.is_available(),
                remove_unused_columns=False,
            ),
            train_dataset=rows,
            data_collator=DataCollatorForLanguageModeling(tokens, mlm=False),
            callbacks=[progress_callback(progress)],
        )
        trainer.add_callback(keeping_callback(keep))
        checkpoint = last_checkpoint(work)
        trainer.train(resume_from_checkpoint=checkpoint)
        save(trainer, out)
        tokens.save_pretrained(str(out))
        return {
            "from_step": step_of(checkpoint),
            "parameters": count_parameters(model),
            "vocabulary": len(tokens),
            "losses": [row["loss"] for row in trainer.state.log_history if "loss" in row],
        }
