"""The recipe, in the order of the paper: weak models learn, label, and teach a strong one.

`recipe` declares every job of a run without doing any; `run` does the missing ones, stage by stage,
and writes the report. A job that another run has done already is found by its fingerprint.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field

from raw2s.checks import check_experiment
from raw2s.config import Experiment, Model, Run, Strategy, Training
from raw2s.stages import (
    bridge_check,
    data,
    experts,
    labels,
    preference,
    results,
    supervision,
    training,
)
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
    "finetune": "Weak models and experts",
    "label": "Weak labels",
    "candidates": "Joint Decoding: candidates",
    "score": "Joint Decoding: scores",
    "supervision": "Supervision and bridge",
    "student": "Ceilings and students",
    "sample": "cDPO: samples",
    "judge": "cDPO: weak judges",
    "pairs": "cDPO: preference pairs",
    "reference": "cDPO: reference",
    "cdpo": "cDPO: training",
    "bridge_texts": "Bridge: texts to read again",
    "bridge_score": "Bridge: the ceilings read",
    "bridge_check": "Bridge: what it takes for granted",
    "answer": "Answers to the test",
    "results": "Results",
}


@dataclass
class Plan:
    """Every job of a run, by stage; equal jobs once."""

    stages: dict[str, dict[str, Job]] = field(
        default_factory=lambda: {stage: {} for stage in STAGES}
    )
    titles: dict[str, list[str]] = field(default_factory=dict)
    """By fingerprint, every title under which the job was declared."""

    def add(self, job: Job, stage: str | None = None) -> Job:
        """Put a job into its stage; the one that is there already if it is equal."""
        titles = self.titles.setdefault(job.fingerprint, [])
        if job.title not in titles:
            titles.append(job.title)
        return self.stages[stage or job.stage].setdefault(job.fingerprint, job)

    def jobs(self, stage: str) -> list[Job]:
        """The stage's jobs, in the order of their declaration."""
        return list(self.stages[stage].values())

    def fingerprints(self) -> set[str]:
        """The names of all its work."""
        return {name for jobs in self.stages.values() for name in jobs}

    def only(self, fingerprints: Set[str]) -> Plan:
        """The part of the plan with these jobs."""
        return Plan(
            {
                stage: {name: job for name, job in jobs.items() if name in fingerprints}
                for stage, jobs in self.stages.items()
            },
            self.titles,
        )


def recipe(run: Run) -> Plan:
    """Declare the whole run."""
    plan = Plan()
    for name, experiment in run.experiments.items():
        systems: list[System] = []
        for seed in run.seeds:
            systems += _Cell(plan, name, experiment, run, seed).systems()
        # A weak model that does not vary with the seed appears once.
        distinct = {(s.name, s.role, s.answers.fingerprint): s for s in reversed(systems)}
        ordered = [s for s in systems if distinct[s.name, s.role, s.answers.fingerprint] is s]
        plan.add(results.results_job(name, ordered, experiment.task))
    return plan


def trial(run: Run) -> tuple[Plan, Job]:
    """Declare a trial of a sweep: a run of one experiment with one strategy.

    Its only results, the job returned, are of the strategy's last model (after cDPO where there is
    any) on the validation split, for each seed; the plan has what they need, and no more.
    """
    whole = Plan()
    ((name, experiment),) = run.experiments.items()
    systems = [
        _Cell(whole, name, experiment, run, seed, split="validation").systems()[-1]
        for seed in run.seeds
    ]
    judged = whole.add(results.results_job(name, systems, experiment.task))
    needed = [job for last in [judged, *whole.jobs("fit")] for job in last.closure()]
    return whole.only({job.fingerprint for job in needed}), judged


