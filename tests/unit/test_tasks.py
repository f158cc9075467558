"""Drawing splits, reading sources, answers as text, and each real task on rows made up here."""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raw2s import config
from raw2s.errors import ConfigError
from raw2s.tasks import TASKS, Task, make, source
from raw2s.tasks.answers import from_json, from_plain, to_json, to_plain
from raw2s.tasks.base import check_splits, draw_splits, normalised
from raw2s.tasks.binary import one_candidate
from raw2s.tasks.massive import slots_of
from raw2s.tasks.scenario import SCENARIOS
from raw2s.tasks.slurp import SLOT_TYPES

COLUMNS = {"classification": "label", "generation": "target"}


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")


def draw(rows: pd.DataFrame, seed: int = 0, **sizes: int | None) -> dict[str, pd.DataFrame]:
    return draw_splits(rows, sizes, seed)


# --- drawing -----------------------------------------------------------------------------------


def test_splits_are_disjoint_by_text_whatever_its_case() -> None:
    texts = [f"Text {i // 3}" if i % 2 else f"  text   {i // 3} " for i in range(300)]
    frame = pd.DataFrame({"text": texts, "n": range(300)})
    drawn = draw(frame, weak=90, strong=90, test=None)
    owners = [{normalised(t) for t in part["text"]} for part in drawn.values()]
    assert not owners[0] & owners[1] and not owners[1] & owners[2] and not owners[0] & owners[2]
    assert [len(part) for part in drawn.values()] == [90, 90, 120]
    assert draw(frame, weak=90)["weak"].equals(draw(frame, weak=90)["weak"])
    assert not draw(frame, weak=90)["weak"].equals(draw(frame, 1, weak=90)["weak"])


def test_groups_stay_together_and_classes_are_balanced() -> None:
    frame = pd.DataFrame(
        {
            "text": [f"t{i}" for i in range(400)],
            "question": [f"q{i // 2}" for i in range(400)],
            "label": [int(i % 5 == 0) for i in range(400)],
        }
    )
    drawn = draw_splits(frame, {"weak": 31, "strong": 60}, 0, group="question", balance="label")
    assert drawn["weak"]["label"].value_counts().to_dict() == {0: 16, 1: 15}
    assert drawn["strong"]["label"].value_counts().to_dict() == {0: 30, 1: 30}
    assert not set(drawn["weak"]["question"]) & set(drawn["strong"]["question"])


def test_too_few_rows_is_an_error_with_the_numbers() -> None:
    frame = pd.DataFrame({"text": [f"t{i}" for i in range(10)], "label": [0] * 9 + [1]})
    with pytest.raises(ConfigError, match="split strong: 8 rows asked for, 5 there are"):
        draw(frame, weak=5, strong=8)
    with pytest.raises(ConfigError, match="split test: at least 1"):
        draw(frame, weak=10, test=None)
    with pytest.raises(ConfigError, match="5 there are with balanced label"):
        draw_splits(frame, {"weak": 8}, 0, balance="label")


def test_shared_texts_and_ids_are_named() -> None:
    def frame(*texts: str) -> pd.DataFrame:
        return pd.DataFrame({"id": [f"id {t}" for t in texts], "text": list(texts)})

    good = {"weak": frame("a"), "strong": frame("b"), "validation": frame("c"), "test": frame("d")}
    assert list(check_splits(dict(reversed(good.items())))) == list(good)
    with pytest.raises(ConfigError, match="splits weak and test share the text ' A'"):
        check_splits({**good, "test": frame(" A")})
    with pytest.raises(ConfigError, match="split strong is empty"):
        check_splits({**good, "strong": frame("b").iloc[:0]})
    with pytest.raises(ConfigError, match="'id b' is there twice"):
        check_splits({**good, "strong": frame("b", "b")})


def test_one_candidate_is_balanced_and_blind_to_order() -> None:
    questions = [f"q{i}" for i in range(100)]
    right = [[f"r{i}"] if i >= 20 else [] for i in range(100)]
    wrong = [[f"w{i}a", f"w{i}b"] if i < 70 else [] for i in range(100)]
    rows = one_candidate(questions, right, wrong)
    assert sum(label for _, label in rows) == 50
    for place, (candidate, label) in enumerate(rows):
        assert candidate in (right[place] if label else wrong[place])
    backwards = one_candidate(questions[::-1], right[::-1], wrong[::-1])
    assert backwards[::-1] == rows
    with pytest.raises(ValueError, match="question 0 has no candidate"):
        one_candidate(["q"], [[]], [[]])


# --- answers -----------------------------------------------------------------------------------

