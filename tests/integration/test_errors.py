"""What is the user's to mend ends a run at once, with one line and exit code 2."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(tmp_path: Path, *overrides: str, config: str = "tiny.yaml") -> str:
    words = [sys.executable, "-m", "raw2s.cli", "run", str(ROOT / "configs" / config)]
    for override in (f"storage={tmp_path / 'storage'}", *overrides):
        words += ["--set", override]
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub"), "RAW2S_DATA": "",
    }  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 2, done.stdout + done.stderr
    assert not list(tmp_path.glob("storage/artefacts/pretrain/*"))
    lines = [line for line in done.stderr.splitlines() if line.startswith("raw2s: ")]
    assert len(lines) == 1 and "Traceback" not in done.stderr
    return lines[0]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("experiments.topics.task.options.topics=7", "topics must be even"),
        ("experiments.topics.task.options.colour=red", "has no option 'colour'"),
        ("experiments.topics.weak.0.scratch.context=12", "needs"),
        ("experiments.topics.strong={name: x, path: ./nowhere}", "there is no folder ./nowhere"),
        (
            "experiments.topics.strong_training.gpus_per_worker=4",
            "room for 0 (nodes: 1 with 2 CPUs and 0 GPUs)",
        ),
        (
            "experiments.topics.strong_training.workers=8",
            "needs 8 times 1 CPUs and 0 GPUs, the cluster has room for 2",
        ),
    ],
)
def test_before_any_training(override: str, message: str, tmp_path: Path) -> None:
    assert message in run(tmp_path, override)


def test_a_folder_without_weights(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    strong = f"experiments.topics.strong={{name: x, path: {tmp_path / 'model'}}}"
    assert "holds no weights" in run(tmp_path, strong)


def test_data_that_is_not_there(tmp_path: Path) -> None:
    storage = f"experiments.scenario.task.data.folder={tmp_path}"
    assert f"no file {tmp_path}" in run(tmp_path, storage, config="scenario_small.yaml")
    hub = run(tmp_path, config="scenario_small.yaml")
    assert "data set AmazonScience/massive" in hub and "cannot be had" in hub
