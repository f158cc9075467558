"""The stages that compute without a model: labels from a file, scores, pairs, candidates."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raw2s.config import (
    Cdpo,
    Data,
    Experiment,
    Labelling,
    Model,
    Precomputed,
    Scratch,
    Strategy,
    Task,
    load,
)
from raw2s.errors import ConfigError
from raw2s.method.ensemble import product_probability
from raw2s.method.gate import Gate
from raw2s.method.label_models import DawidSkene, FlyingSquid
from raw2s.models.scratch import train_tokenizer
from raw2s.orchestration.inference import Answer
from raw2s.pipeline import recipe
from raw2s.reports.results import check_results
from raw2s.stages.bridging import bridge_sequence
from raw2s.stages.data import fit, fit_job
from raw2s.stages.labels import precomputed, precomputed_job, sample_job, save
from raw2s.stages.preference import pairs, pairs_job
from raw2s.stages.results import System, results, results_job
from raw2s.stages.supervision import candidates, candidates_job, supervision, supervision_job
from raw2s.stages.training import Clock, no_progress
from raw2s.store import Job, Store

TINY = Path(__file__).parents[2] / "configs" / "tiny.yaml"


def artefact(store: Store, name: str, **tables: pd.DataFrame) -> Job:
    job = Job("given", name, {"name": name})
    with store.write(job) as (folder, _):
        for file, table in tables.items():
            table.to_parquet(folder / f"{file}.parquet", index=False)
    return job


def read(store: Store, job: Job, name: str = "rows") -> pd.DataFrame:
    return pd.read_parquet(store.path(job) / f"{name}.parquet")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def splits(store: Store) -> Job:
    rows = [{"id": i, "text": f"prompt {i}", "key": json.dumps([i, 1])} for i in "abc"]
    return artefact(store, "splits", strong=pd.DataFrame(rows))


LABELS = [("a", 1, 0.25), ("b", 1, 0.5), ("c", 1, 1.0), ("d", 1, 0.0)]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_labels_from_a_file_meet_their_rows(
    kind: str, store: Store, splits: Job, tmp_path: Path
) -> None:
    table = pd.DataFrame(LABELS, columns=["letter", "number", "p"])
    path = tmp_path / f"labels.{kind}"
    if kind == "csv":
        table.to_csv(path, index=False)
    elif kind == "jsonl":
        table.to_json(path, orient="records", lines=True)
    else:
        table.to_parquet(path)
    if kind == "csv":
        # A csv file has strings only; the task spells its key so.
        rows = [{"id": i, "text": "", "key": json.dumps([i, "1"])} for i in "abc"]
        splits = artefact(store, "strings", strong=pd.DataFrame(rows))
    job = labels_job(path, splits)
    precomputed(job, store)
    assert [list(p) for p in read(store, job)["probabilities"]] == [
        [0.75, 0.25], [0.5, 0.5], [0.0, 1.0],
    ]  # fmt: skip


def labels_job(path: Path, splits: Job) -> Job:
    model = Model(
        name="file", precomputed=Precomputed(file=path.name, column="p", key=["letter", "number"])
    )
    return precomputed_job("x/file", model, splits, Data(folder=str(path.parent)), 2)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (LABELS[:2], "1 of 3 rows of split strong have no label"),
        ([*LABELS, ("a", 1, 0.5)], "two labels for"),
        ([("a", 1, math.nan), *LABELS[1:]], "is not a distribution over 2 classes"),
        ([("a", 1, 1.5), *LABELS[1:]], "is not a distribution over 2 classes"),
    ],
)
def test_labels_that_cannot_be_used_are_named(
    rows: list[Any], message: str, store: Store, splits: Job, tmp_path: Path
) -> None:
    path = tmp_path / "labels.parquet"
    pd.DataFrame(rows, columns=["letter", "number", "p"]).to_parquet(path)
    with pytest.raises(ConfigError, match=message):
        precomputed(labels_job(path, splits), store)


def scored(values: dict[tuple[str, int], list[float] | None]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "id": item, "candidate": candidate, "scored": found is not None,
                "token_logprobs": found[:-1] if found else [],
                "eos_logprob": found[-1] if found else math.nan,
            }
            for (item, candidate), found in values.items()
        ]
    )  # fmt: skip


def test_pairs_are_the_best_and_the_worst_by_the_judges_weighted_mean(
    store: Store, splits: Job
) -> None:
    texts = {("a", 0): "x", ("a", 1): "y", ("a", 2): "z", ("b", 0): "s", ("b", 1): "s"}
    samples = artefact(
        store,
        "samples",
        rows=pd.DataFrame(
            [{"id": i, "candidate": c, "text": text} for (i, c), text in texts.items()]
        ),
    )
    # Mean log-probabilities: judge one -1, -3, -2; judge two -3, -1, (too long to read).
    one = {("a", 0): [-1.0, -1.0], ("a", 1): [-3.0], ("a", 2): [-2.0]}
    two = {("a", 0): [-3.0], ("a", 1): [-1.0, -1.0], ("a", 2): None}
    # What was sampled twice is judged once.
    same = {("b", 0): [-1.0]}
    judges = {
        "one": artefact(store, "one", rows=scored({**one, **same})),
        "two": artefact(store, "two", rows=scored({**two, **same})),
    }
    for weights, chosen, rejected in (([3.0, 1.0], "x", "y"), ([1.0, 3.0], "y", "x")):
        cdpo = Cdpo(weights=weights)
        job = pairs_job("t", samples, judges, {}, splits, cdpo, Task(name="toy_slots"))
        pairs(job, store)
        (row,) = read(store, job).to_dict("records")
        assert (row["id"], row["chosen"], row["rejected"]) == ("a", chosen, rejected)
        assert row["chosen_score"] == pytest.approx(-1.5)
        notes = store.manifest(job)["notes"]
        assert notes["samples longer than a judge's context"] == 1
        assert notes["prompts without a pair"] == 1
        assert read(store, job, "texts")["completion"].to_list() == [chosen, rejected]


def test_judges_are_asked_once_about_what_was_sampled_twice(store: Store, splits: Job) -> None:
    said = [("a", 0, "x"), ("a", 1, "y"), ("a", 2, "x"), ("b", 0, "x")]
    rows = pd.DataFrame(said, columns=["id", "candidate", "text"])
    job = sample_job("t", artefact(store, "student"), splits, Labelling(), Cdpo(), 0)
    save(job, store, Answer(rows, []))
    assert read(store, job).to_numpy().tolist() == [list(row) for row in said]
    judged = read(store, job, "texts").to_numpy().tolist()
    assert judged == [["a", 0, "x"], ["a", 1, "y"], ["b", 0, "x"]]


def told(sequences: dict[str, tuple[str, float]]) -> pd.DataFrame:
    """Labels of one word each: by id its text and log-probability, the end certain."""
    return pd.DataFrame(
        [
            {
                "id": item, "candidate": 0, "text": text, "finished": True, "score": 0.0,
                "token_logprobs": [logprob], "starts": [0], "ends": [len(text.encode())],
                "eos_logprob": 0.0,
            }
            for item, (text, logprob) in sequences.items()
        ]
    )  # fmt: skip


def test_judges_may_weigh_by_their_own_confidence_row_by_row(store: Store, splits: Job) -> None:
    texts = [(i, c, text) for i in "ab" for c, text in enumerate("xy")]
    frame = pd.DataFrame(texts, columns=["id", "candidate", "text"])
    samples = artefact(store, "samples", rows=frame)
    # Judge one likes x, judge two likes y, each as much as the other.
    one = {(i, c): [-1.0 - c] for i in "ab" for c in range(2)}
    two = {(i, c): [-2.0 + c] for i in "ab" for c in range(2)}
    judges = {
        "one": artefact(store, "one", rows=scored(one)),
        "two": artefact(store, "two", rows=scored(two)),
    }
    # On row a judge one is sure of its own label, on row b judge two.
    labels_of = {
        "one": artefact(store, "label one", rows=told({"a": ("s", -0.1), "b": ("s", -3.0)})),
        "two": artefact(store, "label two", rows=told({"a": ("s", -3.0), "b": ("s", -0.1)})),
    }
    cdpo, task = Cdpo(weights="dynamic"), Task(name="toy_slots")
    job = pairs_job("t", samples, judges, labels_of, splits, cdpo, task)
    pairs(job, store)
    assert list(read(store, job)["chosen"]) == ["x", "y"]


def test_candidates_are_distinct_texts_of_their_best_beam(store: Store) -> None:
    def beams(rows: list[tuple[str, str, float]]) -> pd.DataFrame:
        return pd.DataFrame(
            [{"id": i, "candidate": 0, "text": text, "score": score} for i, text, score in rows]
        )

    labels = {
        "one": artefact(store, "one", rows=beams([("a", "x", -1.0), ("a", "y", -2.0)])),
        "two": artefact(store, "two", rows=beams([("a", "y", -0.5), ("b", "x", -3.0)])),
    }
    job = candidates_job("t", labels)
    candidates(job, store)
    found = read(store, job)[["id", "candidate", "text", "source"]].to_dict("split")["data"]
    assert found == [["a", 0, "y", "two"], ["a", 1, "x", "one"], ["b", 0, "x", "two"]]


def votes_of(store: Store, seed: int, right: list[float]) -> dict[str, Job]:
    """Three-class labels of 300 rows by models that are right so often."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(3, size=300)
    jobs = {}
    for number, share in enumerate(right):
        vote = np.where(rng.random(300) < share, truth, (truth + rng.integers(1, 3, 300)) % 3)
        rows = [[float(k == v) * 0.8 + 0.2 / 3 for k in range(3)] for v in vote]
        table = pd.DataFrame({"id": [str(i) for i in range(300)], "probabilities": rows})
        jobs[f"model {number}"] = artefact(store, f"votes {number}", rows=table)
    return jobs


