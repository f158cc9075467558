"""A sweep's numbers by hand and against scipy and brute force; its figures and its page."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from raw2s.reports.sweep.html import write_sweep
from raw2s.reports.sweep.plots import broken_at_dots, heat_map, marginal_panels
from raw2s.reports.sweep.trials import (
    best_trial,
    compare_with_best,
    levels,
    marginal_effects,
    pair_means,
    parameter_table,
    strongest_pairs,
    summarise_trials,
    varied_parameters,
)


def trials(*rows: tuple[list[float], dict[str, Any]]) -> pd.DataFrame:
    """Trials 0, 1, … of scores (none: it failed) and parameters."""
    return pd.DataFrame(
        {
            "trial": number,
            "state": "done" if scores else "failed",
            "scores": scores,
            "seconds": 65.0 if scores else math.nan,
            "error": "" if scores else "RuntimeError: <b>out of memory</b>",
            "parameters": parameters,
            "tested": False,
        }
        for number, (scores, parameters) in enumerate(rows)
    )


GRID = trials(
    ([0.6, 0.8], {"a.x": 1, "a.kind": "soft"}),
    ([0.7, 1.0], {"a.x": 2, "a.kind": "soft"}),
    ([], {"a.x": 1, "a.kind": "hard"}),
    ([0.7, 0.7], {"a.x": 2, "a.kind": "hard"}),
)


def drawn(count: int = 20) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return trials(
        *(
            (
                [float(rng.random())],
                {"rate": float(10 ** rng.uniform(-6, -2)), "w": list(rng.dirichlet([1.0] * 3))},
            )
            for _ in range(count)
        )
    )


def test_ranks_by_hand() -> None:
    summary = summarise_trials(GRID)
    assert summary["score_mean"].tolist() == pytest.approx([0.7, 0.85, math.nan, 0.7], nan_ok=True)
    spreads = [0.2 / math.sqrt(2), 0.3 / math.sqrt(2), math.nan, 0.0]
    assert summary["score_std"].tolist() == pytest.approx(spreads, nan_ok=True)
    assert summary["rank"].tolist() == pytest.approx([2, 1, math.nan, 3], nan_ok=True)
    assert best_trial(GRID) == 1
    equal = trials(([0.5], {"a": 1}), ([0.5], {"a": 2}))
    assert best_trial(equal.iloc[::-1]) == 0
    assert summarise_trials(equal)["score_std"].isna().all()
    with pytest.raises(ValueError, match="none of the 1 trials is done"):
        best_trial(GRID[2:3])


def test_what_noise_hides_by_hand() -> None:
    table = trials(
        ([0.5, 0.7], {"a": 0}),  # the best
        ([0.5, 0.7], {"a": 1}),  # equal: d = 0 without any spread
        ([0.4, 0.6], {"a": 2}),  # d = 0.1 without spread, although the seeds overlap
        ([0.5, 0.4], {"a": 3}),  # d = 0, 0.3: mean 0.15 = 1 standard error
    )
    found = compare_with_best(table).set_index("trial")
    assert found["difference"].tolist() == pytest.approx([0, 0.1, 0.15])
    assert found["standard_error"].tolist() == pytest.approx([0, 0, 0.15])
    assert found["told_apart"].tolist() == [False, True, False]
    one_seed = compare_with_best(drawn())
    assert len(one_seed) == 19
    assert one_seed[["standard_error", "told_apart"]].isna().all(axis=None)
    assert compare_with_best(GRID[2:3]).empty


def test_standard_error_is_scipys() -> None:
    scores = np.random.default_rng(3).random((2, 5))
    table = trials(*((list(row), {"a": 0}) for row in scores[scores.mean(1).argsort()]))
    low, high = (np.array(row) for row in table["scores"])
    assert compare_with_best(table)["standard_error"][0] == pytest.approx(stats.sem(high - low))


def test_parameters_become_numbers_or_text() -> None:
    table = parameter_table(
        trials(
            ([1.0], {"w": [0.25, 0.75], "n": 1, "b": True, "d": {"k": None}, "m": None}),
            ([1.0], {"w": [1.0, 0.0], "n": 0.5, "b": False, "d": {"k": [1]}, "m": 2}),
        )
    )
    assert table.to_dict("list") == {
        "w[0]": [0.25, 1.0],
        "w[1]": [0.75, 0.0],
        "n": [1.0, 0.5],
        "b": ["true", "false"],
        "d": ['{"k": null}', '{"k": [1]}'],
        "m": ["null", "2"],
    }


def test_marginal_effects_by_hand() -> None:
    effects = marginal_effects(GRID)
    assert list(zip(effects["parameter"], effects["value"], effects["trials"], strict=True)) == [
        ("a.x", "1", 1),
        ("a.x", "2", 2),
        ("a.kind", "soft", 2),
        ("a.kind", "hard", 1),
    ]
    assert effects["score_mean"].tolist() == pytest.approx([0.7, 0.775, 0.775, 0.7])
    assert effects["standard_error"][1] == pytest.approx(0.075)
    assert effects["score_std"][1] == pytest.approx(0.15 / math.sqrt(2))
    assert effects["best"].tolist() == pytest.approx([0.7, 0.85, 0.85, 0.7])
    assert effects["spearman"].isna().all()


def test_many_numbers_are_ranked() -> None:
    table = drawn()
    effects = marginal_effects(table).set_index("parameter")
    assert list(effects.index) == ["rate", "w[0]", "w[1]", "w[2]"]
    rates = stats.rankdata([parameters["rate"] for parameters in table["parameters"]])
    scores = stats.rankdata([scores[0] for scores in table["scores"]])
    # Spearman's correlation is Pearson's of the ranks.
    assert effects["spearman"]["rate"] == pytest.approx(np.corrcoef(rates, scores)[0, 1])
    flat = table.assign(scores=[[0.5]] * len(table))
    assert marginal_effects(flat)["spearman"].isna().all()


def test_bins_have_equal_counts_and_ties_leave_none_empty() -> None:
    codes, texts = levels(pd.Series(np.random.default_rng(0).permutation(60) / 4))
    assert np.bincount(codes).tolist() == [10] * 6
    assert texts[0] == "0 to 2.25"
    tied = pd.Series([0.0] * 40 + list(range(1, 13)))
    codes, texts = levels(tied)
    assert (np.bincount(codes) > 0).all() and len(texts) == codes.max() + 1
    assert levels(pd.Series([3.0, 1.0, 3.0]))[1] == ["1", "3"]
    assert levels(pd.Series(["b", "a"]))[1] == ["b", "a"]


def test_pair_means_by_brute_force() -> None:
    means = pair_means(GRID, "a.x", "a.kind")
    assert means.to_numpy().ravel() == pytest.approx([0.7, math.nan, 0.85, 0.7], nan_ok=True)
    table, values = drawn(), parameter_table(drawn())
    means = pair_means(table, "rate", "w[0]")
    # 20 trials in 4 x 4 bins of 5 each.
    bins = {name: values[name].rank().sub(1).floordiv(5) for name in ("rate", "w[0]")}
    for row in range(4):
        for column in range(4):
            inside = table[(bins["rate"] == row) & (bins["w[0]"] == column)]
            expected = np.mean([s[0] for s in inside["scores"]]) if len(inside) else math.nan
            assert means.iloc[row, column] == pytest.approx(expected, nan_ok=True)


def test_pairs_are_of_the_three_strongest_parameters() -> None:
    # score = a + 2 b + 4 c + 8 d: the ranges of the marginal means are 1, 2, 4 and 8.
    full = trials(
        *(
            (
                [float(point)],
                {name: point >> k & 1 for k, name in enumerate("abcd")} | {"fixed": 1},
            )
            for point in range(16)
        )
    )
    assert strongest_pairs(full) == [("b", "c"), ("b", "d"), ("c", "d")]
    assert varied_parameters(full) == ["a", "b", "c", "d"]
    names = trials(*(([0.5], {"name": f"n{k}", "x": k}) for k in range(9)))
    assert varied_parameters(names) == ["x"]
    assert strongest_pairs(names) == []


def svg_texts(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    return [
        "".join(node.itertext()).strip() for node in root.iter("{http://www.w3.org/2000/svg}text")
    ]


def test_figures_show_their_numbers_as_text() -> None:
    cells = svg_texts(heat_map(GRID, "a.x", "a.kind"))
    assert [text for text in cells if text.startswith("0.")] == ["0.700", "0.850", "0.700"]
    assert {"soft", "hard", "1", "2", "a.x", "a.kind"} <= set(cells)
    panels = svg_texts(marginal_panels(GRID, "accuracy"))
    assert {"a.x", "a.kind", "soft", "validation accuracy"} <= set(panels)
    # A dot for each of the 20 trials in each of the four panels.
    assert marginal_panels(drawn(), "SLU-F1").count("<use ") >= 4 * 20
    assert broken_at_dots("experiment.strong_training.learning_rate").replace("\n", "") == (
        "experiment.strong_training.learning_rate"
    )
    with pytest.raises(ValueError, match=r"'b' is none of the parameters \['a.x', 'a.kind'\]"):
        heat_map(GRID, "a.x", "b")
    with pytest.raises(ValueError, match="none of the parameters of 1 trials varies"):
        marginal_panels(GRID[:1], "accuracy")


def test_a_rate_over_many_decades_has_a_logarithmic_axis() -> None:
    def ticks(rates: np.ndarray) -> set[str]:
        table = trials(*(([0.5], {"rate": float(rate)}) for rate in rates))
        return {"".join(text.split()) for text in svg_texts(marginal_panels(table, "accuracy"))}

    assert {"10−4", "10−2"} <= ticks(np.geomspace(1e-5, 1e-1, 9))
    # Under two decades, and from zero on.
    assert {"20", "40"} <= ticks(np.linspace(1, 50, 9))
    assert {"200", "400"} <= ticks(np.linspace(0, 500, 9))


CHOSEN = pd.DataFrame(
    [
        {
            "experiment": "t<i>", "kind": "classification", "system": "S<b>", "role": "student",
            "strategy": "s", "seeds": 2, "items": 10, "score_mean": 0.625, "score_std": 0.0,
            "score_low": 0.5, "score_high": 0.75, "pgr_mean": math.nan, "pgr_std": math.nan,
            "pgr_note": "no <ceiling>", "gap": math.nan, "best_weak": "", "diff": math.nan,
            "tested": True,
            "diff_low": math.nan, "diff_high": math.nan, "malformed": 0, "answers": 20,
        }
    ]
)  # fmt: skip


def write(folder: Path, table: pd.DataFrame, **changes: Any) -> str:
    """The page; every text from outside holds a tag."""
    given: dict[str, Any] = {
        "title": "<b>T", "metric": "accuracy", "judged": "<b>J", "seeds": [0, 1],
        "chosen": CHOSEN, "chosen_folder": 'run"<b>', "command": "raw2s <b>",
        "details": {"<b>key": "<b>value", "stages": {"<b>": 3.0}},
    }  # fmt: skip
    write_sweep(folder, trials=table, **given | changes)
    return (folder / "report.html").read_text()


class Sections(HTMLParser):
    """Headings of the page, every tag and every link it has."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.headings: list[str] = []
        self.links: list[str | None] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name == "href"]

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] == ["h2"] and data.strip():
            self.headings.append(data)


