"""A study's comparisons by hand and against brute force; its sentences, figure and files."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from raw2s.reports.bridge import no_bridge
from raw2s.reports.study import cells as study_cells
from raw2s.reports.study.comparison import Cell, compare, score_lines, seed_scores, study_table
from raw2s.reports.study.html import write_study
from raw2s.reports.study.plots import positions, standalone, study_figure

ITEMS = 200
NAIVE, AUX = "Naive Multi-Weak", "Naive Multi-Weak + aux"


def answers(
    system: str,
    role: str,
    right: Sequence[int],
    strategy: str = "",
    experiment: str = "topics",
) -> pd.DataFrame:
    """The system's rows with seeds 0, 1, …: the first so many of its items are right."""
    c0 = np.concatenate([np.arange(ITEMS) < count for count in right]).astype(float)
    return pd.DataFrame(
        {
            "experiment": experiment,
            "kind": "classification",
            "seed": np.repeat(np.arange(len(right)), ITEMS),
            "system": system,
            "role": role,
            "strategy": strategy or role,
            "item": np.tile(np.arange(ITEMS), len(right)).astype(str),
            "part": "",
            "prediction": "1",
            "gold": "1",
            "malformed": False,
            "probabilities": [[0.0, 1.0] if value else [1.0, 0.0] for value in c0],
            "concentration": np.nan,
            "c0": c0,
            **dict.fromkeys(["c1", "c2", "c3", "c4", "c5"], np.nan),
        }
    )


def study(experiment: str = "topics", lift: int = 0) -> pd.DataFrame:
    """A weak model of one seed at 0.5, a naive student at 0.6, and students around it."""
    parts = [
        ("Low", "weak", [80], ""),
        ("High", "weak", [100], ""),
        ("Top", "ceiling", [180, 180, 180], ""),
        ("First", "student", [150 + lift, 152 + lift, 154 + lift], "bayesian"),
        (NAIVE, "student", [118, 120, 122], "naive"),
        ("Same", "student", [120, 118, 122], "majority"),
        ("Below", "student", [60, 60, 66], "joint"),
        ("Shaky", "student", [110, 120, 190], "single"),
        (AUX, "student", [130, 130, 130], "naive"),
        ("First + aux", "student", [130, 131, 129], "bayesian"),
    ]
    return pd.concat([answers(*part, experiment=experiment) for part in parts], ignore_index=True)


def costs(results: pd.DataFrame) -> pd.DataFrame:
    known = results.loc[results["system"] != "Low", ["experiment", "system"]].drop_duplicates()
    return known.assign(own_seconds=61.0, all_seconds=7200.0, tokens=1234567.0)


NAIVES = {
    name: AUX if name.endswith("+ aux") else NAIVE
    for name in ("First", NAIVE, "Same", "Below", "Shaky", AUX, "First + aux")
}


def compared(results: pd.DataFrame, naives: dict[str, str] = NAIVES) -> pd.DataFrame:
    return by_system(compare(results, {"topics": naives}))


def by_system(table: pd.DataFrame) -> pd.DataFrame:
    return table.set_index("system")


def test_verdicts_by_hand() -> None:
    found = compared(study())
    assert found["verdict_naive"].to_dict() == {
        "Low": "",
        "High": "",
        "Top": "",
        "First": "better",
        NAIVE: "",
        "Same": "inside the noise",  # the interval is [0, 0]
        "Below": "worse",
        "Shaky": "inside the noise",  # d = -8, 0, +68 over seeds
        AUX: "",
        "First + aux": "inside the noise",
    }
    assert found["naive"].to_dict() == {
        **dict.fromkeys(["Low", "High", "Top"], ""),
        **dict.fromkeys(["First", NAIVE, "Same", "Below", "Shaky"], NAIVE),
        **dict.fromkeys([AUX, "First + aux"], AUX),
    }
    assert found.loc[["Low", "High", "First", "Below"], "verdict_weak"].tolist() == [
        "", "", "better", "worse",
    ]  # fmt: skip
    assert set(found.loc[found["role"] == "student", "best"]) == {"First"}
    assert found.loc[["First", "Below"], "verdict_best"].tolist() == ["", "worse"]


