"""Stages that train a model: pretraining, fine-tuning on ground truth, students, cDPO.

All ranks of a worker group call the last three; rank 0 writes the artefact, which is an ordinary
transformers folder.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from raw2s.config import Auxiliary, Cdpo, Evidential, Model, Strategy, Training
from raw2s.stages.data import corpus_share, rows, source_spec, table
from raw2s.stages.items import model_source, truth_items, weak_items
from raw2s.stages.noise import noise_spec, noisy
from raw2s.store import Job, Store, write_text

if TYPE_CHECKING:
    from raw2s.storage import Gather
    from raw2s.trainers.process import Progress

# How, not what: these change no result and so no fingerprint.
_RUNTIME = {"cpus_per_worker", "gpus_per_worker", "nodes", "checkpoint_steps", "learning_rates"}


def training_spec(training: Training, model: Model) -> dict[str, Any]:
    """What of a training decides its result, for this model."""
    spec = training.model_dump(mode="json", exclude=_RUNTIME)
    return spec | {"learning_rate": training.learning_rates.get(model.name, training.learning_rate)}


def training_runtime(training: Training) -> dict[str, Any]:
    """How a training is run."""
    return {
        "workers": training.workers,
        "cpus": training.cpus_per_worker,
        "gpus": training.gpus_per_worker,
        "nodes": training.nodes,
        "checkpoint_steps": training.checkpoint_steps,
    }


def version_of_loss(labels: int | None) -> int:
    """Of jobs that train by `raw2s.trainers.sft`: how text is read has changed what rounding does
    (2: what several weak models wrote is read once; 3: the output layer reads targets only)."""
    return 3 if labels is None else 1


def no_progress(done: int, total: int) -> bool:
    """For ranks that report nothing."""
    return False


def pretrain_job(model: Model, corpus_of: Job, tokenizer_of: Job) -> Job:
    """Declare a model from scratch."""
    if model.scratch is None:
        raise ValueError(f"model {model.name} is not from scratch")
    runtime = {"checkpoint_steps": model.scratch.pretraining.checkpoint_steps}
    spec = model.scratch.model_dump(mode="json")
    del spec["pretraining"]["checkpoint_steps"]
    return Job(
        "pretrain",
        model.name,
        spec,
        {"corpus": corpus_of, "tokenizer": tokenizer_of},
        runtime,
    )


def pretrain(job: Job, store: Store, progress: Progress) -> None:
    """Train it on its share of the corpus."""
    from raw2s.config import Scratch
    from raw2s.trainers.pretrain import pretrain as train

    pretraining = dict(job.spec["pretraining"]) | dict(job.runtime)
    scratch = Scratch(**(dict(job.spec) | {"pretraining": pretraining}))
    texts = corpus_share(store, job.inputs["corpus"], pretraining)
    with store.write(job) as (folder, notes):
        clock = Clock(job, store)
        notes.update(
            train(
                texts,
                scratch,
                tokenizer=store.path(job.inputs["tokenizer"]),
                out=folder,
                work=store.work(job),
                progress=progress,
                keep=clock.keep,
            )
        )
        notes["compute"] = clock.spans()


def finetune_job(
    title: str,
    model: Model,
    base: Job | None,
    splits_of: Job,
    *,
    split: str,
    labels: int | None,
    training: Training,
) -> Job:
    """Declare a fine-tuning on the ground truth of a split: weak (a weak model) or strong (the
    ceiling)."""
    spec = {"split": split, "labels": labels, "training": training_spec(training, model)}
    inputs = {"splits": splits_of} | ({"model": base} if base else {})
    spec |= source_spec(model) | noise_spec(model)
    return Job(
        "finetune", title, spec, inputs, training_runtime(training),
        version=version_of_loss(labels),
    )  # fmt: skip


def finetune(job: Job, store: Store, rank: int, progress: Progress) -> None:
    """Train on ground truth; a weak model keeps the epoch of the lowest validation loss."""
    from raw2s.trainers.sft import Loss

    splits_of, labels = job.inputs["splits"], job.spec["labels"]
    truth = rows(store, splits_of, job.spec["split"])
    if job.spec["split"] == "strong":
        truth = truth.merge(rows(store, splits_of, "strong_truth"), on="id", validate="1:1")
    validation = rows(store, splits_of, "validation")
    source = model_source(job, store)
    _fine_tune(
        job, store, rank, progress,
        items=truth_items(noisy(truth, job.spec, labels), source, labels),
        validation=truth_items(validation, source, labels),
        loss=Loss(),
    )  # fmt: skip


def student_job(
    title: str,
    model: Model,
    base: Job | None,
    supervision: Job,
    splits_of: Job,
    strategy: Strategy,
    *,
    labels: int | None,
    training: Training,
) -> Job:
    """Declare a student: the strong model trained on a supervision table with a strategy's loss."""
    evidential = strategy.strategy == "bayesian"
    loss: dict[str, Any] = {
        "loss": "evidential" if evidential else "cross_entropy",
        "auxiliary": strategy.auxiliary.model_dump(mode="json") if strategy.auxiliary else None,
    }
    if evidential:
        loss["evidential"] = strategy.evidential.model_dump(mode="json")
    if labels is None:
        loss |= {
            "target": strategy.target,
            "split": strategy.split,
            "temperature": strategy.temperature,
        }
    spec = {"labels": labels, "loss": loss, "training": training_spec(training, model)}
    inputs = {"supervision": supervision, "splits": splits_of} | ({"model": base} if base else {})
    return Job(
        "student", title, spec | source_spec(model), inputs, training_runtime(training),
        version=version_of_loss(labels),
    )  # fmt: skip


