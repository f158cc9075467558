"""The epoch of the lowest validation loss, over kills and losses that are no numbers."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import pytest

from raw2s.trainers.best import BestEpoch


class Trainer:
    """Whose model is the number of its step."""

    def __init__(self) -> None:
        self.state = SimpleNamespace(global_step=0)

    def is_world_process_zero(self) -> bool:
        return True

    def save_model(self, folder: str) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / "model").write_text(str(self.state.global_step))


@pytest.mark.parametrize(
    ("losses", "step"),
    [([3.0, 1.0, 2.0], 2), ([1.0, 1.0, 1.0], 1), ([math.nan, 2.0, math.nan], 2),
     ([math.inf, 5.0, 6.0], 2), ([math.nan, math.nan, math.nan], None)],
)  # fmt: skip
def test_the_lowest_loss_counts(losses: list[float], step: int | None, tmp_path: Path) -> None:
    trainer, best = Trainer(), BestEpoch(tmp_path / "work")
    for number, loss in enumerate(losses, start=1):
        trainer.state.global_step = number
        best.see(trainer, loss)
        # A process that takes its place finds it.
        best = BestEpoch(tmp_path / "work")
    best.put(trainer, tmp_path / "out")
    assert best.step == step and best.loss == (None if step is None else losses[step - 1])
    # The last one where no loss is a number.
    assert {path.name: path.read_text() for path in (tmp_path / "out").iterdir()} == {
        "model": str(step or len(losses))
    }
    assert len(list(tmp_path.glob("work/best-*"))) == (step is not None)


def test_one_that_a_kill_cut_short_does_not_count(tmp_path: Path) -> None:
    trainer, best = Trainer(), BestEpoch(tmp_path / "work")
    trainer.state.global_step = 1
    best.see(trainer, 2.0)
    half = tmp_path / "work" / "best-2"
    half.mkdir()
    (half / ".tmp1").write_text("ha")
    again = BestEpoch(tmp_path / "work")
    assert (again.step, again.loss) == (1, 2.0)
    trainer.state.global_step = 2
    again.see(trainer, 1.0)
    again.put(trainer, tmp_path / "out")
    assert {path.name: path.read_text() for path in (tmp_path / "out").iterdir()} == {"model": "2"}
    assert [path.name for path in tmp_path.glob("work/*")] == ["best-2"]


def test_an_epoch_that_is_kept_is_not_written_again(tmp_path: Path) -> None:
    trainer, best = Trainer(), BestEpoch(tmp_path / "work")
    trainer.state.global_step = 1
    best.see(trainer, 2.0)
    kept = tmp_path / "work" / "best-1" / "model"
    kept.write_text("as it was")
    # On another machine its loss may differ a little.
    again = BestEpoch(tmp_path / "work")
    again.see(trainer, 1.9)
    assert kept.read_text() == "as it was" and again.loss == 2.0