def test_an_interval_is_of_items_and_of_seeds() -> None:
    """Half widths by the normal distribution over items and by scipy's t over seeds."""
    found = compared(study())
    below, shaky = found.loc["Below"], found.loc["Shaky"]
    d = np.array([60 - 118, 60 - 120, 66 - 122]) / ITEMS
    assert below["naive_diff"] == pytest.approx(d.mean())
    assert below["naive_seed_error"] == pytest.approx(stats.sem(d))
    per_item = (right([60, 60, 66]) - right([118, 120, 122])).mean(0)
    items = 1.96 * per_item.std() / np.sqrt(ITEMS)
    seeds = stats.t.ppf(0.975, 2) * stats.sem(d)
    expected = [d.mean() - np.hypot(items, seeds), d.mean() + np.hypot(items, seeds)]
    assert below[["naive_low", "naive_high"]].tolist() == pytest.approx(expected, abs=0.008)
    # The weak model ran once and stands for every seed. Over items alone it would be better.
    d = np.array([110, 120, 190]) / ITEMS - 0.5
    assert shaky["weak_seed_error"] == pytest.approx(stats.sem(d))
    assert shaky["diff_low"] > 0 > shaky["weak_low"]
    assert shaky["weak_diff"] == pytest.approx(shaky["diff"])


def right(counts: list[int]) -> np.ndarray:
    return np.array([np.arange(ITEMS) < count for count in counts], dtype=float)


def test_without_noise_over_seeds_an_interval_is_paired_over_items() -> None:
    row = compared(study()).loc["First"]
    rng = np.random.default_rng(5)
    per_item = (right([150, 152, 154]) - right([118, 120, 122])).mean(0)
    draws = [rng.choice(per_item, ITEMS).mean() for _ in range(4000)]
    assert row["naive_diff"] == pytest.approx(per_item.mean())
    assert row["naive_seed_error"] == pytest.approx(0, abs=1e-12)
    expected = np.quantile(draws, [0.025, 0.975])
    assert row[["naive_low", "naive_high"]].tolist() == pytest.approx(expected, abs=0.008)


def test_one_seed_rests_on_the_items_and_naive_may_be_missing() -> None:
    results = study()
    found = compared(results[results["seed"] == 0])
    assert found.loc["Shaky", "verdict_naive"] == "worse"
    assert np.isnan(found.loc["Shaky", "naive_seed_error"])
    found = compared(results, {})
    assert set(found["naive"]) == set(found["verdict_naive"]) == {""}


def test_sentences_follow_from_the_verdicts() -> None:
    results = study()
    cells = [Cell("topics", "Topics", "", NAIVES)]
    table = study_table(results, cells, costs(results))
    assert study_cells.finding(table, "") == (
        "Topics: the best student is First (0.760); 1 of the 6 others is inside the noise of it. "
        f"Against {NAIVE} or {AUX}: better First; worse Below; 3 of 5 inside the noise."
    )
    level = table.assign(verdict_naive=table["verdict_naive"].where(table["naive"] == "", "x"))
    level.loc[level["verdict_naive"] == "x", "verdict_naive"] = "inside the noise"
    assert "No student is told apart from" in study_cells.finding(level, "")
    two = table[table["system"].isin(["First", "Below"])].assign(verdict_naive="")
    assert study_cells.finding(two, "") == (
        "Topics: the best student is First (0.760); the other is not inside the noise of it."
    )
    assert study_cells.size_note(table) == "3 seeds, 200 test items."
    assert study_cells.seeds_note(table) == []
    assert len(study_cells.seeds_note(table.assign(seeds=2))) == 1


def test_variants_in_one_table_of_scores() -> None:
    results = pd.concat([study("b"), study("a", lift=10)], ignore_index=True)
    results = results[(results["system"] != "Below") | (results["experiment"] == "a")]
    cells = [Cell("a", "Topics", "2", NAIVES), Cell("b", "Topics", "1", NAIVES)]
    table = study_table(results, cells, costs(results))
    assert list(dict.fromkeys(table["variant"])) == ["2", "1"]
    rows = {row.texts[0]: list(row.texts[1:]) for row in study_cells.score_rows(table)}
    assert list(rows)[:4] == ["Weak models, mean", "Weak models, best", "Top", "First"]
    assert rows["Weak models, mean"] == ["0.450", "0.450"]
    assert rows["Weak models, best"] == ["0.500", "0.500"]
    assert rows["First"] == ["0.810 ± 0.010", "0.760 ± 0.010"]
    assert rows["Below"][1] == "–"
    assert study_cells.finding(table, "step").startswith(
        "Topics: the best student by step is First (2, 1);"
    )
    assert set(score_lines(table)["role"]) == {"weak", "ceiling", "student"}


