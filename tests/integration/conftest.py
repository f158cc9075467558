"""What the integration tests share: one undisturbed run of the tiny configuration."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TINY = Path(__file__).parents[2] / "configs" / "tiny.yaml"


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The storage of one undisturbed run; to be read, not changed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    words = [sys.executable, "-m", "raw2s.cli", "run", str(TINY), "--set", f"storage={folder}"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder
