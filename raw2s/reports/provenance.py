"""Where a page's numbers come from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def provenance(configuration: str, environment: Mapping[str, Any]) -> dict[str, Any]:
    """What "How it was run" tells of a configuration (YAML) and of `raw2s.run.environment`."""
    return {
        "configuration": configuration,
        "versions": environment["packages"] | {"python": environment["python"]},
        "git_commit": environment["git_commit"],
    }