def test_each_student_against_itself_in_the_first_variant(tmp_path: Path) -> None:
    shifted = study("c")
    shifted["item"] = "other " + shifted["item"]
    other = study("b", lift=10)
    other = other[~other["system"].isin(["Below", "Shaky"])]
    shaky = answers("Shaky", "student", [110, 10, 190], "single", "b")
    results = pd.concat([study("a"), other, shaky, shifted], ignore_index=True)
    cells = [Cell("a", "T", "1", NAIVES), Cell("b", "T", "5", NAIVES), Cell("c", "T", "9", NAIVES)]
    table = study_table(results, cells, costs(results)).set_index(["variant", "system"])
    row = table.loc["5", "First"]
    # Of the same 600 answers thirty more are right, ten items with each seed.
    assert row["first_diff"] == pytest.approx(0.05) and row["verdict_first"] == "better"
    draws = stats.binom(ITEMS, 0.05).ppf([0.025, 0.975]) / ITEMS
    assert [row["first_low"], row["first_high"]] == pytest.approx(draws, abs=0.006)
    assert table.loc[("5", "Shaky"), "verdict_first"] == "inside the noise"
    # Not what answers alike, weak models and ceilings, or other items.
    told = table.loc[table["verdict_first"] != ""]
    students = {"First", "Shaky"}
    assert set(told.index) == {("5", name) for name in students}
    write(tmp_path, results, cells, "weak models")
    text, page = ((tmp_path / name).read_text() for name in ("study.md", "study.html"))
    head = "| Change from weak models 1 | 5 | 9 |"
    lines = text[text.index(head) :].split("\n\n")[0].splitlines()[2:]
    assert {line.split(" | ")[0].removeprefix("| ") for line in lines} == students
    assert lines[0].startswith("| First | +0.050 [+0.02") and lines[0].endswith("] better | – |")
    assert "Against itself with weak models 1: better First (5); 1 of 2 inside the noise." in text
    assert "Change from weak models 1" in page
    assert all("whose own noise is in no interval" in told for told in (text, page))
    write(tmp_path, results, [cells[0], cells[2]], "weak models")
    assert "Change from" not in (tmp_path / "study.md").read_text()
    # The same ids, of other questions.
    turned = results.assign(c0=1.0 - results["c0"]).where(results["experiment"] == "b", results)
    turned["gold"] = np.where(turned["experiment"] == "b", "0", turned["gold"])
    assert set(study_table(turned, cells, costs(results))["verdict_first"]) == {""}


def test_bad_cells_are_named(tmp_path: Path) -> None:
    results = study()
    with pytest.raises(ValueError, match=r"cells\[1\]: experiment 'none' has no results"):
        study_table(results, [Cell("topics", "t", ""), Cell("none", "t", "")], costs(results))
    with pytest.raises(ValueError, match=r"cells\[1\]: 't', '' is given twice"):
        study_table(results, [Cell("topics", "t", ""), Cell("topics", "t", "")], costs(results))
    with pytest.raises(ValueError, match=r"cells\[0\] has variant '', the axis is 'step'"):
        write(tmp_path, results, [Cell("topics", "t", "")], "step")


def test_positions_are_to_scale() -> None:
    assert positions(["1", "3", "5"]).tolist() == [1, 3, 5]
    assert positions(["1", "10", "100"]).tolist() == pytest.approx([0, 1, 2])
    assert positions(["0", "50"]).tolist() == [0, 50]
    assert positions(["soft", "1"]).tolist() == [0, 1]
    assert positions(["1", "10", "inf"]).tolist() == [0, 1, 2]


def write(folder: Path, results: pd.DataFrame, cells: list[Cell], axis: str, **more: Any) -> None:
    write_study(
        folder,
        **{
            "title": "Who <wins>?",
            "question": "Which & why?",
            "command": "raw2s study a.yaml --set x=1",
            "results": results,
            "cells": cells,
            "axis": axis,
            "costs": costs(results),
            "bridge": no_bridge(),
            "reports": "../runs/a",
            "details": {"seeds": 3},
            **more,
        },
    )


def test_files_of_a_study(tmp_path: Path) -> None:
    results = pd.concat([study("a"), study("b", lift=10)], ignore_index=True)
    cells = [Cell("a", "T", "1", NAIVES), Cell("b", "T", "50", NAIVES)]
    write(tmp_path, results, cells, "weak models")
    text = (tmp_path / "study.md").read_text()
    assert text.startswith(
        "# Who <wins>?\n\nWhich & why?\n\n```\nraw2s study a.yaml --set x=1\n```\n\n3 seeds"
    )
    assert "| accuracy by weak models | 1 | 50 |" in text
    assert "(../runs/a/report.html)" in text
    row = next(line for line in text.splitlines() if line.startswith("| First") and "min" in line)
    assert row.endswith("better | 1 min 01 s | 2 h 00 min | 1,234,567 |")
    written = pd.read_csv(tmp_path / "study.csv")
    assert written.groupby("variant").size().to_dict() == {1: 10, 50: 10}
    assert np.isnan(written.loc[0, "tokens"])
    drawing = ElementTree.parse(tmp_path / "study.svg").getroot()
    assert drawing.tag == "{http://www.w3.org/2000/svg}svg"
    assert drawing[0].attrib["fill"] == "#ffffff"
    assert "currentColor" not in (tmp_path / "study.svg").read_text()
    page = (tmp_path / "study.html").read_text()
    assert "Who &lt;wins&gt;?" in page
    assert "<wins>" not in page
    assert not re.search(r'(src|href)="https?:', page)
    assert page.count("<svg") == 1


