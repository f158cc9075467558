"""The strategies, and what they share: losses, weights, conservative DPO."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from raw2s.config.fields import Name, Positive, Share, Strict
from raw2s.config.training import CdpoTraining


class Auxiliary(Strict):
    """The auxiliary confidence loss (Eq. 1 and 5)."""

    gamma_max: Share = 0.5
    """Weight of the student's own prediction at the end of its rise."""
    schedule: Literal["linear", "warmup", "burns"] = "linear"
    """How it rises: over all of training; over `warmup`; as in Burns et al.'s code."""
    warmup: Share = 0.1
    """Share of training of the last two."""
    prediction: Literal["argmax", "balanced"] = "argmax"
    """The student's own prediction: its most probable class, or (classification) with the weak
    labels' class shares among its last predictions, as in Burns et al.'s code."""
    window: Positive = 32
    """How many last predictions are balanced."""


class Evidential(Strict):
    """The evidential loss (Eq. 3 and 4, App. H)."""

    evidence: Literal["exp+1", "exp", "softplus+1", "relu+1"] = "exp+1"
    """From logits to Dirichlet concentrations."""
    reg_coef: float = Field(1.0, ge=0)
    """The regulariser's coefficient at the end of its annealing. It grows with the classes: of
    eighteen 0.1 is enough, over a vocabulary it must be given (the authors take 1e-4)."""
    regulariser: Literal["per_label", "mixed"] = "per_label"
    """Mixed over labels (the paper), or one with the soft label inside (the authors' code)."""
    clamp: float = Field(10.0, gt=0, le=25)
    """Logits are clamped to plus or minus this inside the regulariser."""
    max_regulariser: float | None = Field(None, gt=0)
    """Largest value of one weak label's regulariser, at a text or a token, before the coefficient;
    the share that is cut is reported."""
    annealing: Share = 1.0
    """Share of training over which the coefficient rises from 0; 0: there from the start."""


Weights = (
    Literal["average", "dynamic", "learned", "learned_by_type", "trimmed", "gated"] | list[float]
)
"""average: equal. dynamic: by confidence, example by example. learned: from what the models say
alone, how often each is right; learned_by_type (slot filling): for each slot type. trimmed
(classification): equal, but nothing for the model that is farthest from the others, example by
example. gated (classification): learned, but example by example, from how confident a model is and
which class it says. Or numbers."""


class Strategy(Strict):
    """One way to turn the weak models' answers into a student."""

    strategy: Literal[
        "single",
        "majority",
        "naive",
        "product",
        "flyingsquid",
        "dawid_skene",
        "joint",
        "bayesian",
        "ensemw2s",
    ]
    """Single weak model, majority vote, Naive Multi-Weak, product of probabilities, FlyingSquid,
    Dawid-Skene, Joint Decoding, Bayesian Multi-Weak, or the labels of one of the `ensembles`."""
    label: Annotated[str, Field(min_length=1)] | None = None
    """Its name in tables; none: the strategy's. Two variants of one strategy need it."""
    weak: Annotated[list[Name], Field(min_length=1)] | None = None
    """The weak models that take part, by name, and ensembles of them; none: all weak models
    (single, ensemw2s: one name). `each`: one such strategy for each weak model."""
    weights: Weights = "average"
    """Naive and Bayesian Multi-Weak: their weights, lambda (see `Weights`)."""
    class_balance: list[float] | None = None
    """FlyingSquid: P(class 0), P(class 1); none: equal."""
    auxiliary: Auxiliary | None = None
    """With the auxiliary confidence loss; none: without."""
    evidential: Evidential = Evidential()
    """Bayesian Multi-Weak's loss."""
    target: Literal["full", "label_only", "one_hot"] = "full"
    """Generation: soft label with the other classes, the label's probability alone, or one-hot.
    Classification: the weak models' probabilities (full), or their likeliest class (one_hot)."""
    unit: Literal["word", "chunk"] = "word"
    """Generation: what carries a weak model's probability over: words, or the smallest pieces that
    its tokenizer and the student's both cut out whole."""
    split: Literal["confidence", "uniform", "plus_sign"] = "confidence"
    """Generation: how a word's log-probability is split over the strong model's tokens (Eq. 7)."""
    temperature: float = Field(1.0, gt=0)
    """Generation: T in Eq. 7's exponent."""
    cdpo: bool = False
    """Generation: conservative DPO after the supervised training."""

    @model_validator(mode="after")
    def _used_options(self) -> Strategy:
        if (
            self.strategy not in ("naive", "product", "joint", "bayesian")
            and self.weights != "average"
        ):
            raise ValueError(f"{self.name}: `weights` are for naive, product and bayesian")
        if self.strategy != "bayesian" and self.evidential != Evidential():
            raise ValueError(f"{self.name}: `evidential` is for bayesian")
        return self

    @property
    def name(self) -> str:
        """The strategy's name in tables."""
        if self.label is not None:
            return self.label
        title = {
            "single": f"Single ({self.weak[0] if self.weak else '?'})",
            "majority": "Majority Vote",
            "naive": "Naive Multi-Weak",
            "product": "Product of Probabilities",
            "flyingsquid": "FlyingSquid",
            "dawid_skene": "Dawid–Skene",
            "joint": "Joint Decoding",
            "bayesian": "Bayesian Multi-Weak",
            "ensemw2s": f"EnsemW2S ({self.weak[0] if self.weak else '?'})",
        }[self.strategy]
        hard = " (hard)" if self.target == "one_hot" else ""
        return title + hard + (" + aux" if self.auxiliary else "")

    @property
    def cdpo_name(self) -> str:
        """The name in tables of its student after conservative DPO."""
        return f"{self.name} + cDPO"


class Cdpo(Strict):
    """Conservative DPO with the weak models as judges (Sec. 4.2)."""

    samples: Annotated[int, Field(ge=2)] = 5
    """M: sequences that the student samples for each prompt."""
    temperature: float = Field(1.0, gt=0)
    """Of the sampling."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Of the sampling."""
    beta: float = Field(2.0, gt=0)
    """DPO's beta."""
    epsilon: float = Field(0.1, ge=0, lt=0.5)
    """Chance that a preference is the wrong way round."""
    score: Literal["mean", "sum", "probability"] = "mean"
    """A weak model's score of a sequence: mean or summed token log-probability, or probability."""
    weights: Weights = "average"
    """The judges' weights; those that depend on what they say take their own labels of B."""
    rows: Positive | None = None
    """Rows of B used; none: all."""
    training: CdpoTraining = CdpoTraining()
    """How TRL trains."""


def check_weights(where: str, weights: Weights, models: int) -> None:
    """Raise ValueError unless the weights are a rule, or one number >= 0 for each model."""
    if isinstance(weights, str):
        return
    if len(weights) != models:
        raise ValueError(f"{where}: {len(weights)} weights for {models} weak models")
    if not all(0 <= w < math.inf for w in weights) or sum(weights) <= 0:
        raise ValueError(f"{where}: weights must be >= 0 and not all 0, they are {weights}")


def check_distinct(where: str, values: Sequence[object]) -> None:
    """Raise ValueError, which names them, if there are values more than once."""
    twice = [value for value in dict.fromkeys(values) if values.count(value) > 1]
    if twice:
        raise ValueError(f"{where}: {twice} given twice")