def supervised(
    store: Store, strategy: dict[str, Any], labels_of: dict[str, Job], splits: Job, **more: Any
) -> Job:
    strong = Model(
        name="strong",
        scratch=Scratch(architecture="gpt2", tokenizer="byte_bpe", context=more.pop("context", 64)),
    )
    arguments = {"labels": 3, "task": Task(name="toy_topics"), "tokenizer": None} | more
    job = supervision_job(
        "x/strategy", Strategy(**strategy), labels_of, splits, strong=strong, **arguments
    )
    supervision(job, store, no_progress)
    return job


def test_dawid_skene_is_one_posterior_for_all_models(store: Store, splits: Job) -> None:
    labels_of = votes_of(store, 0, [0.9, 0.8, 0.6])
    job = supervised(store, {"strategy": "dawid_skene"}, labels_of, splits)
    votes = np.stack(
        [np.stack(read(store, j)["probabilities"]).argmax(-1) for j in labels_of.values()], 1
    )
    expected = DawidSkene(3).fit(votes).predict_proba(votes)
    found = read(store, job)
    np.testing.assert_allclose(np.stack([p[0] for p in found["probabilities"]]), expected)
    assert {len(w) for w in found["weights"]} == {1}


def test_a_product_is_one_distribution_for_all_models(store: Store, splits: Job) -> None:
    labels_of = votes_of(store, 0, [0.9, 0.8, 0.6])
    job = supervised(store, {"strategy": "product", "weights": [2, 1, 1]}, labels_of, splits)
    given = [np.stack(read(store, j)["probabilities"]) for j in labels_of.values()]
    product = given[0] ** 0.5 * given[1] ** 0.25 * given[2] ** 0.25
    found = read(store, job)
    expected = product / product.sum(-1, keepdims=True)
    np.testing.assert_allclose(np.stack([p[0] for p in found["probabilities"]]), expected)
    assert {tuple(w) for w in found["weights"]} == {(1.0,)}


