"""Content-addressed artefacts: the one mechanism for cache, resume and provenance.

A `Job` is a stage to be done: its slice of the configuration and the jobs it reads. Its fingerprint
names its artefact's folder, so equal work is done once, by whichever run asks first. An artefact is
written aside, its manifest last, then renamed into place: a folder that is there is whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"


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


class Store:
    """The artefacts below one folder that every node sees."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def path(self, job: Job) -> Path:
        """Where the job's artefact lies, or will."""
        return self.root / "artefacts" / job.stage / job.fingerprint

    def work(self, job: Job) -> Path:
        """A folder for what an unfinished job wants to find again: training checkpoints."""
        return self.root / "work" / f"{job.stage}-{job.fingerprint}"

    def has(self, job: Job) -> bool:
        """Whether the artefact is there, whole."""
        return (self.path(job) / MANIFEST).is_file()

    def manifest(self, job: Job) -> dict[str, Any]:
        """The artefact's manifest: spec, inputs, seconds, files and notes."""
        content: dict[str, Any] = json.loads((self.path(job) / MANIFEST).read_text())
        return content

    @contextlib.contextmanager
    def alone(self, job: Job) -> Iterator[None]:
        """Be the only process that works in the job's folder of unfinished work; others wait.

        The lock goes with its process, so a killed one holds nobody up.
        """
        folder = self.root / "work"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{job.stage}-{job.fingerprint}.lock"
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                # Only once nobody has work to do: whoever waits has this file open, and a new one
                # would let another in beside it.
                if self.has(job):
                    path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def write(self, job: Job) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Write the job's artefact: yields a folder to fill and a dict of notes for the manifest.

        On leaving, the manifest is written and the folder renamed into place; on an error nothing
        is left behind. If another run has put the same artefact there meanwhile, that one stays.
        """
        aside = self.root / "work" / f"aside-{job.stage}-{job.fingerprint}-{uuid.uuid4().hex[:8]}"
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
                "files": {
                    str(path.relative_to(aside)): path.stat().st_size
                    for path in sorted(aside.rglob("*"))
                    if path.is_file()
                },
                "notes": notes,
            }
            write_text(aside / MANIFEST, json.dumps(manifest, indent=1))
            final = self.path(job)
            final.parent.mkdir(parents=True, exist_ok=True)
            try:
                aside.rename(final)
            except OSError:
                if not self.has(job):
                    raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        shutil.rmtree(self.work(job), ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a file that is either whole or not there, and on the disk when this returns."""
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    with aside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
