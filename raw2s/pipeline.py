"""The recipe, in the order of the paper: weak models learn, label, and teach a strong one.

`recipe` declares every job of a run without doing any; `run` does the missing ones, stage by stage,
and writes the report. A job that another run has done already is found by its fingerprint.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from raw2s.checks import check_experiment
from raw2s.config import Experiment, Model, Run, Strategy, Training
from raw2s.stages import data, labels, preference, results, supervision, training
from raw2s.stages.results import System
from raw2s.store import Job
from raw2s.tasks import make

# Title of each stage, in the order in which they run. Cheap checks come before any training.
STAGES = {
    "splits": "Splits A, B, validation, test",
    "precomputed": "Precomputed weak labels",
    "corpus": "Unlabelled text",
    "tokenizer": "Tokenizers",
    "fit": "Every text fits",
    "pretrain": "Pretraining from scratch",
    "finetune": "Weak models and ceilings",
    "label": "Weak labels",
    "candidates": "Joint Decoding: candidates",
    "score": "Joint Decoding: scores",
    "supervision": "Supervision and bridge",
    "student": "Students",
    "sample": "cDPO: samples",
    "judge": "cDPO: weak judges",
    "pairs": "cDPO: preference pairs",
    "reference": "cDPO: reference",
    "cdpo": "cDPO: training",
    "answer": "Answers to the test",
    "results": "Results",
}


@dataclass
class Plan:
    """Every job of a run, by stage; equal jobs once."""

    stages: dict[str, dict[str, Job]] = field(
        default_factory=lambda: {stage: {} for stage in STAGES}
    )

    def add(self, job: Job, stage: str | None = None) -> Job:
        """Put a job into its stage; the one that is there already if it is equal."""
        return self.stages[stage or job.stage].setdefault(job.fingerprint, job)

    def jobs(self, stage: str) -> list[Job]:
        """The stage's jobs, in the order of their declaration."""
        return list(self.stages[stage].values())


def recipe(run: Run) -> Plan:
    """Declare the whole run."""
    plan = Plan()
    for name, experiment in run.experiments.items():
        systems: list[System] = []
        for seed in run.seeds:
            systems += _cell(plan, name, experiment, seed, seed if run.vary == "everything" else 0)
        # A weak model that does not vary with the seed appears once.
        distinct = {(s.name, s.role, s.answers.fingerprint): s for s in reversed(systems)}
        ordered = [s for s in systems if distinct[s.name, s.role, s.answers.fingerprint] is s]
        plan.add(results.results_job(name, ordered, experiment.task))
    return plan


