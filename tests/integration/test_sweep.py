"""A sweep on the tiny run's models: killed, resumed, with trials that fail; Optuna; seeds."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from raw2s import config
from raw2s.pipeline import trial
from raw2s.search import space
from raw2s.store import Store

ROOT = Path(__file__).parents[2]
TINY = ROOT / "configs" / "tiny.yaml"
SEARCH = {
    "experiment": "topics",
    "strategy": "Bayesian Multi-Weak + aux",
    "parameters": {
        "strategy.evidential.reg_coef": [1.0, 0.1],
        # A cluster of two CPUs has no room for four workers, whose weak models two trials share.
        "experiment.weak_training.workers": [1, 4],
    },
}


@pytest.fixture(scope="module")
def configured(undisturbed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep's configuration; its storage has the undisturbed run's artefacts."""
    folder = tmp_path_factory.mktemp("sweep")
    storage = shutil.copytree(undisturbed, folder / "storage")
    path = folder / "sweep.yaml"
    raw = {"base": str(TINY), "name": "swept", "storage": str(storage), "sweep": SEARCH}
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    return path


def command(path: Path, *more: str) -> list[str]:
    return [sys.executable, str(ROOT / "jobs" / "sweep.py"), str(path), *more]


def finished(words: list[str]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def answered(storage: Path) -> dict[str, int]:
    """How many models have answered each split."""
    found: dict[str, int] = {}
    for path in storage.glob("artefacts/answer/*/manifest.json"):
        split = json.loads(path.read_text())["spec"]["split"]
        found[split] = found.get(split, 0) + 1
    return found


def test_a_sweep_goes_on_after_a_kill_and_tests_once(configured: Path, undisturbed: Path) -> None:
    storage = configured.parent / "storage"
    log = storage / "sweeps" / "swept" / "trials.jsonl"
    process = subprocess.Popen(
        command(configured), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 900
    while not (log.is_file() and '"error": ""' in log.read_text()):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()

    printed = finished(command(configured))
    assert "trials found" in printed
    folder = storage / "sweeps" / "swept"
    table = pd.read_csv(folder / "trials.csv").set_index("trial").sort_index()
    assert list(table["state"]) == ["done", "failed", "done", "failed"]
    assert table["error"][1].endswith("room for 2 (nodes: 1 with 2 CPUs and 0 GPUs)")

    # Each score is the share of validation rows that the trial's student has right.
    run = config.load(configured)
    assert run.sweep is not None
    store, scores = Store(storage), {}
    for number, values in enumerate(space.grid(run.sweep)):
        if table["state"][number] == "done":
            plan, _ = trial(space.trial_run(run, run.sweep, values))
            (job,) = plan.jobs("answer")
            rows = pd.read_parquet(store.path(job) / "rows.parquet").set_index("id")
            truth = pd.read_parquet(store.path(job.inputs["splits"]) / "validation.parquet")
            said = rows.loc[truth["id"], "probabilities"].map(lambda p: p.argmax())
            scores[number] = (said.to_numpy() == truth["gold"].map(json.loads).to_numpy()).mean()
    assert scores == pytest.approx(dict(table["score_mean"].dropna()))

    # Trial 0 is the undisturbed run's student, which has its test; a better one adds its own.
    best = max(scores, key=lambda number: (scores[number], -number))
    before, after = answered(undisturbed), answered(storage)
    assert after["validation"] == 2
    assert after["test"] - before["test"] == (0 if best == 0 else 1)
    page = (folder / "report.html").read_text()
    assert f"the test was scored once, for trial {best}" in page
    assert (storage / "runs" / "swept-best" / "report.html").is_file()

    # Nothing is left to do, but for the trials that failed.
    artefacts = sorted(storage.glob("artefacts/*/*"))
    assert "2 trials found" in finished(command(configured))
    assert sorted(storage.glob("artefacts/*/*")) == artefacts


def done(log: Path) -> list[dict[str, Any]]:
    """The records of a sweep's trials that ended well."""
    records = [json.loads(line) for line in log.read_text().splitlines() if line]
    return [record for record in records if record.get("error") == ""]


def test_optuna_goes_on_where_it_was(configured: Path) -> None:
    pytest.importorskip("optuna")
    more = [
        "--set", "name=drawn", "--set", "sweep.method=optuna", "--set",
        "sweep.parameters={strategy.auxiliary.gamma_max: {between: [0, 1]}}",
    ]  # fmt: skip
    log = configured.parent / "storage" / "sweeps" / "drawn" / "trials.jsonl"
    finished(command(configured, *more, "--set", "sweep.trials=1"))
    (first,) = done(log)
    assert "1 trials found" in finished(command(configured, *more, "--set", "sweep.trials=2"))
    assert done(log)[0] == first
    drawn = [record["values"]["strategy.auxiliary.gamma_max"] for record in done(log)]
    assert len(drawn) == 2
    assert drawn[0] != drawn[1] and all(0 <= value <= 1 for value in drawn)


def test_many_seeds_share_the_weak_models(configured: Path) -> None:
    storage = configured.parent / "storage"
    trained = {path.name for path in storage.glob("artefacts/finetune/*")}
    raw = yaml.safe_load(TINY.read_text()) | {"storage": str(storage), "name": "seeds"}
    raw["experiments"] = {"topics": raw["experiments"]["topics"]}
    raw["experiments"]["topics"]["strategies"] = [{"strategy": "naive"}]
    path = configured.parent / "seeds.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    finished([sys.executable, str(ROOT / "jobs" / "seeds.py"), str(path), "2"])
    table = pd.read_csv(storage / "runs" / "seeds" / "results.csv").set_index("system")
    assert table.loc["Naive Multi-Weak", "seeds"] == 2
    # One ceiling more, no weak model.
    assert len({path.name for path in storage.glob("artefacts/finetune/*")} - trained) == 1
