"""A run in a process of its own, and the processes of its Ray."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, TypeVar

import pandas as pd
import psutil

T = TypeVar("T")
SHELL = dict(os.environ)
"""The environment, without what a Ray that tests share sets in this process."""
TINY = Path(__file__).parents[2] / "configs" / "tiny.yaml"
EVERY_STEP = [
    f"experiments.{task}.strong_training.checkpoint_steps=1" for task in ("topics", "slots")
]
"""Of TINY: a checkpoint of the strong model at every step, which changes how, not what."""


def titled(processes: list[psutil.Process], title: str) -> list[psutil.Process]:
    """Those whose title, which Ray sets to what they do, holds the text."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.Error, IndexError):
            if title in process.cmdline()[0]:
                found.append(process)
    return found


class Running:
    """`raw2s run` of a configuration, as a process of its own."""

    all: ClassVar[list[Running]] = []

    def __init__(self, config: Path, storage: object, *sets: str, **environment: str) -> None:
        words = [word for value in (f"storage={storage}", *sets) for word in ("--set", value)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "raw2s.cli", "run", str(config), *words],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
            env=SHELL | environment,
        )  # fmt: skip
        Running.all.append(self)

    def when(self, happened: Callable[[], T]) -> T:
        """Wait until this is true, and return it; AssertionError if the run ends before."""
        deadline = time.monotonic() + 900
        while True:
            # A folder that is looked into may go meanwhile.
            with contextlib.suppress(FileNotFoundError):
                if found := happened():
                    return found
            assert self.process.poll() is None, self.process.communicate()[0]
            assert time.monotonic() < deadline, "it did not happen"
            time.sleep(0.02)

    def children(self, title: str) -> list[psutil.Process]:
        """The processes of a Ray that the run started itself, by title."""
        return titled(psutil.Process(self.process.pid).children(recursive=True), title)

    def ended(self) -> str:
        """What it printed; AssertionError if it failed."""
        printed, _ = self.process.communicate(timeout=900)
        assert self.process.returncode == 0, printed
        return printed


def results(storage: Path, name: str = "tiny") -> pd.DataFrame:
    """One row per model, seed and item of a run."""
    return pd.read_parquet(storage / "runs" / name / "results.parquet")


def manifests(storage: Path) -> dict[str, int]:
    """When each artefact was made, by its place."""
    return {
        str(path.parent.relative_to(storage)): path.stat().st_mtime_ns
        for path in storage.glob("artefacts/*/*/manifest.json")
    }


def artefacts(storage: Path) -> dict[str, dict[str, str]]:
    """The checksum of every file of every artefact, but for TensorBoard's, which hold times."""
    found = {}
    for path in storage.glob("artefacts/*/*/manifest.json"):
        files = json.loads(path.read_text())["files"]
        found[str(path.parent.relative_to(storage))] = {
            name: told["sha256"] for name, told in files.items() if "tfevents" not in name
        }
    return found


def check_same(storage: Path, undisturbed: Path, name: str = "tiny") -> None:
    """AssertionError unless artefacts and results are those of the other storage, bit by bit."""
    there, wanted = artefacts(storage), artefacts(undisturbed)
    assert there.keys() == wanted.keys()
    assert [place for place in wanted if there[place] != wanted[place]] == []
    pd.testing.assert_frame_equal(results(storage, name), results(undisturbed), check_exact=True)


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("", 0))
        return [one.getsockname()[1] for one in sockets]