def _cell(plan: Plan, name: str, e: Experiment, seed: int, weak_seed: int) -> list[System]:
    """One experiment at one seed; returns whose answers count, in the order of the table."""
    task = make(e.task)
    classes = len(task.labels) if task.kind == "classification" else None
    check_experiment(name, e, classes)
    splits = plan.add(data.splits_job(name, e.task, weak_seed))
    models = [m for m in [*e.weak, e.strong] if m.precomputed is None]

    # Models from scratch read the task's unlabelled text first.
    tokenizers: dict[str, Job] = {}
    bases: dict[str, Job] = {}
    for model in models:
        if model.scratch is not None:
            corpus = plan.add(data.corpus_job(name, e.task))
            tokenizers[model.name] = plan.add(data.tokenizer_job(model, model.scratch, corpus))
            bases[model.name] = plan.add(
                training.pretrain_job(model, corpus, tokenizers[model.name])
            )
    plan.add(data.fit_job(name, e, splits, tokenizers))
    strong_base = bases.get(e.strong.name)
    strong_training = e.strong_training.model_copy(update={"seed": seed})

    def on_truth(model: Model, split: str, how: Training) -> Job:
        return plan.add(
            training.finetune_job(
                f"{name}/{'ceiling' if split == 'strong' else model.name}",
                model, bases.get(model.name), splits, split=split, labels=classes, training=how,
            )
        )  # fmt: skip

    # 1. Weak models learn from the ground truth of A, 2. and label B.
    weak_training = e.weak_training.model_copy(update={"seed": e.weak_training.seed + weak_seed})
    weak: dict[str, Job] = {}
    labelled: dict[str, Job] = {}
    systems: list[System] = []
    for model in e.weak:
        title = f"{name}/{model.name}"
        if model.precomputed is not None:
            labelled[model.name] = plan.add(
                labels.precomputed_job(title, model, splits, e.task.data, classes or 0)
            )
            answers, split = labelled[model.name], "strong"
        else:
            weak[model.name] = on_truth(model, "weak", weak_training)
            labelled[model.name] = plan.add(
                labels.label_job(title, weak[model.name], splits, e.labelling, classes)
            )
            answers, split = _answers(plan, title, weak[model.name], splits, e, classes), "test"
        systems.append(System(model.name, "weak", "", weak_seed, answers, splits, split))

    # 3. The ceiling learns from the ground truth of B.
    ceiling = on_truth(e.strong, "strong", strong_training)
    systems.append(
        System(
            "Ceiling", "ceiling", "", seed,
            _answers(plan, f"{name}/ceiling", ceiling, splits, e, classes), splits,
        )
    )  # fmt: skip

    # 4. Students learn from what the weak models say about B.
    for strategy in e.strategies:
        title = f"{name}/{strategy.name}"
        table = _supervision(plan, name, e, strategy, labelled, weak, splits, tokenizers, classes)
        student = plan.add(
            training.student_job(
                title, e.strong, strong_base, table, splits, strategy,
                labels=classes, training=strong_training,
            )
        )  # fmt: skip
        trained = [(strategy.name, student)]
        if strategy.cdpo:
            # 5. The student samples, the weak models judge, conservative DPO follows.
            tuned = _cdpo(plan, title, e, student, weak, splits, seed)
            trained.append((f"{strategy.name} + cDPO", tuned))
        systems += [
            System(
                called, "student", strategy.strategy, seed,
                _answers(plan, f"{name}/{called}", model_of, splits, e, classes), splits,
            )
            for called, model_of in trained
        ]  # fmt: skip
    return systems


def _answers(
    plan: Plan, title: str, model_of: Job, splits: Job, e: Experiment, classes: int | None
) -> Job:
    return plan.add(labels.answer_job(title, model_of, splits, e.labelling, classes))


def _supervision(
    plan: Plan,
    name: str,
    e: Experiment,
    strategy: Strategy,
    labelled: dict[str, Job],
    weak: dict[str, Job],
    splits: Job,
    tokenizers: dict[str, Job],
    classes: int | None,
) -> Job:
    taking_part = {m: labelled[m] for m in strategy.weak or labelled}
    joint = None
    if strategy.strategy == "joint":
        texts = plan.add(supervision.candidates_job(name, taking_part))
        scores = {
            m: plan.add(
                labels.score_job("score", f"{name}/{m}", weak[m], splits, texts, e.labelling)
            )
            for m in e.joint_scorers or weak
        }
        joint = (texts, scores, e.joint_weights)
    return plan.add(
        supervision.supervision_job(
            f"{name}/{strategy.name}", strategy, taking_part, splits,
            labels=classes, task=e.task, strong=e.strong,
            tokenizer=tokenizers.get(e.strong.name), joint=joint,
        )
    )  # fmt: skip


def _cdpo(
    plan: Plan,
    title: str,
    e: Experiment,
    student: Job,
    weak: dict[str, Job],
    splits: Job,
    seed: int,
) -> Job:
    c = e.cdpo.model_copy(update={"training": e.cdpo.training.model_copy(update={"seed": seed})})
    samples = plan.add(labels.sample_job(title, student, splits, e.labelling, c, seed))
    scores = {
        m: plan.add(
            labels.score_job("score", f"{title}/{m}", weak[m], splits, samples, e.labelling),
            "judge",
        )
        for m in weak
    }
    pairs = plan.add(preference.pairs_job(title, samples, scores, splits, c))
    reference = plan.add(labels.score_job("reference", title, student, splits, pairs, e.labelling))
    return plan.add(training.cdpo_job(f"{title} + cDPO", student, pairs, reference, c, e.strong))


def run_folder(run: Run) -> Path:
    """Where the run's results lie."""
    return Path(run.storage) / "runs" / run.name
