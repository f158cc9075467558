"""The experiment as one frozen object: YAML in, unknown keys refused, a resolved copy saved.

Every field's docstring is its help. Ranges are checked here; what needs data or a cluster (a column
that is missing, more GPUs than there are) is checked by `raw2s.checks` before any training.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from raw2s.errors import ConfigError

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class Strict(BaseModel):
    """Frozen; a key that does not exist is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Data(Strict):
    """Where the rows come from: a hub data set by name, or local files."""

    hub: str | None = None
    """Name of the data set on the hub."""
    subset: str | None = None
    """The hub data set's configuration (for example a language)."""
    revision: str | None = None
    """The hub revision; one that has parquet files."""
    files: dict[str, str] = {}
    """Local files by split, relative to the data folder (json, jsonl, csv, parquet; .gz too)."""
    folder: str | None = None
    """The data folder. `--data` sets it, RAW2S_DATA where nothing else does. With it, files are
    read."""


class Task(Strict):
    """What is asked, of which data, and how many rows each split gets."""

    name: Literal["toy_topics", "toy_slots", "scenario", "slurp", "sciq", "cosmosqa"]
    """A key of `raw2s.tasks.TASKS`."""
    data: Data = Data()
    """The source of the rows; the toy worlds need none."""
    weak_rows: Positive = 600
    """Rows of split A, whose ground truth trains the weak models."""
    strong_rows: Positive = 2000
    """Rows of split B, which the weak models label for the strong one."""
    validation_rows: Positive = 200
    """Rows that choose the weak models' best epoch."""
    test_rows: Positive | None = None
    """Rows of the test split; none: all there are."""
    split_seed: int = 0
    """Seed of the draw of the splits (with `vary: everything` the run's seed is added)."""
    options: dict[str, Any] = {}
    """The task's own options; an unknown one is an error."""


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


class Model(Strict):
    """A model: from the hub or a folder, from scratch, or precomputed labels; one of the three."""

    name: Name
    """Its name in tables."""
    path: str | None = None
    """Hub name or local folder."""
    revision: str | None = None
    """Hub revision; state it, so that the run can be repeated."""
    parameters: float | None = Field(None, gt=0)
    """Number of parameters, for `raw2s plan` to reckon memory without a network."""
    trust_remote_code: bool = False
    """Run the model repository's own code: off unless named here."""
    scratch: Scratch | None = None
    """Make it on the spot."""
    precomputed: Precomputed | None = None
    """Read its labels from a file."""

    @model_validator(mode="after")
    def _one_source(self) -> Model:
        given = [k for k in ("path", "scratch", "precomputed") if getattr(self, k) is not None]
        if len(given) != 1:
            raise ValueError(
                f"model {self.name!r} needs exactly one of path, scratch, precomputed; "
                f"it has {', '.join(given) or 'none'}"
            )
        return self


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
    warmup: Share = 0.0
    """Share of the steps that the rate rises in."""
    optimizer: Literal["adam", "adamw"] = "adamw"
    """Adam is AdamW without weight decay."""
    weight_decay: float = Field(0.0, ge=0)
    """AdamW's."""
    precision: Literal["float32", "bfloat16", "autocast"] = "float32"
    """Weights in float32 or bfloat16; autocast: float32 weights, bfloat16 products."""
    keep_best: bool = False
    """Keep the epoch with the lowest validation loss instead of the last (weak models do)."""
    gradient_checkpointing: bool = False
    """Trade time for memory."""
    zero_stage: Literal[0, 1, 2, 3] | None = None
    """DeepSpeed's ZeRO stage; none: without DeepSpeed."""
    offload: bool = False
    """Keep DeepSpeed's optimiser state (at ZeRO 3 the weights too) in the host's memory."""
    workers: Positive = 1
    """Ray Train workers a model is trained on."""
    gpus_per_worker: float = Field(0, ge=0)
    """GPUs each holds; 0: it trains on the CPU over gloo."""
    cpus_per_worker: float = Field(1, gt=0)
    """CPUs each holds, and its number of threads on a machine without GPUs."""
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


