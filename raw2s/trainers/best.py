"""The epoch of the lowest validation loss: its weights alone, beside the checkpoints."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from raw2s.store import write_text
from raw2s.trainers.process import agreed, save

_TOLD = "validation.json"


class BestEpoch:
    """Keeps them in a folder of `work`, where a training that goes on finds them. Every rank calls
    each method at the same step; the first one's folder counts."""

    def __init__(self, work: Path) -> None:
        self._work = work
        # A kill may have left one without the file that is written last.
        found = [json.loads(file.read_text()) for file in work.glob(f"best-*/{_TOLD}")]
        best = agreed(min(found, key=lambda told: told["loss"], default=None))
        self.step: int | None = best and best["step"]
        self.loss: float | None = best and best["loss"]

    def see(self, trainer: Any, loss: float) -> None:
        """Keep the model as it is now if its validation loss is the lowest so far."""
        step = trainer.state.global_step
        # A training that goes on from before its best epoch has kept that already.
        if step == self.step or not loss < (math.inf if self.loss is None else self.loss):
            return
        self.step, self.loss = step, loss
        folder = self._folder()
        save(trainer, folder)
        if trainer.is_world_process_zero():
            write_text(folder / _TOLD, json.dumps({"step": self.step, "loss": loss}))
            for other in self._work.glob("best-*"):
                if other != folder:
                    shutil.rmtree(other)

    def put(self, trainer: Any, out: Path) -> None:
        """Write the best epoch's model into `out`; the last one's if no loss was a number."""
        if self.step is None:
            save(trainer, out)
        elif trainer.is_world_process_zero():
            ignored = shutil.ignore_patterns(_TOLD)
            shutil.copytree(self._folder(), out, dirs_exist_ok=True, ignore=ignored)

    def _folder(self) -> Path:
        return self._work / f"best-{self.step}"


class EachEpoch(TrainerCallback):
    """Has a model validated at the last step of each epoch: a checkpoint at that step comes after
    it, so that a training that goes on from there has not missed it."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Whether the step that is done is such a one."""
        control.should_evaluate = state.global_step * args.num_train_epochs % state.max_steps == 0
