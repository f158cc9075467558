"""A folder and a bucket keep the same promises; the bucket is served by moto over HTTP."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pandas as pd
import pytest
from moto.server import ThreadedMotoServer

from raw2s.errors import StorageError
from raw2s.integrity import remove_damaged
from raw2s.stages.labels import request
from raw2s.stages.training import Clock, commit
from raw2s.storage import cache
from raw2s.storage import lease as leases
from raw2s.storage.tables import encoded
from raw2s.store import Job, Store

Make = Callable[[str], Store]
"""A store as one machine sees it, by the machine's name."""


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["folder", "bucket"])
def machine(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Make:
    if request.param == "folder":
        return lambda name: Store(tmp_path / "storage")
    bucket(request.getfixturevalue("service"), tmp_path, monkeypatch)

    def store(name: str) -> Store:
        monkeypatch.setenv("RAW2S_CACHE", str(tmp_path / name))
        return Store(f"s3://{tmp_path.name.replace('_', '-').lower()}/some/where")

    return store


def test_the_cache_may_be_told_from_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for told, folder in (("~/fast", "fast"), ("", ".cache/raw2s")):
        monkeypatch.setenv("RAW2S_CACHE", told)
        assert Store("s3://somewhere").storage.local.parent == tmp_path / folder


def bucket(service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("AWS_ENDPOINT_URL", service), ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"), ("AWS_DEFAULT_REGION", "us-east-1"),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket=tmp_path.name.replace("_", "-").lower())


def made(store: Store, job: Job, text: str = "whole") -> None:
    with store.write(job) as (folder, notes):
        (folder / "deep").mkdir()
        (folder / "deep" / "a.txt").write_text(text)
        (folder / "b.txt").write_text("b")
        notes["rows"] = 3


@pytest.fixture
def bucket_only(
    service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Make, Any, str]:
    """As `machine`, the service's client, and the bucket."""
    bucket(service, tmp_path, monkeypatch)
    name = tmp_path.name.replace("_", "-").lower()

    def store(machine: str) -> Store:
        monkeypatch.setenv("RAW2S_CACHE", str(tmp_path / machine))
        return Store(f"s3://{name}")

    return store, boto3.client("s3"), name


def test_a_bucket_that_is_not_there_is_said(service: str, bucket_only: Any) -> None:
    store = Store("s3://mistyped")
    with pytest.raises(StorageError, match="cannot be opened: there is no bucket mistyped"):
        store.open_results("runs", "demo")
    # One that goes later ends the wait for a lock, too.
    with pytest.raises(Exception, match="NoSuchBucket"), store.alone(Job("student", "s", {})):
        pass


def test_a_service_without_credentials_or_answer_is_said(
    bucket_only: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine, _, _ = bucket_only
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(StorageError, match="cannot be opened: Could not connect"):
        machine("one").open_results("runs", "demo")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    with pytest.raises(StorageError, match="cannot be opened: Unable to locate credentials"):
        machine("one").open_results("runs", "demo")


@pytest.mark.parametrize("changed", [True, False])
def test_an_object_that_was_put_again_is_looked_at(bucket_only: Any, changed: bool) -> None:
    """By its checksum; it has the size that it had."""
    machine, client, name = bucket_only
    job = Job("label", "label", {})
    made(machine("one"), job)
    [key] = [
        found["Key"]
        for found in client.list_objects_v2(Bucket=name)["Contents"]
        if found["Key"].endswith("/deep/a.txt")
    ]
    if changed:
        client.put_object(Bucket=name, Key=key, Body=b"whols")
    else:
        # In parts, as a copy of the bucket may have it: the same content, another ETag.
        upload = client.create_multipart_upload(Bucket=name, Key=key)["UploadId"]
        part = client.upload_part(
            Bucket=name, Key=key, UploadId=upload, PartNumber=1, Body=b"whole"
        )
        parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
        client.complete_multipart_upload(
            Bucket=name, Key=key, UploadId=upload, MultipartUpload=parts
        )
    for place in ("one", "other"):
        store = machine(place)
        said = "deep/a.txt is not what was written: its checksum differs" if changed else ""
        assert store.fault(job) == said
    damaged = remove_damaged([job], machine("other"))
    assert [one.job for one in damaged] == ([job] if changed else [])


def test_damage_to_what_was_brought_here_is_brought_again(bucket_only: Any) -> None:
    machine, _, _ = bucket_only
    job = Job("label", "label", {})
    made(machine("one"), job)
    for content in ("whols", "who"):
        here = machine("other").path(job) / "deep" / "a.txt"
        here.write_text(content)
        # A process looks once.
        assert (machine("other").path(job) / "deep" / "a.txt").read_text() == "whole"


def test_two_runs_of_one_name_leave_one_state(bucket_only: Any) -> None:
    """However their keeping overlaps."""
    machine, _, _ = bucket_only
    stores = [machine(place) for place in ("one", "other")]
    for number, store in enumerate(stores):
        folder = store.open_results("runs", "demo")
        for n in range(20):
            (folder / f"{n}.txt").write_text(f"{number}")

    def keep(store: Store) -> None:
        for _ in range(5):
            for path in store.results("runs", "demo").iterdir():
                os.utime(path)
            store.keep_results("runs", "demo")

    threads = [threading.Thread(target=keep, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [path.read_text() for path in machine("third").open_results("runs", "demo").iterdir()]
    assert found in (["0"] * 20, ["1"] * 20)


def test_what_one_machine_writes_another_reads(machine: Make) -> None:
    one, other, job = machine("one"), machine("other"), Job("label", "title", {"x": (1, 2)})
    assert not one.has(job)
    with pytest.raises(FileNotFoundError):
        one.manifest(job)
    made(one, job)
    assert other.has(job)
    assert (other.path(job) / "deep" / "a.txt").read_text() == "whole"
    assert other.manifest(job)["notes"] == {"rows": 3}
    assert other.fault(job) == ""
    other.drop(job)
    assert not one.has(job)
    made(other, job, "again")
    assert (one.path(job) / "deep" / "a.txt").read_text() == "again"


def test_of_two_writers_the_first_stays_whole(machine: Make) -> None:
    one, other, job = machine("one"), machine("other"), Job("label", "title", {})
    with one.write(job) as (folder, _):
        (folder / "b.txt").write_text("second")
        made(other, job)
    for store in (one, other, machine("third")):
        assert store.fault(job) == ""
        assert (store.path(job) / "deep" / "a.txt").read_text() == "whole"
        assert (store.path(job) / "b.txt").read_text() == "b"


def test_an_address_opens_the_same_storage_only(machine: Make, tmp_path: Path) -> None:
    address = machine("one").address()
    assert address == machine("other").address()
    machine("other")
    assert address.open().root == address.root
    machine("other").storage.remove("storage.json")
    with pytest.raises(StorageError, match="does not see the storage"):
        address.open()
    assert machine("one").address() != address
    with pytest.raises(StorageError, match="does not see the storage"):
        address.open()


def test_pieces_are_kept_until_the_artefact_is_there(machine: Make) -> None:
    one, other, job = machine("one"), machine("other"), Job("label", "weak", {})
    assert one.pieces(job, "a") == ([], 0)
    one.keep_piece(job, "a", b"first")
    other.keep_piece(job, "a", b"second")
    other.keep_piece(job, "a", b"first")
    other.keep_piece(job, "b", b"")
    for store in (one, other):
        assert {*store.pieces(job, "a")[0]} == {b"first", b"second"}
        assert store.pieces(job, "b") == ([b""], 0)
    # Gone between the look and the reading, as another run may do it: neither whole nor damaged.
    names = one.storage.names
    one.storage.names = lambda place: [*names(place), "gone"]  # type: ignore[method-assign]
    assert one.pieces(job, "b") == ([b""], 0)
    one.storage.names = names  # type: ignore[method-assign]
    [name] = one.storage.names(f"work/label-{job.fingerprint}/b")
    one.storage.remove(f"work/label-{job.fingerprint}/b/{name}")
    one.storage.create(f"work/label-{job.fingerprint}/b/{name}", b"x")
    assert other.pieces(job, "b") == ([], 1)
    assert one.pieces(job, "b") == ([], 0)
    made(one, job)
    assert other.pieces(job, "a") == ([], 0)
    assert not other.storage.names(f"work/label-{job.fingerprint}/a")


def test_answers_that_were_kept_are_not_asked_for(machine: Make) -> None:
    store, splits = machine("one"), Job("splits", "splits", {})
    model = Job("finetune", "weak", {})
    made(store, model)
    with store.write(splits) as (folder, _):
        rows = pd.DataFrame({"id": list("abcde"), "text": list("vwxyz")})
        rows.to_parquet(folder / "strong.parquet")
    spec = {"labels": None, "operation": "generate", "options": {}, "split": "strong"}
    job = Job("label", "weak", spec, {"model": model, "splits": splits})
    first = request(job, store)
    assert first.waiting.equals(first.rows) and first.answered.empty

    def keep(*ids: str, text: str = "said") -> None:
        answer = {"id": [i for i in ids for _ in range(2)], "candidate": [0, 1] * len(ids)}
        store.keep_piece(job, first.kept_as, encoded(pd.DataFrame(answer).assign(text=text)))

    keep("b", "d")
    # Asked twice, since it was slow.
    keep("b", "d", text="said elsewhere")
    keep("e")
    again = request(job, machine("other"))
    assert list(again.rows["id"]) == list("abcde") and list(again.waiting["id"]) == ["a", "c"]
    assert sorted(again.answered["id"]) == list("bbddee")
    assert list(again.answered["candidate"]) == [0, 1] * 3
    # What another model has said is none of its answers.
    store.drop(model)
    made(store, model, "another")
    assert list(request(job, store).waiting["id"]) == list("abcde")


def test_a_lock_is_not_taken_through_a_link(tmp_path: Path) -> None:
    store, job, other = Store(tmp_path / "storage"), Job("student", "s", {}), tmp_path / "other"
    other.write_text("somebody's")
    lock = store.work(job).with_name(f"{store.work(job).name}.lock")
    lock.parent.mkdir(parents=True)
    lock.symlink_to(other)
    with pytest.raises(OSError, match="symbolic links"), store.alone(job):
        pass
    assert other.read_text() == "somebody's"


@pytest.mark.parametrize(
    "index",
    [
        "[1]", "{", '{"a": 1}', '{"a": {"key": "PLACE/a"}}',
        '{"a": {"at": [1, 2], "key": "other/a"}}', '{"a": {"at": [1, 1e999], "key": "PLACE/a"}}',
        '{"a": {"at": [1, 1.5], "key": "PLACE/a"}}', '{"a": {"at": ["1", 2], "key": "PLACE/a"}}',
        *(
            json.dumps({name: {"at": [1, 2], "key": "PLACE/a"}})
            for name in ("..", ".", "/a", "a/../../b", "\0")
        ),
    ],
)  # fmt: skip
def test_an_index_that_nobody_wrote_so_is_refused(
    index: str, service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket(service, tmp_path, monkeypatch)
    monkeypatch.setenv("RAW2S_CACHE", str(tmp_path / "cache"))
    store, job = Store(f"s3://{tmp_path.name.replace('_', '-').lower()}"), Job("student", "s", {})
    place = f"work/student-{job.fingerprint}"
    store.storage.create(f"{place}/a", b"a")
    store.storage.create(f"{place}/index.json", index.replace("PLACE", place).encode())
    kept = store.work(job) / "checkpoint-1"
    kept.mkdir(parents=True)
    (kept / "state").write_text("1")
    for use in (store.recall_work, lambda job: store.keep_work(job, lambda mine: [mine])):
        with pytest.raises(StorageError, match="is not what was written"):
            use(job)
    assert [path for path in store.work(job).rglob("*") if path.is_file()] == [kept / "state"]
    assert store.storage.read(f"{place}/a") == b"a"


def test_unfinished_work_moves_to_another_machine(machine: Make) -> None:
    one, other, job = machine("one"), machine("other"), Job("student", "s", {})
    for step in ("1", "2"):
        folder = one.work(job) / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        (folder / "state").write_text(step)
        (one.work(job) / "log").write_text("log")
        if step == "2":
            (one.work(job) / "checkpoint-1" / "state").unlink()
        one.keep_work(job, lambda mine: [mine])
    other.recall_work(job)
    found = {path.relative_to(other.work(job)).as_posix(): path.read_text()
             for path in other.work(job).rglob("*") if path.is_file()}  # fmt: skip
    assert found == {"checkpoint-2/state": "2", "log": "log"}
    made(other, job)
    one.storage.forget(f"work/{other.work(job).name}")
    again = machine("third")
    again.recall_work(job)
    assert not [path for path in again.work(job).rglob("*") if path.is_file()]


def test_ranks_of_two_machines_keep_one_state(
    tmp_path: Path, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket(service, tmp_path, monkeypatch)
    url, job, stores = f"s3://{tmp_path.name.replace('_', '-').lower()}", Job("student", "", {}), []
    for rank in range(2):
        monkeypatch.setenv("RAW2S_CACHE", str(tmp_path / str(rank)))
        stores.append(Store(url))
        stores[-1].work(job).mkdir(parents=True)
        (stores[-1].work(job) / f"shard-{rank}").write_text(str(rank))
        (stores[-1].work(job) / "rounds").write_text(str(rank))
    told: list[dict[str, object]] = []
    stores[1].keep_work(job, lambda mine: told.append(mine) or [])
    stores[0].keep_work(job, lambda mine: [mine, *told])
    monkeypatch.setenv("RAW2S_CACHE", str(tmp_path / "new"))
    new = Store(url)
    new.recall_work(job)
    files = ["rounds", "shard-0", "shard-1"]
    assert sorted(path.name for path in new.work(job).iterdir()) == files
    # Of two versions the first rank's counts.
    assert (new.work(job) / "rounds").read_text() == "0"
    # What is there already is not brought again, what the index lacks goes.
    before = (new.work(job) / "shard-0").stat().st_mtime_ns
    (new.work(job) / "half").write_text("half")
    new.recall_work(job)
    assert sorted(path.name for path in new.work(job).iterdir()) == files
    assert (new.work(job) / "shard-0").stat().st_mtime_ns == before


def test_what_was_longest_unused_gives_way_to_what_is_fetched(
    service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket(service, tmp_path, monkeypatch)
    here, there = (tmp_path / name for name in ("here", "there"))
    url = f"s3://{tmp_path.name.replace('_', '-').lower()}"
    jobs = [Job("finetune", f"model {n}", {"seed": n}) for n in range(5)]
    stores = {}
    for folder, some in ((here, jobs[:3]), (there, jobs[3:])):
        monkeypatch.setenv("RAW2S_CACHE", str(folder))
        stores[folder] = Store(url)
        for job in some:
            made(stores[folder], job, "w" * 10_000)
    store = stores[here]
    folders = {
        job.title: store.storage.local / f"artefacts/finetune/{job.fingerprint}" for job in jobs
    }

    def usage(path: Path) -> SimpleNamespace:
        kept = sum(file.stat().st_size for file in here.rglob("*") if file.is_file())
        return SimpleNamespace(total=45_000, free=45_000 - kept)

    def titles() -> set[str]:
        return {title for title, folder in folders.items() if folder.exists()}

    monkeypatch.setattr(cache.shutil, "disk_usage", usage)
    # In the order of their last uses: 1, 0, 2; the last of them less than an hour ago.
    for n, minutes in ((0, 90), (1, 100), (2, 50)):
        at = time.time() - 60 * minutes
        os.utime(folders[f"model {n}"] / "manifest.json", (at, at))
    assert store.path(jobs[0]) == folders["model 0"]
    store.path(jobs[3])
    assert titles() == {"model 0", "model 2", "model 3"}
    # Who asked for one within the hour may be about to read it: then it gets tight.
    store.path(jobs[4])
    assert titles() == {"model 0", "model 2", "model 3", "model 4"}
    # What is made here takes room, too.
    at = time.time() - 60 * 70
    os.utime(folders["model 2"] / "manifest.json", (at, at))
    made(store, Job("finetune", "small", {"seed": 9}))
    assert titles() == {"model 0", "model 3", "model 4"}
    # It is brought again when it is wanted.
    assert (store.path(jobs[1]) / "deep" / "a.txt").read_text() == "w" * 10_000


def test_one_works_alone(machine: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "LOOKED_EVERY", 0.01)
    job, order = Job("student", "s", {}), []
    one, other = machine("one"), machine("other")

    def wait() -> None:
        with other.alone(job):
            order.append("second")

    with one.alone(job):
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join(0.3)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def _hold(root: str, job: Job, held: multiprocessing.synchronize.Event) -> None:
    with Store(root).alone(job):
        held.set()
        time.sleep(600)


def test_a_killed_holder_holds_nobody_up(machine: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "LOOKED_EVERY", 0.05)
    monkeypatch.setattr(leases, "STALE_AFTER", 1.5)
    store, job = machine("one"), Job("student", "s", {})
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    process = context.Process(target=_hold, args=(store.root, job, held))
    process.start()
    assert held.wait(60)
    process.kill()
    process.join()
    started = time.monotonic()
    with store.alone(job):
        pass
    assert time.monotonic() - started < 10


def test_a_renewed_lease_is_not_taken(
    service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket(service, tmp_path, monkeypatch)
    monkeypatch.setattr(leases, "LOOKED_EVERY", 0.05)
    monkeypatch.setattr(leases, "RENEWED_EVERY", 0.2)
    monkeypatch.setattr(leases, "STALE_AFTER", 3)
    store, job = Store(f"s3://{tmp_path.name.replace('_', '-').lower()}"), Job("student", "s", {})
    entered = threading.Event()

    def wait() -> None:
        with store.alone(job):
            entered.set()

    with store.alone(job):
        thread = threading.Thread(target=wait)
        thread.start()
        assert not entered.wait(6)
    assert entered.wait(10)
    thread.join()


@pytest.mark.parametrize("harm", ["flipped", "truncated", "removed", "manifest", "half manifest"])
def test_damage_is_found_and_its_artefact_removed(tmp_path: Path, harm: str) -> None:
    store = Store(tmp_path)
    weak = Job("finetune", "weak", {})
    label = Job("label", "label", {}, {"model": weak})
    result = Job("results", "results", {}, {"label": label})
    for job in (weak, label, result):
        made(store, job)
    assert remove_damaged([weak, label, result], store) == []
    hurt = result if "manifest" not in harm else label
    file = store.path(hurt) / ("manifest.json" if "manifest" in harm else "deep/a.txt")
    content = bytearray(file.read_bytes())
    if harm in ("flipped", "manifest"):
        content[len(content) // 2] ^= 1
    elif harm in ("truncated", "half manifest"):
        del content[len(content) // 2 :]
    file.write_bytes(bytes(content))
    if harm == "removed":
        file.unlink()
    (found,) = remove_damaged([weak, label, result], store)
    assert found.job == hurt
    assert not store.has(hurt)
    assert ("manifest" in found.fault) == ("manifest" in harm)
    assert store.has(weak)


def test_damage_is_looked_for_in_all_that_is_still_to_be_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    weak = Job("finetune", "weak", {})
    label = Job("label", "label", {}, {"model": weak})
    result = Job("results", "results", {}, {"label": label})
    for job in (weak, label):
        made(store, job)
        (store.path(job) / "b.txt").write_text("c")
    # The results are missing, so the labels will be read, so the model.
    assert [damage.job for damage in remove_damaged([weak, label, result], store)] == [label, weak]
    made(store, weak)
    made(store, label)
    made(store, result)
    (store.path(weak) / "b.txt").write_text("c")
    # Nobody will read it, unless asked for.
    assert remove_damaged([weak, label, result], store) == []
    assert [damage.job for damage in remove_damaged([result, label, weak], store, [weak])] == [weak]


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    store, job = Store(tmp_path), Job("label", "title", {})
    # As safetensors tells it.
    full = RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
    with pytest.raises(StorageError, match="no space is left at"), store.write(job) as (folder, _):
        (folder / "half").write_text("half")
        raise RuntimeError("not saved") from full
    assert not store.has(job)
    assert not list((tmp_path / "work").iterdir())


def test_a_model_is_kept_until_its_artefact_is_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, job = Store(tmp_path), Job("finetune", "boosted", {})
    expert = store.work(job) / "model" / "expert-0" / "model.safetensors"
    expert.parent.mkdir(parents=True)
    expert.write_text("weights")

    def full(folder: Path, place: str) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(StorageError, match="no space"):
        patched.setattr(store.storage, "publish", full)
        commit(job, store, 0, {}, Clock(job, store))
    assert expert.read_text() == "weights"
    commit(job, store, 0, {}, Clock(job, store))
    assert (store.path(job) / "expert-0" / "model.safetensors").read_text() == "weights"
    assert store.fault(job) == "" and not store.work(job).exists()


@pytest.mark.parametrize("status", [412, 409])
def test_a_put_whose_answer_is_lost_counts(
    service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """boto3 sends it again, and the service refuses it, since it is there."""
    from botocore.exceptions import ClientError

    bucket(service, tmp_path, monkeypatch)
    monkeypatch.setenv("RAW2S_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("raw2s.storage.bucket._CONFLICT_SECONDS", 0.01)
    store, job = Store(f"s3://{tmp_path.name.replace('_', '-').lower()}"), Job("student", "s", {})
    client = store.storage._s3  # type: ignore[attr-defined]
    put, refused = client.put_object, []

    def put_object(**words: Any) -> Any:
        answer = put(**words)
        if words.get("IfNoneMatch") and len(refused) < 3:
            refused.append(words["Key"])
            told = {"Error": {"Code": "x"}, "ResponseMetadata": {"HTTPStatusCode": status}}
            raise ClientError(told, "PutObject")
        return answer

    monkeypatch.setattr(client, "put_object", put_object)
    with store.alone(job):
        made(store, job)
    # The lease and the manifest.
    assert len(set(refused)) == 2
    assert store.fault(job) == ""
    monkeypatch.setenv("RAW2S_CACHE", str(tmp_path / "other"))
    other = Store(store.root)
    assert (other.path(job) / "deep" / "a.txt").read_text() == "whole"


def test_a_folder_without_a_manifest_is_in_nobodys_way(tmp_path: Path) -> None:
    store, job = Store(tmp_path), Job("label", "title", {})
    made(store, job)
    folder = store.path(job)
    (folder / "manifest.json").unlink()
    assert not store.has(job)
    made(store, job, "again")
    assert (folder / "deep" / "a.txt").read_text() == "again"


def test_a_crafted_name_reaches_nothing_outside(
    service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket(service, tmp_path, monkeypatch)
    monkeypatch.setenv("RAW2S_CACHE", str(tmp_path / "cache"))
    storage: Any = Store(f"s3://{tmp_path.name.replace('_', '-').lower()}").storage
    storage.put("artefacts/student/a/manifest.json", b"{}", Metadata={"part": "p"})
    files = {"../../../../outside": {"bytes": 4, "sha256": ""}}
    with pytest.raises(StorageError, match="outside"):
        storage.fetch("artefacts/student/a", files)
    assert not list(tmp_path.rglob("outside*"))
    storage.put("artefacts/student/b/manifest.json", b"{}")
    for read in (storage.fetch, storage.fault):
        with pytest.raises(StorageError, match="the manifest is not what was written"):
            read("artefacts/student/b", files)
