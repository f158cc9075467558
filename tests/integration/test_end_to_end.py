"""The whole pipeline on the tiny configuration: run, run again, change, kill and resume, submit."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from running import check_same, free_ports, manifests, results

from raw2s import config
from raw2s.pipeline import recipe
from raw2s.store import Store

ROOT = Path(__file__).parents[2]
TINY = ROOT / "configs" / "tiny.yaml"
RAW2S = [sys.executable, "-m", "raw2s.cli"]


def command(storage: Path, *more: str) -> list[str]:
    return [*RAW2S, "run", str(TINY), "--set", f"storage={storage}", *more]


def finished(words: list[str], **options: Any) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=900, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def storage(undisturbed: Path) -> Path:
    return undisturbed


def test_a_run_leaves_everything_that_a_reader_wants(storage: Path) -> None:
    run = config.load(TINY, overrides={"storage": str(storage)})
    table = results(storage)
    expected = {
        "topics": {"gpt2", "bloom", "llama", "Ceiling"},
        "slots": {"gpt2", "bloom", "llama", "Ceiling", "Bayesian Multi-Weak + aux + cDPO"},
    }
    for name, experiment in run.experiments.items():
        systems = expected[name] | {strategy.name for strategy in experiment.strategies}
        rows = table[table["experiment"] == name]
        assert set(rows["system"]) == systems
        assert (rows.groupby("system").size() == experiment.task.test_rows).all()
    folder = storage / "runs" / "tiny"
    page = (folder / "report.html").read_text()
    assert "Bayesian Multi-Weak + aux + cDPO" in page and "http://" not in page.replace(
        "http://www.w3.org", ""
    )
    assert len(pd.read_csv(folder / "results.csv")) == 4 + 3 + 4 + 4
    assert "| Joint Decoding + aux |" in (folder / "results.md").read_text()
    assert config.load(folder / "config.yaml") == run
    assert json.loads((folder / "environment.json").read_text())["packages"]["ray"]


@pytest.mark.parametrize("experiment", ["topics", "slots"])
def test_weak_models_label_at_the_same_time_each_in_an_actor_of_its_own(
    storage: Path, experiment: str
) -> None:
    details = json.loads((storage / "runs" / "tiny" / "details.json").read_text())
    actors = [actor for actor in details["actors"] if actor["experiment"] == experiment]
    assert len({actor["actor"] for actor in actors}) == 3
    assert [actor["model"] for actor in actors] == ["gpt2", "bloom", "llama"]
    # The last is ready with its model before the first is done.
    assert max(actor["start"] for actor in actors) < min(actor["end"] for actor in actors)
    assert all(actor["start"] <= actor["first"] < actor["end"] for actor in actors)


def test_trained_models_are_ordinary_folders(storage: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run = config.load(TINY, overrides={"storage": str(storage)})
    store = Store(storage)
    for job in recipe(run).jobs("cdpo"):
        folder = store.path(job)
        assert (folder / "model.safetensors").is_file()
        assert not [path for path in folder.rglob("*") if path.suffix in (".bin", ".pt", ".pkl")]
        assert AutoModelForCausalLM.from_pretrained(folder).num_parameters() > 0
        assert AutoTokenizer.from_pretrained(folder)("blub")["input_ids"]
        assert list((folder / "tensorboard").rglob("events*"))


def test_a_second_run_does_nothing_and_takes_seconds(storage: Path) -> None:
    before, started = manifests(storage), time.monotonic()
    printed = finished(command(storage))
    assert time.monotonic() - started < 20
    assert "every stage is done already" in printed
    assert manifests(storage) == before


def test_experts_and_every_rule_of_weights_teach_a_student(storage: Path, tmp_path: Path) -> None:
    """Boosted and bagged experts, weights learned and by confidence, on the tiny run's models."""
    boosted = {"name": "boosted", "of": "gpt2", "rounds": 2, "epsilon": 0.99}
    changes = {
        "name": "experts",
        "experiments.topics.ensembles": [boosted],
        "experiments.topics.strategies": [{"strategy": "ensemw2s", "weak": ["boosted"]}],
        "experiments.slots.ensembles": [
            boosted | {"error_on": "validation", "level": "example", "combine": "vote"},
            {"name": "bagged", "of": "bloom", "rounds": 2, "method": "bagging"},
        ],
        "experiments.slots.strategies": [
            {"strategy": "bayesian", "weak": ["boosted", "bagged", "llama"], "weights": "dynamic",
             "evidential": {"evidence": "exp", "reg_coef": 1e-4}},
            {"strategy": "naive", "weights": "learned_by_type", "label": "By type"},
            {"strategy": "joint", "cdpo": True},
        ],
        "experiments.slots.joint_weights": "dynamic",
        "experiments.slots.cdpo.weights": "learned",
    }  # fmt: skip
    sets = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    copied = shutil.copytree(storage, tmp_path / "copy")
    finished(command(copied, *sets))
    folder = copied / "runs" / "experts"
    table = pd.read_csv(folder / "results.csv").set_index(["experiment", "system"])
    assert table.loc[("topics", "boosted"), "role"] == "ensemble"
    students = table[table["role"] == "student"].loc["slots"].index
    assert list(students) == [
        "Bayesian Multi-Weak", "By type", "Joint Decoding", "Joint Decoding + cDPO",
    ]  # fmt: skip
    counts = json.loads((folder / "details.json").read_text())["counts"]
    assert counts["slots/bagged: rounds"]["ended"] == "max_rounds 2 reached"
    assert "expert 2: error, vote" in counts["topics/boosted: rounds"]
    assert "learned weight" in counts["slots/By type: labels of gpt2"]


