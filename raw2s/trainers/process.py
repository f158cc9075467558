"""Several trainings, one after another, in one process."""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import logging
import os
import random
import re
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

_T = TypeVar("_T")

Progress = Callable[[int, int], bool]
"""Called with steps done and steps in all, by every rank at the same steps; whether a checkpoint is
wanted now, since a machine is about to be taken away."""
Keep = Callable[[Callable[[dict[str, Any]], list[dict[str, Any]]], bool], None]
"""Called with a function that tells the first rank what each has, and whether this rank is its
machine's first; see `raw2s.store.Store.keep_work`."""


@contextlib.contextmanager
def fresh_process(seed: int) -> Iterator[None]:
    """Make a training independent of those before it in the same process.

    accelerate and transformers keep their mode (plain, DeepSpeed, precision) in process-wide
    singletons and in the environment, the random generators go on where the last training left
    them, and its model may still lie on the GPU, where DeepSpeed holds it.
    """
    import numpy as np
    import torch
    from accelerate.state import AcceleratorState, GradientState

    from raw2s.models.memory import release

    _let_go()
    release()
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    _without_deepspeed()
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        _without_deepspeed()


def _let_go() -> None:
    """End DeepSpeed's engines, whose hooks hold a model, its gradients and its optimiser where
    Python cannot see it, and empty the list and the cache in which ZeRO-3 keeps every model that it
    has trained as long as the process lives."""
    if "deepspeed" not in sys.modules:
        return
    from deepspeed.runtime.engine import DeepSpeedEngine
    from deepspeed.runtime.zero import parameter_offload

    parameter_offload.FWD_MODULE_STACK.clear()
    for found in gc.get_objects():
        # Not isinstance, which asks what a weak reference may no longer have.
        if issubclass(type(found), DeepSpeedEngine):
            found.destroy()
        is_cache = issubclass(type(found), functools._lru_cache_wrapper)
        if is_cache and "deepspeed" in str(found.__module__):
            found.cache_clear()


def _without_deepspeed() -> None:
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()
    # accelerate sets it for a training with DeepSpeed; a plain one after it would have ZeRO-2.
    os.environ.pop("ACCELERATE_USE_DEEPSPEED", None)


def quiet() -> None:
    """Keep libraries' chatter out of a worker's log; errors still show."""
    import transformers

    os.environ.update(DEEPSPEED_LOG_LEVEL="error", HF_DATASETS_DISABLE_PROGRESS_BARS="1")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    for name in ("deepspeed", "DeepSpeed", "accelerate", "trl", "torch.distributed"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")


def agreed(value: _T) -> _T:
    """What the first rank says; every rank calls it."""
    import torch.distributed as group

    said = [value]
    if group.is_initialized():
        group.broadcast_object_list(said, src=0)
    return said[0]


def last_checkpoint(work: Path) -> str | None:
    """The newest whole checkpoint in a work folder, or None; what the first rank sees counts.

    transformers writes `trainer_state.json` last, so a checkpoint that a kill or a full disk cut
    short has none, or a part of one.
    """
    found = [
        (int(match.group(1)), path)
        for path in work.glob("checkpoint-*")
        if (match := re.fullmatch(r"checkpoint-(\d+)", path.name)) and _is_whole(path)
    ]
    newest = agreed(max(found)[1].name if found else None)
    # Each machine's own copy: its work folder may have another name.
    return str(work / newest) if newest else None


def _is_whole(checkpoint: Path) -> bool:
    try:
        json.loads((checkpoint / "trainer_state.json").read_text())
    except (FileNotFoundError, ValueError):
        return False
    return True


def step_of(checkpoint: str | None) -> int:
    """The step that a training goes on from: 0 without a checkpoint."""
    return int(Path(checkpoint).name.removeprefix("checkpoint-")) if checkpoint else 0


def first_of_machine() -> bool:
    """Whether this is the first of the ranks on its machine."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


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

    keep(gather, first_of_machine())


def _rotate(work: Path) -> None:
    """Where each machine has a work folder of its own, remove the folders from it that the first
    rank's trainer has removed from its own."""
    here = [*work.glob("checkpoint-*"), *work.glob("best-*")]
    kept = agreed({path.name for path in here})
    if first_of_machine():
        for path in here:
            if path.name not in kept:
                shutil.rmtree(path, ignore_errors=True)


def save(trainer: Any, out: Path) -> None:
    """Write the trained model, by all ranks, without the trainer's pickle of its arguments."""
    if trainer.is_world_process_zero():
        # What a kill has left here: safetensors writes aside first.
        for path in out.glob("*"):
            if path.is_file():
                path.unlink()
    trainer.save_model(str(out))
    if trainer.is_world_process_zero():
        (out / "training_args.bin").unlink(missing_ok=True)


def keeping_callback(keep: Keep | None) -> Any:
    """A transformers callback that does so after each checkpoint; the last one to be added."""
    from transformers import TrainerCallback

    class Kept(TrainerCallback):
        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if keep is not None:
                _rotate(Path(args.output_dir))
            keep_all(keep)

    return Kept()


def progress_callback(progress: Progress) -> Any:
    """A transformers callback that passes the steps on, and saves where that is wanted."""
    from transformers import TrainerCallback

    class Steps(TrainerCallback):
        wanted = False

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.wanted = progress(state.global_step, state.max_steps)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.wanted = progress(state.global_step, state.max_steps) or self.wanted
            control.should_save |= self.wanted
            self.wanted = False
            if state.global_step >= state.max_steps:
                # The model itself is saved next.
                control.should_save = False

    return Steps()
