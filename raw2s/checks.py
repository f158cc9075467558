"""What a run needs against what a cluster has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from raw2s.config import Experiment, Labelling, Model, Run, Training
from raw2s.errors import ConfigError
from raw2s.nodes import Group, Node, described

_BYTES = {"float32": 4, "autocast": 4, "bfloat16": 2}


@dataclass(frozen=True)
class Need:
    """What a stage takes while it runs: a group, the memory (GiB) that the device of one of it
    holds, and the size (GiB) of a training's checkpoint, 0 for none; both None where the number of
    parameters is not declared. Workers start as a `whole` or not at all; a pool takes fewer actors
    where there is no room."""

    stage: str
    model: str
    group: Group
    memory: float | None
    checkpoint: float | None
    whole: bool

    def room(self, nodes: Iterable[Node]) -> tuple[int, bool]:
        """For how many workers or actors the nodes have room, and whether that is enough."""
        found = self.group.places(nodes)
        return found, found >= (self.group.count if self.whole else 1)


def needs(run: Run) -> list[Need]:
    """Every stage's needs, from the configuration alone."""
    found = []
    for name, e in run.experiments.items():
        hosted = [m for m in e.weak if m.precomputed is None]
        for model in hosted:
            found.append(_training(f"{name}: weak models", model, e.weak_training))
        for model in hosted:
            found.append(_asked(f"{name}: weak labels", model.name, _hosting(model), e.labelling))
        by_name = {m.name: m for m in hosted}
        for ensemble in e.ensembles:
            each = _hosting(by_name[ensemble.of])
            memory = None if each is None else ensemble.rounds * each
            found.append(_training(f"{name}: experts", by_name[ensemble.of], e.weak_training))
            found.append(_asked(f"{name}: weak labels", ensemble.name, memory, e.labelling))
        found.append(_training(f"{name}: students, ceiling", e.strong, e.strong_training))
        if any(s.cdpo for s in e.strategies):
            found.append(_training(f"{name}: cDPO", e.strong, e.cdpo.training))
        # Students sample by the same kind of actor.
        found.append(_asked(f"{name}: answers", e.strong.name, _hosting(e.strong), e.labelling))
    return found


def _asked(stage: str, model: str, memory: float | None, how: Labelling) -> Need:
    return Need(
        stage,
        model,
        Group(how.actors, how.cpus_per_actor, how.gpus_per_actor, how.nodes),
        memory,
        0.0,
        False,
    )


def _training(stage: str, model: Model, t: Training) -> Need:
    return Need(
        stage,
        model.name,
        Group(t.workers, t.cpus_per_worker, t.gpus_per_worker, t.nodes),
        training_memory(model, t),
        checkpoint_size(model, t),
        True,
    )


def training_memory(model: Model, t: Training) -> float | None:
    """GiB one worker's device holds for weights, gradients, AdamW's two moments and its copy of the
    weights (in float32), as the ZeRO stage shares them out; activations, buffers and what an update
    takes for a moment come on top."""
    if model.parameters is None:
        return None
    width = _BYTES[t.precision]
    stage, workers = t.zero_stage or 0, t.workers
    weights = width / (workers if stage == 3 else 1)
    # Stages 1 to 3 add gradients up in float32; stage 1 whole, and its share once more.
    gradients = 4 / workers + (4 if stage == 1 else 0) if stage else width
    optimiser = _optimiser(t) / (workers if stage >= 1 else 1)
    if t.offload:
        optimiser = 0
        weights = 0 if stage == 3 else weights
    return model.parameters * (weights + gradients + optimiser) / 2**30


def checkpoint_size(model: Model, t: Training) -> float | None:
    """GiB of a checkpoint: the weights, which DeepSpeed writes a second time where a worker holds
    them whole, and the optimiser's state."""
    if model.parameters is None:
        return None
    copies = 2 if t.zero_stage in (0, 1, 2) else 1
    return model.parameters * (copies * _BYTES[t.precision] + _optimiser(t)) / 2**30


def _optimiser(t: Training) -> int:
    """Bytes a parameter: two moments, and the copy of the weights that DeepSpeed updates, of those
    in bfloat16 and of those that it shares out."""
    return 12 if t.zero_stage or t.precision == "bfloat16" else 8


def _hosting(model: Model) -> float | None:
    return None if model.parameters is None else model.parameters * 4 / 2**30


def check_cluster(run: Run) -> None:
    """Raise ConfigError where a stage can never be placed on the cluster: a group of workers whole,
    of a pool one actor. A worker or actor stands on one node."""
    from raw2s.orchestration.cluster import nodes

    have = list(nodes(run.cluster.autoscaled).values())
    for need in needs(run):
        room, enough = need.room(have)
        if not enough:
            group = need.group
            wanted = Node(group.cpus, group.gpus, group.labels)
            raise ConfigError(
                f"{need.stage} ({need.model}) needs {group.count if need.whole else 1} times "
                f"{wanted}, the cluster has room for {room} (nodes: {described(have)})"
            )


def check_experiment(name: str, e: Experiment, classes: int | None) -> None:
    """What needs the task to be known: classes of FlyingSquid and of precomputed labels."""
    for s in e.strategies:
        if s.strategy == "flyingsquid" and classes is not None and classes != 2:
            raise ConfigError(
                f"{name}: flyingsquid is for two classes, task {e.task.name} has {classes}; "
                "dawid_skene is for any number"
            )
    for model in e.weak:
        if model.precomputed is not None and classes is None:
            raise ConfigError(f"{name}: {model.name} is a file of labels, which generation has not")