class Labelling(Strict):
    """How the weak models label B, and how every model answers the test."""

    actors: Positive = 1
    """Ray actors a weak model's pool has."""
    cpus_per_actor: float = Field(0.5, gt=0)
    """CPUs each reserves."""
    gpus_per_actor: float = Field(0, ge=0)
    """GPUs each reserves; fractions share one."""
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


class Auxiliary(Strict):
    """The auxiliary confidence loss (Eq. 1 and 5)."""

    gamma_max: Share = 0.5
    """Weight of the student's own prediction at the end of its rise."""
    schedule: Literal["linear", "warmup", "burns"] = "linear"
    """How it rises: over all of training; over `warmup`; as in Burns et al.'s code."""
    warmup: Share = 0.1
    """Share of training of the last two."""


class Evidential(Strict):
    """The evidential loss (Eq. 3 and 4, App. H)."""

    evidence: Literal["exp+1", "exp", "softplus+1", "relu+1"] = "exp+1"
    """From logits to Dirichlet concentrations."""
    reg_coef: float = Field(1.0, ge=0)
    """The regulariser's coefficient at the end of its annealing."""
    regulariser: Literal["per_label", "mixed"] = "per_label"
    """Mixed over labels (the paper), or one with the soft label inside (the authors' code)."""
    clamp: float = Field(10.0, gt=0)
    """Logits are clamped to plus or minus this inside the regulariser."""
    max_regulariser: float | None = Field(None, gt=0)
    """Largest value of the regulariser at a token; the share that is cut is reported."""
    annealing: Share = 1.0
    """Share of training over which the coefficient rises from 0; 0: there from the start."""


Weights = Literal["average", "dynamic", "learned"] | list[float]


class Strategy(Strict):
    """One way to turn the weak models' answers into a student."""

    strategy: Literal["single", "naive", "flyingsquid", "dawid_skene", "joint", "bayesian"]
    """Single weak model, Naive Multi-Weak, FlyingSquid, Dawid-Skene, Joint Decoding, Bayesian
    Multi-Weak."""
    label: str | None = None
    """Its name in tables; none: the strategy's. Two variants of one strategy need it."""
    weak: list[Name] | None = None
    """The weak models that take part, by name; none: all (single: one name)."""
    weights: Weights = "average"
    """Their weights, lambda: average, dynamic (by confidence, example by example), learned (from
    the models' votes alone; classification), or numbers."""
    auxiliary: Auxiliary | None = None
    """With the auxiliary confidence loss; none: without."""
    evidential: Evidential = Evidential()
    """Bayesian Multi-Weak's loss."""
    target: Literal["full", "label_only", "one_hot"] = "full"
    """Generation: soft label with the other classes, the label's probability alone, or one-hot."""
    split: Literal["confidence", "uniform", "plus_sign"] = "confidence"
    """Generation: how a word's log-probability is split over the strong model's tokens (Eq. 7)."""
    temperature: float = Field(1.0, gt=0)
    """Generation: T in Eq. 7's exponent."""
    cdpo: bool = False
    """Generation: conservative DPO after the supervised training."""

    @property
    def name(self) -> str:
        """The strategy's name in tables."""
        if self.label is not None:
            return self.label
        title = {
            "single": f"Single ({self.weak[0] if self.weak else '?'})",
            "naive": "Naive Multi-Weak",
            "flyingsquid": "FlyingSquid",
            "dawid_skene": "Dawid–Skene",
            "joint": "Joint Decoding",
            "bayesian": "Bayesian Multi-Weak",
        }[self.strategy]
        return title + (" + aux" if self.auxiliary else "")


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
    """The judges' weights."""
    rows: Positive | None = None
    """Rows of B used; none: all."""
    training: Training = Training(learning_rate=5e-7, batch_size=2)
    """How TRL trains."""

    @model_validator(mode="after")
    def _no_dynamic(self) -> Cdpo:
        if self.weights in ("dynamic", "learned"):
            raise ValueError("cdpo weights are average or numbers")
        return self


