"""A sweep's parameters: their values trial by trial, and the run that a trial does."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from raw2s.config import Between, Run, Search, Simplex, parse
from raw2s.config.reading import set_key
from raw2s.config.sweep import Parameter

Values = dict[str, Any]
"""A trial's parameters: a value for each dotted key."""


def key_of(values: Values) -> str:
    """What equal values have in common."""
    return json.dumps(values, sort_keys=True)


def grid(search: Search) -> list[Values]:
    """Every combination; the last parameter varies fastest."""
    values = [_grid_values(parameter) for parameter in search.parameters.values()]
    return [
        dict(zip(search.parameters, point, strict=True)) for point in itertools.product(*values)
    ]


def drawn(search: Search, trials: int) -> list[Values]:
    """So many independent draws: lists and intervals evenly, weights evenly over the simplex.

    The first draws do not depend on how many follow.
    """
    rng = np.random.default_rng(search.seed)
    return [
        {key: _draw(parameter, rng) for key, parameter in search.parameters.items()}
        for _ in range(trials)
    ]


def contains(search: Search, values: Mapping[str, Any]) -> bool:
    """Whether these values are a point of the search's space."""
    return list(values) == list(search.parameters) and all(
        _inside(parameter, values[key]) for key, parameter in search.parameters.items()
    )


def trial_run(run: Run, search: Search, values: Mapping[str, Any]) -> Run:
    """The run of a trial: the searched experiment with the one strategy under these values.

    Raises ConfigError if the configuration does not allow a value.
    """
    applied = chosen_run(run, search, values)
    experiment = applied.experiments[search.experiment]
    strategy = experiment.strategies[_place(run, search)]
    alone = experiment.model_copy(update={"strategies": [strategy]})
    return applied.model_copy(update={"experiments": {search.experiment: alone}})


def chosen_run(run: Run, search: Search, values: Mapping[str, Any]) -> Run:
    """The searched experiment with all its strategies, the values set, as a run of its own name;
    ConfigError as above."""
    raw = run.model_dump(mode="json", exclude={"sweep", "study"})
    raw["name"] = f"{run.name}-best"
    raw["experiments"] = {search.experiment: raw["experiments"][search.experiment]}
    inside: dict[str, list[str | int]] = {"experiment": ["experiments", search.experiment]}
    inside["strategy"] = [*inside["experiment"], "strategies", _place(run, search)]
    for key, value in values.items():
        scope, _, rest = key.partition(".")
        set_key(raw, [*inside[scope], *rest.split(".")], value)
    return parse(raw)


def _place(run: Run, search: Search) -> int:
    strategies = run.experiments[search.experiment].strategies
    return [s.name for s in strategies].index(search.strategy)


def _grid_values(parameter: Parameter) -> list[Any]:
    if isinstance(parameter, list):
        return parameter
    if isinstance(parameter, Between):
        low, high = parameter.between
        spaced = (np.geomspace if parameter.log else np.linspace)(low, high, parameter.points or 2)
        # The ends as they were written.
        values = [low, *map(float, spaced[1:-1]), high]
        return list(dict.fromkeys(map(round, values))) if parameter.whole else values
    steps = parameter.steps or 1
    counts = itertools.product(range(steps + 1), repeat=parameter.models)
    return [[n / steps for n in point] for point in counts if sum(point) == steps]


def _inside(parameter: Parameter, value: Any) -> bool:
    if isinstance(parameter, list):
        return value in parameter
    if isinstance(parameter, Simplex):
        return isinstance(value, list) and len(value) == parameter.models
    low, high = parameter.between
    whole = isinstance(value, int) or not parameter.whole
    return isinstance(value, int | float) and whole and low <= value <= high


def _draw(parameter: Parameter, rng: np.random.Generator) -> Any:
    if isinstance(parameter, list):
        return parameter[int(rng.integers(len(parameter)))]
    if isinstance(parameter, Simplex):
        return [float(w) for w in rng.dirichlet(np.ones(parameter.models))]
    low, high = parameter.between
    if parameter.whole and not parameter.log:
        return int(rng.integers(int(low), int(high), endpoint=True))
    if parameter.log:
        value = math.exp(rng.uniform(math.log(low), math.log(high)))
        value = min(max(value, low), high)
    else:
        value = float(rng.uniform(low, high))
    return round(value) if parameter.whole else value
