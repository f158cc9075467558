"""Fingerprints name work exactly; an artefact is whole or not there."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from raw2s.store import Job, Store


def job(**spec: object) -> Job:
    return Job("stage", "a title", spec)


def test_a_fingerprint_depends_on_what_is_made_and_on_nothing_else() -> None:
    first = job(x=1, y=[1.0, "b"])
    assert first.fingerprint == Job("stage", "other title", {"y": [1.0, "b"], "x": 1}).fingerprint
    assert first.fingerprint == Job("stage", "", first.spec, runtime={"cpus": 8}).fingerprint
    others = [
        job(x=2, y=[1.0, "b"]),
        Job("other", "a title", first.spec),
        Job("stage", "a title", first.spec, version=2),
        Job("stage", "a title", first.spec, {"model": job(x=1)}),
        Job("stage", "a title", first.spec, {"model": job(x=2)}),
        Job("stage", "a title", first.spec, {"other": job(x=2)}),
        # A list of weights in the spec goes by the order of the inputs.
        Job("stage", "", first.spec, {"model": job(x=2), "other": job(x=3)}),
        Job("stage", "", first.spec, {"other": job(x=3), "model": job(x=2)}),
    ]
    names = {first.fingerprint, *(other.fingerprint for other in others)}
    assert len(names) == 1 + len(others)


def test_an_artefact_is_there_only_when_its_writing_ended(tmp_path: Path) -> None:
    store, made = Store(tmp_path), job(x=1)
    with pytest.raises(RuntimeError), store.write(made) as (folder, _):
        (folder / "half.txt").write_text("half")
        raise RuntimeError
    assert not store.has(made)
    assert not list((tmp_path / "work").iterdir())
    (store.work(made)).mkdir(parents=True)
    with store.write(made) as (folder, notes):
        (folder / "whole.txt").write_text("whole")
        notes["rows"] = 3
        assert not store.has(made)
    assert store.has(made)
    assert (store.path(made) / "whole.txt").read_text() == "whole"
    manifest = store.manifest(made)
    assert manifest["notes"] == {"rows": 3}
    assert manifest["files"] == {
        "whole.txt": {"bytes": 5, "sha256": hashlib.sha256(b"whole").hexdigest()}
    }
    assert not store.work(made).exists()


def test_of_two_writers_the_first_stays(tmp_path: Path) -> None:
    store, made = Store(tmp_path), job(x=1)
    with store.write(made) as (outer, _):
        (outer / "who").write_text("second")
        with store.write(made) as (inner, _):
            (inner / "who").write_text("first")
    assert (store.path(made) / "who").read_text() == "first"


def test_one_works_alone_and_those_who_wait_come_after_it(tmp_path: Path) -> None:
    store, job, order = Store(tmp_path), Job("student", "s", {}), []

    def wait() -> None:
        with store.alone(job):
            order.append("second")

    with pytest.raises(RuntimeError), store.alone(job):
        other = threading.Thread(target=wait)
        other.start()
        other.join(0.2)
        order.append("first")
        raise RuntimeError
    other.join(10)
    assert order == ["first", "second"]
    # Work that is not done keeps its lock's file, which a third may be waiting for.
    assert list((tmp_path / "work").glob("*.lock"))
    with store.alone(job), store.write(job):
        pass
    assert not list((tmp_path / "work").glob("*.lock"))
