"""The stage of EnsemW2S: experts grown from a weak model on split A."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from raw2s.config import Ensemble, Model, Training
from raw2s.stages.data import rows, source_spec
from raw2s.stages.items import model_source, truth_items
from raw2s.stages.noise import noise_spec, noisy
from raw2s.stages.training import (
    Clock,
    commit,
    device,
    training_runtime,
    training_spec,
    version_of_loss,
)
from raw2s.store import Job, Store

if TYPE_CHECKING:
    from raw2s.trainers.process import Progress


def experts_job(
    title: str,
    ensemble: Ensemble,
    model: Model,
    base: Job | None,
    splits_of: Job,
    *,
    labels: int | None,
    training: Training,
) -> Job:
    """Declare an ensemble's experts: the weak model, fine-tuned round after round."""
    # What people call the ensemble and its weak model changes no result.
    names = {"name", "of"}
    spec: dict[str, Any] = {
        "ensemble": ensemble.model_dump(mode="json", exclude=names),
        "labels": labels,
        "training": training_spec(training, model),
    }
    inputs = {"splits": splits_of} | ({"model": base} if base else {})
    runtime = training_runtime(training) | {"ensemble": ensemble.model_dump(include=names)}
    return Job(
        "experts", title, spec | source_spec(model) | noise_spec(model), inputs, runtime,
        version=version_of_loss(labels),
    )  # fmt: skip


def experts(job: Job, store: Store, rank: int, progress: Progress) -> None:
    """Train them; the artefact is a committee's folder (`raw2s.models.committee`)."""
    from raw2s.trainers.experts import train_experts

    labels, source = job.spec["labels"], model_source(job, store)
    truth = noisy(rows(store, job.inputs["splits"], "weak"), job.spec, labels)
    training = Training(**job.spec["training"], checkpoint_steps=job.runtime["checkpoint_steps"])
    clock = Clock(job, store)
    notes = train_experts(
        partial(model_source, job, store),
        truth_items(truth, source, labels),
        truth_items(rows(store, job.inputs["splits"], "validation"), source, labels),
        ensemble=Ensemble(**job.spec["ensemble"], **job.runtime["ensemble"]),
        labels=labels,
        training=training.model_copy(update=device(job)),
        learning_rate=training.learning_rate,
        out=store.work(job) / "model",
        work=store.work(job),
        progress=progress,
        keep=clock.keep,
    )
    commit(job, store, rank, {"rounds": notes}, clock)
