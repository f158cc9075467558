"""A configuration that cannot work is one line that names the thing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from raw2s import config
from raw2s.checks import needs
from raw2s.errors import ConfigError
from raw2s.nodes import Node

ROOT = Path(__file__).parents[2]
TINY = ROOT / "configs" / "tiny.yaml"


def load(tmp_path: Path, **overrides: Any) -> config.Run:
    return config.load(TINY, overrides={"storage": str(tmp_path), **overrides})


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_configuration_is_valid_and_survives_its_resolved_copy(
    path: Path, tmp_path: Path
) -> None:
    run = config.load(path)
    assert Path(run.storage).is_absolute()
    copy = tmp_path / "copy.yaml"
    copy.write_text(config.dump(run))
    assert config.load(copy) == run


def test_overrides_reach_into_lists_and_dictionaries(tmp_path: Path) -> None:
    run = load(
        tmp_path,
        seeds=[1, 2],
        **{"experiments.topics.strategies.1.auxiliary.gamma_max": "1e-1"},
    )
    assert run.seeds == [1, 2]
    auxiliary = run.experiments["topics"].strategies[1].auxiliary
    assert auxiliary is not None and auxiliary.gamma_max == 0.1


BAD: list[tuple[dict[str, Any], str]] = [
    ({"sedes": [1]}, "sedes: unknown key"),
    ({"seeds": "many"}, "seeds: "),
    ({"seeds": []}, "seeds: "),
    ({"name": "../x"}, "name: "),
    ({"experiments.topics.strong_training.epochs": "two"}, "strong_training.epochs: "),
    ({"experiments.topics.strong_training.epoch": 2}, "strong_training.epoch: unknown key"),
    ({"experiments.topics.task.name": "sqiq"}, "task.name: "),
    ({"experiments.topics.strategies": [{"strategy": "single"}]}, "must name one weak model"),
    (
        {"experiments.topics.strategies": [{"strategy": "single", "weak": ["gpt3"]}]},
        "no weak model is called 'gpt3'",
    ),
    (
        {"experiments.topics.strategies": [{"strategy": "flyingsquid", "weak": ["gpt2", "bloom"]}]},
        "three voters or more, it has 2",
    ),
    (
        {"experiments.topics.strategies": [{"strategy": "naive", "weights": [0.5, 0.5]}]},
        "2 weights for 3 weak models",
    ),
    (
        {"experiments.topics.strategies": [{"strategy": "naive", "weights": [1, -1, 1]}]},
        "weights must be >= 0",
    ),
    ({"experiments.topics.strategies": [{"strategy": "joint"}]}, "for generation"),
    (
        {"experiments.topics.strategies": [{"strategy": "naive", "target": "label_only"}]},
        "are for generation",
    ),
    ({"experiments.topics.strategies": [{"strategy": "naive", "unit": "chunk"}]}, "for generation"),
    ({"experiments.slots.strategies": [{"strategy": "majority"}]}, "not for generation"),
    ({"experiments.slots.strategies": [{"strategy": "flyingsquid"}]}, "not for generation"),
    ({"experiments.slots.strategies": [{"strategy": "dawid_skene"}]}, "not for generation"),
    (
        {"experiments.topics.strategies": [{"strategy": "naive", "weights": "learned_by_type"}]},
        "no slot types",
    ),
    (
        {"experiments.topics.strategies": [{"strategy": "naive", "class_balance": [0.5, 0.5]}]},
        "`class_balance` is flyingsquid's",
    ),
    (
        {"experiments.topics.strategies": [{"strategy": "flyingsquid", "class_balance": [1, 0]}]},
        "class_balance must be > 0",
    ),
    (
        {"experiments.topics.strategies": [{"strategy": "ensemw2s", "weak": ["gpt2"]}]},
        "must name one of the ensembles []",
    ),
    ({"experiments.topics.ensembles": [{"name": "b", "of": "gpt3"}]}, "no weak model is called"),
    ({"experiments.topics.ensembles": [{"name": "bloom", "of": "gpt2"}]}, "distinct names"),
    (
        {"experiments.topics.ensembles": [{"name": "b", "of": "gpt2", "level": "example"}]},
        "`level` is for generation",
    ),
    (
        {"experiments.slots.ensembles": [{"name": "b", "of": "gpt2", "level": "window"}]},
        "`window` goes with `level: window`",
    ),
    (
        {"experiments.slots.ensembles": [{"name": "b", "of": "gpt2", "choices": 4}]},
        "`choices` goes with `epsilon: chance`",
    ),
    (
        {"experiments.slots.strong_training": {"workers": 2, "gpus_per_worker": 0.5}},
        "several workers hold one GPU each, or none; gpus_per_worker is 0.5",
    ),
    ({"experiments.slots.ensembles": [{"name": "b", "of": "gpt2", "epsilon": 1.5}]}, "epsilon"),
    (
        {
            "experiments.slots.strategies": [
                {"strategy": "naive", "auxiliary": {"prediction": "balanced"}}
            ]
        },
        "balanced over classes",
    ),
    (
        {
            "experiments.slots.strategies": [
                {"strategy": "bayesian", "evidential": {"evidence": "exp"}}
            ]
        },
        "evidential.reg_coef must be given for generation",
    ),
    (
        {"experiments.slots.joint_weights": "learned_by_type"},
        "joint_weights: learned_by_type is no",
    ),
    ({"experiments.slots.cdpo.weights": "learned_by_type"}, "cdpo: learned_by_type is no"),
    ({"experiments.slots.joint_weights": "gated"}, "joint_weights: gated is no"),
    (
        {"experiments.slots.strategies": [{"strategy": "bayesian", "weights": "gated"}]},
        "Bayesian Multi-Weak: gated weights are for classes",
    ),
    (
        {
            "experiments.topics.strategies": [
                {"strategy": "naive", "weights": "gated", "weak": ["gpt2", "bloom"]}
            ]
        },
        "Naive Multi-Weak: gated weights are for classes, of three models or more",
    ),
    ({"experiments.topics.strategies": [{"strategy": "naive"}] * 2}, "distinct names"),
    ({"experiments.topics.strong": {"name": "x"}}, "exactly one of path, scratch, precomputed"),
    (
        {"experiments.topics.strong_training": {"batch_size": 5, "workers": 2}},
        "batch_size 5 is not a multiple of workers 2",
    ),
    ({"experiments.slots.labelling": {"beams": 2, "candidates": 3}}, "more than beams"),
    (
        {"experiments.topics.strong_training.keep_best": True},
        "strong_training: keep_best is for weak_training",
    ),
    (
        {"experiments.slots.cdpo.training.keep_best": True},
        "cdpo.training: keep_best is for weak_training",
    ),
    ({"experiments.topics.weak_training.precision": "bfloat16"}, "zero_stage (1 is enough)"),
    ({"experiments.topics.weak_training.warmup": 1.0}, "weak_training.warmup: "),
    ({"seeds": [0, 1, 0]}, "seeds: [0] given twice"),
    (
        {"experiments.topics.strategies": [{"strategy": "naive", "weak": []}]},
        "strategies.0.weak: List should have at least 1 item",
    ),
    (
        {"experiments.topics.strategies": [{"strategy": "naive", "weak": ["gpt2", "gpt2"]}]},
        "naive: weak: ['gpt2'] given twice",
    ),
    ({"experiments.topics.bridge_check": True}, "bridge_check is for generation"),
    ({"experiments.slots.joint_scorers": []}, "joint_scorers: List should have at least 1 item"),
    (
        {"experiments.slots.joint_scorers": ["gpt2", "bloom", "gpt2"]},
        "joint_scorers: ['gpt2'] given twice",
    ),
    (
        {
            "experiments.slots.strategies": [
                {"strategy": "naive", "cdpo": True},
                {"strategy": "joint", "label": "Naive Multi-Weak + cDPO"},
            ]
        },
        "distinct names: ['Naive Multi-Weak + cDPO'] given twice",
    ),
    (
        {"experiments.topics.strategies": [{"strategy": "majority", "weights": "dynamic"}]},
        "Majority Vote: `weights` are for naive, product and bayesian",
    ),
    (
        {"experiments.topics.strategies": [{"strategy": "naive", "evidential": {"reg_coef": 3}}]},
        "Naive Multi-Weak: `evidential` is for bayesian",
    ),
    (
        {"experiments.topics.strategies": [{"strategy": "bayesian", "evidential": {"clamp": 26}}]},
        "evidential.clamp: Input should be less than or equal to 25",
    ),
    (
        {"experiments.topics.strategies": [{"strategy": "naive", "split": "uniform"}]},
        "`split` is for generation",
    ),
    (
        {"experiments.topics.strategies": [{"strategy": "naive", "temperature": 0.3}]},
        "`temperature` is for generation",
    ),
    *(
        (
            {
                "experiments.slots.ensembles": [
                    {"name": "b", "of": "gpt2", "method": "bagging", **option}
                ]
            },
            f"ensemble b: `{next(iter(option))}` is for boosting",
        )
        for option in (
            {"epsilon": 0.3},
            {"use": "resampling"},
            {"level": "example"},
            {"on_useless": "redraw"},
        )
    ),
    ({"storage": "gs://bucket/x"}, "neither a folder nor s3://"),
    ({"storage": "s3://"}, "names no bucket"),
    ({"storage": "s3://KEY:planted@bucket/x"}, "storage: a URL with a user or a secret in it"),
    (
        {"experiments.topics.strong": {"name": "x", "path": "https://u:planted@hub/model"}},
        "path: a URL with a user or a secret in it",
    ),
    (
        {"experiments.topics.task.data.hub": "https://planted@hub/data"},
        "hub: a URL with a user or a secret in it",
    ),
    ({"experiments.topics.strong.name": "bloom"}, "models need distinct names"),
    ({"experiments.topics.weak.0.name": "Ceiling"}, "a model cannot be called 'Ceiling'"),
    ({"experiments.topics.strong.scratch.hidden_size": 50}, "not a multiple of twice its heads"),
    (
        {"experiments.topics.strategies": [{"strategy": "naive", "weights": [1, ".nan", 1]}]},
        "weights",
    ),
]


@pytest.mark.parametrize(("overrides", "message"), BAD, ids=[message for _, message in BAD])
def test_what_is_wrong_is_named_in_one_line(
    overrides: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, **overrides)
    assert message in str(error.value)
    assert "\n" not in str(error.value) and "planted" not in str(error.value)


def test_files_that_are_no_configuration(tmp_path: Path) -> None:
    for name, text in (("list.yaml", "- 1"), ("broken.yaml", "a: [1")):
        (tmp_path / name).write_text(text)
        with pytest.raises(ConfigError):
            config.load(tmp_path / name)
    with pytest.raises(ConfigError, match=r"no configuration file .*absent\.yaml"):
        config.load(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match="data folder"):
        config.load(TINY, data=str(tmp_path / "absent"))


def test_an_error_shows_no_line_of_the_file(tmp_path: Path) -> None:
    """`base` may name any file that its reader may read, and errors go into logs."""
    (tmp_path / "credentials").write_text("[default]\naws_secret_access_key = planted\n")
    (tmp_path / "a.yaml").write_text("base: credentials")
    with pytest.raises(ConfigError, match="credentials is not YAML: .*, line 2, column 1") as found:
        config.load(tmp_path / "a.yaml")
    assert "planted" not in str(found.value) and found.value.__suppress_context__


def test_aliases_without_end(tmp_path: Path) -> None:
    rows = ["a0: &a0 [1, 1]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40))]
    for text, error in (("\n".join(rows), "more than 100,000 values"), ("a: &a [*a]", "Recursion")):
        (tmp_path / "a.yaml").write_text(text)
        with pytest.raises(ConfigError, match=error):
            config.load(tmp_path / "a.yaml")


def test_an_override_changes_one_place_even_where_the_file_has_aliases(tmp_path: Path) -> None:
    run = load(tmp_path, **{"experiments.topics.labelling.max_new_tokens": 7})
    assert run.experiments["topics"].labelling.max_new_tokens == 7
    assert run.experiments["slots"].labelling.max_new_tokens == 16


def test_the_data_folder_reaches_every_task(tmp_path: Path) -> None:
    run = config.load(TINY, data=str(tmp_path))
    folders = {e.task.data.folder for e in run.experiments.values()}
    assert folders == {str(tmp_path)}
    assert yaml.safe_load(config.dump(run))["experiments"]["topics"]["task"]["data"]["folder"]


def test_the_variable_serves_only_tasks_without_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (named := tmp_path / "named").mkdir()
    (asked := tmp_path / "asked").mkdir()
    monkeypatch.setenv("RAW2S_DATA", str(tmp_path))
    overrides = {"experiments.topics.task.data.folder": str(named)}

    def folders(run: config.Run) -> list[str | None]:
        return [run.experiments[name].task.data.folder for name in ("topics", "slots")]

    assert folders(config.load(TINY, overrides=overrides)) == [str(named), str(tmp_path)]
    assert folders(config.load(TINY, overrides=overrides, data=str(asked))) == [str(asked)] * 2
    monkeypatch.setenv("RAW2S_DATA", "")
    assert folders(config.load(TINY)) == [None, None]


def test_a_label_tells_two_variants_of_a_strategy_apart(tmp_path: Path) -> None:
    variants = [{"strategy": "naive"}, {"strategy": "naive", "weights": "learned"}]
    with pytest.raises(ConfigError, match="distinct names"):
        load(tmp_path, **{"experiments.topics.strategies": variants})
    variants[1]["label"] = "Naive, learned weights"
    run = load(tmp_path, **{"experiments.topics.strategies": variants})
    names = [s.name for s in run.experiments["topics"].strategies]
    assert names == ["Naive Multi-Weak", "Naive, learned weights"]


def test_a_configuration_builds_on_another(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    topics = {"strong_training": {"epochs": 3}, "strategies": [{"strategy": "naive"}]}
    above = {"base": str(TINY), "name": "above", "seeds": [4, 5], "experiments": {"topics": topics}}
    (tmp_path / "above.yaml").write_text(yaml.safe_dump(above))
    (tmp_path / "sub" / "top.yaml").write_text("base: ../above.yaml\nseeds: [6]\n")
    run, below = config.load(tmp_path / "sub" / "top.yaml"), config.load(TINY)
    assert (run.name, run.seeds) == ("above", [6])
    made, old = run.experiments["topics"], below.experiments["topics"]
    assert made.strong_training == old.strong_training.model_copy(update={"epochs": 3})
    assert [s.strategy for s in made.strategies] == ["naive"]
    assert run.experiments["slots"] == below.experiments["slots"]
    (tmp_path / "a.yaml").write_text("base: b.yaml\n")
    (tmp_path / "b.yaml").write_text("base: a.yaml\n")
    with pytest.raises(ConfigError, match="itself as its base"):
        config.load(tmp_path / "a.yaml")
    (tmp_path / "c.yaml").write_text("base: gone.yaml\n")
    with pytest.raises(ConfigError, match=r"no configuration file .*gone\.yaml"):
        config.load(tmp_path / "c.yaml")


def test_one_field_of_a_training_leaves_the_defaults_of_the_others(tmp_path: Path) -> None:
    raw = yaml.safe_load(config.dump(load(tmp_path)))
    raw["experiments"]["slots"]["weak_training"] = {"epochs": 15}
    raw["experiments"]["slots"]["cdpo"] = {"training": {"epochs": 2}}
    slots = config.parse(raw).experiments["slots"]
    assert slots.weak_training.keep_best and not slots.strong_training.keep_best
    assert (slots.cdpo.training.learning_rate, slots.cdpo.training.batch_size) == (5e-7, 2)


def test_an_actor_that_labels_for_an_ensemble_holds_all_its_experts(tmp_path: Path) -> None:
    run = load(
        tmp_path,
        **{
            "experiments.topics.weak.1.parameters": 2**28,
            "experiments.topics.ensembles": [{"name": "boosted", "of": "bloom", "rounds": 5}],
        },
    )
    labels = {need.model: need for need in needs(run) if need.stage == "topics: weak labels"}
    # 2^28 float32 weights are one GiB.
    assert (labels["bloom"].memory, labels["boosted"].memory) == (1, 5)
    assert labels["boosted"].group == labels["bloom"].group
    assert labels["gpt2"].memory is None


def test_answers_need_a_place_also_where_no_weak_model_is_hosted() -> None:
    labels = {"file": "labels.jsonl", "column": "p"}
    run = config.load(
        ROOT / "configs" / "sciq_small.yaml",
        overrides={
            "experiments.sciq.weak": [{"name": "GPT-2", "precomputed": labels}],
            "experiments.sciq.strategies": [{"strategy": "naive"}],
            "experiments.sciq.strong.parameters": 2**28,
            "experiments.sciq.labelling.gpus_per_actor": 1,
        },
    )
    [answers] = [need for need in needs(run) if not need.whole]
    assert (answers.stage, answers.model, answers.memory) == ("sciq: answers", "llama", 1)
    assert answers.room([Node(8)]) == (0, False)
    assert answers.room([Node(8, 1)]) == (1, True)


def test_copies_of_a_model_differ_in_seed_and_text(tmp_path: Path) -> None:
    raw = yaml.safe_load(TINY.read_text())["experiments"]["topics"]["weak"][0] | {"copies": 3}
    run = load(
        tmp_path,
        **{
            "experiments.topics.weak": [raw],
            "experiments.topics.strategies": [{"strategy": "single", "weak": "each"}],
        },
    )
    models = run.experiments["topics"].weak
    assert [model.name for model in models] == ["gpt2-1", "gpt2-2", "gpt2-3"]
    made = [model.scratch for model in models if model.scratch]
    assert [(one.seed, one.pretraining.offset) for one in made] == [(0, 0), (1, 200), (2, 400)]
    assert [s.name for s in run.experiments["topics"].strategies] == [
        f"Single ({model.name})" for model in models
    ]
    for wrong in ({"copies": 0}, {"copies": "2"}, {"copies": 2, "scratch": None, "path": "p"}):
        with pytest.raises(ConfigError, match="copies are a number"):
            load(tmp_path, **{"experiments.topics.weak": [raw | wrong]})
