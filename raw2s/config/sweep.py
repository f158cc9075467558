"""A sweep: what is searched over, how, and by which system's validation score."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from raw2s.config.fields import Name, Positive, Strict


class Between(Strict):
    """Numbers of an interval."""

    between: tuple[float, float]
    """Its ends, both included."""
    log: bool = False
    """Even in the logarithm: for rates and coefficients."""
    whole: bool = False
    """Whole numbers only."""
    points: Annotated[int, Field(ge=2)] | None = None
    """How many evenly spaced values a grid takes; random and optuna need none."""

    @model_validator(mode="after")
    def _interval(self) -> Between:
        low, high = self.between
        if not low < high:
            raise ValueError(f"between needs low < high, it is [{low:g}, {high:g}]")
        if self.log and low <= 0:
            raise ValueError(f"a logarithmic interval needs low > 0, it is [{low:g}, {high:g}]")
        if self.whole and not (low.is_integer() and high.is_integer()):
            raise ValueError(f"whole numbers need whole ends, they are [{low:g}, {high:g}]")
        return self


class Simplex(Strict):
    """Weights that are >= 0 and sum to 1: lambda."""

    models: Annotated[int, Field(ge=2)]
    """How many weights."""
    steps: Positive | None = None
    """A grid takes all weights that are multiples of 1 / steps; random and optuna need none."""


def _form(given: Any) -> str:
    """Which of the three forms is meant, so that an error is told for that one only."""
    if isinstance(given, list):
        return "values"
    models = "models" in given if isinstance(given, dict) else isinstance(given, Simplex)
    return "weights" if models else "interval"


Parameter = Annotated[
    Annotated[list[Any], Field(min_length=1), Tag("values")]
    | Annotated[Between, Tag("interval")]
    | Annotated[Simplex, Tag("weights")],
    Discriminator(_form),
]
"""A list of values, an interval, or weights."""

SCOPES = ("strategy", "experiment")


class Search(Strict):
    """What is searched. A trial is the experiment with the one strategy and the parameters' values;
    it is judged on the validation split, over the run's seeds."""

    experiment: Name
    """The experiment, by name."""
    strategy: str
    """The strategy, by its name in tables; with `cdpo: true` its model after cDPO is judged."""
    parameters: Annotated[dict[str, Parameter], Field(min_length=1)]
    """What varies, by dotted key: `strategy.auxiliary.gamma_max` is a key of the strategy,
    `experiment.strong_training.learning_rate` one of the experiment."""
    method: Literal["grid", "random", "optuna"] = "grid"
    """grid: every combination. random: drawn alike. optuna: drawn where the scores so far are
    promising (needs the extra `raw2s[optuna]`)."""
    trials: Positive | None = None
    """How many trials of random and optuna; a grid has as many as it has combinations."""
    seed: int = Field(0, ge=0)
    """Of the draws."""

    @model_validator(mode="after")
    def _searchable(self) -> Search:
        if (self.trials is None) != (self.method == "grid"):
            raise ValueError("`trials` goes with method random and optuna, only")
        for key, parameter in self.parameters.items():
            scope, _, rest = key.partition(".")
            if scope not in SCOPES or not rest:
                raise ValueError(f"parameter {key!r} begins with neither strategy. nor experiment.")
            if self.method == "grid":
                if isinstance(parameter, Between) and parameter.points is None:
                    raise ValueError(f"parameter {key!r}: a grid needs `points`")
                if isinstance(parameter, Simplex) and parameter.steps is None:
                    raise ValueError(f"parameter {key!r}: a grid needs `steps`")
        return self