@pytest.mark.parametrize("strategy", ["majority", "naive"])
def test_hard_labels_are_the_most_probable_class(store: Store, splits: Job, strategy: str) -> None:
    labels_of = votes_of(store, 0, [0.9, 0.8, 0.6])
    job = supervised(store, {"strategy": strategy, "target": "one_hot"}, labels_of, splits)
    given = np.stack([np.stack(p) for p in read(store, job)["probabilities"]])
    votes = np.stack(
        [np.stack(read(store, j)["probabilities"]).argmax(-1) for j in labels_of.values()], 1
    )
    if strategy == "majority":
        # The first of the leaders.
        counts = np.stack([(votes == k).sum(1) for k in range(3)], 1)
        votes = counts.argmax(1)[:, None]
    np.testing.assert_array_equal(given, np.eye(3)[votes])


def test_learned_weights_follow_the_models_reliability(store: Store, splits: Job) -> None:
    labels_of = votes_of(store, 1, [0.95, 0.8, 0.5])
    strategy = {"strategy": "naive", "weights": "learned"}
    job = supervised(store, strategy, labels_of, splits)
    weights = np.stack(read(store, job)["weights"])
    assert (weights == weights[0]).all() and weights[0].sum() == pytest.approx(1)
    assert weights[0, 0] > weights[0, 1] > weights[0, 2] > 0
    noted = store.manifest(job)["notes"]["counts"]
    assert noted["model 0"]["learned weight"] == pytest.approx(weights[0, 0], abs=1e-4)


