"""A study: a run over variants of its experiments, and a report that answers one question."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from raw2s import config, stages
from raw2s.config import Run, Strategy, Study, parse
from raw2s.config.reading import set_key
from raw2s.errors import ConfigError
from raw2s.pipeline import recipe
from raw2s.reports.bridge import no_bridge, read_bridge
from raw2s.reports.provenance import provenance
from raw2s.reports.study.comparison import Cell
from raw2s.reports.study.html import write_study
from raw2s.run import environment
from raw2s.run import run as do_run
from raw2s.storage.tables import read_table
from raw2s.store import Job, Store


def study(settings: Run, *, command: str, console: Console | None = None) -> Path:
    """Do the study's run and write its report; returns its folder, `<storage>/studies/<name>`.

    The folder holds study.md, study.csv, study.svg and study.html; the run's own results lie in
    `<storage>/runs/<name>`. `command`: what the report says made it.
    """
    console = console or Console()
    run, cells = study_run(settings)
    runs = do_run(run, console=console)
    plan, store = recipe(run), Store(run.storage)
    asked = _asked(settings)
    folder = store.results("studies", run.name)
    write_study(
        folder,
        title=asked.title,
        question=asked.question,
        command=command,
        results=read_table(runs / "results.parquet"),
        cells=cells,
        axis=asked.axis,
        costs=costs(plan.jobs("results"), store),
        bridge=read_bridge(runs) if plan.jobs("bridge_check") else no_bridge(),
        reports=os.path.relpath(store.results("runs", run.name), folder),
        details=provenance(config.dump(settings), environment()),
    )
    store.keep_results("studies", run.name)
    console.out(f"  study: {folder / 'study.html'}", highlight=False)
    return folder


def study_run(settings: Run) -> tuple[Run, list[Cell]]:
    """The run that a study does, and what each of its experiments is.

    Raises ConfigError if there is no study, none of the experiments is of its kind, or a variant
    makes no valid experiment.
    """
    asked = _asked(settings)
    raw = settings.model_dump(mode="json", exclude={"study", "sweep"})
    of_kind = {
        name: raw["experiments"][name]
        for name, experiment in settings.experiments.items()
        if asked.kind in (None, "generation" if experiment.generation else "classification")
    }
    if not of_kind:
        raise ConfigError(f"study: no experiment is {asked.kind}")
    raw["experiments"], cells = {}, []
    for task, experiment in of_kind.items():
        if asked.strategies is not None:
            experiment["strategies"] = asked.strategies
        for variant, change in asked.variants.items():
            name = f"{task}-{variant}"
            if name in raw["experiments"] or name in settings.experiments:
                raise ConfigError(f"study: two experiments would be called {name}")
            raw["experiments"][name] = _changed(name, experiment, change.weak, change.set)
            cells.append(Cell(name, task, variant))
        if not asked.variants:
            raw["experiments"][task] = experiment
            cells.append(Cell(task, task, ""))
    run = parse(raw)
    return run, [replace(cell, naives=_naives(run, cell.experiment)) for cell in cells]


def _naives(run: Run, experiment: str) -> dict[str, str]:
    """For each student of an experiment the Naive Multi-Weak one that it is compared with: of the
    same weak models (a single model's student: of all), with the auxiliary loss if it has that, and
    a Bayesian one's also with its weights and targets, as far as there is one; else the first.
    Nothing where there is no Naive Multi-Weak."""
    there = run.experiments[experiment]
    every = {model.name for model in there.weak}
    strategies = there.strategies
    naives = [strategy for strategy in strategies if strategy.strategy == "naive"]

    def likeness(student: Strategy, naive: Strategy) -> tuple[bool, ...]:
        of_bayesian = ("weights", "target", "unit", "split", "temperature")
        single = student.strategy in ("single", "ensemw2s")
        taught_by = every if single else set(student.weak or every)
        alike = [set(naive.weak or every) == taught_by]
        alike += [(student.auxiliary is None) == (naive.auxiliary is None)]
        if student.strategy == "bayesian":
            alike += [getattr(student, key) == getattr(naive, key) for key in of_bayesian]
        return tuple(alike)

    return {
        name: max(naives, key=partial(likeness, student)).name
        for student in strategies
        for name in (student.name, student.cdpo_name)
        if naives
    }


# Stages that a student alone needs; what is before them is shared by all.
_OF_A_STUDENT = {
    "candidates", "score", "supervision", "student", "sample", "pairs", "reference", "cdpo",
    "answer",
}  # fmt: skip
_TRAINED_ON_TRUTH = {"finetune", "experts", "answer"}


def costs(results: Sequence[Job], store: Store) -> pd.DataFrame:
    """What each system has cost, a row for each experiment and system; means over seeds.

    own_seconds: of a student all that models compute after the weak models' labels, of the others
    their fine-tuning, and the answers. all_seconds: of everything that the system needs. Seconds
    are those of models at work, summed over what ran at the same time; label models and the bridge,
    which take little, are not counted. tokens: read in its own training, NaN where an artefact
    does not say.
    """
    # Systems share most of what they need; each artefact is read once.
    used = {
        job.fingerprint: job
        for result in results
        for read in result.inputs.values()
        for job in read.closure()
    }
    seconds = {name: _seconds(job, store) for name, job in used.items()}
    rows = []
    for result in results:
        for number, (name, role, _, _, *_) in enumerate(result.spec["systems"]):
            needed = result.inputs[f"answers.{number}"].closure()
            own_stages = _OF_A_STUDENT if role == "student" else _TRAINED_ON_TRUTH
            own = [job for job in needed if job.stage in own_stages]
            rows.append(
                {
                    "experiment": result.title,
                    "system": name,
                    "own_seconds": sum(seconds[job.fingerprint] for job in own),
                    "all_seconds": sum(seconds[job.fingerprint] for job in needed),
                    "tokens": sum(_tokens(job, store) for job in own),
                }
            )
    return pd.DataFrame(rows).groupby(["experiment", "system"], sort=False, as_index=False).mean()


def _seconds(job: Job, store: Store) -> float:
    return sum(end - start for start, end in store.manifest(job)["notes"].get("compute", []))


def _tokens(job: Job, store: Store) -> float:
    if job.stage not in stages.TRAINED:
        return 0.0
    return float(store.manifest(job)["notes"].get("tokens", math.nan))


def _asked(settings: Run) -> Study:
    if settings.study is None:
        raise ConfigError("the configuration has no `study`")
    return settings.study


def _changed(
    name: str, experiment: dict[str, Any], weak: int | list[str] | None, values: dict[str, Any]
) -> dict[str, Any]:
    """The variant `name` of an experiment."""
    changed = copy.deepcopy(experiment)
    if weak is not None:
        there = {model["name"]: model for model in changed["weak"]}
        names = list(there)[:weak] if isinstance(weak, int) else weak
        if isinstance(weak, int) and weak > len(there):
            raise ConfigError(f"study: {name} wants {weak} weak models, there are {len(there)}")
        absent = [model for model in names if model not in there]
        if absent:
            raise ConfigError(f"study: {name} has no weak model called {absent[0]!r}")
        changed["weak"] = [there[model] for model in names]
    for key, value in values.items():
        places = _paths(changed, key.split("."))
        if not places:
            raise ConfigError(f"study: {name} has nothing to set {key} in")
        for path in places:
            set_key(changed, path, value)
    return changed


def _paths(node: Any, keys: Sequence[str]) -> list[list[str | int]]:
    """The keys with every star replaced by each place of the list that is there."""
    if not keys:
        return [[]]
    first, *rest = keys
    if first == "*":
        if not isinstance(node, list):
            raise ConfigError(f"study: a star stands for a list, {type(node).__name__} is there")
        return [[n, *path] for n, below in enumerate(node) for path in _paths(below, rest)]
    below = node.get(first) if isinstance(node, dict) else None
    return [[first, *path] for path in _paths(below, rest)]