def test_the_page_says_what_was_compared_where(tmp_path: Path) -> None:
    page = write(tmp_path, GRID.assign(tested=GRID["trial"] == 1))
    test = "Trials are compared on the validation split; the test was scored once, for trial 1."
    close = "2 of the 2 other done trials are not told apart from the best"
    for text in (page, (tmp_path / "sweep.md").read_text()):
        # Trial 0: d = 0.1, 0.2, 3 standard errors, of which two seeds want 12.7.
        assert test in text and close in text
        assert "0.850 ± 0.212" in text and "0.625 ± 0.000" in text
    assert Sections(page).headings == [
        "Best", "Test of the chosen configuration", "All trials", "Marginal effects",
        "Two parameters at once", "Failed trials", "How it was run",
    ]  # fmt: skip
    twice = write(tmp_path, GRID.assign(tested=GRID["trial"] < 2))
    assert "the test has been scored for trials 0, 1, as the best one changed." in twice
    later = write(tmp_path, drawn(), seeds=[7], chosen=None, chosen_folder="")
    assert "the test has not been scored yet" in later
    assert "One seed: noise unknown" in later
    assert "Failed trials" not in later


def test_text_from_outside_is_escaped(tmp_path: Path) -> None:
    table = GRID.assign(
        parameters=[{"<b>." + key: f"<b>{v}" for key, v in p.items()} for p in GRID["parameters"]]
    )
    page = Sections(write(tmp_path, table))
    assert not {"b", "i"} & set(page.tags)
    assert 'run"<b>/report.html' in page.links
    assert "&lt;b&gt;out of memory" in (tmp_path / "report.html").read_text()


