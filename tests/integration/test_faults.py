"""Faults while the tiny configuration runs: it ends by itself, with the undisturbed results."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from running import EVERY_STEP, TINY, Running


def results(folder: Path, name: str = "tiny") -> pd.DataFrame:
    return pd.read_parquet(folder / "runs" / name / "results.parquet")


def manifests(storage: Path) -> dict[str, int]:
    return {
        str(path.parent.relative_to(storage)): path.stat().st_mtime_ns
        for path in storage.glob("artefacts/*/*/manifest.json")
    }


def kill_one(run: Running, title: str, when: Callable[[], object]) -> None:
    """Kill a process of the run's own Ray as soon as `when` says so."""
    [process, *_] = run.when(lambda: run.children(title) if when() else [])
    process.kill()


def test_a_lost_host_and_a_lost_training_worker(undisturbed: Path, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    run = Running(TINY, storage, *EVERY_STEP)
    labels = storage / "artefacts" / "label"
    kill_one(run, "ModelHost", lambda: list(storage.glob("artefacts/finetune/*")))
    kill_one(run, "TrainWorker", lambda: list(storage.glob("work/student-*/checkpoint-*")))
    printed = run.ended()
    assert "training workers were lost" in printed
    assert labels.is_dir()
    pd.testing.assert_frame_equal(results(storage), results(undisturbed))
    assert manifests(storage).keys() == manifests(undisturbed).keys()


def test_what_a_killed_run_was_answered_is_not_asked_again(
    undisturbed: Path, tmp_path: Path
) -> None:
    storage = shutil.copytree(undisturbed, tmp_path / "storage")
    shutil.rmtree(storage / "artefacts" / "label")
    # Several blocks a model.
    row_by_row = [f"experiments.{task}.labelling.batch_size=1" for task in ("topics", "slots")]
    run = Running(TINY, storage, *row_by_row)
    run.when(lambda: list(storage.glob("work/label-*/*/[!.]*")))
    run.process.kill()
    run.process.wait()
    killed = time.time()
    assert not (storage / "artefacts" / "label").exists()
    Running(TINY, storage, *row_by_row).ended()
    began = []
    for path in (undisturbed / "artefacts" / "label").iterdir():
        here = storage / "artefacts" / "label" / path.name
        notes = json.loads((here / "manifest.json").read_text())["notes"]
        began.append(min(actor["first"] for actor in notes["actors"]))
        found, wanted = (pd.read_parquet(one / "rows.parquet") for one in (here, path))
        # Up to what another size of batch rounds otherwise.
        pd.testing.assert_frame_equal(found, wanted, check_exact=False, atol=1e-5)
    assert min(began) < killed < max(began)
    assert not list(storage.glob("work/label-*"))


def test_damage_is_said_and_made_good(undisturbed: Path, tmp_path: Path) -> None:
    storage = shutil.copytree(undisturbed, tmp_path / "storage")
    [result, *_] = storage.glob("artefacts/results/*/results.parquet")
    content = bytearray(result.read_bytes())
    content[len(content) // 2] ^= 1
    result.write_bytes(bytes(content))
    for stage, file in (("label", "rows.parquet"), ("supervision", "manifest.json")):
        [path, *_] = storage.glob(f"artefacts/{stage}/*/{file}")
        path.write_bytes(path.read_bytes()[:-7])
    printed = Running(TINY, storage).ended()
    for stage in ("results", "label", "supervision"):
        assert f"damaged, to be made again: {stage}" in printed
    pd.testing.assert_frame_equal(results(storage), results(undisturbed))
    assert manifests(storage).keys() == manifests(undisturbed).keys()


def test_two_runs_at_once_on_one_storage_share_the_work(undisturbed: Path, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    both = [Running(TINY, storage, "name=one")]
    both[0].when(lambda: manifests(storage))
    both.append(Running(TINY, storage, "name=other"))
    seen: dict[str, int] = {}
    while any(run.process.poll() is None for run in both):
        # What is there stays as it is: nothing is made a second time over it.
        now = manifests(storage)
        assert {path: now.get(path) for path in seen} == seen
        seen = now
        time.sleep(0.2)
    for run, name in zip(both, ("one", "other"), strict=True):
        run.ended()
        pd.testing.assert_frame_equal(results(storage, name), results(undisturbed))
    assert manifests(storage).keys() == manifests(undisturbed).keys()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, with 4 MiB of space; needs the right to mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if subprocess.run(words, capture_output=True).returncode:
        pytest.skip("mounting a file system needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_said_and_with_more_space_the_run_goes_on(
    undisturbed: Path, small_disk: Path
) -> None:
    run = Running(TINY, small_disk)
    printed, _ = run.process.communicate(timeout=900)
    assert run.process.returncode == 2
    assert f"raw2s: no space is left at {small_disk}" in printed and "Traceback" not in printed
    kept = manifests(small_disk)
    assert kept and len(kept) < len(manifests(undisturbed))
    subprocess.run(["mount", "-o", "remount,size=1g", str(small_disk)], check=True)
    printed = Running(TINY, small_disk).ended()
    assert "damaged" not in printed
    after = manifests(small_disk)
    assert {path: after[path] for path in kept} == kept
    pd.testing.assert_frame_equal(results(small_disk), results(undisturbed))


def test_a_bucket_serves_as_storage_and_no_secret_is_written(
    undisturbed: Path, tmp_path: Path, bucket: dict[str, str]
) -> None:
    names = ("HF_TOKEN", "WANDB_API_KEY", "RAY_AUTH_TOKEN")
    secrets = {name: f"planted-{n}-{name}" for n, name in enumerate(names)}
    secrets["AWS_SECRET_ACCESS_KEY"] = bucket["AWS_SECRET_ACCESS_KEY"]

    def run(machine: str) -> str:
        cache = {"RAW2S_CACHE": str(tmp_path / machine)}
        return Running(TINY, "s3://raw2s/experiments", **(bucket | secrets | cache)).ended()

    printed = run("one")
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 100
    for secret in secrets.values():
        assert secret not in printed
        assert not [content for content in written if secret.encode() in content]
    [folder] = (tmp_path / "one").iterdir()
    pd.testing.assert_frame_equal(results(folder), results(undisturbed))
    assert manifests(folder).keys() == manifests(undisturbed).keys()
    assert "every stage is done already" in run("other")
    [folder] = (tmp_path / "other").iterdir()
    pd.testing.assert_frame_equal(results(folder), results(undisturbed))
    # It fetched the results, not the models.
    assert not list(folder.glob("artefacts/finetune/*"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(50))
def test_a_run_killed_at_any_moment_goes_on_to_the_same_result(
    undisturbed: Path, tmp_path: Path, seed: int
) -> None:
    """The driver and its Ray by SIGKILL, at a moment drawn evenly over the undisturbed run."""
    began = min(path.stat().st_mtime for path in undisturbed.glob("artefacts/*/*/manifest.json"))
    lasted = (undisturbed / "runs" / "tiny" / "report.html").stat().st_mtime - began
    run = Running(TINY, tmp_path)
    with contextlib.suppress(subprocess.TimeoutExpired):
        run.process.communicate(timeout=3 + lasted * random.Random(seed).random())
    run.process.kill()
    run.process.wait()
    kept = manifests(tmp_path)
    Running(TINY, tmp_path).ended()
    after = manifests(tmp_path)
    assert {path: after[path] for path in kept} == kept
    assert after.keys() == manifests(undisturbed).keys()
    pd.testing.assert_frame_equal(results(tmp_path), results(undisturbed))
