"""A study's run: variants of experiments, and what each system has cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raw2s import config
from raw2s.errors import ConfigError
from raw2s.pipeline import recipe
from raw2s.store import Job, Store
from raw2s.study import costs, study_run

ROOT = Path(__file__).parents[2]
TINY = ROOT / "configs" / "tiny.yaml"
STUDIES = sorted((ROOT / "configs" / "studies").glob("*.yaml"))


def studied(**study: Any) -> config.Run:
    asked = {"title": "T", "question": "Q?"} | study
    return config.load(TINY, overrides={"study": asked})


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_is_a_run(path: Path) -> None:
    run, cells = study_run(config.load(path))
    assert run.name == path.stem and [cell.experiment for cell in cells] == list(run.experiments)
    assert recipe(run).jobs("results")


def test_the_models_that_are_misled_are_those_the_study_is_about() -> None:
    def misled(study: str) -> dict[str, list[str]]:
        run, _ = study_run(config.load(ROOT / "configs" / "studies" / f"{study}.yaml"))
        return {
            name: [model.name for model in experiment.weak if model.noise]
            for name, experiment in run.experiments.items()
        }

    strong = {"topics-0": [], "topics-1": ["bloom"], "topics-2": ["bloom", "tiny-llama"]}
    assert misled("adversary_strong") == strong
    shares = ("0.25", "0.5", "0.75", "1")
    pair = {f"topics-{share}": ["gpt2", "bloom"] for share in shares}
    assert misled("contradiction") == {"topics-0": []} | pair


def test_a_study_takes_another_base() -> None:
    path = ROOT / "configs" / "studies" / "table_8.yaml"
    settings = config.load(path, base=ROOT / "configs" / "slurp_small.yaml")
    run, cells = study_run(settings)
    assert run.name == "table_8-slurp_small"
    assert [cell.task for cell in cells] == ["slots"]
    assert run.experiments["slots"].task.name == "slurp"
    assert run.experiments["slots"].strategies[0].name == "one-hot"


def test_only_experiments_of_the_kind_take_part() -> None:
    assert list(study_run(studied(kind="generation"))[0].experiments) == ["slots"]
    assert list(study_run(studied())[0].experiments) == ["topics", "slots"]
    alone = studied(kind="generation").model_copy()
    topics = {"topics": alone.experiments["topics"]}
    with pytest.raises(ConfigError, match="no experiment is generation"):
        study_run(alone.model_copy(update={"experiments": topics}))


def test_variants_change_models_and_values() -> None:
    variants = {
        "one": {"weak": 1, "set": {"strategies.*.target": "one_hot", "task.weak_rows": 7}},
        "named": {"weak": ["llama", "gpt2"]},
    }
    run, cells = study_run(
        studied(
            kind="classification", variants=variants, axis="x",
            strategies=[{"strategy": "naive"}, {"strategy": "single", "weak": "each"}],
        )
    )  # fmt: skip
    assert [(cell.experiment, cell.task, cell.variant) for cell in cells] == [
        ("topics-one", "topics", "one"), ("topics-named", "topics", "named"),
    ]  # fmt: skip
    one, named = run.experiments.values()
    assert [model.name for model in one.weak] == ["gpt2"] and one.task.weak_rows == 7
    assert [s.name for s in one.strategies] == [
        "Naive Multi-Weak (hard)", "Single (gpt2) (hard)",
    ]  # fmt: skip
    assert [model.name for model in named.weak] == ["llama", "gpt2"]
    assert [s.name for s in named.strategies] == [
        "Naive Multi-Weak", "Single (llama)", "Single (gpt2)",
    ]  # fmt: skip
    assert named.task.weak_rows == 64


def test_variants_share_what_they_do_not_change() -> None:
    variants = {"1": {"weak": 1}, "3": {"weak": 3}}
    run, _ = study_run(
        studied(
            kind="classification", variants=variants, axis="weak models",
            strategies=[{"strategy": "single", "weak": ["gpt2"]}, {"strategy": "naive"}],
        )
    )  # fmt: skip
    plan = recipe(run)
    # The student of gpt2 alone is there once for both variants, and the mean of one weak model is
    # that model.
    assert len(plan.jobs("finetune")) == 3
    assert [job.stage for job in plan.jobs("student")] == ["finetune", "student", "student"]


def test_each_student_is_compared_with_the_naive_one_that_is_most_like_it() -> None:
    aux: dict[str, Any] = {"gamma_max": 0.2}
    bayesian = {"strategy": "bayesian", "evidential": {"reg_coef": 1e-4}}
    asked: list[dict[str, Any]] = [
        {"strategy": "naive", "label": "N"},
        {"strategy": "naive", "label": "N one_hot", "target": "one_hot"},
        {"strategy": "naive", "label": "N aux", "auxiliary": aux},
        {"strategy": "naive", "label": "N confident", "weights": "dynamic"},
        {"strategy": "joint", "label": "J", "auxiliary": aux},
        {**bayesian, "label": "B", "cdpo": True},
        {**bayesian, "label": "B one_hot", "target": "one_hot"},
        {**bayesian, "label": "B confident", "weights": "dynamic"},
        {**bayesian, "label": "B aux one_hot", "target": "one_hot", "auxiliary": aux},
    ]
    _, [cell] = study_run(studied(kind="generation", strategies=asked))
    named = {strategy["label"]: cell.naives[strategy["label"]] for strategy in asked}
    assert named == {
        "N": "N", "N one_hot": "N", "N aux": "N aux", "N confident": "N",
        "J": "N aux", "B": "N", "B one_hot": "N one_hot", "B confident": "N confident",
        "B aux one_hot": "N aux",
    }  # fmt: skip
    assert cell.naives["B + cDPO"] == "N"
    of_two = {"strategy": "naive", "label": "N of two", "weak": ["gpt2", "bloom"]}
    few = {**bayesian, "label": "B of two", "weak": ["bloom", "gpt2"]}
    single = {"strategy": "single", "weak": ["gpt2"], "label": "S"}
    _, [cell] = study_run(studied(kind="generation", strategies=[of_two, *asked, few, single]))
    assert cell.naives["B"] == cell.naives["S"] == "N"
    assert cell.naives["B of two"] == "N of two"
    _, [cell] = study_run(studied(kind="generation", strategies=asked[:2] + asked[4:5]))
    assert cell.naives["J"] == "N"
    _, [cell] = study_run(studied(kind="generation", strategies=asked[4:5]))
    assert cell.naives == {}


@pytest.mark.parametrize(
    ("variant", "told"),
    [
        ({"weak": 9}, "wants 9 weak models, there are 3"),
        ({"weak": ["none"]}, "no weak model called 'none'"),
        ({"set": {"nonsense": 1}}, "unknown key"),
        ({"set": {"task.*.x": 1}}, "a star stands for a list"),
        ({"set": {"ensembles.*.rounds": 1}}, "nothing to set ensembles"),
    ],
)
def test_a_variant_that_cannot_be_is_refused(variant: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        study_run(studied(kind="classification", variants={"v": variant}, axis="x"))


def test_variants_need_an_axis() -> None:
    with pytest.raises(ConfigError, match="`axis` says"):
        studied(variants={"v": {}})


def made(store: Store, job: Job, seconds: float, tokens: int | None = None) -> Job:
    with store.write(job) as (_, notes):
        notes["compute"] = [[0.0, seconds]]
        if tokens is not None:
            notes["tokens"] = tokens
    return job


def test_costs_are_told_for_the_student_and_for_all_that_it_needs(tmp_path: Path) -> None:
    store = Store(tmp_path)
    weak = made(store, Job("finetune", "w", {}), 100, 1000)
    label = made(store, Job("label", "w", {}, {"model": weak}), 10)
    judged = made(store, Job("answer", "w", {}, {"model": weak}), 1)
    systems, inputs = [["w", "weak", "", 0, "test", ""]], {"answers.0": judged}
    for number, seed in enumerate((0, 1), 1):
        student = made(store, Job("student", "s", {"seed": seed}, {"x": label}), 20 + seed, 500)
        inputs[f"answers.{number}"] = made(
            store, Job("answer", "s", {"seed": seed}, {"model": student}), 2
        )
        systems.append(["s", "student", "naive", seed, "test", ""])
    table = costs([Job("results", "e", {"systems": systems}, inputs)], store)
    found = table.set_index("system")
    assert list(found.loc["w", ["own_seconds", "all_seconds", "tokens"]]) == [101, 101, 1000]
    # The mean of two seeds; the weak model and its labels belong to all.
    assert list(found.loc["s", ["own_seconds", "all_seconds", "tokens"]]) == [22.5, 132.5, 500]
