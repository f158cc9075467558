"""Where artefacts lie: a folder that every node sees, or a bucket of an object store.

`raw2s.store` says what an artefact is. A storage keeps folders of files by the name of their place
("artefacts/label/<fingerprint>"); those that are published are whole or not there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from raw2s.storage.folder import Folder

Files = Mapping[str, Mapping[str, Any]]
"""An artefact's files by name, {"bytes": size, "sha256": digits} each."""
Gather = Callable[[dict[str, Any]], list[dict[str, Any]]]
"""Tells the first rank of a group of workers what each has; every rank calls it, the others get an
empty list."""


class Storage(Protocol):
    """What `raw2s.store.Store` asks of its storage."""

    @property
    def local(self) -> Path:
        """A folder on this machine, for unfinished work and results."""

    def check(self) -> None:
        """Raise StorageError where there is none."""

    def read(self, name: str) -> bytes:
        """A small file's content; raises FileNotFoundError."""

    def create(self, name: str, content: bytes) -> bool:
        """Write a small file if none of that name is there; whether it was written."""

    def names(self, place: str) -> list[str]:
        """The names of the small files at this place."""

    def remove(self, name: str) -> None:
        """Remove a small file if it is there."""

    def has(self, place: str) -> bool:
        """Whether an artefact is there."""

    def fetch(self, place: str, files: Files) -> Path:
        """A folder on this machine with the artefact, whose manifest names `files`."""

    def fault(self, place: str, files: Files) -> str:
        """What is wrong with the artefact's files; "" if nothing."""

    def publish(self, folder: Path, place: str) -> None:
        """Put a finished folder into its place; of two writers the first stays."""

    def drop(self, place: str) -> None:
        """Remove an artefact."""

    def alone(
        self, name: str, done: Callable[[], bool], waiting: Callable[[], None]
    ) -> AbstractContextManager[None]:
        """Hold the lock `name`, which goes with its process; nothing of it is left once `done`.
        `waiting` is called if another holds it."""

    def keep(self, place: str, gather: Gather, first: bool = True) -> None:
        """Let other machines find what lies below `local` at this place. Every rank calls it;
        `first`: the one that tells of its machine's files."""

    def recall(self, place: str) -> None:
        """Make what lies below `local` what was kept, and nothing else; nothing to do where all
        see one folder."""

    def forget(self, place: str) -> None:
        """Remove what was kept, here too."""

    def ray(self, name: str) -> str:
        """Where Ray may keep files of its own: a path or a URL."""


def open_storage(root: str) -> Storage:
    """The storage at a path or at an `s3://bucket/prefix` URL."""
    if root.startswith("s3://"):
        from raw2s.storage.bucket import Bucket

        return Bucket(root)
    return Folder(Path(root))
