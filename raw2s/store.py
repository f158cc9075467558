"""Content-addressed artefacts: the one mechanism for cache, resume and provenance.

A `Job` is a stage to be done: its slice of the configuration and the jobs it reads. Its fingerprint
names its artefact's folder, so equal work is done once, by whichever run asks first. An artefact is
written aside, its manifest last, then put into place: one that is there is whole. The manifest has
the files' checksums and one of its own, so that damage on the disk is found.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from raw2s.errors import StorageError, no_space
from raw2s.storage import Gather, open_storage
from raw2s.storage.checksums import described
from raw2s.storage.folder import MANIFEST

_IDENTITY = "storage.json"
_READERS = 8
"""How many pieces are read at once."""


@dataclass(frozen=True)
class Job:
    """One stage's piece of work, declared before anything runs.

    `spec` is plain JSON; `version` is raised when the stage's code changes what it makes. `title`
    (for people) and `runtime` (actors, CPUs, batch sizes: how, not what) do not count in the
    fingerprint.
    """

    stage: str
    title: str
    spec: Mapping[str, Any]
    inputs: Mapping[str, Job] = field(default_factory=dict)
    runtime: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1

    @cached_property
    def fingerprint(self) -> str:
        """24 hexadecimal digits that name exactly this work."""
        content = {
            "stage": self.stage,
            "version": self.version,
            "spec": self.spec,
            # In order: a list of weights in the spec goes with it.
            "inputs": [[name, job.fingerprint] for name, job in self.inputs.items()],
        }
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    def closure(self) -> list[Job]:
        """The job and all that it reads, near or far; equal jobs once."""
        found: dict[str, Job] = {}
        waiting: list[Job] = [self]
        while waiting:
            job = waiting.pop()
            if job.fingerprint not in found:
                found[job.fingerprint] = job
                waiting += job.inputs.values()
        return list(found.values())


@dataclass(frozen=True)
class Address:
    """Which storage, told to another machine: where it is, and the name that is written in it."""

    root: str
    identity: str

    def open(self) -> Store:
        """The storage as this machine sees it; raises StorageError if it sees another one, or none.

        A path that only one node knows looks like an empty folder on the others.
        """
        store = Store(self.root)
        try:
            found = store.identity(create=False)
        except FileNotFoundError:
            found = ""
        if found != self.identity:
            raise StorageError(
                f"node {socket.gethostname()} does not see the storage {self.root}: a run on "
                "several nodes needs a shared folder, or s3://bucket/prefix"
            )
        return store


class Store:
    """The artefacts of one storage: a folder that every node sees, or `s3://bucket/prefix`."""

    def __init__(self, root: str | Path) -> None:
        self.root = str(root)
        self.storage = open_storage(self.root)

    def identity(self, *, create: bool = True) -> str:
        """The name that the storage got when it was first used; `create` gives it one now.

        Raises FileNotFoundError for a storage without.
        """
        try:
            found = self.storage.read(_IDENTITY)
        except FileNotFoundError:
            if not create:
                raise
            # Of two that name it at once the first counts, for both.
            self.storage.create(_IDENTITY, json.dumps({"id": uuid.uuid4().hex}).encode())
            found = self.storage.read(_IDENTITY)
        return str(json.loads(found)["id"])

    def address(self) -> Address:
        """What other machines open it by."""
        return Address(self.root, self.identity())

    def path(self, job: Job) -> Path:
        """A folder on this machine with the job's artefact, brought here if it lies elsewhere."""
        return self.storage.fetch(_place(job), self.manifest(job)["files"])

    def work(self, job: Job) -> Path:
        """A folder for what an unfinished training wants to find again: checkpoints."""
        return self.storage.local / _work(job)

    def keep_work(self, job: Job, gather: Gather, first: bool = True) -> None:
        """Let other machines find the unfinished work; every rank calls it when none writes.
        `first`: the rank that tells of its machine's files."""
        self.storage.keep(_work(job), gather, first)

    def recall_work(self, job: Job) -> None:
        """Make the unfinished work here what was kept of it, if that lies elsewhere."""
        self.storage.recall(_work(job))

    def clear_work(self, job: Job) -> None:
        """Remove what this machine has of the work, once the artefact is there."""
        shutil.rmtree(self.work(job), ignore_errors=True)

    def keep_piece(self, job: Job, name: str, content: bytes) -> None:
        """Keep a piece of the unfinished work under a name that it shares with others, until the
        artefact is there."""
        digest = hashlib.sha256(content).hexdigest()
        self.storage.create(f"{_work(job)}/{name}/{digest}", content)

    def pieces(self, job: Job, name: str) -> tuple[list[bytes], int]:
        """All pieces of that name, and how many were not as written; those are removed."""
        place = f"{_work(job)}/{name}"

        def read(digest: str) -> bytes | None:
            # Another run that has just done the job removes them.
            with contextlib.suppress(FileNotFoundError):
                return self.storage.read(f"{place}/{digest}")
            return None

        digests = sorted(self.storage.names(place))
        with ThreadPoolExecutor(_READERS) as threads:
            contents = dict(zip(digests, threads.map(read, digests), strict=True))
        found = {digest: content for digest, content in contents.items() if content is not None}
        whole = {d: c for d, c in found.items() if hashlib.sha256(c).hexdigest() == d}
        for digest in found.keys() - whole.keys():
            self.storage.remove(f"{place}/{digest}")
        return list(whole.values()), len(found) - len(whole)

    def has(self, job: Job) -> bool:
        """Whether the artefact is there, whole."""
        return self.storage.has(_place(job))

    def manifest(self, job: Job) -> dict[str, Any]:
        """The artefact's manifest: spec, inputs, seconds, files and notes.

        Raises StorageError for one that is not as it was written.
        """
        text = self.storage.read(f"{_place(job)}/{MANIFEST}")
        try:
            content: dict[str, Any] = json.loads(text)
            told = content.pop("digest")
        except (ValueError, KeyError, AttributeError):
            told, content = "", {}
        if told != _digest(content):
            raise StorageError(f"{job.stage} {job.title}: the manifest is not what was written")
        return content

    def fault(self, job: Job) -> str:
        """What is wrong with an artefact that is there, by its checksums; "" if nothing."""
        try:
            return self.storage.fault(_place(job), self.manifest(job)["files"])
        except StorageError as error:
            return str(error).partition(": ")[2]

    def drop(self, job: Job) -> None:
        """Remove the artefact, so that it is made again."""
        self.storage.drop(_place(job))

    @contextlib.contextmanager
    def alone(self, job: Job, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Be the only process that works at the job; others wait, after a call of `waiting`.

        The lock goes with its process, so a killed one holds nobody up for long.
        """
        with self.storage.alone(f"{_work(job)}.lock", lambda: self.has(job), waiting):
            yield

    @contextlib.contextmanager
    def write(self, job: Job) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Write the job's artefact: yields a folder to fill and a dict of notes for the manifest.

        On leaving, the manifest is written and the folder put into place; on an error nothing is
        left behind. If another run has put the same artefact there meanwhile, that one stays.
        Raises StorageError where the disk is full.
        """
        name = f"aside-{job.stage}-{job.fingerprint}-{uuid.uuid4().hex[:8]}"
        aside = self.storage.local / "work" / name
        aside.mkdir(parents=True)
        notes: dict[str, Any] = {}
        started = time.time()
        try:
            yield aside, notes
            manifest = {
                "stage": job.stage,
                "title": job.title,
                "fingerprint": job.fingerprint,
                "version": job.version,
                "spec": job.spec,
                "inputs": {name: item.fingerprint for name, item in job.inputs.items()},
                "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "seconds": round(time.time() - started, 3),
                "files": described(aside),
                "notes": notes,
            }
            write_text(
                aside / MANIFEST, json.dumps(manifest | {"digest": _digest(manifest)}, indent=1)
            )
            self.storage.publish(aside, _place(job))
        except Exception as error:
            if no_space(error):
                raise self.full(f"{job.stage} {job.title}") from error
            raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        self.storage.forget(_work(job))

    def full(self, made: str) -> StorageError:
        """What to raise where there was no space left for what was made."""
        return StorageError(
            f"no space is left at {self.storage.local}, while {made} was made; with more of it the "
            "same command goes on"
        )

    def ray(self, name: str) -> str:
        """Where Ray Train or Tune may keep files of its own: a path or a URL."""
        return self.storage.ray(name)

    def forget_ray(self, name: str, run: str) -> None:
        """Remove what one of their runs has kept there."""
        self.storage.forget(f"work/{name}/{run}")

    def results(self, kind: str, name: str) -> Path:
        """The folder, on this machine, of what people read: runs, sweeps, studies."""
        return self.storage.local / kind / name

    def open_results(self, kind: str, name: str) -> Path:
        """Such a folder, with what another machine has kept of it.

        Raises StorageError where the storage cannot be opened or written.
        """
        self.storage.check()
        folder = self.results(kind, name)
        try:
            with self._results_alone(kind, name):
                self.storage.recall(f"{kind}/{name}")
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"storage {self.root} cannot be written: {error}") from error
        return folder

    def keep_results(self, kind: str, name: str) -> None:
        """Let other machines find such a folder; of two runs of one name the last counts."""
        with self._results_alone(kind, name):
            self.storage.keep(f"{kind}/{name}", lambda files: [files])

    def _results_alone(self, kind: str, name: str) -> AbstractContextManager[None]:
        # Who keeps a new state removes what is only of the old one.
        return self.storage.alone(f"work/{kind}-{name}.lock", lambda: True, lambda: None)


def _place(job: Job) -> str:
    return f"artefacts/{job.stage}/{job.fingerprint}"


def _work(job: Job) -> str:
    return f"work/{job.stage}-{job.fingerprint}"


def _digest(manifest: Mapping[str, Any]) -> str:
    # As it reads back: JSON turns tuples into lists and numbers of keys into texts.
    text = json.dumps(json.loads(json.dumps(manifest)), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a file that is either whole or not there, and on the disk when this returns."""
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    with aside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
