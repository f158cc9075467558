"""What the integration tests share: one undisturbed run of the tiny configuration."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

TINY = Path(__file__).parents[2] / "configs" / "tiny.yaml"


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The storage of one undisturbed run; to be read, not changed: a changed one is an error."""
    folder = tmp_path_factory.mktemp("undisturbed")
    words = [sys.executable, "-m", "raw2s.cli", "run", str(TINY), "--set", f"storage={folder}"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    before = results(folder)
    yield folder
    assert results(folder) == before


def results(folder: Path) -> tuple[set[str], dict[str, bytes]]:
    """What the tests compare with: the artefacts' names and the tables of every run."""
    names = {str(path.relative_to(folder)) for path in folder.glob("artefacts/*/*")}
    tables = {path.parent.name: path.read_bytes() for path in folder.glob("runs/*/results.csv")}
    return names, tables


@pytest.fixture(scope="session")
def studied(undisturbed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The storage of a study of two and three weak models on the undisturbed run's artefacts."""
    folder = tmp_path_factory.mktemp("studied")
    storage = shutil.copytree(undisturbed, folder / "storage")
    asked = {
        "title": "How many?", "question": "Are two enough?", "kind": "classification",
        "axis": "weak models", "variants": {"2": {"weak": 2}, "3": {"weak": 3}},
        "strategies": [{"strategy": "naive"}, {"strategy": "bayesian", "auxiliary": {}}],
    }  # fmt: skip
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({"base": str(TINY), "name": "studied", "study": asked}))
    words = ["study", str(path), "--set", f"storage={storage}"]
    done = subprocess.run(
        [sys.executable, "-m", "raw2s.cli", *words], capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return storage
