"""A sweep: trials on the validation split, then one test of the best.

What all trials share (weak models, their labels, often more) is made first, by the whole cluster;
Ray Tune then does the trials, each what it alone needs.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
from rich.console import Console

from raw2s import config, space
from raw2s.config import Run, Search
from raw2s.errors import ConfigError
from raw2s.orchestration.trials import (
    INTERRUPTED,
    Outcome,
    run_trials,
    search_trials,
    share,
    trial_scores,
)
from raw2s.pipeline import Plan, recipe, trial
from raw2s.reports import cells
from raw2s.reports.provenance import provenance
from raw2s.reports.sweep.html import write_sweep
from raw2s.reports.sweep.trials import best_trial, mean_std, value_text
from raw2s.reports.table import summarise
from raw2s.run import environment
from raw2s.run import run as do_run
from raw2s.storage.tables import read_table
from raw2s.store import Job, Store, write_text

# Draws whose plans tell what all trials of a search by Optuna have in common.
_PROBES = 4


def sweep(settings: Run, *, console: Console | None = None) -> Path:
    """Search, then run the best trial's configuration; returns the sweep's folder.

    The folder, `<storage>/sweeps/<name>`, holds config.yaml, trials.jsonl, trials.csv, sweep.md and
    report.html; the run of the chosen configuration lies in `<storage>/runs/<name>-best`. A sweep
    that was killed goes on where it was, trials that failed are tried again. Raises ConfigError for
    what can be known to fail before, and if no trial ends well.
    """
    from raw2s.checks import check_cluster
    from raw2s.orchestration.cluster import connected
    from raw2s.orchestration.visibility import check_storage

    console = console or Console()
    search = settings.sweep
    if search is None:
        raise ConfigError("the configuration has no `sweep`")
    known = _known(search)
    store = Store(settings.storage)
    folder = store.results("sweeps", settings.name)
    trials = Trials(folder, settings, search, console)
    trials.check(known)
    try:
        store.recall_results("sweeps", settings.name)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"storage {settings.storage} cannot be written: {error}") from error
    write_text(folder / "config.yaml", config.dump(settings))
    started = time.monotonic()
    console.print(f"[bold]raw2s[/bold] sweep [bold]{settings.name}[/bold]", highlight=False)
    with connected(settings.cluster):
        check_cluster(settings)
        check_storage(store)
        trials.do(known)
        trials.report()
        best = trials.best()
        console.print(f"  trial {best} is best; its configuration is tested", highlight=False)
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
    trials.read(_known(settings.sweep))
    if not trials.outcomes:
        raise ConfigError(f"no trial of sweep {settings.name} is done; `raw2s sweep` does them")
    trials.report()
    trials.console.out(f"report: {folder / 'report.html'}", highlight=False)


def _known(search: Search) -> list[space.Values]:
    """The trials that are known before the first: all, or of Optuna's none."""
    if search.method == "grid":
        return space.grid(search)
    return space.drawn(search, search.trials or 1) if search.method == "random" else []


