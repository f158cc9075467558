"""The whole pipeline as a Ray job.

    ray job submit --working-dir . -- python jobs/full_pipeline.py [CONFIG] [options of `raw2s run`]

Without a configuration it runs the demo. `raw2s run CONFIG` does the same from a shell.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from raw2s.cli import main  # noqa: E402  (the checkout is put on the path first)


def command(arguments: list[str]) -> list[str]:
    """The arguments of `raw2s`: `demo` where no configuration is named."""
    named = bool(arguments) and not arguments[0].startswith("-")
    return ["run" if named else "demo", *arguments]


if __name__ == "__main__":
    sys.exit(main(command(sys.argv[1:])))
