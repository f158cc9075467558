"""Live progress: workers tell the board how far they are, the driver draws it."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from raw2s.store import Job

_LOG = logging.getLogger(__name__)


def reporter(board: Any, job: Job, *, every: float = 0.5) -> Callable[[int, int], bool]:
    """A callback (done, total) that tells the board, at most once in `every` seconds, and wants no
    checkpoint."""
    last = 0.0

    def report(done: int, total: int) -> bool:
        nonlocal last
        now = time.monotonic()
        if done >= total or now - last >= every:
            last = now
            board.update.remote(job.fingerprint, done, total)
        return False

    return report


class Display:
    """One line a stage on the terminal, live where it is one, plain where it is not."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self.seconds: dict[str, float] = {}

    def reused(self, title: str, jobs: int) -> None:
        """A stage that had nothing to do."""
        self.console.print(f"  {title:<28} {jobs:>3} found", style="dim", highlight=False)

    @contextlib.contextmanager
    def stage(self, title: str, jobs: Sequence[Job], found: int, board: Any) -> Iterator[None]:
        """Show how far the stage's jobs are while the block runs."""
        import ray
        from ray.exceptions import RayError

        started = time.monotonic()
        stop = threading.Event()
        progress = Progress(
            TextColumn("  {task.description:<28}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%  {task.fields[detail]}"),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        task = progress.add_task(title, total=float(len(jobs)), detail="")

        def say() -> None:
            for text in ray.get(board.heard.remote()):
                _LOG.warning("%s", text)

        def draw() -> None:
            while not stop.wait(0.5):
                say()
                steps: dict[str, tuple[int, int]] = ray.get(board.snapshot.remote())
                mine = [(job, *steps[job.fingerprint]) for job in jobs if job.fingerprint in steps]
                done = sum(min(1.0, d / t) for _, d, t in mine if t)
                busy = [f"{job.title} {d}/{t}" for job, d, t in mine if d < t]
                progress.update(task, completed=done, detail="; ".join(busy[:2]))

        thread = threading.Thread(target=draw, daemon=True)
        with progress:
            thread.start()
            try:
                yield
            finally:
                stop.set()
                thread.join()
                # Where Ray is gone, that is what the block has raised.
                with contextlib.suppress(RayError):
                    say()
        took = self.seconds[title] = time.monotonic() - started
        also = f", {found} found" if found else ""
        self.console.print(
            f"  {title:<28} {len(jobs):>3} done{also}  {took:6.1f} s", highlight=False
        )
