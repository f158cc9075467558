"""A study: one question, asked of several variants of the same experiments."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from raw2s.config.fields import Name, Positive, Strict

VariantName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$")]


class Variant(Strict):
    """One change of the experiments."""

    weak: Positive | list[Name] | None = None
    """The weak models that are there: the first so many, or by name; none: all."""
    set: dict[str, Any] = {}
    """Values by dotted key inside an experiment, `task.weak_rows: 100`; a star goes through a list:
    `strategies.*.target: one_hot`."""


class Study(Strict):
    """What is compared, and over what. A study is one run; its experiments are the variants of the
    configuration's own."""

    title: str
    """What it is called, for example after the paper's table."""
    question: str
    """What it asks."""
    kind: Literal["classification", "generation"] | None = None
    """Only the experiments of this kind; none: all."""
    strategies: list[dict[str, Any]] | None = None
    """What is compared, in place of the experiments' own strategies."""
    variants: dict[VariantName, Variant] = {}
    """The variants by name; a number each makes a figure over them. None: the experiments as they
    are."""
    axis: str = ""
    """What the variants differ in."""

    @model_validator(mode="after")
    def _named(self) -> Study:
        if bool(self.axis) != bool(self.variants):
            raise ValueError("study: `axis` says what the `variants` differ in")
        return self