@pytest.mark.parametrize("axis", ["", "kind"])
def test_figure_names_every_student(axis: str) -> None:
    more = [answers(f"S{n} + aux", "student", [100, 110], "joint") for n in range(6)]
    # Read as a formula it would be an error.
    odd = answers(r"$\nosuch$", "student", [100, 110], "naive")
    results = pd.concat([study(), odd, *more], ignore_index=True)
    results = results[(results["seed"] < 2)]
    table = study_table(results, [Cell("topics", "T", axis and "soft")], costs(results))
    drawing = ElementTree.fromstring(standalone(study_figure(table, seed_scores(results), axis)))
    texts = [text.text for text in drawing.iter("{http://www.w3.org/2000/svg}text")]
    for name in table.loc[table["role"] == "student", "system"]:
        assert texts.count(name) == 1
    panels = [g for g in drawing.iter() if re.search(r"-axes_\d+$", g.attrib.get("id", ""))]
    assert len(panels) == (2 if axis else 1)


def test_each_seed_has_its_own_score_in_a_table(tmp_path: Path) -> None:
    results = study()
    write_study(
        tmp_path, title="T", question="Q", command="raw2s study x", results=results,
        cells=[Cell("topics", "topics", "")], axis="", costs=costs(results), bridge=no_bridge(),
        reports="", details={},
    )  # fmt: skip
    text = (tmp_path / "study.md").read_text()
    assert "| System | Seed 0 | Seed 1 | Seed 2 |" in text
    assert "| Shaky | 0.550 | 0.600 | 0.950 |" in text
    # A system that does not vary has no seeds to tell apart.
    assert "| High | 0.500 |" in text and "| High | 0.500 | " not in text.split("| Seed 0")[1]
    assert "Seed by seed" in (tmp_path / "study.html").read_text()


def test_a_study_shows_the_parts_of_the_test_by_variant(tmp_path: Path) -> None:
    plain, split = study("b"), study("a")
    # First has all of the 120 easy items right, and 30, 32 and 34 of the 80 hard ones.
    split["part"] = np.where(split["item"].astype(int) < 120, "easy", "hard")
    results = pd.concat([split, plain], ignore_index=True)
    write(tmp_path, results, [Cell("a", "T", "2"), Cell("b", "T", "1")], "step")
    text, page = ((tmp_path / name).read_text() for name in ("study.md", "study.html"))
    heading = "In and out of distribution"
    assert text.count(heading) == page.count(heading) == 1
    table = text.split(heading)[1].split("\n\n")[1].splitlines()
    assert [line.split(" | ")[0] for line in table[2:]] == [
        f"| {name}" for name in dict.fromkeys(split["system"])
    ]
    row = next(line for line in table if line.startswith("| First |")).split(" | ")
    # Of the hard ones no weak model has any, the ceiling 60.
    assert [row[1], row[5], row[7]] == ["1.000 ± 0.000", "0.400 ± 0.025", "0.533 ± 0.033"]
    assert text.index("step: 2") < text.index(heading) < text.index("step: 1")
    assert all("Easy and hard: the test, cut where A" in told for told in (text, page))


def test_a_study_without_variants_shows_the_weak_models_agreement(tmp_path: Path) -> None:
    results = study()
    other = (results["system"] == "High") & (results["item"].astype(int) < 50)
    results.loc[other, "prediction"] = "0"
    write(tmp_path, results, [Cell("topics", "topics", "")], "")
    text = (tmp_path / "study.md").read_text()
    assert "| Low | 1.000 | 0.750 |" in text and "| High | 0.750 | 1.000 |" in text
    assert "<h3>Agreement of the weak models</h3>" in (tmp_path / "study.html").read_text()
    write(tmp_path, results, [Cell("topics", "topics", "3")], "weak models")
    assert "Agreement" not in (tmp_path / "study.md").read_text()
