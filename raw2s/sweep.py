"""A sweep: trials on the validation split, then one test of the best.

What all trials share (weak models, their labels, often more) is made first, by the whole cluster;
Ray Tune then does the trials, each what it alone needs.
"""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from rich.console import Console

from raw2s import config
from raw2s.config import Run, Search
from raw2s.errors import ConfigError
from raw2s.orchestration.trials import run_trials, search_trials, share, trial_scores
from raw2s.pipeline import Plan
from raw2s.reports import cells
from raw2s.reports.provenance import provenance
from raw2s.reports.sweep.html import write_sweep
from raw2s.reports.sweep.trials import best_trial, mean_std, value_text
from raw2s.reports.table import summarise
from raw2s.run import environment, mend
from raw2s.run import run as do_run
from raw2s.search.draws import Draws
from raw2s.search.log import INTERRUPTED, Log, Outcome
from raw2s.search.space import Values, chosen_run, contains, drawn, key_of
from raw2s.storage.tables import read_table
from raw2s.store import Job, Store, write_text

_PROBES = 4
"""Draws whose plans tell what all trials of a search by Optuna have in common."""


def sweep(settings: Run, *, console: Console | None = None) -> Path:
    """Search, then run the best trial's configuration; returns the sweep's folder.

    The folder, `<storage>/sweeps/<name>`, holds config.yaml, trials.jsonl, trials.csv, sweep.md and
    report.html; the run of the chosen configuration lies in `<storage>/runs/<name>-best`. A sweep
    that was killed goes on where it was, trials that failed are tried again. Raises ConfigError for
    a trial that the configuration does not allow, a parameter that changes nothing, and if no trial
    ends well.
    """
    from raw2s.orchestration.cluster import connected
    from raw2s.orchestration.visibility import check_storage

    console = console or Console()
    search = settings.sweep
    if search is None:
        raise ConfigError("the configuration has no `sweep`")
    store = Store(settings.storage)
    folder = store.results("sweeps", settings.name)
    trials = Trials(folder, settings, search, console)
    trials.draws.check()
    store.open_results("sweeps", settings.name)
    write_text(folder / "config.yaml", config.dump(settings))
    started = time.monotonic()
    console.print(f"[bold]raw2s[/bold] sweep [bold]{settings.name}[/bold]", highlight=False)
    with connected(settings.cluster):
        check_storage(store)
        trials.do()
        trials.report()
        best = trials.best()
        console.print(f"  trial {best} is best; its configuration is tested", highlight=False)
        trials.test()
        do_run(trials.chosen(), console=console)
    trials.report()
    store.keep_results("sweeps", settings.name)
    console.out(
        f"  {time.monotonic() - started:.1f} s; report: {folder / 'report.html'}", highlight=False
    )
    return folder


def show(folder: Path, console: Console | None = None) -> None:
    """Write the page of a sweep again from what is done; ConfigError if that is nothing."""
    settings = config.load(folder / "config.yaml")
    if settings.sweep is None:
        raise ConfigError(f"{folder} is not a sweep's folder")
    trials = Trials(folder, settings, settings.sweep, console or Console())
    trials.read()
    if not trials.outcomes:
        raise ConfigError(f"no trial of sweep {settings.name} is done; `raw2s sweep` does them")
    trials.report()
    trials.console.out(f"report: {folder / 'report.html'}", highlight=False)


