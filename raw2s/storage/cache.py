"""What a machine keeps of a bucket, as long as its disk has room for it."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from contextlib import AbstractContextManager

from raw2s.storage.folder import MANIFEST, Folder

_FREE = 0.1
"""Share of the disk that is left to other things, such as checkpoints."""
_IN_USE_SECONDS = 3600.0
"""How long ago somebody may have asked for an artefact that he is about to read."""


class Cache(Folder):
    """A folder of artefacts that lie in a bucket as well; the longest unused give way to others."""

    def use(self, place: str, manifest: bytes) -> bool:
        """Whether an artefact with this manifest is here; if so it counts as used now. One with
        another, which somebody has dropped and made again, is removed."""
        with self._undisturbed():
            found = self.holds(place, manifest)
            if found:
                os.utime(self.local / place / MANIFEST)
            else:
                self.drop(place)
        return found

    def holds(self, place: str, manifest: bytes) -> bool:
        """Whether an artefact with this manifest is here."""
        path = self.local / place / MANIFEST
        return path.is_file() and path.read_bytes() == manifest

    def make_room(self, size: int = 0) -> None:
        """Remove what was not used for an hour, the longest unused first, until the disk has so
        many bytes free beside its share for other things, or no more is there to remove."""
        with self._undisturbed():
            for place in self._longest_unused():
                disk = shutil.disk_usage(self.local)
                if disk.free - size >= _FREE * disk.total:
                    break
                self.drop(place)

    def _longest_unused(self) -> list[str]:
        used: dict[str, float] = {}
        for path in self.local.glob(f"artefacts/*/*/{MANIFEST}"):
            # Another process may drop it meanwhile.
            with contextlib.suppress(FileNotFoundError):
                used[path.parent.relative_to(self.local).as_posix()] = path.stat().st_mtime
        before = time.time() - _IN_USE_SECONDS
        return sorted((place for place, at in used.items() if at < before), key=used.__getitem__)

    def _undisturbed(self) -> AbstractContextManager[None]:
        """What is found here is not removed by another process in the block."""
        return self.alone("work/room.lock", lambda: False, lambda: None)
