"""One experiment for many seeds in parallel, as a Ray job.

    ray job submit --working-dir . -- python jobs/seeds.py CONFIG SEEDS [options of `raw2s run`]

SEEDS is a number of seeds (8 is 0 to 7) or a list of them (3,5,8). The students and ceilings of all
seeds train at the same time, as far as the cluster has room; the weak models are shared.
`raw2s run CONFIG --set seeds=[…]` does the same from a shell.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from raw2s.cli import main  # noqa: E402  (the checkout is put on the path first)


def command(arguments: list[str]) -> list[str]:
    """The arguments of `raw2s`; SystemExit with the usage where they are none of this job's."""
    parts = arguments[1].split(",") if len(arguments) > 1 else []
    if not parts or arguments[0].startswith("-") or not all(part.isdigit() for part in parts):
        raise SystemExit("usage: seeds.py CONFIG SEEDS [options], SEEDS: 8, or 3,5,8")
    seeds = [int(part) for part in parts] if len(parts) > 1 else list(range(int(parts[0])))
    return ["run", arguments[0], "--set", f"seeds={seeds}", *arguments[2:]]


if __name__ == "__main__":
    sys.exit(main(command(sys.argv[1:])))
