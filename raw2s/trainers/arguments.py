"""From raw2s's `Training` to transformers' arguments and DeepSpeed's dictionary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from raw2s.config import Training


def trainer_arguments(
    training: Training, *, work: Path, logs: Path, learning_rate: float
) -> dict[str, Any]:
    """Keyword arguments for `transformers.TrainingArguments` (TRL's DPOConfig is a subclass).

    `work` takes the checkpoints, `logs` the TensorBoard files.
    """
    import os

    # transformers 5 takes the folder of TensorBoard files from the environment only.
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(logs)
    # transformers' "constant" has no warm-up.
    constant = training.schedule == "constant"
    micro = training.micro_batch_size or training.batch_size // training.workers
    arguments: dict[str, Any] = {
        "output_dir": str(work),
        "num_train_epochs": training.epochs,
        "per_device_train_batch_size": micro,
        "per_device_eval_batch_size": max(micro, 16),
        "gradient_accumulation_steps": training.batch_size // (micro * training.workers),
        "learning_rate": learning_rate,
        "lr_scheduler_type": "constant_with_warmup" if constant else training.schedule,
        "warmup_steps": training.warmup,
        "weight_decay": training.weight_decay if training.optimizer == "adamw" else 0.0,
        "optim": "adamw_torch",
        "bf16": training.precision != "float32",
        "gradient_checkpointing": training.gradient_checkpointing,
        "save_strategy": "steps",
        "save_steps": training.checkpoint_steps,
        "save_total_limit": 1,
        "logging_steps": 10,
        "logging_first_step": True,
        "report_to": ["tensorboard"],
        "disable_tqdm": True,
        "seed": training.seed,
        "use_cpu": training.gpus_per_worker == 0,
        "dataloader_pin_memory": training.gpus_per_worker > 0,
        "remove_unused_columns": False,
        "ddp_find_unused_parameters": False,
    }
    if training.zero_stage is not None:
        arguments["deepspeed"] = deepspeed_dictionary(training)
        if training.gpus_per_worker == 0:
            _leave_collectives_to_gloo()
        _join_group()
    return arguments


def _join_group() -> None:
    """Let DeepSpeed know the process group that is there: ZeRO-3 asks for its size while the model
    is loaded, before the trainer would tell it."""
    import torch.distributed as group

    if group.is_initialized():
        from deepspeed import comm

        comm.init_distributed(group.get_backend(), auto_mpi_discovery=False, verbose=False)


def _leave_collectives_to_gloo() -> None:
    """Keep DeepSpeed from compiling its shared-memory collectives at their first use on CPUs, which
    takes most of a minute and a C++ compiler."""
    import deepspeed.ops

    vars(deepspeed.ops)["__compatible_ops__"] = {}


def deepspeed_dictionary(training: Training) -> dict[str, Any]:
    """DeepSpeed's configuration; batch sizes, clipping and bf16 follow the trainer's."""
    zero: dict[str, Any] = {"stage": training.zero_stage}
    if training.zero_stage == 3:
        # Without it a saved ZeRO-3 model holds no weights.
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    if training.offload:
        zero["offload_optimizer"] = {"device": "cpu"}
        if training.zero_stage == 3:
            zero["offload_param"] = {"device": "cpu"}
    dictionary: dict[str, Any] = {
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "bf16": {"enabled": "auto"},
        "zero_optimization": zero,
        # The trainer's AdamW, not DeepSpeed's own, which needs a compiler on every node.
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
    }
    if training.zero_stage:
        # Micro-batches are summed as exactly as one batch is; stage 0 does not know the key.
        dictionary["data_types"] = {"grad_accum_dtype": "fp32"}
    return dictionary
