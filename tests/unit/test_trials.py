"""How a cluster is shared among trials, and what Optuna is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raw2s.config import Between, Cluster, Search, Simplex
from raw2s.nodes import Node
from raw2s.orchestration import trials
from raw2s.orchestration.trials import share
from raw2s.search.log import Outcome
from raw2s.store import Job


def training(workers: int, cpus: float, gpus: float = 0, *, name: str = "a") -> Job:
    runtime = {"workers": workers, "cpus": cpus, "gpus": gpus, "nodes": {}}
    return Job("student", name, {"name": name}, runtime=runtime)


def answering(cpus: float, gpus: float = 0) -> Job:
    runtime = {"actors": 4, "cpus": cpus, "gpus": gpus, "nodes": {}}
    return Job("answer", "b", {}, runtime=runtime)


@pytest.mark.parametrize(
    ("jobs", "nodes", "at_once"),
    [
        ([training(1, 1)], [Node(2)], 2),
        ([training(2, 1)], [Node(2)], 1),
        # A group of two may stand on two nodes, its workers not.
        ([training(2, 2)], [Node(3), Node(3)], 1),
        ([training(1, 1, 1)], [Node(16, 4), Node(16, 4)], 8),
        ([training(4, 1, 1)], [Node(16, 4), Node(16, 4)], 2),
        # The tighter of two needs counts.
        ([training(1, 1, 0.5), answering(1, 1)], [Node(16, 2)], 2),
        # What never fits is left to the check of the cluster.
        ([training(1, 8)], [Node(2)], 1),
        ([], [Node(2)], 9),
    ],
)
def test_as_many_trials_at_once_as_fit(jobs: list[Job], nodes: list[Node], at_once: int) -> None:
    assert share(jobs, 9, Cluster(), nodes).trials == at_once


def test_no_more_at_once_than_there_are_or_the_user_allows() -> None:
    jobs, nodes = [training(1, 1)], [Node(64)]
    alone = share(jobs, 2, Cluster(), nodes)
    assert (alone.trials, alone.cluster.train_runs) == (2, 32)
    assert share(jobs, 9, Cluster(hosts=1), nodes).trials == 1
    part = share(jobs, 9, Cluster(train_runs=6, hosts=4), nodes)
    assert (part.trials, part.cluster.train_runs, part.cluster.hosts) == (4, 1, 1)


def test_shares_together_are_the_cluster() -> None:
    nodes = [Node(8, 4), Node(8, 4)]
    part = share([training(2, 1, 1), answering(1, 0.5)], 9, Cluster(hosts=8), nodes)
    assert part.trials == 4
    assert {what: part.room[what] * part.trials for what in part.room} == {"CPU": 16, "GPU": 8}
    assert part.cluster.train_runs == 1 and part.cluster.hosts == 2


def test_a_trial_alone_may_train_its_seeds_at_once() -> None:
    # One hosted model fills the node, four trainings fit.
    part = share([training(1, 1), answering(4)], 9, Cluster(), [Node(4)])
    assert (part.trials, part.cluster.train_runs) == (1, 4)


@pytest.fixture
def search() -> Search:
    return Search(
        experiment="e",
        strategy="s",
        method="optuna",
        trials=9,
        parameters={
            "strategy.a": [None, {"gamma_max": 0.5}],
            "strategy.weights": Simplex(models=3),
            "strategy.b": Between(between=(1e-3, 1), log=True),
            "experiment.c": Between(between=(1, 4), whole=True),
        },
    )


def test_optuna_draws_within_the_space_and_knows_what_was_found(search: Search) -> None:
    pytest.importorskip("optuna")
    before: list[Outcome] = []
    for _ in range(3):
        sampler = trials._optuna(search, before)
        for number in range(4):
            values = trials._values(search, sampler.suggest(f"t{number}"))
            assert values["strategy.a"] in (None, {"gamma_max": 0.5})
            assert sum(values["strategy.weights"]) == pytest.approx(1)
            assert min(values["strategy.weights"]) >= 0
            assert 1e-3 <= values["strategy.b"] <= 1
            assert values["experiment.c"] in (1, 2, 3, 4)
            assert values not in [outcome.values for outcome in before]
            before.append(Outcome(values, [values["strategy.b"]], 1.0))
    known: Any = trials._optuna(search, [*before, Outcome(before[0].values, [], 1.0, "it broke")])
    told = known._ot_study.get_trials()
    assert [t.value for t in told] == [o.scores[0] for o in before]


def test_values_come_back_from_what_optuna_is_told(search: Search) -> None:
    pytest.importorskip("optuna")
    for weights in ([0.2, 0.3, 0.5], [0.0, 0.0, 1.0], [1 / 3] * 3):
        values = {
            "strategy.a": {"gamma_max": 0.5}, "strategy.weights": weights, "strategy.b": 0.1,
            "experiment.c": 3,
        }  # fmt: skip
        back = trials._values(search, trials._point(search, values))
        assert np.allclose(back.pop("strategy.weights"), values.pop("strategy.weights"), atol=1e-6)
        assert back == values


def test_an_error_is_told_by_its_root() -> None:
    class Wrapped(Exception):
        cause: BaseException | None = None

    inner, middle, outer = (
        ValueError("size mismatch:\n  12 and 13\n\nin x\nadvice"),
        Wrapped(),
        Wrapped(),
    )
    outer.cause, middle.cause = middle, inner
    assert trials._one_line(outer) == "ValueError: size mismatch: 12 and 13 in x"
    assert trials._one_line(Wrapped("alone")) == "Wrapped: alone"


def test_scores_are_of_each_seed(tmp_path: Path) -> None:
    import pandas as pd

    from raw2s.store import Store

    store, job = Store(tmp_path), Job("results", "t", {})
    rows = pd.DataFrame(
        {"kind": "classification", "seed": [1, 1, 0, 0], "c0": [1.0, 1.0, 0.0, 1.0]}
    )
    with store.write(job) as (folder, _):
        rows.to_parquet(folder / "results.parquet")
    assert trials.trial_scores(job, [1, 0], store) == [1.0, 0.5]
