"""Predictive distributions of a classification experiment's systems, and of ensembles of them.

An ensemble's prediction is the mean of its members'. Two kinds stand beside the systems: the weak
models that answered the same items (the plain ensemble), and the seeds of one student.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from raw2s.method.arrays import Array, Indices

WEAK_ENSEMBLE = "Weak models' ensemble"


@dataclass(frozen=True)
class Predictions:
    """What one system with one seed, or an ensemble, says about n items."""

    items: pd.Index
    """Their ids, in order."""
    labels: Indices
    """(n,): the true classes."""
    probabilities: Array
    """(n, K): the predictive distributions."""
    concentration: Array | None = None
    """(n,): alpha_0 of their Dirichlets; None without."""
    members: Array | None = None
    """(N, n, K): those of an ensemble's members; None for one system."""


@dataclass(frozen=True)
class Line:
    """A line of the report: a system or an ensemble, with its predictions of each run."""

    name: str
    role: str
    seeds: tuple[int, ...]
    """Those that take part: one for each run, but all of them in the one run of an ensemble of
    seeds."""
    runs: list[Predictions]
    plain: list[Predictions | None]
    """For each run the plain ensemble on the same items; None with fewer than two weak models."""
    lacks: str = ""
    """Why there is no ensemble of this system's seeds; empty where there is one, or no need."""


@dataclass(frozen=True)
class _System:
    name: str
    role: str
    runs: dict[int, Predictions]

    def at(self, seed: int) -> Predictions:
        """The run with this seed; the first where the system does not vary with the seed."""
        return self.runs.get(seed, next(iter(self.runs.values())))


def lines(table: pd.DataFrame) -> list[Line]:
    """The lines of one classification experiment: weak models, their ensemble, all others; a
    student with several seeds is followed by their ensemble.

    Args:
        table: the experiment's rows of the results table, see `raw2s.reports.results`.
    """
    systems = [_system(str(name), rows) for name, rows in table.groupby("system", sort=False)]
    weak = [system for system in systems if system.role == "weak"]
    others = [system for system in systems if system.role != "weak"]
    found = [_line(system, weak) for system in weak]
    if others:
        found += _weak_ensemble(weak, others[0])
    for system in others:
        found.append(_line(system, weak))
        if system.role == "student" and len(system.runs) > 1 and _same_items(system):
            found.append(_seeds_ensemble(system, weak))
    return found


def _system(name: str, rows: pd.DataFrame) -> _System:
    runs = {
        int(seed): _predictions(rows[rows["seed"] == seed].sort_values("item"))
        for seed in sorted(rows["seed"].unique())
    }
    return _System(name, str(rows["role"].iloc[0]), runs)


def _predictions(rows: pd.DataFrame) -> Predictions:
    concentration = rows["concentration"].to_numpy(dtype=np.float64)
    return Predictions(
        # Plain strings: Arrow's are slow to look up.
        items=pd.Index(rows["item"], dtype=object),
        labels=np.array([json.loads(gold) for gold in rows["gold"]]),
        probabilities=np.stack([np.asarray(p, dtype=np.float64) for p in rows["probabilities"]]),
        concentration=None if np.isnan(concentration).any() else concentration,
    )


def _line(system: _System, weak: Sequence[_System]) -> Line:
    plain = [_plain(weak, [seed], run) for seed, run in system.runs.items()]
    lacks = ""
    if system.role == "student" and len(system.runs) > 1 and not _same_items(system):
        lacks = "no ensemble of seeds: their tests differ"
    return Line(
        system.name, system.role, tuple(system.runs), list(system.runs.values()), plain, lacks
    )


def _same_items(system: _System) -> bool:
    first, *rest = system.runs.values()
    return all(run.items.equals(first.items) for run in rest)


def _weak_ensemble(weak: Sequence[_System], tested: _System) -> list[Line]:
    """The weak models' ensemble on the test, one run for each of their seeds, if there is one."""
    runs = {
        seed: _plain(weak, [seed], tested.at(seed))
        for seed in sorted({seed for system in weak for seed in system.runs})
    }
    found = {seed: run for seed, run in runs.items() if run is not None}
    if not found:
        return []
    return [Line(WEAK_ENSEMBLE, "weak", tuple(found), list(found.values()), list(found.values()))]


def _seeds_ensemble(student: _System, weak: Sequence[_System]) -> Line:
    seeds = tuple(student.runs)
    run = _mean(list(student.runs.values()), student.at(seeds[0]))
    name = f"{student.name}, ensemble of seeds"
    return Line(name, student.role, seeds, [run], [_plain(weak, seeds, run)])


def _plain(weak: Sequence[_System], seeds: Sequence[int], like: Predictions) -> Predictions | None:
    """The ensemble of the weak models, with each of the seeds, on the items of `like`.

    A model that has not answered them all (a file of labels has no answers to the test) takes no
    part; None with fewer than two models.
    """
    answered = [
        system
        for system in weak
        if all(like.items.isin(system.at(seed).items).all() for seed in seeds)
    ]
    if len(answered) < 2:
        return None
    return _mean([system.at(seed) for system in answered for seed in seeds], like)


def _mean(members: Sequence[Predictions], like: Predictions) -> Predictions:
    stacked = np.stack(
        [member.probabilities[member.items.get_indexer(like.items)] for member in members]
    )
    return Predictions(like.items, like.labels, stacked.mean(0), members=stacked)