words = st.text("abc é'3", min_size=1, max_size=8).map(str.strip).filter(bool)
slot_lists = st.lists(st.tuples(st.sampled_from(["date", "time", "name"]), words), max_size=4)


@given(slot_lists)
@settings(max_examples=200, deadline=None)
def test_answers_round_trip(slots: list[tuple[str, str]]) -> None:
    read, malformed = from_json(to_json(slots))
    assert not malformed and sorted(read) == sorted(slots)
    read, malformed = from_plain(to_plain(slots))
    assert not malformed
    assert read == [(kind, " ".join(filler.split())) for kind, filler in slots]


@given(st.text(max_size=60) | st.text('{}[]":,&\\ ab1', max_size=40))
@settings(max_examples=400, deadline=None)
def test_any_text_can_be_parsed(answer: str) -> None:
    for parse in (from_json, from_plain):
        slots, malformed = parse(answer)
        assert isinstance(malformed, bool)
        assert all(isinstance(part, str) and part for pair in slots for part in pair)


def test_json_answers() -> None:
    slots = [("date", "today"), ("date", "tomorrow"), ("time", "3 pm")]
    assert to_json(slots) == '{"date": "today & tomorrow", "time": "3 pm"}'
    assert from_json('{"date": "today", "date": "tomorrow"}') == (slots[:2], False)
    assert from_json("{}") == ([], False)
    assert from_json('{"date": "today"') == ([("date", "today")], True)
    assert from_json('sure: {"date": "today"} thanks') == ([("date", "today")], True)
    assert from_json('["today"]') == ([], True)
    assert from_json("") == ([], True)
    assert from_json('{"time": 3, "date": null}') == ([("time", "3")], True)
    assert from_json("[" * 5000)[1] and from_json("{" * 3000)[1]


def test_plain_answers() -> None:
    assert to_plain([]) == "none" and from_plain("none") == ([], False)
    read = [("date", "today"), ("time", "3 : 15")]
    assert from_plain("date: today;time: 3 : 15") == (read, False)
    assert from_plain("date: today ; time") == ([("date", "today")], True)
    assert from_plain("") == ([], True)


# --- sources -----------------------------------------------------------------------------------


def test_every_format_reads_the_same(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": ["01", "NA"], "text": ["2020-01-01", 'x, "y" é']})
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "a.csv.gz", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    rows = frame.to_dict("records")
    write(tmp_path / "a.jsonl", rows)
    write(tmp_path / "a.jsonl.gz", rows)
    (tmp_path / "a.json").write_text(json.dumps(rows), encoding="utf-8")
    for name in ("a.csv", "a.csv.gz", "a.parquet", "a.jsonl", "a.jsonl.gz", "a.json"):
        data = config.Data(folder=str(tmp_path), files={"train": name})
        assert source.read(data, "train").astype(object).equals(frame.astype(object)), name


def test_source_errors_name_what_is_missing(tmp_path: Path) -> None:
    data = config.Data(folder=str(tmp_path), files={"train": "no.jsonl", "odd": "a.txt"})
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ConfigError, match=r"no file .*no\.jsonl"):
        source.read(data, "train")
    with pytest.raises(ConfigError, match="files names no 'test'; named are: odd, train"):
        source.read(data, "test")
    with pytest.raises(ConfigError, match="no known format"):
        source.read(data, "odd")
    with pytest.raises(ConfigError, match="needs a data folder"):
        source.read(config.Data(), "train")
    (tmp_path / "no.jsonl").write_text("{broken")
    with pytest.raises(ConfigError, match="cannot be read"):
        source.read(data, "train")
    with pytest.raises(ConfigError, match="here lacks the column b; it has: a"):
        source.require(pd.DataFrame({"a": [1]}), ["a", "b"], "here")


@pytest.mark.parametrize("name", ["../outside.csv", "/outside.csv", "a/../../outside.csv"])
def test_files_lie_in_the_data_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "outside.csv").write_text("a\n1\n")
    (tmp_path / "data" / "a").mkdir(parents=True)
    data = config.Data(folder=str(tmp_path / "data"), files={"train": name})
    with pytest.raises(ConfigError, match="lies outside the data folder"):
        source.read(data, "train")


def test_digest_follows_the_contents(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [{"a": 1}])
    data = config.Data(folder=str(tmp_path), files={"train": "a.jsonl"})
    first = source.digest(data)
    assert first == source.digest(data)
    write(tmp_path / "a.jsonl", [{"a": 2}])
    assert source.digest(data) != first
    hub = config.Data(hub="x/y", revision="1")
    assert source.digest(hub) != source.digest(config.Data(hub="x/y", revision="2"))