class Experiment(Strict):
    """One task, its weak models, its strong model, and the strategies that are compared."""

    task: Task
    """The task."""
    weak: Annotated[list[Model], Field(min_length=1)]
    """The weak models."""
    strong: Model
    """The strong model: student and ceiling."""
    weak_training: Training = Training(keep_best=True)
    """How each weak model is fine-tuned on A."""
    strong_training: Training = Training()
    """How students and ceiling are trained on B."""
    labelling: Labelling = Labelling()
    """How weak models label and all models answer."""
    strategies: Annotated[list[Strategy], Field(min_length=1)]
    """What is compared."""
    cdpo: Cdpo = Cdpo()
    """For the strategies with `cdpo: true`."""
    joint_weights: Weights = "average"
    """The weights of Joint Decoding's scores."""
    joint_scorers: list[Name] | None = None
    """The weak models that score in Joint Decoding; none: all."""

    @model_validator(mode="after")
    def _names(self) -> Experiment:
        names = [m.name for m in self.weak]
        taken = [*names, self.strong.name]
        if len(set(taken)) < len(taken):
            raise ValueError(f"models need distinct names, weak and strong, they are {taken}")
        if self.strong.precomputed:
            raise ValueError("the strong model cannot be a file of labels")
        titles = [s.name for s in self.strategies]
        for name in taken:
            if name in (*titles, "Ceiling", "ceiling", "splits"):
                raise ValueError(f"a model cannot be called {name!r}: something else is")
        twice = sorted({t for t in titles if titles.count(t) > 1})
        if twice:
            raise ValueError(f"strategies need distinct names, twice there: {twice}")
        for s in self.strategies:
            self._check_strategy(s, names)
        if self.joint_weights in ("dynamic", "learned"):
            raise ValueError("joint_weights are average or numbers")
        _check_weights("joint_weights", self.joint_weights, len(self.joint_scorers or names))
        _check_weights("cdpo.weights", self.cdpo.weights, len(names))
        for name in self.joint_scorers or []:
            if name not in names:
                raise ValueError(f"joint_scorers: no weak model is called {name!r}")
        return self

    def _check_strategy(self, s: Strategy, names: list[str]) -> None:
        for name in s.weak or []:
            if name not in names:
                raise ValueError(
                    f"{s.strategy}: no weak model is called {name!r}; there are {names}"
                )
        if s.strategy == "single" and len(s.weak or []) != 1:
            raise ValueError("single: `weak` must name one weak model")
        voters = len(s.weak or names)
        if s.strategy == "flyingsquid" and voters < 3:
            raise ValueError(f"flyingsquid needs three voters or more, it has {voters}")
        _check_weights(f"{s.strategy}: weights", s.weights, voters)
        generation = self.task.name in GENERATION_TASKS
        if generation and s.strategy in ("flyingsquid", "dawid_skene"):
            raise ValueError(f"{s.strategy} is for classification, not for generation")
        if generation and s.weights == "learned":
            raise ValueError(f"{s.strategy}: weights are learned from votes for classes only")
        if not generation and (s.strategy == "joint" or s.cdpo):
            raise ValueError(f"{s.name}: joint decoding and cdpo are for generation")
        if generation and s.strategy in ("joint",) and s.weights != "average":
            raise ValueError("joint has one target; its scores' weights are `joint_weights`")

    @property
    def generation(self) -> bool:
        """Whether the task is generation (else classification)."""
        return self.task.name in GENERATION_TASKS


GENERATION_TASKS = ("toy_slots", "slurp")


def _check_weights(where: str, weights: Weights, models: int) -> None:
    if isinstance(weights, str):
        return
    if len(weights) != models:
        raise ValueError(f"{where}: {len(weights)} weights for {models} weak models")
    if not all(0 <= w < math.inf for w in weights) or sum(weights) <= 0:
        raise ValueError(f"{where}: weights must be >= 0 and not all 0, they are {weights}")


