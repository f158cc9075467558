"""A storage that is a folder: on this machine, or shared by all nodes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from raw2s.storage.checksums import fault_in

MANIFEST = "manifest.json"


class Folder:
    """What every node sees at one path; see `raw2s.storage.Storage`.

    A shared file system must support flock and renaming (NFS from version 4, EFS, Lustre do).
    """

    def __init__(self, root: Path) -> None:
        self.local = root

    def check(self) -> None:
        """Nothing to do: it is made where it is not there."""

    def read(self, name: str) -> bytes:
        """A small file's content; raises FileNotFoundError."""
        return (self.local / name).read_bytes()

    def create(self, name: str, content: bytes) -> bool:
        """Write a small file if none of that name is there; whether it was written."""
        path = self.local / name
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
        try:
            aside.write_bytes(content)
            # A link is made whole, or not at all where the name is taken.
            path.hardlink_to(aside)
        except FileExistsError:
            return False
        finally:
            aside.unlink(missing_ok=True)
        return True

    def names(self, place: str) -> list[str]:
        """The names of the small files at this place, but for those that are being written."""
        with contextlib.suppress(FileNotFoundError):
            found = [path.name for path in (self.local / place).iterdir() if path.is_file()]
            return [name for name in found if not name.startswith(".")]
        return []

    def remove(self, name: str) -> None:
        """Remove a small file if it is there."""
        (self.local / name).unlink(missing_ok=True)

    def has(self, place: str) -> bool:
        """Whether an artefact is there: it was renamed into place with its manifest."""
        return (self.local / place / MANIFEST).is_file()

    def fetch(self, place: str, files: Mapping[str, Any]) -> Path:
        """Where it is."""
        return self.local / place

    def fault(self, place: str, files: Mapping[str, Mapping[str, Any]]) -> str:
        """What is wrong with the artefact's files; "" if nothing."""
        return fault_in(self.local / place, files)

    def publish(self, folder: Path, place: str) -> None:
        """Rename a finished folder of this storage into its place; of two the first stays, but for
        one without a manifest, which a copy that was cut short may leave."""
        final = self.local / place
        final.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.rename(final)
        except OSError:
            if not self.has(place):
                self.drop(place)
                folder.rename(final)

    def drop(self, place: str) -> None:
        """Remove an artefact: first from its place, then from the disk."""
        aside = self.local / "work" / f"dropped-{uuid.uuid4().hex[:8]}"
        aside.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            (self.local / place).rename(aside)
            shutil.rmtree(aside)

    @contextlib.contextmanager
    def alone(
        self, name: str, done: Callable[[], bool], waiting: Callable[[], None]
    ) -> Iterator[None]:
        """Hold a file lock, which goes with its process, so a killed one holds nobody up."""
        path = self.local / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not through a link, which could stand for a file of another folder.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        with os.fdopen(os.open(path, flags, 0o666), "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                # Only once nobody has work to do: whoever waits has this file open, and a new one
                # would let another in beside it.
                if done():
                    path.unlink(missing_ok=True)

    def keep(self, place: str, gather: object, first: bool = True) -> None:
        """Nothing to do: it lies where all see it."""

    def recall(self, place: str) -> None:
        """Nothing to do: it lies where all see it."""

    def forget(self, place: str) -> None:
        """Remove it."""
        shutil.rmtree(self.local / place, ignore_errors=True)

    def ray(self, name: str) -> str:
        """A folder in it."""
        return str(self.local / "work" / name)