# --- the tasks ---------------------------------------------------------------------------------


def massive_rows() -> list[dict[str, Any]]:
    names = ["anna", "boris", "clara", "dimitri", "ewa", "fritz", "greta", "hanna"]
    rows = []
    for i in range(160):
        name, hour = names[i % 8], i // 8
        rows.append(
            {
                "id": str(i),
                "partition": "train" if i < 120 else "test",
                "scenario": SCENARIOS[i % 18],
                "utt": f"call {name} at {hour} o'clock",
                "annot_utt": f"call [person : {name}] at [time : {hour} o'clock]",
            }
        )
    return rows


@pytest.fixture
def slurp_folder(tmp_path: Path) -> Path:
    write(tmp_path / "massive.jsonl", massive_rows())
    tests = [
        {
            "slurp_id": 1000 + i,
            "sentence": f"call anna at {i}  o'clock",
            "scenario": "play",
            "entities": [{"type": "person", "filler": "anna", "span": [1]}],
        }
        for i in range(10, 25)
    ]
    write(tmp_path / "slurp.jsonl", tests)
    return tmp_path


def slurp_task(folder: Path, name: str = "slurp", **more: Any) -> Task:
    files = {"train": "massive.jsonl", "test": "slurp.jsonl"}
    sizes = {"weak_rows": 30, "strong_rows": 40, "validation_rows": 10}
    data = {"folder": str(folder), "files": files}
    return make(config.Task.model_validate({"name": name, "data": data, **sizes, **more}))


@pytest.mark.parametrize("name", ["scenario", "slurp"])
def test_slurp_rows_keep_the_test_apart(slurp_folder: Path, name: str) -> None:
    task = slurp_task(slurp_folder, name)
    splits = task.splits(0)
    assert [len(frame) for frame in splits.values()] == [30, 40, 10, 15]
    training = pd.concat([splits["weak"], splits["strong"], splits["validation"]])
    shared = {f"call anna at {i} o'clock" for i in range(10, 15)}
    keys = {json.loads(key)[0] for key in training["key"]}
    assert not keys & shared and not set(task.corpus()) & shared
    validation = {json.loads(key)[0] for key in splits["validation"]["key"]}
    texts = task.corpus()
    assert not any(text.startswith(tuple(v + "\n" for v in validation)) for text in texts)
    assert not set(texts) & validation
    assert len(texts) == 120 - 5 - 10 and texts == task.corpus()
    assert all(set(frame) >= {"id", "text", "gold", "key"} for frame in splits.values())
    for frame in splits.values():
        assert COLUMNS[task.kind] in frame.columns


def test_slurp_prompts_and_targets(slurp_folder: Path) -> None:
    row = slurp_task(slurp_folder).splits(0)["weak"].iloc[0]
    sentence: str = json.loads(row["key"])[0]
    _, name, _, hour, _ = sentence.split()
    assert row["text"] == f"{sentence}\nslots:"
    assert json.loads(row["target"]) == {"person": name, "time": f"{hour} o'clock"}
    assert json.loads(row["gold"]) == [["person", name], ["time", f"{hour} o'clock"]]
    plain = slurp_task(slurp_folder, options={"answer": "plain", "prompt": "paper"})
    row = plain.splits(0)["weak"].iloc[0]
    assert row["target"] == f"person: {name} ; time: {hour} o'clock"
    assert row["text"].startswith("USER: ") and row["text"].endswith(f'"{sentence}" ASSISTANT:')
    assert all(f'"{kind}"' in row["text"] for kind in SLOT_TYPES)
    assert '{"slot type": "value"}' in row["text"]
    with pytest.raises(ConfigError, match="option answer must be one of json, plain"):
        slurp_task(slurp_folder, options={"answer": "xml"})


def test_slurp_corpus_copies_only_what_its_sentence_says(slurp_folder: Path) -> None:
    texts = slurp_task(slurp_folder, options={"copy": 1.0}).corpus()
    assert texts and all("\nslots: {" in text for text in texts)
    for text in texts:
        sentence, answer = text.split("\nslots: ")
        for before, span in json.loads(answer).items():
            for part in span.split(" & "):
                assert f" {before} {part} " in f" {sentence} "
    without = slurp_task(slurp_folder, options={"copy": 0.0}).corpus()
    assert not any("slots" in text for text in without)


def test_annotations() -> None:
    text = "wake me at [time : five  am] on [date : this week] and [time : six]"
    assert slots_of(text) == [("time", "five am"), ("date", "this week"), ("time", "six")]
    assert slots_of("nothing here") == []


