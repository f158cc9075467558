"""A sweep as a Ray job.

    ray job submit --working-dir . -- python jobs/sweep.py CONFIG [options of `raw2s sweep`]

`raw2s sweep CONFIG` does the same from a shell.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from raw2s.cli import main  # noqa: E402  (the checkout is put on the path first)

if __name__ == "__main__":
    sys.exit(main(["sweep", *sys.argv[1:]]))
