"""Ensembles of experts: a weak model boosted, or bagged, before it labels (EnsemW2S)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from raw2s.config.fields import Name, Positive, Strict

# `choices` goes with one value of epsilon, `window` with one of level.
_BOOSTING = ("epsilon", "use", "level", "on_useless")


class Ensemble(Strict):
    """Experts that are trained on split A one after another and answer together (EnsemW2S).

    A sample is an example in classification and an answer token in generation.
    """

    name: Name
    """Its name in tables, and in a strategy's `weak`."""
    of: Name
    """The weak model that every expert starts from, before its fine-tuning."""
    method: Literal["boosting", "bagging"] = "boosting"
    """Boosting: each expert counts more what those before it had wrong. Bagging: each learns from
    as many examples drawn with replacement, and all have one vote: the comparison at equal cost."""
    rounds: Positive = 3
    """Experts trained at most."""
    epsilon: Literal["reference", "chance"] | Annotated[float, Field(gt=0, lt=1)] = "reference"
    """The error that an expert must beat to have a vote, alpha = logit(epsilon) - logit(e):
    reference: the model's before its fine-tuning; chance: 1 - 1/K, SAMME's; or a number."""
    choices: Annotated[int, Field(ge=2)] | None = None
    """K of `chance`; none: the classes, or the vocabulary (where chance is so easily beaten that
    all votes come out nearly equal)."""
    error_on: Literal["train", "validation"] = "train"
    """Where e is measured: on A under the weights, or on validation, every sample alike."""
    use: Literal["weighted_loss", "resampling"] = "weighted_loss"
    """A sample's weight multiplies its loss, or decides how often it is drawn."""
    level: Literal["token", "window", "example"] = "token"
    """Generation: which tokens share a weight."""
    window: Positive | None = None
    """Tokens in a window."""
    on_useless: Literal["stop", "redraw"] = "stop"
    """After an expert that does not beat epsilon: end the rounds, or go on from equal weights."""
    combine: Literal["probability", "log_probability", "vote"] = "probability"
    """How votes become one distribution, class by class or token by token."""
    seed: int = Field(0, ge=0)
    """Of the draws; the training's own seed moves by one each round."""

    @model_validator(mode="after")
    def _fitting(self) -> Ensemble:
        if (self.window is not None) != (self.level == "window"):
            raise ValueError(f"ensemble {self.name}: `window` goes with `level: window`, only")
        if self.choices is not None and self.epsilon != "chance":
            raise ValueError(f"ensemble {self.name}: `choices` goes with `epsilon: chance`, only")
        for option in _BOOSTING:
            default = Ensemble.model_fields[option].default
            if self.method == "bagging" and getattr(self, option) != default:
                raise ValueError(f"ensemble {self.name}: `{option}` is for boosting")
        return self