def student(job: Job, store: Store, rank: int, progress: Progress) -> None:
    """Train it; ground truth is not read."""
    from raw2s.trainers.sft import Loss

    fields = dict(job.spec["loss"])
    if fields["auxiliary"] is not None:
        fields["auxiliary"] = Auxiliary(**fields["auxiliary"])
    if "evidential" in fields:
        fields["evidential"] = Evidential(**fields["evidential"])
    _fine_tune(
        job, store, rank, progress,
        items=weak_items(job, store),
        validation=None,
        loss=Loss(**fields),
    )  # fmt: skip


def cdpo_job(
    title: str, student_of: Job, pairs: Job, reference: Job, cdpo: Cdpo, model: Model
) -> Job:
    """Declare conservative DPO of a student."""
    spec = {
        "beta": cdpo.beta,
        "epsilon": cdpo.epsilon,
        "training": training_spec(cdpo.training, model),
    }
    inputs = {"model": student_of, "pairs": pairs, "reference": reference}
    return Job("cdpo", title, spec, inputs, training_runtime(cdpo.training))


def cdpo(job: Job, store: Store, rank: int, progress: Progress) -> None:
    """Train on the pairs against the reference's log-probabilities, computed before."""
    from raw2s.models.encoding import encode_completion, encode_prompt
    from raw2s.models.loading import load_tokenizer
    from raw2s.trainers.cdpo import Pair, train_cdpo

    source = model_source(job, store)
    tokenizer = load_tokenizer(**source)
    pairs = table(store, job.inputs["pairs"])
    scores = table(store, job.inputs["reference"])
    # The sum over the completion's tokens and its end: what DPO compares.
    logprobs = {
        (row.id, row.candidate): sum(row.token_logprobs) + row.eos_logprob
        for row in scores.itertuples()
        if row.scored
    }
    items = [
        Pair(
            prompt_ids=encode_prompt(tokenizer, row.text),
            chosen_ids=encode_completion(tokenizer, row.chosen)[0],
            rejected_ids=encode_completion(tokenizer, row.rejected)[0],
            ref_chosen_logps=logprobs[row.id, 0],
            ref_rejected_logps=logprobs[row.id, 1],
        )
        for row in pairs.itertuples()
        if (row.id, 0) in logprobs and (row.id, 1) in logprobs
    ]
    training = Training(**job.spec["training"], checkpoint_steps=job.runtime["checkpoint_steps"])
    clock = Clock(job, store)
    out = store.work(job) / "model"
    notes = train_cdpo(
        source,
        items,
        beta=job.spec["beta"],
        epsilon=job.spec["epsilon"],
        training=training.model_copy(update=device(job)),
        out=out,
        work=store.work(job),
        progress=progress,
        keep=clock.keep,
    )
    commit(
        job,
        store,
        rank,
        notes | {"pairs": len(items), "too long": len(pairs) - len(items)},
        clock,
    )


def _fine_tune(
    job: Job,
    store: Store,
    rank: int,
    progress: Progress,
    *,
    items: Any,
    validation: Any,
    loss: Any,
) -> None:
    from raw2s.trainers.sft import fine_tune

    training = Training(**job.spec["training"], checkpoint_steps=job.runtime["checkpoint_steps"])
    clock = Clock(job, store)
    notes = fine_tune(
        model_source(job, store),
        items,
        labels=job.spec["labels"],
        loss=loss,
        training=training.model_copy(update=device(job)),
        learning_rate=training.learning_rate,
        out=store.work(job) / "model",
        work=store.work(job),
        progress=progress,
        validation=validation,
        keep=clock.keep,
    )
    commit(job, store, rank, notes | {"rows": len(items)}, clock)


def device(job: Job) -> dict[str, Any]:
    """The fields of `Training` that say what each worker holds."""
    return {"cpus_per_worker": job.runtime["cpus"], "gpus_per_worker": job.runtime["gpus"]}


class Clock:
    """When a job's training computed: up to its last checkpoint in processes that have ended, and
    since this began in this one."""

    def __init__(self, job: Job, store: Store) -> None:
        self._job, self._store = job, store
        self._file = store.work(job) / "compute.json"
        self._before = json.loads(self._file.read_text()) if self._file.is_file() else []
        self._started = time.time()

    def spans(self) -> list[list[float]]:
        """Begin and end of each process's part, Unix seconds."""
        return [*self._before, [self._started, time.time()]]

    def keep(self, gather: Gather, first: bool = True) -> None:
        """`raw2s.store.Store.keep_work` after a checkpoint; the time until then has served."""
        if first:
            write_text(self._file, json.dumps(self.spans()))
        self._store.keep_work(self._job, gather, first)


def commit(job: Job, store: Store, rank: int, notes: Mapping[str, Any], clock: Clock) -> None:
    """Make what lies in the work folder's `model` the job's artefact (rank 0)."""
    if rank != 0:
        return
    with store.write(job) as (folder, manifest_notes):
        # The work keeps its files until the artefact is in its place.
        shutil.copytree(store.work(job) / "model", folder, copy_function=_link, dirs_exist_ok=True)
        manifest_notes.update(notes, compute=clock.spans())


def _link(source: str, target: str) -> None:
    """Another name for the same file, or a copy where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
