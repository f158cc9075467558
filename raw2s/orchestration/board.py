"""What the processes of a run leave one another word of, in an actor beside the driver."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable


class Board:
    """The actor: how far each job is, what work has been begun, and which training comes next. It
    outlives those who tell it."""

    def __init__(self) -> None:
        self._steps: dict[str, tuple[int, int]] = {}
        self._begun: Counter[str] = Counter()
        self._lines: dict[str, deque[str]] = {}
        self._held: dict[str, str] = {}

    def update(self, fingerprint: str, done: int, total: int) -> None:
        """Overwrite one job's steps, done and in all."""
        self._steps[fingerprint] = (done, total)

    def add(self, fingerprint: str, done: int) -> None:
        """Add to one job's steps done; several actors may share a job."""
        before, total = self._steps.get(fingerprint, (0, 0))
        self._steps[fingerprint] = (before + done, total)

    def snapshot(self) -> dict[str, tuple[int, int]]:
        """All jobs' steps."""
        return dict(self._steps)

    def begun(self, work: str) -> int:
        """Note that an actor begins a piece of work; how often it has begun it and not ended."""
        self._begun[work] += 1
        return self._begun[work] - 1

    def ended(self, work: str) -> None:
        """Note that it has ended it."""
        del self._begun[work]

    def line_up(self, line: str, jobs: Iterable[str]) -> None:
        """Form a line of jobs, that several may take from, each the next when it has done one."""
        self._lines[line] = deque(jobs)

    def take(self, line: str, who: str, done: str | None) -> str | None:
        """The job that `who` is to do now; None when no more are left.

        done: what it did last. If it holds another one, it was lost meanwhile and takes that up
        again.
        """
        held = self._held.pop(who, None)
        if held == done:
            held = self._lines[line].popleft() if self._lines[line] else None
        if held is not None:
            self._held[who] = held
        return held

    def held(self, who: str) -> str | None:
        """The job that it has taken and not done, as far as it has told."""
        return self._held.get(who)
