"""A sweep's parameters: grids, draws, and the runs they stand for."""

from __future__ import annotations

import collections
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raw2s import config
from raw2s.errors import ConfigError
from raw2s.pipeline import recipe, trial
from raw2s.search import space

TINY = Path(__file__).parents[2] / "configs" / "tiny.yaml"


def swept(parameters: dict[str, Any], **more: Any) -> config.Run:
    search = {"experiment": "topics", "strategy": "Bayesian Multi-Weak + aux"}
    return config.load(TINY, overrides={"sweep": search | {"parameters": parameters} | more})


def search_of(parameters: dict[str, Any], **more: Any) -> config.Search:
    found = swept(parameters, **more).sweep
    assert found is not None
    return found


GAMMA, RATE = "strategy.auxiliary.gamma_max", "experiment.strong_training.learning_rate"


def test_a_grid_has_every_combination_once() -> None:
    search = search_of(
        {GAMMA: [0.0, 0.5], RATE: {"between": [1e-4, 1e-2], "log": True, "points": 3}}
    )
    found = space.grid(search)
    assert [values[GAMMA] for values in found] == [0.0, 0.0, 0.0, 0.5, 0.5, 0.5]
    assert [values[RATE] for values in found[:3]] == pytest.approx([1e-4, 1e-3, 1e-2])


def test_a_grid_over_the_simplex_has_every_composition() -> None:
    found = [v["strategy.weights"] for v in space.grid(
        search_of({"strategy.weights": {"models": 3, "steps": 4}})
    )]  # fmt: skip
    assert len(found) == math.comb(4 + 2, 2) == len({tuple(w) for w in found})
    assert all(sum(w) == 1 and min(w) >= 0 for w in found)


def test_draws_are_even_in_their_own_scale() -> None:
    parameters = {
        RATE: {"between": [1e-4, 1e-2], "log": True},
        "strategy.weights": {"models": 3},
        "experiment.strong_training.epochs": {"between": [1, 3], "whole": True},
        "strategy.evidential.evidence": ["exp", "exp+1"],
    }
    found = space.drawn(search_of(parameters, method="random", trials=1), 4000)
    logs = np.log10([v[RATE] for v in found])
    assert np.quantile(logs, [0.25, 0.5, 0.75]) == pytest.approx([-3.5, -3, -2.5], abs=0.06)
    weights = np.array([v["strategy.weights"] for v in found])
    assert weights.sum(1) == pytest.approx(1)
    # Evenly over the simplex: each weight has mean 1/3 and variance 1/18.
    assert weights.mean(0) == pytest.approx([1 / 3] * 3, abs=0.015)
    assert weights.var(0) == pytest.approx([1 / 18] * 3, abs=0.005)
    counts = collections.Counter(v["experiment.strong_training.epochs"] for v in found)
    assert set(counts) == {1, 2, 3} and min(counts.values()) > 1200
    assert {v["strategy.evidential.evidence"] for v in found} == {"exp", "exp+1"}


def test_more_draws_begin_with_the_same_ones() -> None:
    search = search_of({GAMMA: {"between": [0, 1]}}, method="random", trials=1)
    assert space.drawn(search, 5)[:2] == space.drawn(search, 2)
    other = search.model_copy(update={"seed": 1})
    assert space.drawn(other, 2) != space.drawn(search, 2)


def test_a_trial_has_the_one_strategy_with_its_values() -> None:
    run = swept({GAMMA: [0.25]})
    assert run.sweep is not None
    values = {GAMMA: 0.25, RATE: 0.5}
    alone = space.trial_run(run, run.sweep, values).experiments
    assert list(alone) == ["topics"]
    (strategy,) = alone["topics"].strategies
    assert strategy.strategy == "bayesian" and strategy.auxiliary is not None
    assert strategy.auxiliary.gamma_max == 0.25
    assert alone["topics"].strong_training.learning_rate == 0.5
    chosen = space.chosen_run(run, run.sweep, values).experiments["topics"]
    assert [s.name for s in chosen.strategies] == [
        s.name for s in run.experiments["topics"].strategies
    ]
    assert chosen.strategies[1].auxiliary == run.experiments["topics"].strategies[1].auxiliary


def test_a_trial_never_asks_for_the_test() -> None:
    run = swept({GAMMA: [0.25]})
    assert run.sweep is not None
    plan, judged = trial(space.trial_run(run, run.sweep, {GAMMA: 0.25}))
    assert [job.spec["split"] for job in plan.jobs("answer")] == ["validation"]
    assert plan.jobs("results") == [judged]
    # No ceiling, and no weak model answers: a trial has only what its score needs.
    assert len(plan.jobs("finetune")) == 3 and len(plan.jobs("student")) == 1
    assert len(plan.jobs("fit")) == 1