class Cluster(Strict):
    """What Ray gives the run."""

    address: str | None = None
    """A running cluster's address; none: the one RAY_ADDRESS names, else one on this machine."""
    cpus: Positive | None = None
    """CPUs of a cluster on this machine; none: all."""
    object_store_mb: Positive = 256
    """Its object store, in MiB."""
    train_runs: Positive | None = None
    """Ray Train runs at once; a stage's models share them, one after another. None: one each."""
    hosts: Positive | None = None
    """Models hosted at once at most, a pool of actors each. None: as many as fit."""
    answer_actors: Positive = 1
    """Actors that answer the test for all trained models."""


class Run(Strict):
    """A run: experiments, seeds, storage and cluster."""

    name: Name
    """Its name; the results lie in `<storage>/runs/<name>`."""
    seeds: Annotated[list[int], Field(min_length=1)] = [0]
    """One student of each strategy, and one ceiling, for each."""
    vary: Literal["strong", "everything"] = "strong"
    """What a seed changes: the strong model's training (the paper), or splits and all models."""
    storage: str = "raw2s_storage"
    """Folder of artefacts and results; every node must see it."""
    experiments: Annotated[dict[Name, Experiment], Field(min_length=1)]
    """The experiments, by name."""
    cluster: Cluster = Cluster()
    """Resources."""


def load(
    path: str | Path, *, data: str | None = None, overrides: dict[str, Any] | None = None
) -> Run:
    """Read a configuration.

    `data` becomes every task's data folder; without it RAW2S_DATA serves the tasks that name none.
    `overrides` maps dotted keys to values, `{"seeds": [0, 1], "name": "x"}`
    Paths become absolute: relative storage against the working folder. Raises ConfigError in one
    line.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"no configuration file {path}")
    try:
        raw = _unshared(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict) or not all(isinstance(key, str) for key in raw):
        raise ConfigError(f"{path} holds no named keys")
    raw = {key: value for key, value in raw.items() if not key.startswith("x-")}
    for key, value in (overrides or {}).items():
        _set(raw, key.split("."), value)
    return parse(raw, data=data, fallback=os.environ.get("RAW2S_DATA") or None)


def parse(raw: dict[str, Any], *, data: str | None = None, fallback: str | None = None) -> Run:
    """A configuration from plain dictionaries; `fallback` is RAW2S_DATA, see `load`."""
    try:
        run = Run.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(_one_line(error)) from error
    experiments = {}
    for name, experiment in run.experiments.items():
        folder = data or experiment.task.data.folder or fallback
        if folder is not None:
            if not Path(folder).is_dir():
                raise ConfigError(f"data folder {folder} does not exist")
            source = experiment.task.data.model_copy(update={"folder": str(Path(folder).resolve())})
            task = experiment.task.model_copy(update={"data": source})
            experiment = experiment.model_copy(update={"task": task})
        experiments[name] = experiment
    if "://" in run.storage:
        raise ConfigError(f"storage {run.storage} is not a folder; every node must see one")
    storage = str(Path(run.storage).expanduser().resolve())
    return run.model_copy(update={"experiments": experiments, "storage": storage})


def dump(run: Run) -> str:
    """The resolved configuration as YAML; `load` reads it back to the same run."""
    return yaml.safe_dump(run.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _unshared(node: Any) -> Any:
    """A copy in which a YAML alias is a value of its own, so that one override sets one key."""
    if isinstance(node, dict):
        return {key: _unshared(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_unshared(value) for value in node]
    return node


def _set(raw: dict[str, Any], keys: list[str], value: Any) -> None:
    node: Any = raw
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        try:
            index: Any = int(key) if isinstance(node, list) else key
            if last:
                node[index] = value
            elif isinstance(node, dict):
                node = node.setdefault(index, {})
            else:
                node = node[index]
        except (ValueError, IndexError, TypeError) as error:
            raise ConfigError(f"no key {'.'.join(keys)} to set") from error


def _one_line(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "configuration"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "unknown key"
    elif first["type"] not in ("value_error", "missing"):
        message += f", it is {first.get('input')!r}"
    more = error.error_count() - 1
    return f"{where}: {message}" + (f" (and {more} more)" if more else "")
