"""What the draws of a search make: each one's plan and results, and its configuration's test."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from raw2s.config import Run, Search
from raw2s.errors import ConfigError
from raw2s.pipeline import Plan, recipe, trial
from raw2s.search.space import Values, chosen_run, drawn, grid, key_of, trial_run
from raw2s.store import Job

_CONTEXTS, _OTHERS = 16, 3
"""In how many of its draws it is looked whether a parameter matters, and with how many values of an
interval."""


class Draws:
    """Declares what each draw makes, once. `known` are those known before the first trial: all, or
    of Optuna's none."""

    def __init__(self, run: Run, search: Search) -> None:
        self._run, self._search = run, search
        self.known = _known(search)
        self._trials: dict[str, tuple[Plan, Job]] = {}
        self._tests: dict[str, Job] = {}

    def trial(self, values: Values) -> tuple[Plan, Job]:
        """The trial's plan and its results; ConfigError where the values make no configuration."""
        key = key_of(values)
        if key not in self._trials:
            self._trials[key] = trial(trial_run(self._run, self._search, values))
        return self._trials[key]

    def test(self, values: Values) -> Job:
        """The results of the trial's configuration on the test; ConfigError as above."""
        key = key_of(values)
        if key not in self._tests:
            chosen = recipe(chosen_run(self._run, self._search, values))
            (self._tests[key],) = chosen.jobs("results")
        return self._tests[key]

    def results(self, values: Values) -> str:
        """The fingerprint of the trial's results; "" where the values make no configuration."""
        try:
            return self.trial(values)[1].fingerprint
        except ConfigError:
            return ""

    def check(self) -> None:
        """Raise ConfigError for the first known draw that the configuration does not allow, and for
        a parameter that changes nothing, whatever the others are."""
        for number, values in enumerate(self.known):
            try:
                self.trial(values)
            except ConfigError as error:
                raise ConfigError(f"trial {number}, {values}: {error}") from error
        contexts = self.known or drawn(self._search, _CONTEXTS)
        for key, parameter in self._search.parameters.items():
            # Of an interval or a simplex all values matter, or none.
            told = {json.dumps(values[key]): values[key] for values in contexts}
            few = list(told.values())[:_OTHERS]
            compared = parameter if isinstance(parameter, list) else few
            if self._changes_nothing(key, compared, contexts):
                raise ConfigError(f"sweep: {key} changes nothing of {self._search.strategy}")

    def no_room(self, values: Values) -> str:
        """Why the cluster can never have room for what the trial, or its test, needs; "" if it
        has."""
        from raw2s.checks import check_cluster

        try:
            check_cluster(chosen_run(self._run, self._search, values))
        except ConfigError as error:
            return str(error)
        return ""

    def _changes_nothing(self, key: str, told: Sequence[Any], contexts: Sequence[Values]) -> bool:
        """Whether these values of a parameter make the same trial in each of the contexts."""
        compared = False
        for values in contexts:
            made = [name for one in told if (name := self.results(values | {key: one}))]
            if len(set(made)) > 1:
                return False
            compared |= len(made) > 1
        return compared


def _known(search: Search) -> list[Values]:
    if search.method == "optuna":
        return []
    points = drawn(search, search.trials or 1) if search.method == "random" else grid(search)
    # Each once.
    return list({key_of(values): values for values in points}.values())
