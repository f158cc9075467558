"""An experiment, the cluster, and the whole run."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from raw2s.config.data import GENERATION_TASKS, Task
from raw2s.config.ensembles import Ensemble
from raw2s.config.fields import Name, Positive, Strict
from raw2s.config.models import Model, copies
from raw2s.config.strategies import Cdpo, Strategy, Weights, check_distinct, check_weights
from raw2s.config.study import Study
from raw2s.config.sweep import Search
from raw2s.config.training import Labelling, Training, WeakTraining


class Experiment(Strict):
    """One task, its weak models, its strong model, and the strategies that are compared."""

    task: Task
    """The task."""
    weak: Annotated[list[Model], Field(min_length=1)]
    """The weak models. An entry from scratch with `copies: 50` stands for name-1 to name-50: equal
    but for the seed, and each with the next share of the text."""
    strong: Model
    """The strong model: student and ceiling."""
    weak_training: WeakTraining = WeakTraining()
    """How each weak model is fine-tuned on A."""
    strong_training: Training = Training()
    """How students and ceiling are trained on B."""
    labelling: Labelling = Labelling()
    """How weak models label and all models answer."""
    ensembles: list[Ensemble] = []
    """Weak models boosted or bagged on A; strategies name them in `weak`."""
    strategies: Annotated[list[Strategy], Field(min_length=1)]
    """What is compared."""
    cdpo: Cdpo = Cdpo()
    """For the strategies with `cdpo: true`."""
    joint_weights: Weights = "average"
    """The weights of Joint Decoding's scores (see `Weights`)."""
    joint_scorers: Annotated[list[Name], Field(min_length=1)] | None = None
    """The weak models that score in Joint Decoding; none: all."""
    bridge_check: bool = False
    """Generation: also measure what the bridge takes for granted, word by word; the ceiling reads
    the weak models' answers."""

    @model_validator(mode="before")
    @classmethod
    def _each(cls, raw: Any) -> Any:
        """`copies` stands for several weak models, `weak: each` for a strategy for each model."""
        if not isinstance(raw, dict) or not isinstance(raw.get("strategies"), list):
            return raw
        weak = raw.get("weak")
        models = [one for given in weak for one in copies(given)] if isinstance(weak, list) else []
        names = [model["name"] for model in models if isinstance(model, dict) and "name" in model]
        strategies = []
        for given in raw["strategies"]:
            each = isinstance(given, dict) and given.get("weak") == "each"
            strategies += [given | {"weak": [name]} for name in names] if each else [given]
        return raw | {"strategies": strategies} | ({"weak": models} if models else {})

    @model_validator(mode="after")
    def _names(self) -> Experiment:
        names = [m.name for m in self.weak]
        taken = [*names, *(x.name for x in self.ensembles), self.strong.name]
        if len(set(taken)) < len(taken):
            raise ValueError(
                f"models need distinct names, weak, ensembles and strong, they are {taken}"
            )
        if self.strong.precomputed:
            raise ValueError("the strong model cannot be a file of labels")
        if self.strong.noise:
            raise ValueError("noise is for weak models: the ceiling learns from the truth")
        if self.bridge_check and not self.generation:
            raise ValueError("bridge_check is for generation")
        flipped = [m.name for m in self.weak if m.noise and m.noise.kind == "flipped"]
        if flipped and self.generation:
            raise ValueError(f"{flipped[0]}: noise of kind flipped is for classes")
        titles = [s.name for s in self.strategies]
        titles += [s.cdpo_name for s in self.strategies if s.cdpo]
        for name in taken:
            if name in (*titles, "Ceiling", "ceiling", "splits"):
                raise ValueError(f"a model cannot be called {name!r}: something else is")
        check_distinct("strategies need distinct names", [*titles, "Ceiling"])
        for ensemble in self.ensembles:
            self._check_ensemble(ensemble)
        for s in self.strategies:
            self._check_strategy(s, names)
        for where, weights in (("joint_weights", self.joint_weights), ("cdpo", self.cdpo.weights)):
            if weights in ("learned_by_type", "trimmed", "gated"):
                raise ValueError(f"{where}: {weights} is no weight of a whole answer's score")
        check_weights("joint_weights", self.joint_weights, len(self.joint_scorers or names))
        check_weights("cdpo.weights", self.cdpo.weights, len(names))
        check_distinct("joint_scorers", self.joint_scorers or [])
        for name in self.joint_scorers or []:
            if name not in names:
                raise ValueError(f"joint_scorers: no weak model is called {name!r}")
        return self

    @model_validator(mode="after")
    def _validated(self) -> Experiment:
        for where, training in (
            ("strong_training", self.strong_training), ("cdpo.training", self.cdpo.training),
        ):  # fmt: skip
            if training.keep_best:
                raise ValueError(
                    f"{where}: keep_best is for weak_training: students are not validated against "
                    "the ground truth"
                )
        return self

    def _check_ensemble(self, ensemble: Ensemble) -> None:
        origins = {m.name: m for m in self.weak}
        if ensemble.of not in origins:
            raise ValueError(
                f"ensemble {ensemble.name}: no weak model is called {ensemble.of!r}; there are "
                f"{list(origins)}"
            )
        if origins[ensemble.of].precomputed:
            raise ValueError(f"ensemble {ensemble.name}: {ensemble.of} is a file of labels")
        if ensemble.level != "token" and not self.generation:
            raise ValueError(f"ensemble {ensemble.name}: `level` is for generation")

    def _check_strategy(self, s: Strategy, names: list[str]) -> None:
        ensembles = [x.name for x in self.ensembles]
        for name in s.weak or []:
            if name not in names + ensembles:
                raise ValueError(
                    f"{s.strategy}: no weak model is called {name!r}; there are {names + ensembles}"
                )
        check_distinct(f"{s.strategy}: weak", s.weak or [])
        if s.strategy == "single" and len(s.weak or []) != 1:
            raise ValueError("single: `weak` must name one weak model")
        named = s.weak or []
        if s.strategy == "ensemw2s" and (len(named) != 1 or named[0] not in ensembles):
            raise ValueError(f"ensemw2s: `weak` must name one of the ensembles {ensembles}")
        voters = len(s.weak or names)
        if s.strategy == "flyingsquid" and voters < 3:
            raise ValueError(f"flyingsquid needs three voters or more, it has {voters}")
        check_weights(f"{s.strategy}: weights", s.weights, voters)
        generation = self.task.name in GENERATION_TASKS
        if generation and s.strategy in ("majority", "product", "flyingsquid", "dawid_skene"):
            raise ValueError(f"{s.strategy} is for classification, not for generation")
        if generation and s.auxiliary and s.auxiliary.prediction == "balanced":
            raise ValueError(f"{s.name}: predictions are balanced over classes, not over text")
        if s.weights in ("trimmed", "gated") and (generation or voters < 3):
            raise ValueError(
                f"{s.name}: {s.weights} weights are for classes, of three models or more"
            )
        if not generation and s.weights == "learned_by_type":
            raise ValueError(f"{s.name}: classification has no slot types to learn weights for")
        if s.class_balance is not None:
            if s.strategy != "flyingsquid":
                raise ValueError(f"{s.name}: `class_balance` is flyingsquid's")
            check_weights(f"{s.name}: class_balance", s.class_balance, 2)
            if min(s.class_balance) == 0:
                raise ValueError(f"{s.name}: class_balance must be > 0, it is {s.class_balance}")
        if not generation and (s.target == "label_only" or s.unit == "chunk"):
            raise ValueError(f"{s.name}: `label_only` and `chunk` are for generation")
        for option in ("split", "temperature"):
            if not generation and getattr(s, option) != Strategy.model_fields[option].default:
                raise ValueError(f"{s.name}: `{option}` is for generation")
        if not generation and (s.strategy == "joint" or s.cdpo):
            raise ValueError(f"{s.name}: joint decoding and cdpo are for generation")
        if generation and s.strategy in ("joint",) and s.weights != "average":
            raise ValueError("joint has one target; its scores' weights are `joint_weights`")
        regulariser_told = "reg_coef" in s.evidential.model_fields_set
        if generation and s.strategy == "bayesian" and not regulariser_told:
            raise ValueError(
                f"{s.name}: evidential.reg_coef must be given for generation, where the "
                "regulariser grows with the vocabulary; the authors take 1.0e-4"
            )

    @property
    def generation(self) -> bool:
        """Whether the task is generation (else classification)."""
        return self.task.name in GENERATION_TASKS


