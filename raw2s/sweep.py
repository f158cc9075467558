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
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

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
from raw2s.run import environment, mend
from raw2s.run import run as do_run
from raw2s.storage.tables import read_table
from raw2s.store import Job, Store, write_text

_PROBES = 4
"""Draws whose plans tell what all trials of a search by Optuna have in common."""
_CONTEXTS, _OTHERS = 16, 3
"""In how many of its draws it is looked whether a parameter matters, and with how many values of an
interval."""


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
        check_storage(store)
        trials.do(known)
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
    trials.read(_known(settings.sweep))
    if not trials.outcomes:
        raise ConfigError(f"no trial of sweep {settings.name} is done; `raw2s sweep` does them")
    trials.report()
    trials.console.out(f"report: {folder / 'report.html'}", highlight=False)


def _known(search: Search) -> list[space.Values]:
    """The trials that are known before the first, each once: all, or of Optuna's none."""
    if search.method == "optuna":
        return []
    random = search.method == "random"
    known = space.drawn(search, search.trials or 1) if random else space.grid(search)
    return list({_key(values): values for values in known}.values())


class Trials:
    """A sweep's outcomes by number. The scores are the store's; trials.jsonl tells what the store
    does not: seconds, errors, the order of Optuna's draws, and what the sweep has tested. What was
    told of other seeds or another configuration does not count."""

    def __init__(self, folder: Path, run: Run, search: Search, console: Console) -> None:
        self.folder, self.run, self.search, self.console = folder, run, search, console
        self.store = Store(run.storage)
        self.outcomes: dict[int, Outcome] = {}
        self._numbers: dict[str, int] = {}
        self._plans: dict[str, tuple[Plan, Job]] = {}
        self._tests: dict[str, Job] = {}
        self._tested: set[str] = set()
        self.repeated = 0

    def check(self, known: Sequence[space.Values]) -> None:
        """Raise ConfigError for the first trial that the configuration does not allow, and for a
        parameter that changes no trial, whatever the others are."""
        for number, values in enumerate(known):
            try:
                self._trial(values)
            except ConfigError as error:
                raise ConfigError(f"trial {number}, {values}: {error}") from error
        some = known or space.drawn(self.search, _CONTEXTS)
        for key, parameter in self.search.parameters.items():
            # Of an interval or a simplex all values matter, or none.
            told = {json.dumps(values[key]): values[key] for values in some}
            few = list(told.values())[:_OTHERS]
            if self._changes_nothing(key, parameter if isinstance(parameter, list) else few, some):
                raise ConfigError(f"sweep: {key} changes nothing of {self.search.strategy}")

    def read(self, known: Sequence[space.Values]) -> None:
        """Find what is done: of the known trials, and of those that an earlier sweep has drawn."""
        told, well = self._told()
        for values in known:
            self._number(values)
        for values in known or [outcome.values for outcome in told.values()]:
            before = told.get(_key(values), Outcome(values, [], math.nan))
            if self._made(values) and self._is_there(judged := self._trial(values)[1]):
                scores = trial_scores(judged, self.run.seeds, self.store)
                self._keep(replace(before, scores=scores, error=""))
            elif before.error:
                self._keep(before)
        # A draw that repeats another is a draw, too.
        self.repeated = well - sum(not outcome.error for outcome in told.values())

    def do(self, known: Sequence[space.Values]) -> None:
        """Do what is missing."""
        from raw2s.orchestration.cluster import nodes

        begun = known or [outcome.values for outcome in self._told()[0].values()]
        plans = [self._trial(values)[0] for values in begun if self._made(values)]
        jobs = [job for plan in plans for stage in plan.stages for job in plan.jobs(stage)]
        mend(jobs, self.store, self.console)
        self.read(known)
        done = {_key(o.values) for o in self.outcomes.values() if not o.error}
        todo = [values for values in begun if _key(values) not in done and self._made(values)]
        todo = [values for values in todo if self._fits(values)]
        asked = 0 if known else self.search.trials or 0
        left = max(0, asked - len(begun) - self.repeated)
        probes = space.drawn(self.search, _PROBES) if left else []
        probes = [v for v in probes if self._made(v) and not self._has_no_room(v)]
        if done:
            self.console.print(f"  {len(done)} trials found", style="dim", highlight=False)
        part = share(
            self._make_shared([self._trial(values) for values in [*todo, *probes]]),
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
        tested = self._test(self.outcomes[self.best()].values).fingerprint
        if tested not in self._tested:
            self._tested.add(tested)
            self._note({"tested": tested})

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

    def _made(self, values: space.Values) -> str:
        """The fingerprint of the trial's results; "" where the values make no configuration."""
        try:
            return self._trial(values)[1].fingerprint
        except ConfigError:
            return ""

    def _changes_nothing(
        self, key: str, told: Sequence[Any], contexts: Sequence[space.Values]
    ) -> bool:
        """Whether these values of a parameter make the same trial in each of the contexts."""
        compared = False
        for values in contexts:
            made = [name for one in told if (name := self._made(values | {key: one}))]
            if len(set(made)) > 1:
                return False
            compared |= len(made) > 1
        return compared

    def _has_no_room(self, values: space.Values) -> str:
        """Why the cluster can never have room for what the trial, or its test, needs; "" if it
        has."""
        from raw2s.checks import check_cluster

        try:
            check_cluster(space.chosen_run(self.run, self.search, values))
        except ConfigError as error:
            return str(error)
        return ""

    def _fits(self, values: space.Values) -> bool:
        """Whether the cluster has room for the trial; one without fails here."""
        if error := self._has_no_room(values):
            self._done(Outcome(values, [], 0.0, error))
        return not error

    def _told(self) -> tuple[dict[str, Outcome], int]:
        """What trials.jsonl tells of this search's trials, by their values; how many of its lines
        are of one that ended well."""
        log = self.folder / "trials.jsonl"
        lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
        told: dict[str, Outcome] = {}
        well = 0
        for record in filter(None, map(_record, lines)):
            if "tested" in record:
                self._tested.add(record["tested"])
                continue
            results, outcome = record.pop("results"), Outcome(**record)
            values, key = outcome.values, _key(outcome.values)
            if not space.contains(self.search, values) or self._made(values) != results:
                continue
            well += not outcome.error
            told[key] = _kept(told.get(key), outcome)
        return told, well

    def _is_there(self, judged: Job) -> bool:
        return self.store.has(judged) and not self.store.fault(judged)

    def _has_test(self, values: space.Values) -> bool:
        """Whether the trial's configuration was tested by this sweep."""
        test = self._test(values)
        return test.fingerprint in self._tested and self.store.has(test)

    def _judged(self) -> str:
        """The name of the model that the trials are judged by, as the best of them has it."""
        done = not all(outcome.error for outcome in self.outcomes.values())
        values = self.outcomes[self.best()].values if done else {}
        _, judged = self._trial(values)
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
        self._note({"results": self._made(outcome.values), **asdict(outcome)})
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

    def _note(self, record: Mapping[str, Any]) -> None:
        with (self.folder / "trials.jsonl").open("a", encoding="utf-8") as file:
            # A line of its own, even after one that a kill has cut short.
            file.write("\n" + json.dumps(record) + "\n")

    def _keep(self, outcome: Outcome) -> int:
        number = self._number(outcome.values)
        self.outcomes[number] = _kept(self.outcomes.get(number), outcome)
        return number

    def _number(self, values: space.Values) -> int:
        return self._numbers.setdefault(_key(values), len(self._numbers))


def _key(values: space.Values) -> str:
    return json.dumps(values, sort_keys=True)


def _kept(before: Outcome | None, outcome: Outcome) -> Outcome:
    """What counts of two equal draws: what one has given, the other does not take away."""
    return before if before and outcome.error and not before.error else outcome


def _record(line: str) -> dict[str, Any]:
    """A line of trials.jsonl; nothing for one that is empty or that a kill has cut short."""
    try:
        return dict(json.loads(line))
    except json.JSONDecodeError:
        return {}
