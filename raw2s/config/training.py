"""How models are fine-tuned and how they answer."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from raw2s.config.fields import Positive, Strict


class Training(Strict):
    """How one model is fine-tuned."""

    epochs: Positive = 2
    """Passes over the rows."""
    batch_size: Positive = 32
    """Rows a step, over all workers."""
    micro_batch_size: Positive | None = None
    """Rows a worker holds at once; the rest is accumulated. None: all at once."""
    learning_rate: float = Field(1e-5, gt=0)
    """Peak of the schedule."""
    learning_rates: dict[str, float] = {}
    """Another rate for a model by its name (the paper's OPT has twice the others')."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """To zero over the run (constant: not)."""
    warmup: float = Field(0.0, ge=0, lt=1)
    """Share of the steps that the rate rises in."""
    optimizer: Literal["adam", "adamw"] = "adamw"
    """Adam is AdamW without weight decay."""
    weight_decay: float = Field(0.0, ge=0)
    """AdamW's."""
    precision: Literal["float32", "bfloat16", "autocast"] = "float32"
    """autocast: float32 weights, bfloat16 products. bfloat16: bfloat16 weights, of which DeepSpeed
    keeps a float32 copy that is updated (needs `zero_stage`)."""
    keep_best: bool = False
    """Keep the epoch with the lowest validation loss instead of the last (weak models only)."""
    gradient_checkpointing: bool = False
    """Trade time for memory."""
    zero_stage: Literal[0, 1, 2, 3] | None = None
    """DeepSpeed's ZeRO stage; none: without DeepSpeed. With bfloat16 stage 0 adds the gradients of
    micro-batches up in bfloat16, the others in float32."""
    offload: bool = False
    """Keep DeepSpeed's optimiser state (at ZeRO 3 the weights too) in the host's memory."""
    workers: Positive = 1
    """Ray Train workers a model is trained on."""
    gpus_per_worker: float = Field(0, ge=0)
    """GPUs each holds, of several workers one; 0: it trains on the CPU over gloo."""
    cpus_per_worker: float = Field(1, gt=0)
    """CPUs each holds, and its number of threads on a machine without GPUs."""
    nodes: dict[str, str] = {}
    """Labels that a worker's node must have (`ray start --labels`)."""
    checkpoint_steps: Positive = 500
    """Steps between checkpoints, from which a killed run goes on."""
    seed: int = 0
    """Seed of the head's initial weights and the order of the rows; a student's is the run's."""

    @model_validator(mode="after")
    def _whole_batches(self) -> Training:
        share = self.workers * (self.micro_batch_size or 1)
        if self.batch_size % share:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of workers {self.workers} x "
                f"micro_batch_size {self.micro_batch_size or 1}"
            )
        return self

    @model_validator(mode="after")
    def _one_gpu_a_worker(self) -> Training:
        if self.workers > 1 and self.gpus_per_worker not in (0, 1):
            raise ValueError(
                f"several workers hold one GPU each, or none; gpus_per_worker is "
                f"{self.gpus_per_worker:g}"
            )
        return self

    @model_validator(mode="after")
    def _updates_count(self) -> Training:
        # An update of less than half a step, 1/512 to 1/256 of the weight, is rounded away.
        if self.precision == "bfloat16" and self.zero_stage is None:
            raise ValueError(
                "precision bfloat16 alone loses small updates: set zero_stage (1 is enough), or "
                "precision: autocast"
            )
        return self


class WeakTraining(Training):
    """How a weak model is fine-tuned: its best epoch counts."""

    keep_best: bool = True
    """Keep the epoch with the lowest validation loss instead of the last."""


class CdpoTraining(Training):
    """How TRL trains: slower than supervised training."""

    batch_size: Positive = 2
    """Pairs a step, over all workers."""
    learning_rate: float = Field(5e-7, gt=0)
    """Peak of the schedule."""


class Labelling(Strict):
    """How the weak models label B, and how every model answers the test."""

    actors: Positive = 1
    """Ray actors a weak model's pool has."""
    cpus_per_actor: float = Field(0.5, gt=0)
    """CPUs each reserves."""
    gpus_per_actor: float = Field(0, ge=0)
    """GPUs each reserves; fractions share one."""
    nodes: dict[str, str] = {}
    """Labels that an actor's node must have (`ray start --labels`)."""
    batch_size: Positive = 64
    """Rows at once."""
    beams: Positive = 5
    """Beam width of the weak sequences; 1 is greedy."""
    candidates: Positive = 5
    """M of Joint Decoding: beams that each weak model puts forward (at most `beams`)."""
    max_new_tokens: Positive = 64
    """Longest answer, in tokens."""

    @model_validator(mode="after")
    def _enough_beams(self) -> Labelling:
        if self.candidates > self.beams:
            raise ValueError(f"candidates {self.candidates} is more than beams {self.beams}")
        return self