class Trials:
    """A sweep's outcomes by number. The scores are the store's; trials.jsonl tells what the store
    does not: seconds, errors and the order of Optuna's draws."""

    def __init__(self, folder: Path, run: Run, search: Search, console: Console) -> None:
        self.folder, self.run, self.search, self.console = folder, run, search, console
        self.store = Store(run.storage)
        self.outcomes: dict[int, Outcome] = {}
        self._numbers: dict[str, int] = {}
        self._plans: dict[str, tuple[Plan, Job]] = {}
        self._tests: dict[str, Job] = {}
        self.repeated = 0

    def check(self, known: Sequence[space.Values]) -> None:
        """Raise ConfigError for the first trial that the configuration does not allow."""
        for number, values in enumerate(known):
            try:
                self._trial(values)
            except ConfigError as error:
                raise ConfigError(f"trial {number}, {values}: {error}") from error

    def read(self, known: Sequence[space.Values]) -> None:
        """Find what is done: of the known trials, and of those that an earlier sweep has drawn."""
        log = self.folder / "trials.jsonl"
        lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
        records = [record for record in map(_record, lines) if record]
        told = {_key(record.values): record for record in records}
        drawn = [] if known else [o.values for o in told.values() if self._possible(o.values)]
        for values in known:
            self._number(values)
        for values in [*known, *drawn]:
            before = told.get(_key(values), Outcome(values, [], math.nan))
            _, judged = self._trial(values)
            if self.store.has(judged):
                scores = trial_scores(judged, self.run.seeds, self.store)
                self._keep(replace(before, scores=scores, error=""))
            elif before.error:
                self._keep(before)
        # A draw that repeats another is a draw, too.
        again = [record for record in records if not record.error]
        self.repeated = len(again) - len({_key(record.values) for record in again})

    def do(self, known: Sequence[space.Values]) -> None:
        """Do what is missing."""
        from raw2s.orchestration.cluster import nodes

        self.read(known)
        failed = [outcome.values for outcome in self.outcomes.values() if outcome.error]
        done = {_key(o.values) for o in self.outcomes.values() if not o.error}
        todo = [values for values in known if _key(values) not in done] if known else failed
        asked = 0 if known else self.search.trials or 0
        left = max(0, asked - len(self.outcomes) - self.repeated)
        probes = [v for v in space.drawn(self.search, _PROBES) if self._possible(v)] if left else []
        plans = [self._trial(values)[0] for values in [*todo, *probes]]
        if done:
            self.console.print(f"  {len(done)} trials found", style="dim", highlight=False)
        part = share(
            self._make_shared(plans),
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

    def _possible(self, values: space.Values) -> bool:
        """Whether the values are of this search, and make a configuration."""
        try:
            self._trial(values)
        except ConfigError:
            return False
        return space.contains(self.search, values)

    def best(self) -> int:
        """The number of the best trial; ConfigError if none ended well."""
        if all(outcome.error for outcome in self.outcomes.values()):
            first = next(iter(self.outcomes.values()))
            raise ConfigError(f"no trial of sweep {self.run.name} ended well: {first.error}")
        return best_trial(self.table())

    def chosen(self) -> Run:
        """The best trial's configuration, with all strategies of its experiment."""
        return space.chosen_run(self.run, self.search, self.outcomes[self.best()].values)

    def report(self) -> None:
        """Write trials.csv, sweep.md and report.html."""
        table, chosen, folder = self.table(), None, ""
        if table["tested"].any():
            test = self._test(self.outcomes[self.best()].values)
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
            judged=f"{self.search.strategy} of {self.search.experiment}",
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
                "tested": not outcome.error and self.store.has(self._test(outcome.values)),
            }
            for number, outcome in sorted(self.outcomes.items())
        )

    def _trial(self, values: space.Values) -> tuple[Plan, Job]:
        """The trial's plan and results, declared once."""
        key = _key(values)
        if key not in self._plans:
            self._plans[key] = trial(space.trial_run(self.run, self.search, values))
        return self._plans[key]

    def _test(self, values: space.Values) -> Job:
        """The results of the trial's configuration on the test, declared once."""
        key = _key(values)
        if key not in self._tests:
            chosen = recipe(space.chosen_run(self.run, self.search, values))
            (self._tests[key],) = chosen.jobs("results")
        return self._tests[key]

    def _make_shared(self, plans: Sequence[Plan]) -> list[Job]:
        """Make what several trials need, what all need first; returns what is left to them."""
        from raw2s.orchestration.execute import execute
        from raw2s.orchestration.progress import Display

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
        with (self.folder / "trials.jsonl").open("a", encoding="utf-8") as file:
            # A line of its own, even after one that a kill has cut short.
            file.write("\n" + json.dumps(asdict(outcome)) + "\n")
        number = self._keep(outcome)
        if outcome.error == INTERRUPTED:
            return
        told = "failed" if outcome.error else cells.plus_minus(*mean_std(outcome.scores))
        values = ", ".join(f"{key}={value_text(value)}" for key, value in outcome.values.items())
        self.console.out(
            f"  trial {number:>3}  {told:<15}  {outcome.seconds:6.1f} s  {values}", highlight=False
        )
        if outcome.error:
            self.console.out(f"    {outcome.error}", style="red", highlight=False)

    def _keep(self, outcome: Outcome) -> int:
        number = self._number(outcome.values)
        self.outcomes[number] = outcome
        return number

    def _number(self, values: space.Values) -> int:
        return self._numbers.setdefault(_key(values), len(self._numbers))


def _key(values: space.Values) -> str:
    return json.dumps(values, sort_keys=True)


def _record(line: str) -> Outcome | None:
    """A line of trials.jsonl; None for one that is empty or that a kill has cut short."""
    try:
        return Outcome(**json.loads(line))
    except json.JSONDecodeError:
        return None