def test_an_unknown_scenario_is_named(slurp_folder: Path) -> None:
    rows = massive_rows()
    write(slurp_folder / "massive.jsonl", [{**row, "scenario": "cheese"} for row in rows])
    with pytest.raises(ConfigError, match=r"unknown class 'cheese', id \d+"):
        slurp_task(slurp_folder, "scenario").splits(0)


@pytest.fixture
def sciq_folder(tmp_path: Path) -> Path:
    def four(i: int) -> dict[str, Any]:
        wrong = {f"distractor{n}": f"wrong {i} {n}" for n in (1, 2, 3)}
        return {"question": f"What is {i}?", "correct_answer": f"right {i}", **wrong, "support": ""}

    write(tmp_path / "test.jsonl", [four(i) for i in range(20)])
    write(tmp_path / "validation.jsonl", [four(i) for i in range(18, 40)])
    rows = []
    for i in range(15, 215):
        row = {"question": f"What is {i}?", "candidate": f"wrong {i} 1", "label": 0}
        rows += [row, {**row, "candidate": f"right {i}", "label": 1}]
    rows.append({"question": "What is 100?", "candidate": "right 100", "label": 0})
    write(tmp_path / "train.jsonl.gz", rows)
    labelled = [{**row, "p": 0.5} for row in rows[100:260]]
    write(tmp_path / "labels.jsonl", labelled)
    return tmp_path


def sciq_task(folder: Path, **more: Any) -> Task:
    files = {"train": "train.jsonl.gz", "test": "test.jsonl", "validation": "validation.jsonl"}
    raw = {"name": "sciq", "data": {"folder": str(folder), "files": files}, **more}
    sizes = {"weak_rows": 60, "strong_rows": 60, "validation_rows": 10}
    return make(config.Task.model_validate({**sizes, **raw}))


@pytest.mark.parametrize("options", [{}, {"strong_from": "labels.jsonl"}])
def test_sciq_keeps_questions_apart(sciq_folder: Path, options: dict[str, Any]) -> None:
    task = sciq_task(sciq_folder, options=options)
    splits = task.splits(0)
    assert [len(frame) for frame in splits.values()] == [60, 60, 10, 20]
    owner: dict[str, str] = {}
    for name, frame in splits.items():
        assert frame["label"].value_counts().to_dict() == {0: len(frame) / 2, 1: len(frame) / 2}
        for row in frame.to_dict("records"):
            question, candidate = json.loads(row["key"])
            assert row["text"] == f"Q: {question} A: {candidate}"
            assert owner.setdefault(question, name) == name
            assert candidate.startswith("right") == (row["label"] == 1)
    held_out = {f"What is {i}?" for i in range(40)}
    assert not held_out & {q for q, name in owner.items() if name in ("weak", "strong")}
    assert not any(text[3:].split(" A:")[0] in held_out for text in task.corpus())
    if options:
        labelled = source.read_file(sciq_folder / "labels.jsonl")
        pairs = set(zip(labelled["question"], labelled["candidate"], strict=True))
        assert {tuple(json.loads(key)) for key in splits["strong"]["key"]} <= pairs
        weak_questions = {json.loads(key)[0] for key in splits["weak"]["key"]}
        assert not weak_questions & set(labelled["question"])
        assert task.digest() != sciq_task(sciq_folder).digest()


def test_sciq_leaves_out_contradictions(sciq_folder: Path) -> None:
    assert "Q: What is 100? A: right 100" not in sciq_task(sciq_folder).corpus()
    assert "Q: What is 101? A: right 101" in sciq_task(sciq_folder).corpus()


def test_sciq_errors(sciq_folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"split weak: 600 rows asked for, \d+ there are"):
        sciq_task(sciq_folder, weak_rows=600).splits(0)
    with pytest.raises(ConfigError, match=r"strong_from: no file .*gone\.jsonl"):
        sciq_task(sciq_folder, options={"strong_from": "gone.jsonl"}).splits(0)
    with pytest.raises(ConfigError, match="task sciq has no option 'formm'; there are: form"):
        sciq_task(sciq_folder, options={"formm": "plain"})


def cosmos_task(folder: Path, files: dict[str, str], **more: Any) -> Task:
    raw = {"name": "cosmosqa", "data": {"folder": str(folder), "files": files}, **more}
    sizes = {"weak_rows": 20, "strong_rows": 20, "validation_rows": 6}
    return make(config.Task.model_validate({**sizes, **raw}))


