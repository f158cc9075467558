"""What a sweep saves, and how its cost grows.

    python benchmarks/sweep.py [TRIALS]

(a) the wall time of one sweep of TRIALS (16) trials over that of as many separate runs, each with a
    storage of its own;
(b) how a sweep's wall time grows with the number of trials, and a run's with the number of weak
    models and of rows: the exponent b of seconds = a n^b, by least squares in the logarithms, over
    the seconds that are not the start of an empty run; and the line a + b n.

All on the tiny configuration's classification task.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parent.parent
TINY = yaml.safe_load((ROOT / "configs" / "tiny.yaml").read_text())
STRATEGY = {"strategy": "bayesian", "auxiliary": {"gamma_max": 0.5}, "label": "Bayesian"}


def configured(changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The tiny configuration's topics with one strategy; `changes` of the experiment's fields."""
    experiment = TINY["experiments"]["topics"] | {"strategies": [STRATEGY]} | dict(changes or {})
    return TINY | {"experiments": {"topics": experiment}}


def seconds(command: str, raw: Mapping[str, Any], storage: Path) -> float:
    """Wall time of a command on a configuration, as a user waits for it."""
    storage.mkdir(parents=True, exist_ok=True)
    path = storage / "config.yaml"
    path.write_text(yaml.safe_dump(dict(raw) | {"storage": str(storage)}, sort_keys=False))
    started = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "raw2s.cli", command, str(path)],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return time.monotonic() - started


def swept(trials: int) -> dict[str, Any]:
    """A grid of so many values of gamma_max."""
    between = {"between": [0.0, 1.0], "points": trials}
    search = {
        "experiment": "topics", "strategy": "Bayesian",
        "parameters": {"strategy.auxiliary.gamma_max": between},
    }  # fmt: skip
    return configured() | {"sweep": search}


def weak_models(count: int) -> list[dict[str, Any]]:
    """So many weak models, each from its own share of the text."""
    return [TINY["experiments"]["topics"]["weak"][0] | {"copies": count}]


def rows(count: int) -> dict[str, Any]:
    """The task with so many rows in every split that is labelled or trained on."""
    options = {"weak_rows": count, "strong_rows": count}
    return TINY["experiments"]["topics"]["task"] | options


def exponent(sizes: Sequence[int], took: Sequence[float], empty: float) -> float:
    """The slope of log(seconds - empty) over log(size)."""
    more = np.maximum(np.array(took) - empty, 1e-3)
    return float(np.polyfit(np.log(sizes), np.log(more), 1)[0])


def main(trials: int) -> None:
    with tempfile.TemporaryDirectory(prefix="raw2s-bench-") as name:
        folder = Path(name)
        first = folder / "run-0"
        alone = [seconds("run", configured(), first)]
        empty = seconds("run", configured(), first)
        print(f"a run that finds everything: {empty:.1f} s", flush=True)
        for number in range(1, trials):
            gamma = {"auxiliary": {"gamma_max": number / (trials - 1)}}
            raw = configured({"strategies": [STRATEGY | gamma]})
            alone.append(seconds("run", raw, folder / f"run-{number}"))
        together = seconds("sweep", swept(trials), folder / "sweep")
        print(
            f"(a) sweep of {trials} trials {together:.1f} s, separate runs {sum(alone):.1f} s: "
            f"{together / sum(alone):.3f}",
            flush=True,
        )
        sizes = [2, 4, 8, 16]
        took = [seconds("sweep", swept(n), folder / f"trials-{n}") for n in sizes]
        show("trials", sizes, took, empty)
        sizes = [1, 2, 4, 8]
        took = [
            seconds("run", configured({"weak": weak_models(n)}), folder / f"weak-{n}")
            for n in sizes
        ]
        show("weak models", sizes, took, empty)
        sizes = [256, 1024, 4096]
        took = [seconds("run", configured({"task": rows(n)}), folder / f"rows-{n}") for n in sizes]
        show("rows", sizes, took, empty)


def show(what: str, sizes: Sequence[int], took: Sequence[float], empty: float) -> None:
    measured = ", ".join(f"{n}: {s:.1f} s" for n, s in zip(sizes, took, strict=True))
    slope, start = np.polyfit(sizes, took, 1)
    print(
        f"(b) {what}: {measured}; exponent {exponent(sizes, took, empty):.2f}, "
        f"line {start:.1f} s + {slope:.3g} s each",
        flush=True,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 16)