@pytest.mark.parametrize("strategy", ["naive", "bayesian", "product"])
def test_gated_weights_are_the_gates_row_by_row(store: Store, splits: Job, strategy: str) -> None:
    labels_of = votes_of(store, 1, [0.95, 0.8, 0.5])
    job = supervised(store, {"strategy": strategy, "weights": "gated"}, labels_of, splits)
    given = np.stack([np.stack(read(store, j)["probabilities"]) for j in labels_of.values()], 1)
    weights = Gate().fit(given).weights(given)
    assert weights.std(0).min() > 0
    found = read(store, job)
    if strategy == "product":
        product = product_probability(given, weights)
        np.testing.assert_allclose(np.stack([p[0] for p in found["probabilities"]]), product)
    else:
        np.testing.assert_allclose(np.stack(found["weights"]), weights)
    noted = store.manifest(job)["notes"]["counts"]
    means = [noted[name]["mean weight"] for name in labels_of]
    assert means == pytest.approx(list(weights.mean(0)), abs=1e-4)
    assert means[0] > means[1] > means[2]


def test_flyingsquid_takes_its_class_balance_from_the_configuration(
    store: Store, splits: Job
) -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(600) < 0.2
    labels_of, votes = {}, []
    for number in range(3):
        vote = np.where(rng.random(600) < 0.75, truth, ~truth).astype(int)
        votes.append(2 * vote - 1)
        table = pd.DataFrame(
            {"id": [str(i) for i in range(600)], "probabilities": np.eye(2)[vote].tolist()}
        )
        labels_of[str(number)] = artefact(store, f"binary {number}", rows=table)
    strategy = {"strategy": "flyingsquid", "class_balance": [0.8, 0.2]}
    job = supervised(store, strategy, labels_of, splits, labels=2)
    signed = np.stack(votes, 1)
    expected = FlyingSquid([0.8, 0.2]).fit(signed).predict_proba(signed)
    found = np.stack([p[0] for p in read(store, job)["probabilities"]])
    np.testing.assert_allclose(found, expected)
    plain = FlyingSquid().fit(signed).predict_proba(signed)
    right = [(p.argmax(-1) == truth).mean() for p in (found, plain)]
    assert right[0] > right[1]


def test_weights_by_slot_type_are_a_factor_for_each_token(store: Store) -> None:
    plain = "date: today ; name: ann"
    tokenizer = train_tokenizer("byte_bpe", [plain] * 20, 300)
    saved = Job("tokenizer", "strong", {})
    with store.write(saved) as (folder, _):
        tokenizer.save_pretrained(folder)
    ids = [str(i) for i in range(40)]
    prompts = artefact(store, "prompts", strong=pd.DataFrame({"id": ids, "text": ids}))
    # Three models agree on dates but for the last, and on names but for the first.
    answers: dict[str, list[str]] = {
        "one": [f"date: d{i % 7} ; name: x{i % 5}" for i in range(40)],
        "two": [f"date: d{i % 7} ; name: n{i % 7}" for i in range(40)],
        "three": [f"date: y{i % 5} ; name: n{i % 7}" for i in range(40)],
    }
    labels_of = {}
    for name, texts in answers.items():
        rows = [
            {
                "id": i, "candidate": 0, "text": text, "finished": True, "score": 0.0,
                "token_logprobs": [-0.1] * len(text), "starts": list(range(len(text))),
                "ends": list(range(1, len(text) + 1)), "eos_logprob": -0.1,
            }
            for i, text in zip(ids, texts, strict=True)
        ]  # fmt: skip
        labels_of[name] = artefact(store, name, rows=pd.DataFrame(rows))
    strategy = {"strategy": "naive", "weights": "learned_by_type"}
    job = supervised(
        store, strategy, labels_of, prompts,
        labels=None, task=Task(name="toy_slots"), tokenizer=saved,
    )  # fmt: skip
    table = read(store, job)
    assert set(table["weight"]) == {1.0}
    for _, group in table.groupby("id"):
        first, second, third = (
            group.set_index("source").loc[name, "token_weights"] for name in answers
        )
        # A token each at the start (date) and before the end (name).
        assert first[0] == pytest.approx(second[0]) and first[0] > third[0]
        assert third[-2] == pytest.approx(second[-2]) and third[-2] > first[-2]
        # The end belongs to no type: the overall weights, which sum to 1.
        assert first[-1] + second[-1] + third[-1] == pytest.approx(1)
        assert first[0] + second[0] + third[0] == pytest.approx(1)
    counts = store.manifest(job)["notes"]["counts"]["one"]
    assert counts["learned weight for date"] > counts["learned weight for name"]


