"""What a sweep knows of its trials: from its log, from the store, and before the first of them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from raw2s import config
from raw2s.config import Run
from raw2s.errors import ConfigError
from raw2s.search.log import INTERRUPTED, Outcome
from raw2s.search.space import Values
from raw2s.store import Store
from raw2s.sweep import Trials

TINY = Path(__file__).parents[2] / "configs" / "tiny.yaml"
GAMMA = "strategy.auxiliary.gamma_max"


def swept(
    tmp_path: Path, parameters: dict[str, Any], *, experiment: str = "topics", **more: Any
) -> Trials:
    run = config.load(TINY)
    raw = run.model_dump(mode="json") | {"storage": str(tmp_path / "store")}
    raw |= {key: more.pop(key) for key in ("seeds",) if key in more}
    name = next(
        strategy.name
        for strategy in run.experiments[experiment].strategies
        if strategy.strategy == "bayesian"
    )
    raw["sweep"] = {
        "experiment": experiment, "strategy": name, "parameters": parameters, **more,
    }  # fmt: skip
    settings: Run = config.parse(raw)
    assert settings.sweep is not None
    folder = tmp_path / "sweep"
    folder.mkdir(exist_ok=True)
    return Trials(folder, settings, settings.sweep, Console(quiet=True))


def finish(trials: Trials, values: Values, score: float) -> None:
    """Leave results of five rows as the trial would."""
    _, judged = trials.draws.trial(values)
    rows = pd.DataFrame({"kind": "classification", "role": "student", "system": "S", "seed": 0,
                         "item": range(5), "c0": np.arange(5) < round(5 * score)})  # fmt: skip
    if not trials.store.has(judged):
        with trials.store.write(judged) as (folder, _):
            rows.to_parquet(folder / "results.parquet", index=False)


@pytest.mark.parametrize("method", ["grid", "random", "optuna"])
def test_a_parameter_that_changes_nothing_is_refused(method: str, tmp_path: Path) -> None:
    def check(experiment: str, betas: list[float]) -> None:
        parameters = {GAMMA: [0.1, 0.2], "experiment.cdpo.beta": betas}
        more = {} if method == "grid" else {"method": method, "trials": 6}
        trials = swept(tmp_path, parameters, experiment=experiment, **more)
        trials.draws.check()

    with pytest.raises(ConfigError, match="experiment.cdpo.beta changes nothing of Bayesian"):
        check("topics", [0.1, 2.0])
    # With cDPO it matters; of one value there is nothing to compare.
    check("slots", [0.1, 2.0])
    check("topics", [2.0])


def test_a_parameter_may_matter_beside_some_values_only(tmp_path: Path) -> None:
    # Balanced predictions alone have a window, which matters to none of the first values.
    parameters = {
        "strategy.auxiliary": [None, {"gamma_max": 0.1}, {"prediction": "balanced"}],
        "strategy.evidential.reg_coef": [0.0, 0.1],
    }
    trials = swept(tmp_path, parameters)
    trials.draws.check()


def test_equal_draws_are_one_trial(tmp_path: Path) -> None:
    trials = swept(tmp_path, {GAMMA: [0.1, 0.2]}, method="random", trials=16)
    assert sorted(values[GAMMA] for values in trials.draws.known) == [0.1, 0.2]


def test_what_the_log_tells_of_another_configuration_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[str] = []
    monkeypatch.setattr(Store, "keep_results", lambda self, kind, name: kept.append(kind))
    search: dict[str, Any] = {
        "parameters": {GAMMA: {"between": [0, 1]}}, "method": "optuna", "trials": 9,
    }  # fmt: skip
    values = [{GAMMA: 0.25}, {GAMMA: 0.5}]
    first = swept(tmp_path, **search)
    for one, score in zip(values, (0.2, 0.6), strict=True):
        finish(first, one, score)
        first._done(Outcome(one, [score], 1.0))
    # A draw that repeats another is a draw, too, and one that died takes nothing away.
    first._done(Outcome(values[0], [0.2], 0.1))
    first._done(Outcome(values[1], [], math.nan, INTERRUPTED))
    assert [first.outcomes[n].scores for n in range(2)] == [[0.2], [0.6]]
    # Other machines find what has ended.
    assert kept == ["sweeps"] * 3

    again = swept(tmp_path, **search)
    again.read()
    assert {n: (o.scores, o.seconds, o.error) for n, o in again.outcomes.items()} == {
        0: ([0.2], 0.1, ""), 1: ([0.6], 1.0, ""),
    }  # fmt: skip
    assert again.repeated == 1

    other = swept(tmp_path, **search, seeds=[0, 1])
    other.read()
    assert (other.outcomes, other.repeated) == ({}, 0)


def test_a_draw_that_makes_no_configuration_stays_a_failure(tmp_path: Path) -> None:
    search: dict[str, Any] = {
        "parameters": {"experiment.strong_training.workers": [1, 3]},
        "method": "optuna", "trials": 9,
    }  # fmt: skip
    wrong = {"experiment.strong_training.workers": 3}
    first = swept(tmp_path, **search)
    assert first.draws.results(wrong) == ""
    first._done(Outcome(wrong, [], 0.1, "ConfigError: no"))
    again = swept(tmp_path, **search)
    again.read()
    assert again.outcomes == {0: Outcome(wrong, [], 0.1, "ConfigError: no")}


def test_a_damaged_result_is_no_result(tmp_path: Path) -> None:
    values = {GAMMA: 0.1}
    trials = swept(tmp_path, {GAMMA: [0.1, 0.2]})
    finish(trials, values, 0.4)
    trials.read()
    assert trials.outcomes[0].scores == [0.4]
    file = trials.store.path(trials.draws.trial(values)[1]) / "results.parquet"
    file.write_bytes(file.read_bytes()[:-9])
    trials = swept(tmp_path, {GAMMA: [0.1, 0.2]})
    trials.read()
    assert trials.outcomes == {}


def test_only_what_the_sweep_tested_is_called_tested(tmp_path: Path) -> None:
    parameters = {GAMMA: [0.1, 0.2]}
    trials = swept(tmp_path, parameters)
    for values, score in zip(trials.draws.known, (0.4, 0.6), strict=True):
        finish(trials, values, score)
        # A run of the same configuration may have been tested before.
        with trials.store.write(trials.draws.test(values)):
            pass
    trials.read()
    assert not trials.table()["tested"].any()
    trials.test()
    assert list(trials.table()["tested"]) == [False, True]
    again = swept(tmp_path, parameters)
    again.read()
    assert list(again.table()["tested"]) == [False, True]
    log = (tmp_path / "sweep" / "trials.jsonl").read_text().split("\n")
    assert sum("tested" in json.loads(line) for line in log if line) == 1


def test_the_page_names_the_model_that_is_judged(tmp_path: Path) -> None:
    slots = swept(tmp_path, {GAMMA: [0.1, 0.2]}, experiment="slots")
    assert slots._judged() == "Bayesian Multi-Weak + aux + cDPO"
    topics = swept(tmp_path, {"strategy.auxiliary": [None, {"gamma_max": 0.5}]})
    for values, score in zip(topics.draws.known, (0.6, 0.4), strict=True):
        finish(topics, values, score)
    topics.read()
    assert topics._judged() == "Bayesian Multi-Weak"
