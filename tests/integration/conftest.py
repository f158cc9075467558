"""What the integration tests share: one undisturbed run of the tiny configuration."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
import yaml
from moto.server import ThreadedMotoServer
from running import TINY, Running


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The storage of one undisturbed run; to be read, not changed: a changed one is an error."""
    folder = tmp_path_factory.mktemp("undisturbed")
    Running(TINY, folder).ended()
    before = results(folder)
    yield folder
    assert results(folder) == before


def results(folder: Path) -> tuple[set[str], dict[str, bytes]]:
    """What the tests compare with: the artefacts' names and the tables of every run."""
    names = {str(path.relative_to(folder)) for path in folder.glob("artefacts/*/*")}
    tables = {path.parent.name: path.read_bytes() for path in folder.glob("runs/*/results.csv")}
    return names, tables


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """A failed test leaves no run behind."""
    yield
    while Running.all:
        run = Running.all.pop()
        if run.process.poll() is None:
            run.process.kill()
            run.process.wait()


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


@pytest.fixture(scope="session")
def bucket() -> Iterator[dict[str, str]]:
    """The environment in which a bucket of a local S3 service is found."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    found = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "planted-secret-key", "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    session = boto3.session.Session("key", "planted-secret-key", region_name="us-east-1")
    session.client("s3", endpoint_url=found["AWS_ENDPOINT_URL"]).create_bucket(Bucket="raw2s")
    yield found
    server.stop()