def test_a_trial_of_some_weak_models_has_what_its_check_reads() -> None:
    run = swept({GAMMA: [0.5]}, strategy="Single (gpt2)")
    assert run.sweep is not None
    plan, _ = trial(space.trial_run(run, run.sweep, {GAMMA: 0.5}))
    assert [job.title for job in plan.jobs("finetune")] == ["topics/gpt2"]
    there = plan.fingerprints()
    for stage in plan.stages:
        for job in plan.jobs(stage):
            assert {read.fingerprint for read in job.inputs.values()} <= there


def test_trials_share_all_that_their_values_do_not_touch() -> None:
    run = swept({GAMMA: [0.0, 0.5]})
    assert run.sweep is not None
    one, other = (
        trial(space.trial_run(run, run.sweep, values))[0] for values in space.grid(run.sweep)
    )
    apart = one.fingerprints() ^ other.fingerprints()
    stages = {stage for stage, jobs in one.stages.items() if apart & set(jobs)}
    assert stages == {"student", "answer", "results"}
    # The chosen configuration's own run finds the student there.
    final = recipe(space.chosen_run(run, run.sweep, {GAMMA: 0.5}))
    assert set(other.stages["student"]) <= set(final.stages["student"])


@pytest.mark.parametrize(
    ("parameters", "more", "told"),
    [
        ({GAMMA: {"between": [0, 1]}}, {}, "a grid needs `points`"),
        ({"strategy.weights": {"models": 3}}, {}, "a grid needs `steps`"),
        ({GAMMA: {"between": [1, 0], "points": 2}}, {}, "low < high"),
        ({GAMMA: {"between": [0, 1], "points": 2, "log": True}}, {}, "low > 0"),
        ({"auxiliary.gamma_max": [0]}, {}, "neither strategy. nor experiment."),
        ({GAMMA: [0]}, {"trials": 3}, "`trials` goes with"),
        ({GAMMA: [0]}, {"method": "random"}, "`trials` goes with"),
        ({GAMMA: [0]}, {"experiment": "none"}, "no experiment is called 'none'"),
        ({GAMMA: [0]}, {"strategy": "none"}, "no strategy of topics is called 'none'"),
        ({GAMMA: []}, {}, "at least 1"),
        ({}, {}, "at least 1"),
    ],
)
def test_a_search_that_cannot_be_is_refused(
    parameters: dict[str, Any], more: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        swept(parameters, **more)


def test_a_key_below_an_option_that_is_off_turns_it_on() -> None:
    # The strategy has no auxiliary loss in the configuration.
    run = swept({GAMMA: [0.5]}, strategy="Single (gpt2)")
    assert run.sweep is not None
    (strategy,) = space.trial_run(run, run.sweep, {GAMMA: 0.5}).experiments["topics"].strategies
    assert strategy.auxiliary == config.Auxiliary(gamma_max=0.5)


def test_a_trial_does_not_change_the_values_of_the_next() -> None:
    whole = {"gamma_max": 0.1}
    run = swept({"strategy.auxiliary": [whole], GAMMA: [0.2]})
    assert run.sweep is not None
    space.trial_run(run, run.sweep, space.grid(run.sweep)[0])
    assert space.grid(run.sweep)[0]["strategy.auxiliary"] == whole == {"gamma_max": 0.1}


def test_what_is_a_point_of_the_space() -> None:
    search = search_of(
        {GAMMA: [0.1, None], RATE: {"between": [1e-4, 1e-2]}, "strategy.weights": {"models": 2}},
        method="random", trials=1,
    )  # fmt: skip
    good = {GAMMA: 0.1, RATE: 1e-3, "strategy.weights": [0.5, 0.5]}
    assert space.contains(search, good)
    for change in ({GAMMA: 0.2}, {RATE: 1.0}, {"strategy.weights": [1.0]}, {"more": 1}):
        assert not space.contains(search, good | change)


@pytest.mark.parametrize("key", ["strategy.auxiliary.gama", "strategy.strategy.x", "experiment.x"])
def test_a_key_that_does_not_exist_is_refused(key: str) -> None:
    run = swept({key: [0.5]})
    assert run.sweep is not None
    with pytest.raises(ConfigError):
        space.trial_run(run, run.sweep, {key: 0.5})


def test_the_sweep_survives_the_resolved_copy(tmp_path: Path) -> None:
    run = swept({GAMMA: [0, 0.5], RATE: {"between": [1e-4, 1], "points": 3}})
    copy = tmp_path / "config.yaml"
    copy.write_text(config.dump(run))
    assert config.load(copy) == run
    assert len(list(itertools.chain(space.grid(run.sweep)))) == 6 if run.sweep else False