class Trials:
    """A sweep's outcomes by number. The scores are the store's, what else there is the log's; what
    was told of other seeds or another configuration does not count."""

    def __init__(self, folder: Path, run: Run, search: Search, console: Console) -> None:
        self.folder, self.run, self.search, self.console = folder, run, search, console
        self.store = Store(run.storage)
        self.draws, self.log = Draws(run, search), Log(folder / "trials.jsonl")
        self.outcomes: dict[int, Outcome] = {}
        self.repeated = 0
        self._tested: set[str] = set()
        self._numbers: dict[str, int] = {}

    def read(self) -> None:
        """Find what is done: of the known trials, and of those that an earlier sweep has drawn."""
        told, known = self.log.read(self._counts), self.draws.known
        self._tested |= told.tested
        for values in known:
            self._number(values)
        for values in known or [outcome.values for outcome in told.outcomes.values()]:
            before = told.outcomes.get(key_of(values), Outcome(values, [], math.nan))
            if self.draws.results(values) and self._is_there(judged := self.draws.trial(values)[1]):
                scores = trial_scores(judged, self.run.seeds, self.store)
                self._keep(replace(before, scores=scores, error=""))
            elif before.error:
                self._keep(before)
        # A draw that repeats another is a draw, too.
        self.repeated = told.well - sum(not outcome.error for outcome in told.outcomes.values())

    def do(self) -> None:
        """Do what is missing."""
        from raw2s.orchestration.cluster import nodes

        known, drawn_before = self.draws.known, self.log.read(self._counts).outcomes.values()
        begun = known or [outcome.values for outcome in drawn_before]
        possible = [values for values in begun if self.draws.results(values)]
        plans = [self.draws.trial(values)[0] for values in possible]
        jobs = [job for plan in plans for stage in plan.stages for job in plan.jobs(stage)]
        mend(jobs, self.store, self.console)
        self.read()
        done = {key_of(o.values) for o in self.outcomes.values() if not o.error}
        todo = [v for v in possible if key_of(v) not in done and self._fits(v)]
        asked = 0 if known else self.search.trials or 0
        left = max(0, asked - len(begun) - self.repeated)
        probes = drawn(self.search, _PROBES) if left else []
        probes = [v for v in probes if self.draws.results(v) and not self.draws.no_room(v)]
        if done:
            self.console.print(f"  {len(done)} trials found", style="dim", highlight=False)
        part = share(
            self._make_shared([self.draws.trial(values) for values in [*todo, *probes]]),
            len(todo) + left,
            self.run.cluster,
            list(nodes(self.run.cluster.autoscaled).values()),
        )
        if todo or left:
            self.console.print(
                f"  {len(todo) + left} trials, {part.trials} at once", highlight=False
            )
        run_trials(self.run, self.search, todo, self._done, part)
        search_trials(self.run, self.search, list(self.outcomes.values()), left, self._done, part)

    def test(self) -> None:
        """Note that the best trial's configuration is to be tested."""
        tested = self.draws.test(self.outcomes[self.best()].values).fingerprint
        if tested not in self._tested:
            self._tested.add(tested)
            self.log.add_test(tested)

    def best(self) -> int:
        """The number of the best trial; ConfigError if none ended well."""
        if all(outcome.error for outcome in self.outcomes.values()):
            first = next(iter(self.outcomes.values()))
            raise ConfigError(f"no trial of sweep {self.run.name} ended well: {first.error}")
        return best_trial(self.table())

    def chosen(self) -> Run:
        """The best trial's configuration, with all strategies of its experiment."""
        return chosen_run(self.run, self.search, self.outcomes[self.best()].values)

    def report(self) -> None:
        """Write trials.csv, sweep.md and report.html."""
        table, chosen, folder = self.table(), None, ""
        if table["tested"].any():
            test = self.draws.test(self.outcomes[self.best()].values)
            if self.store.has(test):
                chosen = summarise(read_table(self.store.path(test) / "results.parquet"))
                folder = os.path.relpath(
                    self.store.results("runs", self.chosen().name), self.folder
                )
        experiment = self.run.experiments[self.search.experiment]
        write_sweep(
            self.folder,
            title=self.run.name,
            trials=table,
            metric="SLU-F1" if experiment.generation else "accuracy",
            judged=f"{self._judged()} of {self.search.experiment}",
            seeds=self.run.seeds,
            chosen=chosen,
            chosen_folder=folder,
            command=f"raw2s sweep {self.folder / 'config.yaml'}",
            details=provenance(config.dump(self.run), environment()),
        )

    def table(self) -> pd.DataFrame:
        """One row a trial, as `raw2s.reports.sweep.trials` reads it."""
        return pd.DataFrame(
            {
                "trial": number,
                "state": "failed" if outcome.error else "done",
                "scores": outcome.scores,
                "seconds": outcome.seconds,
                "error": outcome.error,
                "parameters": outcome.values,
                "tested": not outcome.error and self._has_test(outcome.values),
            }
            for number, outcome in sorted(self.outcomes.items())
        )

    def _fits(self, values: Values) -> bool:
        """Whether the cluster has room for the trial; one without fails here."""
        if error := self.draws.no_room(values):
            self._done(Outcome(values, [], 0.0, error))
        return not error

    def _counts(self, values: Values, results: str) -> bool:
        """Whether a line of the log tells of a trial of this search, seeds and configuration."""
        return contains(self.search, values) and self.draws.results(values) == results

    def _is_there(self, judged: Job) -> bool:
        return self.store.has(judged) and not self.store.fault(judged)

    def _has_test(self, values: Values) -> bool:
        """Whether the trial's configuration was tested by this sweep."""
        test = self.draws.test(values)
        return test.fingerprint in self._tested and self.store.has(test)

    def _judged(self) -> str:
        """The name of the model that the trials are judged by, as the best of them has it."""
        done = not all(outcome.error for outcome in self.outcomes.values())
        values = self.outcomes[self.best()].values if done else {}
        _, judged = self.draws.trial(values)
        # One system, the same for each seed.
        return str(judged.spec["systems"][0][0])

    def _make_shared(self, trials: Sequence[tuple[Plan, Job]]) -> list[Job]:
        """Make what several trials need, what all need first; returns what is left to them."""
        from raw2s.orchestration.execute import execute
        from raw2s.orchestration.progress import Display

        # Draws may be equal, or differ in what does not matter beside the rest.
        plans = list({judged.fingerprint: plan for plan, judged in trials}.values())
        needed = Counter(name for plan in plans for name in plan.fingerprints())
        whole = Plan()
        for plan in plans:
            for stage, jobs in plan.stages.items():
                for job in jobs.values():
                    if not self.store.has(job):
                        whole.add(job, stage)
        missing = whole.fingerprints()
        by_all = {name for name in missing if needed[name] == len(plans) > 1}
        by_some = {name for name in missing if needed[name] > 1} - by_all
        display = Display(self.console)
        if by_all:
            execute(whole.only(by_all), self.store, self.run.cluster, display)
        if by_some:
            try:
                execute(whole.only(by_some), self.store, self.run.cluster, display)
            except Exception as error:
                # The trials that need it will say what is wrong; the others go on.
                self.console.print(f"  shared work failed: {type(error).__name__}", style="red")
        return [
            job for stage in whole.stages for job in whole.jobs(stage) if not self.store.has(job)
        ]

    def _done(self, outcome: Outcome) -> None:
        self.log.add(outcome, self.draws.results(outcome.values))
        number = self._keep(outcome)
        if outcome.error == INTERRUPTED:
            return
        self.store.keep_results("sweeps", self.run.name)
        told = "failed" if outcome.error else cells.plus_minus(*mean_std(outcome.scores))
        values = ", ".join(f"{key}={value_text(value)}" for key, value in outcome.values.items())
        self.console.out(
            f"  trial {number:>3}  {told:<15}  {outcome.seconds:6.1f} s  {values}", highlight=False
        )
        if outcome.error:
            self.console.out(f"    {outcome.error}", style="red", highlight=False)

    def _keep(self, outcome: Outcome) -> int:
        number = self._number(outcome.values)
        self.outcomes[number] = outcome.after(self.outcomes.get(number))
        return number

    def _number(self, values: Values) -> int:
        return self._numbers.setdefault(key_of(values), len(self._numbers))