def test_a_sequence_longer_than_the_students_context_is_counted(store: Store) -> None:
    text = "play jazz"
    tokenizer = train_tokenizer("byte_bpe", [text] * 20, 270)
    saved = Job("tokenizer", "strong", {})
    with store.write(saved) as (folder, _):
        tokenizer.save_pretrained(folder)
    prompts = artefact(
        store, "prompts", strong=pd.DataFrame({"id": ["a", "b"], "text": [text, text * 90]})
    )
    label = {
        "candidate": 0, "text": text, "finished": True, "token_logprobs": [-0.5] * len(text),
        "starts": list(range(len(text))), "ends": list(range(1, len(text) + 1)),
        "eos_logprob": -0.1, "score": 0.0,
    }  # fmt: skip
    labels_of = {
        "weak": artefact(store, "weak", rows=pd.DataFrame([{"id": i} | label for i in "ab"]))
    }
    job = supervised(
        store, {"strategy": "single", "weak": ["weak"]}, labels_of, prompts,
        labels=None, task=Task(name="toy_slots"), tokenizer=saved, context=40,
    )  # fmt: skip
    assert list(read(store, job)["id"]) == ["a"]
    assert store.manifest(job)["notes"]["counts"]["weak"]["longer than the student's context"] == 1


def test_results_have_the_predictive_distribution_and_the_dirichlets_concentration(
    store: Store,
) -> None:
    test = artefact(
        store, "with a test",
        test=pd.DataFrame({"id": ["a", "b"], "part": ["easy", "hard"], "gold": ["1", "0"]}),
        strong_truth=pd.DataFrame({"id": ["c"], "part": ["hard"], "gold": ["1"]}),
    )  # fmt: skip
    # In another order than the test, and odds of 3 to 1 for class 1, then 1 to 1.
    answers = artefact(
        store, "answers",
        rows=pd.DataFrame(
            {
                "id": ["b", "a"],
                "probabilities": [[0.5, 0.5], [0.25, 0.75]],
                "logits": [[0.0, 0.0], [0.0, math.log(3)]],
            }
        ),
    )  # fmt: skip
    file = artefact(store, "file", rows=pd.DataFrame({"id": ["c"], "probabilities": [[1.0, 0.0]]}))
    systems = [
        System("File", "weak", "", 0, file, test, "strong"),
        System("Naive", "student", "naive", 0, answers, test),
        System("exp+1", "student", "bayesian", 0, answers, test, evidence="exp+1"),
        System("exp", "student", "bayesian", 0, answers, test, evidence="exp"),
    ]
    job = results_job("x", systems, Task(name="toy_topics"))
    results(job, store)
    table = read(store, job, "results")
    check_results(table)
    found = table.set_index(["system", "item"])
    assert list(found["probabilities"]["File", "c"]) == [1, 0]
    for name, doubt, total in (("Naive", 1 / 4, math.nan), ("exp+1", 2 / 6, 6), ("exp", 1 / 4, 4)):
        row = found.loc[name, "a"]
        assert list(row["probabilities"]) == pytest.approx([doubt, 1 - doubt])
        assert row["concentration"] == pytest.approx(total, nan_ok=True)
    assert list(found["prediction"]) == ["0", "1", "0", "1", "0", "1", "0"]
    assert list(found["c0"]) == [0, 1, 1, 1, 1, 1, 1]
    plain = [*systems[:2], *(replace(system, evidence="") for system in systems[2:])]
    assert results_job("x", plain, Task(name="toy_topics")).fingerprint != job.fingerprint


def test_results_of_text_have_no_distribution(store: Store) -> None:
    gold = json.dumps([["place", "bake"]])
    rows = pd.DataFrame({"id": ["a", "b"], "part": "", "gold": [gold, gold]})
    test = artefact(store, "texts", test=rows)
    texts = {"id": ["a", "b"], "text": ["place: bake", "place: bake"], "finished": [True, False]}
    answers = artefact(store, "text answers", rows=pd.DataFrame(texts))
    system = System("S", "student", "naive", 0, answers, test)
    job = results_job("x", [system], Task(name="toy_slots"))
    results(job, store)
    table = read(store, job, "results")
    check_results(table)
    assert table["probabilities"].isna().all() and table["concentration"].isna().all()
    assert list(table["malformed"]) == [False, True]
    assert table[["c0", "c1", "c2"]].to_numpy().tolist() == [[1, 0, 0]] * 2


