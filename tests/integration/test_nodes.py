"""A cluster whose worker node goes away, with and without notice, and another one comes."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd
import pytest
import torch
import yaml
from running import EVERY_STEP, SHELL, TINY, Running, check_same, free_ports, results
from safetensors.torch import load_file
from worker_node import WorkerNode, head, worker_node

from raw2s.config import Run, load
from raw2s.pipeline import recipe
from raw2s.stages import TRAINED
from raw2s.store import Job, Store
from raw2s.trainers.process import last_checkpoint, step_of


@pytest.fixture
def node() -> Iterator[WorkerNode]:
    with worker_node() as found:
        yield found


def of_one_weak_model(folder: Path, **changes: dict[str, Any]) -> Path:
    """TINY's classification with its first weak model alone; `changes`: of it (weak), or of an
    experiment's part of that name."""
    raw = yaml.safe_load(TINY.read_text())
    topics = raw["experiments"]["topics"]
    topics["weak"] = [topics["weak"][0] | changes.pop("weak", {})]
    topics["strategies"] = [{"strategy": "naive"}]
    topics |= {part: topics[part] | change for part, change in changes.items()}
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(raw | {"experiments": {"topics": topics}}))
    return config


def endless(folder: Path) -> Path:
    """A configuration whose weak model trains for hours and keeps no checkpoint by itself."""
    training = {"epochs": 10**6, "keep_best": False, "checkpoint_steps": 10**9}
    return of_one_weak_model(folder, weak_training=training)


def weak_model(loaded: Run) -> Job:
    [weak] = [job for job in recipe(loaded).jobs("finetune") if job.spec["split"] == "weak"]
    return weak