def cosmos_frame(stories: range) -> pd.DataFrame:
    rows = []
    for i in stories:
        for question in range(2):
            answers = {f"answer{n}": f"answer {i} {question} {n}" for n in range(4)}
            row = {"id": f"{i}-{question}", "context": f"Story, {i}.", "question": f"Q{question}?"}
            rows.append({**row, **answers, "label": (i + question) % 4})
    return pd.DataFrame(rows)


@pytest.mark.parametrize("with_train", [False, True])
def test_cosmosqa_keeps_stories_apart(tmp_path: Path, with_train: bool) -> None:
    cosmos_frame(range(40)).to_csv(tmp_path / "valid.csv", index=False)
    cosmos_frame(range(30, 90)).to_csv(tmp_path / "train.csv", index=False)
    files = {"validation": "valid.csv"} | ({"train": "train.csv"} if with_train else {})
    task = cosmos_task(tmp_path, files)
    splits = task.splits(0)
    assert [len(splits[name]) for name in ("weak", "strong", "validation")] == [20, 20, 6]
    stories = [{text.split(" Q:")[0] for text in frame["text"]} for frame in splits.values()]
    assert sum(map(len, stories)) == len(set().union(*stories))
    for frame in splits.values():
        assert frame["label"].mean() == 0.5
        for row in frame.to_dict("records"):
            story, candidate = row["text"].split(" Q:")[0], row["text"].split(" A: ")[1]
            _, _, question, choice = candidate.split()
            number = int(story.split()[1].rstrip("."))
            right = int(choice) == (number + int(question)) % 4
            assert right == (row["label"] == 1)
    held_out = stories[3] | stories[2]
    assert not any(text.split(" Q:")[0] in held_out for text in task.corpus())


def test_cosmosqa_refuses_another_label(tmp_path: Path) -> None:
    frame = cosmos_frame(range(40))
    frame.loc[3, "label"] = 4
    frame.to_csv(tmp_path / "valid.csv", index=False)
    with pytest.raises(ConfigError, match="label of row 3 must be 0 to 3, it is '4'"):
        cosmos_task(tmp_path, {"validation": "valid.csv"}).splits(0)


def rows_digest(made: Task) -> str:
    """Of every split's rows, in their order, without `part`."""
    columns = ["id", "text", "label", "target", "gold", "key"]
    splits = made.splits(0)
    rows = [
        [name, *row]
        for name, frame in splits.items()
        for row in frame.filter(columns).to_numpy().tolist()
    ]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def test_rows_of_the_random_order_are_what_they_have_been(
    slurp_folder: Path, sciq_folder: Path
) -> None:
    frame = cosmos_frame(range(40))
    frame.to_csv(sciq_folder / "valid.csv", index=False)
    labelled = {"strong_from": "labels.jsonl"}
    sizes = {"weak_rows": 40, "strong_rows": 60, "validation_rows": 20, "test_rows": 50}
    world = {"topic_words": 20, "slot_words": 8, "documents": 400}
    found = {
        name: make(config.Task.model_validate({"name": name, "options": world, **sizes}))
        for name in ("toy_topics", "toy_slots")
    } | {
        "slurp": slurp_task(slurp_folder),
        "scenario": slurp_task(slurp_folder, "scenario"),
        "sciq": sciq_task(sciq_folder),
        "sciq, labelled": sciq_task(sciq_folder, options=labelled),
        "cosmosqa": cosmos_task(sciq_folder, {"validation": "valid.csv"}),
    }
    assert {name: rows_digest(made) for name, made in found.items()} == {
        "toy_topics": "ed6c085d411cb495",
        "toy_slots": "de2dceba85c05ebd",
        "slurp": "10654b3ea3192d7f",
        "scenario": "1549c5a3167de221",
        "sciq": "607a5270087ea5e8",
        "sciq, labelled": "d6f4767c4b1cbf3e",
        "cosmosqa": "20f993f4f273166f",
    }


def test_every_configured_name_has_a_task_and_is_cheap() -> None:
    names = config.Task.model_fields["name"].annotation.__args__  # type: ignore[union-attr]
    assert set(TASKS) == set(names)
    for name in TASKS:
        made = make(config.Task(name=name))
        assert (made.kind == "generation") == (name in config.GENERATION_TASKS)
        if made.kind == "classification":
            with pytest.raises(TypeError, match="classification task"):
                made.completion([])
            with pytest.raises(TypeError, match="classification task"):
                made.slot_spans("")


def test_import_is_light() -> None:
    code = (
        "import sys, raw2s.tasks; "
        "heavy = {'torch', 'transformers', 'datasets', 'ray'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
