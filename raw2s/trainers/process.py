"""Several trainings, one after another, in one process."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Progress = Callable[[int, int], None]
"""Called with steps done and steps in all."""
Keep = Callable[[Callable[[dict[str, Any]], list[dict[str, Any]]], bool], None]
"""Called with a function that tells the first rank what each has, and whether this rank is its
machine's first; see `raw2s.store.Store.keep_work`."""


@contextlib.contextmanager
def fresh_process(seed: int) -> Iterator[None]:
    """Make a training independent of those before it in the same process.

    accelerate and transformers keep their mode (plain, DeepSpeed, precision) in process-wide
    singletons, and the random generators go on where the last training left them.
    """
    import numpy as np
    import torch
    from accelerate.state import AcceleratorState, GradientState
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    unset_hf_deepspeed_config()
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        unset_hf_deepspeed_config()


def quiet() -> None:
    """Keep libraries' chatter out of a worker's log; errors still show."""
    import transformers

    os.environ.update(DEEPSPEED_LOG_LEVEL="error", HF_DATASETS_DISABLE_PROGRESS_BARS="1")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    for name in ("deepspeed", "DeepSpeed", "accelerate", "trl", "torch.distributed"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")


def last_checkpoint(work: Path) -> str | None:
    """The newest whole checkpoint in a work folder, or None.

    transformers writes `trainer_state.json` last, so a checkpoint that a kill cut short has none.
    """
    found = [
        (int(match.group(1)), path)
        for path in work.glob("checkpoint-*")
        if (match := re.fullmatch(r"checkpoint-(\d+)", path.name))
        and (path / "trainer_state.json").is_file()
    ]
    return str(max(found)[1]) if found else None


def keep_all(keep: Keep | None) -> None:
    """Let other machines find the unfinished work; every rank calls it, at the same step."""
    if keep is None:
        return
    import torch.distributed as group

    several = group.is_initialized()
    if several:
        # Whoever shares this machine has written its part.
        group.barrier()

    def gather(mine: dict[str, Any]) -> list[dict[str, Any]]:
        if not several:
            return [mine]
        told: list[dict[str, Any]] | None = None
        if group.get_rank() == 0:
            told = [{} for _ in range(group.get_world_size())]
        group.gather_object(mine, told)
        return told or []

    keep(gather, os.environ.get("LOCAL_RANK", "0") == "0")


def keeping_callback(keep: Keep | None) -> Any:
    """A transformers callback that does so after each checkpoint; the last one to be added."""
    from transformers import TrainerCallback

    class Kept(TrainerCallback):
        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            keep_all(keep)

    return Kept()


def progress_callback(progress: Progress) -> Any:
    """A transformers callback that passes the steps on."""
    from transformers import TrainerCallback

    class Steps(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            progress(state.global_step, state.max_steps)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            progress(state.global_step, state.max_steps)

    return Steps()