class NodeType(Strict):
    """Nodes that an autoscaler may add."""

    cpus: float = Field(ge=0)
    """CPUs of each."""
    gpus: Annotated[int, Field(ge=0)] = 0
    """GPUs of each."""
    labels: dict[str, str] = {}
    """Their labels."""
    count: Positive
    """How many there may be, those that are there already included."""


class Cluster(Strict):
    """What Ray gives the run."""

    address: str | None = None
    """A running cluster's address; none: the one RAY_ADDRESS names, else one on this machine."""
    autoscaled: list[NodeType] = []
    """What the cluster's autoscaler may bring it to: a run counts on these nodes as well."""
    cpus: Positive | None = None
    """CPUs of a cluster on this machine; none: all."""
    object_store_mb: Positive = 256
    """Its object store, in MiB."""
    train_runs: Positive | None = None
    """Ray Train runs at once at most, of models that need the same workers; each trains one model
    after another. None: as many as fit."""
    hosts: Positive | None = None
    """Models hosted at once at most, a pool of actors each. None: as many as fit."""
    retries: Annotated[int, Field(ge=0)] = 3
    """How often a task, or the training of a model from its last checkpoint, is started again after
    a process of it or its connection was lost."""
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
    """Where artefacts and results lie: a folder that every node sees, or `s3://bucket/prefix`."""
    experiments: Annotated[dict[Name, Experiment], Field(min_length=1)]
    """The experiments, by name."""
    cluster: Cluster = Cluster()
    """Resources."""
    sweep: Search | None = None
    """What `raw2s sweep` searches over; other commands do not read it."""
    study: Study | None = None
    """What `raw2s study` compares; other commands do not read it."""

    @model_validator(mode="after")
    def _seeds(self) -> Run:
        check_distinct("seeds", self.seeds)
        return self

    @model_validator(mode="after")
    def _sweep(self) -> Run:
        search = self.sweep
        if search is None:
            return self
        if search.experiment not in self.experiments:
            raise ValueError(
                f"sweep: no experiment is called {search.experiment!r}; there are "
                f"{list(self.experiments)}"
            )
        names = [s.name for s in self.experiments[search.experiment].strategies]
        if search.strategy not in names:
            raise ValueError(
                f"sweep: no strategy of {search.experiment} is called {search.strategy!r}; "
                f"there are {names}"
            )
        return self