def test_another_gamma_retrains_students_only() -> None:
    def jobs(gamma: float) -> dict[str, set[str]]:
        overrides = {
            f"experiments.{name}.strategies.{i}.auxiliary.gamma_max": gamma
            for name, i in (("topics", 1), ("topics", 2), ("slots", 0), ("slots", 1))
        }
        plan = recipe(config.load(TINY, overrides=overrides))
        return {stage: set(found) for stage, found in plan.stages.items()}

    one, other = jobs(0.5), jobs(0.25)
    changed = {stage for stage in one if one[stage] != other[stage]}
    assert changed == {"student", "answer", "results"}
    assert len(one["student"] - other["student"]) == 4


def test_a_run_killed_while_students_train_goes_on_to_the_same_result(
    storage: Path, tmp_path: Path
) -> None:
    process = start(tmp_path)
    deadline = time.monotonic() + 900
    while not list(tmp_path.glob("artefacts/student/*/manifest.json")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    goes_on(process, tmp_path, storage)


def start(storage: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command(storage), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip


def goes_on(process: subprocess.Popen[bytes], storage: Path, undisturbed: Path) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = manifests(storage)
    finished(command(storage))
    after = manifests(storage)
    assert {path: after[path] for path in kept} == kept
    assert len(after) == len(manifests(undisturbed))
    check_same(storage, undisturbed)


def test_a_job_submitted_to_a_cluster_with_tokens(storage: Path, tmp_path: Path) -> None:
    """A head node with token authentication; without the token it refuses."""
    environment = os.environ | {
        "HOME": str(tmp_path), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "t"),
    }  # fmt: skip
    environment.pop("RAY_ADDRESS", None)
    (tmp_path / "t").write_text("0123456789abcdef0123456789abcdef")
    copied = shutil.copytree(storage, tmp_path / "copy")
    entry = [
        "--", sys.executable, str(ROOT / "jobs" / "full_pipeline.py"), str(TINY),
        "--set", f"storage={copied}", "--set", "experiments.topics.strategies.1.auxiliary=null",
    ]  # fmt: skip
    with head_node(environment) as address:
        submit = [RAY, "job", "submit", "--address", address]
        refused = subprocess.run(
            [*submit, *entry], capture_output=True, text=True, timeout=60,
            env=environment | {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "none")},
        )  # fmt: skip
        assert refused.returncode != 0
        printed = finished([*submit, *entry], env=environment)
        assert "succeeded" in printed and "Naive Multi-Weak" in printed


RAY = str(Path(sys.executable).parent / "ray")


@contextlib.contextmanager
def head_node(environment: dict[str, str]) -> Iterator[str]:
    """A head that takes jobs; yields its address. One that ends by itself is started again."""
    with contextlib.ExitStack() as stack:
        said = []
        while len(said) < 3:
            # Sockets lie in it, whose paths must be short.
            folder = Path(tempfile.mkdtemp(prefix="raw2s-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            head, address = start_head(environment, folder)
            stack.callback(head.wait, timeout=60)
            # It ends the processes that it started.
            stack.callback(head.terminate)
            if takes_jobs(head, address, environment):
                yield address
                return
            said.append((folder / "head.log").read_text()[-3000:])
        raise AssertionError("\n".join(said))


def start_head(environment: dict[str, str], folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """The process and the address for jobs. Every port is a free one: another Ray may be on this
    machine, and the default of Ray's agent is one that any connection may happen to use."""
    gcs, dashboard, agent, agent_grpc, client = free_ports(5)
    with (folder / "head.log").open("w") as log:
        head = subprocess.Popen(
            [
                RAY, "start", "--head", f"--port={gcs}", f"--dashboard-port={dashboard}",
                f"--dashboard-agent-listen-port={agent}",
                f"--dashboard-agent-grpc-port={agent_grpc}", f"--ray-client-server-port={client}",
                "--num-cpus=2", "--object-store-memory=134217728", "--temp-dir", str(folder),
                "--block",
            ],
            env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    return head, f"http://127.0.0.1:{dashboard}"


def takes_jobs(head: subprocess.Popen[bytes], address: str, environment: dict[str, str]) -> bool:
    """Wait until it does, which is later than that it answers; False if it ends before."""
    trial = [RAY, "job", "submit", "--address", address, "--", "true"]
    deadline = time.monotonic() + 300
    while (tried := subprocess.run(trial, env=environment, capture_output=True)).returncode:
        assert time.monotonic() < deadline, tried.stderr[-1000:]
        if head.poll() is not None:
            return False
        time.sleep(1)
    return True