class _Cell:
    """One experiment at one seed; `split`: what the models are judged on."""

    def __init__(
        self, plan: Plan, name: str, e: Experiment, run: Run, seed: int, split: str = "test"
    ) -> None:
        task = make(e.task)
        weak_seed = seed if run.vary == "everything" else 0
        self.plan, self.name, self.e, self.split = plan, name, e, split
        self.seed, self.weak_seed = seed, weak_seed
        self.classes = len(task.labels) if task.kind == "classification" else None
        check_experiment(name, e, self.classes)
        self.weak_training = e.weak_training.model_copy(
            update={"seed": e.weak_training.seed + weak_seed}
        )
        self.strong_training = e.strong_training.model_copy(update={"seed": seed})
        self.splits = plan.add(data.splits_job(name, e.task, weak_seed))
        self.tokenizers: dict[str, Job] = {}
        self.bases: dict[str, Job] = {}
        # Who answers and scores, and who has labelled B, by name.
        self.weak: dict[str, Job] = {}
        self.ensembles: dict[str, Job] = {}
        self.labelled: dict[str, Job] = {}

    def systems(self) -> list[System]:
        """Declare everything; returns whose answers count, in the order of the table."""
        self._read()
        found = self._weak_models() + self._ensembles() + self._ceiling()
        for strategy in self.e.strategies:
            found += self._student(strategy)
        return found

    def _read(self) -> None:
        """Models from scratch read the task's unlabelled text; every text must fit every model."""
        for model in [*self.e.weak, self.e.strong]:
            if model.scratch is not None:
                corpus = self.plan.add(data.corpus_job(self.name, self.e.task))
                tokenizer = self.plan.add(data.tokenizer_job(model, model.scratch, corpus))
                self.tokenizers[model.name] = tokenizer
                self.bases[model.name] = self.plan.add(
                    training.pretrain_job(model, corpus, tokenizer)
                )
        self.plan.add(data.fit_job(self.name, self.e, self.splits, self.tokenizers))

    def _weak_models(self) -> list[System]:
        """Weak models learn from the ground truth of A, and label B."""
        found = []
        for model in self.e.weak:
            title = f"{self.name}/{model.name}"
            if model.precomputed is not None:
                answers, split = self._precomputed(title, model), "strong"
                self.labelled[model.name] = answers
            else:
                trained = self._on_truth(title, model, "weak", self.weak_training)
                self.weak[model.name] = trained
                self.labelled[model.name] = self._labels(title, trained)
                answers, split = self._answers(title, trained), self.split
            found.append(
                System(model.name, "weak", "", self.weak_seed, answers, self.splits, split)
            )
        return found

    def _ensembles(self) -> list[System]:
        """Experts grown from a weak model answer, and label, together (EnsemW2S)."""
        found = []
        models = {model.name: model for model in self.e.weak}
        for ensemble in self.e.ensembles:
            title, origin = f"{self.name}/{ensemble.name}", models[ensemble.of]
            grown = self.plan.add(
                experts.experts_job(
                    title, ensemble, origin, self.bases.get(origin.name), self.splits,
                    labels=self.classes, training=self.weak_training,
                ),
                # Beside the weak models, whose Ray Train runs they can share.
                "finetune",
            )  # fmt: skip
            self.ensembles[ensemble.name] = grown
            self.labelled[ensemble.name] = self._labels(title, grown)
            answers = self._answers(title, grown)
            found.append(
                System(
                    ensemble.name, "ensemble", "", self.weak_seed, answers, self.splits, self.split
                )
            )
        return found

    def _ceiling(self) -> list[System]:
        """The strong model learns from the ground truth of B."""
        title = f"{self.name}/ceiling"
        # Beside the students, whose Ray Train runs it can share: no weak label waits for it.
        trained = self._on_truth(title, self.e.strong, "strong", self.strong_training, "student")
        if self.e.bridge_check:
            self._bridge_check(title, trained)
        answers = self._answers(title, trained)
        return [System("Ceiling", "ceiling", "", self.seed, answers, self.splits, self.split)]

    def _bridge_check(self, title: str, ceiling: Job) -> None:
        """The ceiling reads what the weak models say about B."""
        told = {m.name: self.labelled[m.name] for m in self.e.weak}
        texts = self.plan.add(bridge_check.texts_job(self.name, told))
        scores = labels.score_job(
            "score", title, ceiling, self.splits, texts, self.e.labelling, confidences=True
        )
        self.plan.add(scores, "bridge_score")
        self.plan.add(bridge_check.check_job(self.name, self.seed, told, ceiling, scores))

    def _student(self, strategy: Strategy) -> list[System]:
        """The strong model learns from what the weak models say about B."""
        e, title = self.e, f"{self.name}/{strategy.name}"
        student = self.plan.add(
            training.student_job(
                title, e.strong, self.bases.get(e.strong.name),
                self._supervision(title, strategy), self.splits, strategy,
                labels=self.classes, training=self.strong_training,
            )
        )  # fmt: skip
        trained = {strategy.name: student}
        if strategy.cdpo:
            trained[strategy.cdpo_name] = self._cdpo(title, student)
        evidential = strategy.strategy == "bayesian" and self.classes is not None
        return [
            System(
                called, "student", strategy.strategy, self.seed,
                self._answers(f"{self.name}/{called}", model), self.splits, self.split,
                evidence=strategy.evidential.evidence if evidential else "",
            )
            for called, model in trained.items()
        ]  # fmt: skip

    def _supervision(self, title: str, strategy: Strategy) -> Job:
        e = self.e
        teachers = {m: self.labelled[m] for m in strategy.weak or [m.name for m in e.weak]}
        joint = None
        if strategy.strategy == "joint":
            texts = self.plan.add(supervision.candidates_job(self.name, teachers))
            scores = self._scores("score", self.name, texts, e.joint_scorers or list(self.weak))
            joint = supervision.Joint(texts, scores, e.joint_weights)
        return self.plan.add(
            supervision.supervision_job(
                title, strategy, self.labelled if joint else teachers, self.splits,
                labels=self.classes, task=e.task,
                strong=e.strong, tokenizer=self.tokenizers.get(e.strong.name), joint=joint,
            )
        )  # fmt: skip

    def _cdpo(self, title: str, student: Job) -> Job:
        """The student samples, the weak models judge, conservative DPO follows."""
        e, seeded = self.e, {"seed": self.seed}
        c = e.cdpo.model_copy(update={"training": e.cdpo.training.model_copy(update=seeded)})
        samples = self.plan.add(
            labels.sample_job(title, student, self.splits, e.labelling, c, self.seed)
        )
        scores = self._scores("judge", title, samples, list(self.weak))
        told = {m: self.labelled[m] for m in self.weak}
        pairs = self.plan.add(
            preference.pairs_job(title, samples, scores, told, self.splits, c, e.task)
        )
        reference = self.plan.add(
            labels.score_job("reference", title, student, self.splits, pairs, e.labelling)
        )
        return self.plan.add(
            training.cdpo_job(f"{title} + cDPO", student, pairs, reference, c, e.strong)
        )

    def _on_truth(
        self, title: str, model: Model, split: str, how: Training, stage: str | None = None
    ) -> Job:
        return self.plan.add(
            training.finetune_job(
                title, model, self.bases.get(model.name), self.splits,
                split=split, labels=self.classes, training=how,
            ),
            stage,
        )  # fmt: skip

    def _precomputed(self, title: str, model: Model) -> Job:
        return self.plan.add(
            labels.precomputed_job(
                title, model, self.splits, self.e.task.data, self.classes or 0
            )
        )  # fmt: skip

    def _labels(self, title: str, model: Job) -> Job:
        return self.plan.add(
            labels.label_job(title, model, self.splits, self.e.labelling, self.classes)
        )

    def _answers(self, title: str, model: Job) -> Job:
        return self.plan.add(
            labels.answer_job(title, model, self.splits, self.e.labelling, self.classes, self.split)
        )

    def _scores(self, stage: str, title: str, texts: Job, judges: list[str]) -> dict[str, Job]:
        """The judges' teacher-forced scores of texts, by weak model."""
        return {
            m: self.plan.add(
                labels.score_job(
                    "score", f"{title}/{m}", self.weak[m], self.splits, texts, self.e.labelling
                ),
                stage,
            )
            for m in judges
        }
