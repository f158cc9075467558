"""One Ray for all tests that need one, and where the real data is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Not the shell's cluster.
os.environ.pop("RAY_ADDRESS", None)
# A busy machine is no failure.
settings.register_profile("raw2s", deadline=None)
settings.load_profile("raw2s")
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """A small Ray, shared by the session's tests."""
    import ray

    from raw2s.config import Cluster
    from raw2s.orchestration.cluster import connected

    with connected(Cluster(cpus=2, object_store_mb=128)):
        yield
    assert not ray.is_initialized()


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data that RAW2S_DATA names; tests that need it skip without."""
    folder = os.environ.get("RAW2S_DATA")
    if not folder:
        pytest.skip("no real data: RAW2S_DATA is not set")
    return Path(folder)
