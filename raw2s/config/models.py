"""Models: from the hub or a folder, from scratch, or a file of labels."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from raw2s.config.fields import Name, Positive, Share, Strict


class Pretraining(Strict):
    """Language modelling on the task's unlabelled text, for a model from scratch."""

    sentences: Positive = 2000
    """Unlabelled sentences read."""
    offset: int = Field(0, ge=0)
    """Where in the corpus this model's share begins: models with other shares err differently."""
    epochs: float = Field(1.0, gt=0)
    """Passes over the share."""
    batch_size: Positive = 32
    """Sentences a step."""
    learning_rate: float = Field(2e-3, gt=0)
    """Peak of the schedule: a tenth of warm-up, then cosine to zero."""
    weight_decay: float = Field(0.01, ge=0)
    """AdamW's."""
    precision: Literal["float32", "autocast"] = "float32"
    """Products in float32, or in bfloat16."""
    checkpoint_steps: Positive = 500
    """Steps between checkpoints, from which a killed run goes on."""


class Scratch(Strict):
    """A small model made on the spot, with a tokenizer of its own trained on the corpus."""

    architecture: Literal["gpt2", "opt", "gpt_neox", "bloom", "llama"]
    """Which of transformers' causal language models."""
    tokenizer: Literal["byte_bpe", "unigram", "metaspace_bpe", "character", "wordpiece"]
    """Which kind of tokenizer."""
    vocabulary: Positive = 512
    """Tokens at most."""
    hidden_size: Positive = 64
    """Width."""
    layers: Positive = 2
    """Depth."""
    heads: Positive = 4
    """Attention heads."""
    context: Positive = 128
    """Longest sequence, in tokens."""
    seed: int = 0
    """Seed of the initial weights and of the order of the text."""
    pretraining: Pretraining = Pretraining()
    """How it learns the language of the task."""

    @model_validator(mode="after")
    def _whole_heads(self) -> Scratch:
        # Rotary positions turn pairs of a head's features.
        if self.hidden_size % (2 * self.heads):
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of twice its heads {self.heads}"
            )
        return self


class Precomputed(Strict):
    """A weak model that is a file of labels: class probabilities made elsewhere."""

    file: str
    """Relative to the data folder, or absolute: json lines, csv or parquet."""
    column: str
    """The column (dots go inside) with P(class 1), or a list of K class probabilities."""
    key: list[str] = ["question", "candidate"]
    """The columns that name the row; the task says how its rows spell them."""


class Noise(Strict):
    """Wrong answers in the ground truth that a weak model learns from."""

    share: Share
    """Share of the rows that are wrong."""
    kind: Literal["random", "flipped"] = "random"
    """random: another class by chance, another row's answer. flipped (classification): always the
    next class, so that all that are misled are misled alike."""
    alike: bool = False
    """The same rows are wrong for every model with this noise; else each model's own."""
    seed: int = Field(0, ge=0)
    """Of the draw."""


class Model(Strict):
    """A model: from the hub or a folder, from scratch, or precomputed labels; one of the three."""

    name: Name
    """Its name in tables."""
    path: str | None = None
    """Hub name or local folder."""
    revision: str | None = None
    """Hub revision; state it, so that the run can be repeated."""
    parameters: float | None = Field(None, gt=0)
    """Number of parameters, for `raw2s plan` to reckon memory and checkpoints without a
    network."""
    trust_remote_code: bool = False
    """Run the model repository's own code: off unless named here."""
    scratch: Scratch | None = None
    """Make it on the spot."""
    precomputed: Precomputed | None = None
    """Read its labels from a file."""
    noise: Noise | None = None
    """Of a weak model: wrong answers in what it learns from; validation stays right."""

    @model_validator(mode="after")
    def _one_source(self) -> Model:
        given = [k for k in ("path", "scratch", "precomputed") if getattr(self, k) is not None]
        if len(given) != 1:
            raise ValueError(
                f"model {self.name!r} needs exactly one of path, scratch, precomputed; "
                f"it has {', '.join(given) or 'none'}"
            )
        if self.precomputed is not None and self.noise is not None:
            raise ValueError(f"model {self.name!r} is a file of labels: it learns from nothing")
        return self


def copies(given: Any) -> list[Any]:
    """The entries that an entry of `weak` stands for: with `copies` as many models, else itself.

    Raises ValueError where copies would be no different models.
    """
    if not isinstance(given, dict) or "copies" not in given:
        return [given]
    model = {key: value for key, value in given.items() if key != "copies"}
    count, scratch = given["copies"], model.get("scratch")
    if not isinstance(count, int) or count < 1 or not isinstance(scratch, dict):
        raise ValueError(f"copies are a number of models from scratch, not {count!r} of {model}")
    reading = scratch.get("pretraining", {})
    share = reading.get("sentences", Pretraining().sentences)
    start, seed = reading.get("offset", 0), scratch.get("seed", 0)
    return [
        model
        | {
            "name": f"{model.get('name')}-{n + 1}",
            "scratch": scratch
            | {"seed": seed + n, "pretraining": reading | {"offset": start + n * share}},
        }
        for n in range(count)
    ]
