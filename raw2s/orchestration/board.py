"""What the processes of a run leave one another word of, in an actor beside the driver."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable


class Board:
    """The actor: how far each job is, what work has been begun, which training comes next, and
    what somebody has to say to the user. It outlives those who tell it."""

    def __init__(self) -> None:
        self._steps: dict[str, tuple[int, int]] = {}
        self._said: dict[str, bool] = {}
        self._begun: Counter[str] = Counter()
        self._lines: dict[str, deque[str]] = {}
        # Of runs that have workers; None for those that were told that no job is left.
        self._held: dict[str, str | None] = {}
        self._practised: set[str] = set()
        self._losses: Counter[str] = Counter()

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

    def say(self, text: str) -> None:
        """Leave word for whoever watches the run; the same text is heard once."""
        self._said.setdefault(text, False)

    def heard(self) -> list[str]:
        """What was said since the last time."""
        new = [text for text, heard in self._said.items() if not heard]
        self._said |= dict.fromkeys(new, True)
        return new

    def begun(self, work: str) -> int:
        """Note that an actor begins a piece of work; how often it has begun it and not ended."""
        self._begun[work] += 1
        return self._begun[work] - 1

    def ended(self, work: str) -> None:
        """Note that it has ended it."""
        del self._begun[work]

    def line_up(self, line: str, jobs: Iterable[str]) -> None:
        """Form a line of jobs, of which several runs take the next whenever they have done one."""
        self._lines[line] = deque(jobs)

    def take(self, line: str, run: str, done: str | None) -> str | None:
        """The job that a run is to do now; None when none is left.

        done: what its workers did last. If it holds another job, they are new and take that up.
        """
        job = self._held.get(run)
        if job == done:
            if done is not None:
                self._practised.add(run)
            waiting = self._lines[line]
            job = waiting.popleft() if waiting else None
        self._held[run] = job
        return job

    def held(self, run: str) -> tuple[str | None, bool]:
        """The job that a run's workers have, if any, and whether they have done others before."""
        return self._held.get(run), run in self._practised

    def lost(self, line: str, run: str, retries: int) -> bool:
        """Note that a run has lost its workers. Their job comes next, whoever takes it, unless it
        was lost more often than there are retries; whether it was not."""
        job = self._held.pop(run, None)
        self._practised.discard(run)
        self._losses[job or run] += 1
        again = self._losses[job or run] <= retries
        if job is not None and again:
            self._lines[line].appendleft(job)
        return again

    def over(self, lines: Collection[str], runs: Collection[str]) -> bool:
        """Whether no job is left in these lines, and none of these runs has workers."""
        empty = not any(self._lines[line] for line in lines)
        return empty and self._held.keys().isdisjoint(runs)
