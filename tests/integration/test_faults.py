"""Faults while the tiny configuration runs: it ends by itself, with the undisturbed results."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pandas as pd
import pytest
from running import EVERY_STEP, TINY, Running, check_same, manifests, results


def kill_one(run: Running, title: str, when: Callable[[], object]) -> None:
    """Kill a process of the run's own Ray as soon as `when` says so."""
    [process, *_] = run.when(lambda: run.children(title) if when() else [])
    process.kill()


def test_a_lost_host_and_a_lost_training_worker(undisturbed: Path, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    run = Running(TINY, storage, *EVERY_STEP)
    kill_one(run, "ModelHost.answer", lambda: list(storage.glob("artefacts/finetune/*")))
    kill_one(run, "TrainWorker", lambda: list(storage.glob("work/student-*/checkpoint-*")))
    printed = run.ended()
    assert "training workers were lost" in printed
    check_same(storage, undisturbed)


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
    check_same(storage, undisturbed)


def test_two_runs_at_once_on_one_storage_share_the_work(undisturbed: Path, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    both = [Running(TINY, storage, "name=one")]
    both[0].when(lambda: manifests(storage))
    both.append(Running(TINY, storage, "name=other"))
    seen: dict[str, int] = {}
    written: set[tuple[str, str]] = set()
    while any(run.process.poll() is None for run in both):
        # What is there stays as it is: nothing is made a second time over it.
        now = manifests(storage)
        assert {path: now.get(path) for path in seen} == seen
        seen = now
        for _ in range(40):
            # Whoever has made something writes it aside, in a folder of the work's and an own name,
            # which is there for a moment: looked for often.
            asides = (path.name for path in storage.glob("work/aside-*"))
            written.update(tuple(name.rsplit("-", 1)) for name in asides)
            time.sleep(0.005)
    for run, name in zip(both, ("one", "other"), strict=True):
        run.ended()
        check_same(storage, undisturbed, name)
    works = [work for work, _ in written]
    assert len(works) > len(manifests(undisturbed)) / 2
    assert sorted(works) == sorted(set(works))


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
    check_same(small_disk, undisturbed)


@pytest.fixture
def short_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="raw2s-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def test_a_bucket_serves_as_storage_and_no_secret_is_written(
    undisturbed: Path, tmp_path: Path, short_folder: Path, bucket: dict[str, str]
) -> None:
    names = ("HF_TOKEN", "WANDB_API_KEY", "RAY_AUTH_TOKEN")
    secrets = {name: f"planted-{n}-{name}" for n, name in enumerate(names)}
    secrets["AWS_SECRET_ACCESS_KEY"] = bucket["AWS_SECRET_ACCESS_KEY"]

    def run(machine: str, *sets: str, **more: str) -> Running:
        # Sockets lie in Ray's own folder, whose paths must be short.
        own = {"RAW2S_CACHE": str(tmp_path / machine), "RAY_TMPDIR": str(short_folder), **more}
        return Running(TINY, "s3://raw2s/experiments", *sets, **(bucket | secrets | own))

    printed = run("one").ended()
    strong = "experiments.topics.strong={name: x, path: some/model}"
    failed = run("two", "name=failed", strong, HF_HUB_OFFLINE="1")
    said, _ = failed.process.communicate(timeout=900)
    assert failed.process.returncode == 2 and "We couldn't connect to" in said
    client = boto3.session.Session("key", secrets["AWS_SECRET_ACCESS_KEY"]).client(
        "s3", endpoint_url=bucket["AWS_ENDPOINT_URL"], region_name=bucket["AWS_DEFAULT_REGION"]
    )
    pages = client.get_paginator("list_objects_v2").paginate(Bucket="raw2s")
    keys = [found["Key"] for page in pages for found in page["Contents"]]
    objects = [client.get_object(Bucket="raw2s", Key=key)["Body"].read() for key in keys]
    logs = [path for path in short_folder.rglob("*") if path.is_file()]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(objects) > 100 and len(files) > 100 and len(logs) > 10
    written = objects + [path.read_bytes() for path in files + logs]
    for name, secret in secrets.items():
        assert secret not in printed + said
        assert not [content for content in written if secret.encode() in content], name
    [folder] = (tmp_path / "one").iterdir()
    check_same(folder, undisturbed)
    assert "every stage is done already" in run("other").ended()
    [folder] = (tmp_path / "other").iterdir()
    pd.testing.assert_frame_equal(results(folder), results(undisturbed), check_exact=True)
    # It fetched the results, not the models.
    assert not list(folder.glob("artefacts/finetune/*"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(50))
def test_a_run_killed_at_any_moment_goes_on_to_the_same_result(
    undisturbed: Path, tmp_path: Path, seed: int
) -> None:
    """The driver by SIGKILL, with which its Ray ends, at a moment drawn evenly over the undisturbed
    run, whose start is taken to last three seconds."""
    began = min(manifests(undisturbed).values()) / 1e9
    lasted = (undisturbed / "runs" / "tiny" / "report.html").stat().st_mtime - began
    run = Running(TINY, tmp_path)
    moment = (3 + lasted) * random.Random(seed).random()
    with contextlib.suppress(subprocess.TimeoutExpired):
        run.process.communicate(timeout=moment)
    # One that is faster than the undisturbed run may have ended, but not long before that.
    assert run.process.poll() is None or moment > 0.5 * lasted
    run.process.kill()
    run.process.wait()
    kept = manifests(tmp_path)
    Running(TINY, tmp_path).ended()
    after = manifests(tmp_path)
    assert {path: after[path] for path in kept} == kept
    check_same(tmp_path, undisturbed)