def test_the_csv_has_every_trial_in_order(tmp_path: Path) -> None:
    write(tmp_path, GRID)
    table = pd.read_csv(tmp_path / "trials.csv")
    assert table["trial"].tolist() == [0, 1, 2, 3]
    assert table["a.x"].tolist() == [1, 2, 1, 2]
    assert table["score_seed_1"].tolist() == pytest.approx([0.8, 1, math.nan, 0.7], nan_ok=True)
    assert table["error"].notna().tolist() == [False, False, True, False]


def test_a_sweep_of_failures_and_one_of_a_single_trial_have_a_page(tmp_path: Path) -> None:
    failed = write(tmp_path, GRID[2:3], chosen=None)
    assert Sections(failed).headings == ["All trials", "Failed trials", "How it was run"]
    assert "No trial is done" in (tmp_path / "sweep.md").read_text()
    assert "no other done trial" in write(tmp_path, GRID[:1])
    with pytest.raises(ValueError, match="none of the 1 trials is done"):
        write(tmp_path, GRID[2:3])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="error"), r"shape \(4, 6\) lack the columns \['error'\]"),
        (lambda t: t.iloc[:0], "0 rows"),
        (lambda t: t.assign(state="running"), "state 'running' in row 0"),
        (lambda t: t.assign(trial=[0, 1, 1, 2]), "trial 1 again in row 2"),
        (lambda t: t.assign(parameters=[{"a": 1}] * 3 + [{}]), r"parameters \[\] in row 3"),
        (lambda t: t.assign(scores=[[1, 1], [1], [], [1, 1]]), r"scores \[1\] in row 1, expect"),
        (lambda t: t.assign(scores=[[1], [math.nan], [], [1]]), r"scores \[nan\] in row 1"),
        (lambda t: t.assign(scores=[[1]] * 4), "row 2, expected 0 finite numbers"),
    ],
)
def test_broken_trials_are_refused(change: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        summarise_trials(change(GRID))


def test_scores_of_other_seeds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="trial 1 has not one score for each of 3 seeds"):
        write(tmp_path, GRID, seeds=[0, 1, 2])
