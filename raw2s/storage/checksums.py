"""Files' sizes and SHA-256, as manifests hold them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any


def described(folder: Path) -> dict[str, dict[str, Any]]:
    """Each file below a folder by its name in it: {"bytes": size, "sha256": digits}."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    names = [path.relative_to(folder).as_posix() for path in paths]
    return {
        name: {"bytes": path.stat().st_size, "sha256": digest}
        for name, path, digest in zip(names, paths, _digests(paths), strict=True)
    }


def fault_in(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> str:
    """The first thing that is wrong with the files of a folder; "" if nothing."""
    for name, told in files.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if (size := path.stat().st_size) != told["bytes"]:
            return f"{name} has {size:,} bytes of {told['bytes']:,}"
    digests = _digests([folder / name for name in files])
    for (name, told), digest in zip(files.items(), digests, strict=True):
        if digest != told["sha256"]:
            return f"{name} is not what was written: its checksum differs"
    return ""


def _digests(paths: list[Path]) -> Iterator[str]:
    # Hashing leaves Python's lock to others.
    with ThreadPoolExecutor() as threads:
        yield from threads.map(_digest, paths)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
