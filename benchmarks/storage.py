"""What checksums cost: an artefact's writing with and without them, and its check.

    python benchmarks/storage.py [MIB]

An artefact of MIB (512) MiB in 8 files of random bytes: copied into the storage and put into place,
the medians of interleaved pairs with the checksums and without; then the check that `raw2s run`
makes of what it is going to read, over reading the same files.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from raw2s.store import Job, Store

PAIRS = 7
FILES = 8


def seconds(work: Callable[[], object]) -> float:
    """Of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def written(store: Store, job: Job, content: bytes) -> None:
    """An artefact like a model's: some large files."""
    with store.write(job) as (folder, _):
        for number in range(FILES):
            (folder / f"model-{number}.safetensors").write_bytes(content)


def read(folder: Path) -> None:
    """All files, as a loader reads them."""
    for path in folder.iterdir():
        path.read_bytes()


def ratio(first: list[float], second: list[float]) -> str:
    """Of medians, with both."""
    a, b = statistics.median(first), statistics.median(second)
    return f"{a / b:.2f} ({a:.2f} s / {b:.2f} s)"


def main() -> None:
    """Print the ratios."""
    mib = int(sys.argv[1]) if len(sys.argv) > 1 else 512
    content = os.urandom(mib * 2**20 // FILES)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        times: dict[str, list[float]] = {"with": [], "without": [], "check": [], "read": []}
        for pair in range(PAIRS):
            job = Job("model", "with", {"pair": pair})
            times["with"].append(seconds(lambda job=job: written(store, job, content)))
            times["check"].append(seconds(lambda job=job: store.fault(job)))
            times["read"].append(seconds(lambda job=job: read(store.path(job))))
            store.drop(job)
            plain = Job("model", "without", {"pair": pair})
            with mock.patch("raw2s.store.described", lambda folder: {}):
                times["without"].append(seconds(lambda job=plain: written(store, job, content)))
            store.drop(plain)
    print(f"{mib} MiB in {FILES} files, {os.cpu_count()} cores, medians of {PAIRS}")
    print(f"writing with checksums / without: {ratio(times['with'], times['without'])}")
    print(f"check / reading the files: {ratio(times['check'], times['read'])}")
    print(f"check: {mib / statistics.median(times['check']):,.0f} MiB a second")


if __name__ == "__main__":
    main()