def test_a_plan_says_what_the_cluster_has_room_for(node: WorkerNode, tmp_path: Path) -> None:
    """The cluster that a run would take; two of its CPUs are the worker's, the head has none."""
    words = [sys.executable, "-m", "raw2s.cli", "plan", str(TINY)]
    for override in (f"storage={tmp_path}", "experiments.slots.cdpo.training.workers=8"):
        words += ["--set", override]
    environment = SHELL | node.found_by | {"COLUMNS": "160"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    cells = [line.strip("│").split("│") for line in done.stdout.splitlines()]
    room = {one[0].strip(): one[-1].strip() for one in cells}
    assert room["topics: weak models"] == "2" and room["slots: cDPO"] == "2: too few"
    assert "nodes: 1 with 2 CPUs and 0 GPUs; 1 with 0 CPUs and 0 GPUs." in done.stdout


def test_the_worker_node_is_lost_again_and_again(
    node: WorkerNode, undisturbed: Path, tmp_path: Path
) -> None:
    """While weak models label, while they score for Joint Decoding, while strong models train."""

    def there(pattern: str) -> bool:
        return bool(list(tmp_path.glob(pattern)))

    run = Running(TINY, tmp_path, "cluster.retries=5", *EVERY_STEP, **node.found_by)
    run.when(lambda: node.at_work("ModelHost.answer"))
    node.lose()
    run.when(lambda: there("artefacts/candidates/*/manifest.json"))
    run.when(lambda: node.at_work("ModelHost.answer"))
    node.lose()
    run.when(lambda: there("artefacts/supervision/*/manifest.json"))
    run.when(lambda: there("work/*/checkpoint-*"))
    node.lose()
    run.ended()
    check_same(tmp_path, undisturbed)


def test_a_worker_that_will_be_taken_away_keeps_a_checkpoint_first(
    node: WorkerNode, tmp_path: Path
) -> None:
    """Twice; the second checkpoint is bit by bit what an undisturbed training has at its step."""
    config = endless(tmp_path)
    loaded = load(config, overrides={"storage": str(tmp_path / "storage")})
    weak = weak_model(loaded)
    store = Store(loaded.storage)
    work = store.work(weak)
    environment = node.found_by | {"RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "0.2"}
    run = Running(config, loaded.storage, **environment)

    begun: set[Path] = set()

    def kept_after(step: int) -> int:
        began = run.when(lambda: {*Path(loaded.storage).rglob("*tfevents*")} - begun)
        begun.update(began)
        node.notice(seconds=600)
        run.when(lambda: step_of(last_checkpoint(work)) > step)
        return step_of(last_checkpoint(work))

    first = kept_after(0)
    node.lose()
    second = kept_after(first)
    run.process.kill()
    run.process.wait()
    node.lose()
    after = load_file(work / f"checkpoint-{second}" / "model.safetensors")

    class Reached(Exception):
        pass

    def until_second(done: int, total: int) -> bool:
        if done > second:
            raise Reached
        return done == second

    shutil.rmtree(work)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.raises(Reached):
        TRAINED["finetune"](weak, store, 0, until_second)
    torch.set_num_threads(threads)
    alone = load_file(work / f"checkpoint-{second}" / "model.safetensors")
    assert alone.keys() == after.keys()
    assert all(torch.equal(alone[name], after[name]) for name in alone)


@pytest.mark.parametrize("where", [contextlib.nullcontext, worker_node])
def test_another_ray_on_the_machine_does_not_take_workers_away(where: Any, tmp_path: Path) -> None:
    """Ray Train looks for its run in the Ray that was started last on the machine."""
    with where() as cluster:
        environment = cluster.found_by if cluster else {}
        run = Running(endless(tmp_path), tmp_path / "storage", **environment)
        run.when(lambda: list(tmp_path.rglob("*tfevents*")))
        [worker] = (cluster.at_work if cluster else run.children)("TrainWorker")
        [port] = free_ports(1)
        with head(dashboard_port=port):
            socket.create_connection(("127.0.0.1", port), timeout=60).close()
            # Ray Train looks each second.
            time.sleep(5)
            still_there = worker.is_running()
        run.process.kill()
        run.process.wait()
    assert still_there


def test_what_a_ray_of_one_machine_is_told_ends_with_its_connection(tmp_path: Path) -> None:
    """A driver may connect to a cluster afterwards, whose nodes can be taken away. The token that
    Ray makes for the first is its owner's alone."""
    code = """
import os
from raw2s.config import Cluster
from raw2s.orchestration.cluster import connected

with connected(Cluster(cpus=1, object_store_mb=128)):
    assert os.environ["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] == "0"
assert not {"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "RAY_API_SERVER_ADDRESS"} & set(os.environ)
"""
    own = {"HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=SHELL | own, check=True, timeout=300)
    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in (".ray", ".ray/auth_token")]
    assert modes == [0o700, 0o600]


def test_a_strong_model_on_two_nodes_that_share_a_bucket_only(
    tmp_path: Path, bucket: dict[str, str]
) -> None:
    """ZeRO-3, a worker on each; one node is lost with its cache, and what takes its place finds the
    shards of both in the bucket. The weak model, on both too, keeps its best epoch."""
    both = {"workers": 2, "zero_stage": 3, "cpus_per_worker": 0.6}
    config = of_one_weak_model(
        tmp_path,
        strong_training=both | {"epochs": 8, "checkpoint_steps": 1},
        weak_training=both | {"epochs": 3, "keep_best": True},
        # What it learns is wrong, so its best epoch is not its last.
        weak={"noise": {"share": 1.0, "kind": "flipped"}},
    )
    alone = tmp_path / "alone"
    Running(config, alone).ended()
    driver = {"RAW2S_CACHE": str(tmp_path / "driver")}
    with mock.patch.dict(os.environ, bucket), head() as cluster:
        nodes = [
            WorkerNode(cluster, cpus=1, caches=tmp_path / "caches", address=f"127.0.0.{n}")
            for n in (2, 3)
        ]
        url = "s3://raw2s/two"
        run = Running(config, url, **nodes[0].found_by, **bucket, **driver)
        run.when(lambda: list(tmp_path.glob("caches/*/*/work/student-*/checkpoint-[3-9]")))
        nodes[1].lose()
        assert "training workers were lost" in run.ended()
        loaded = load(config, overrides={"storage": url})
        [student] = [job for job in recipe(loaded).jobs("student") if job.stage == "student"]
        assert Store(url).manifest(student)["notes"]["from_step"] >= 2
        notes = Store(url).manifest(weak_model(loaded))["notes"]
        assert notes["best_step"] < notes["steps"]
    [storage] = (tmp_path / "driver").iterdir()
    # Nothing of finished work stays.
    for one in nodes:
        assert one.cache and not list(one.cache.glob("*/work/*/checkpoint-*"))
    pd.testing.assert_frame_equal(results(storage), results(alone), check_exact=True)