def test_a_text_with_characters_the_student_does_not_know_is_refused() -> None:
    tokenizer = train_tokenizer("wordpiece", ["play jazz now"] * 20, 100)
    for text, known in (("play jazz", True), ("play jazz 😀", False)):
        label = {
            "text": text, "token_logprobs": [-0.5], "starts": [0], "ends": [len(text.encode())],
            "eos_logprob": -0.1,
        }  # fmt: skip
        assert (bridge_sequence(tokenizer, [1, 2], label) is not None) == known


def saved_tokenizer(store: Store, name: str, kind: str, texts: list[str]) -> Job:
    job = Job("tokenizer", name, {"kind": kind})
    with store.write(job) as (folder, _):
        train_tokenizer(kind, texts * 20, 300).save_pretrained(folder)
    return job


def test_a_student_that_can_learn_from_no_sequence_is_refused(store: Store) -> None:
    tokenizer = saved_tokenizer(store, "strong", "wordpiece", ["play jazz now"])
    prompts = artefact(store, "one prompt", strong=pd.DataFrame({"id": ["a"], "text": ["play"]}))
    labels_of = {"weak": artefact(store, "braces", rows=told({"a": ("{jazz}", -0.1)}))}
    with pytest.raises(ConfigError, match=r"x/strategy: no weak .*'refused by the bridge': 1"):
        supervised(
            store, {"strategy": "naive"}, labels_of, prompts,
            labels=None, task=Task(name="toy_slots"), tokenizer=tokenizer,
        )  # fmt: skip


def test_answers_that_a_tokenizer_cannot_spell_are_counted(store: Store) -> None:
    def model(name: str, kind: str) -> Model:
        return Model(name=name, scratch=Scratch(architecture="gpt2", tokenizer=kind))

    texts = ["play jazz now"]
    tokenizers = {
        "pieces": saved_tokenizer(store, "pieces", "wordpiece", texts),
        "bytes": saved_tokenizer(store, "bytes", "byte_bpe", texts),
    }
    # Of two answers one has braces; a prompt may have what it likes.
    rows = pd.DataFrame({"id": ["a", "b"], "text": ["{", "}"], "target": ["jazz", "{jazz}"]})
    splits = artefact(
        store, "all splits", weak=rows, validation=rows[:1], test=rows, strong=rows[["id", "text"]]
    )
    experiment = Experiment(
        task=Task(name="toy_slots"), weak=[model("pieces", "wordpiece")],
        strong=model("bytes", "byte_bpe"), strategies=[Strategy(strategy="naive")],
    )  # fmt: skip
    job = fit_job("x", experiment, splits, tokenizers)
    fit(job, store, no_progress)
    found = store.manifest(job)["notes"]["answers with unknown pieces"]
    assert found == {"pieces, weak": 1, "pieces, test": 1}


@pytest.mark.parametrize("weights", ["learned", "dynamic"])
def test_a_scorer_of_joint_decoding_need_not_put_candidates_forward(
    weights: str, tmp_path: Path
) -> None:
    joint = {"strategy": "joint", "weak": ["gpt2", "bloom"]}
    slots = {"experiments.slots.joint_weights": weights, "experiments.slots.strategies": [joint]}
    run = load(TINY, overrides={"storage": str(tmp_path), **slots})
    jobs = recipe(run.model_copy(update={"experiments": {"slots": run.experiments["slots"]}}))
    [table] = jobs.jobs("supervision")
    scorers = ["gpt2", "bloom", "llama"]
    assert [name for name in table.inputs if name.startswith("label.")] == [
        f"label.{name}" for name in scorers
    ]
    assert list(table.inputs["candidates"].inputs) == joint["weak"]


def test_the_time_of_a_process_that_was_killed_counts_up_to_its_checkpoint(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job("student", "t", {})
    store.work(job).mkdir(parents=True)
    for now in ([10.0, 30.0, 35.0], [100.0, 104.0, 107.0]):
        monkeypatch.setattr("time.time", iter(now).__next__)
        clock = Clock(job, store)
        clock.keep(lambda files: [files])
        spans = clock.spans()
    assert spans == [[10.0, 30.0], [100.0, 107.0]]
