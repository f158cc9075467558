"""Summary, figures and page from small results tables worked out by hand."""

from __future__ import annotations

import io
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from raw2s import config
from raw2s.evaluation.slu_f1 import from_counts
from raw2s.pipeline import Plan
from raw2s.reports import cells
from raw2s.reports.agreement import weak_agreements
from raw2s.reports.bridge import no_bridge
from raw2s.reports.parts import parts_table, summarise_parts
from raw2s.reports.run.html import render_html, write_html
from raw2s.reports.run.markdown import write_markdown
from raw2s.reports.run.plots import (
    agreement_heatmap,
    labelling_timeline,
    reliability_panels,
    score_bars,
)
from raw2s.reports.run.reliability import reliability
from raw2s.reports.run.report import _details, write_report
from raw2s.reports.run.uncertainty import summarise_uncertainty
from raw2s.reports.table import summarise, terminal_table, write_csv
from raw2s.store import Job, Store


def classified(
    system: str, role: str, right: Sequence[int], seed: int = 0, experiment: str = "sciq"
) -> list[dict[str, Any]]:
    return [
        {
            "experiment": experiment,
            "kind": "classification",
            "seed": seed,
            "system": system,
            "role": role,
            "strategy": system.lower(),
            "item": f"i{index}",
            "part": "",
            "prediction": str(value),
            "gold": "1",
            "malformed": index == 0,
            "probabilities": [0.25, 0.75] if value else [0.5, 0.5],
            "concentration": np.nan,
            **dict.fromkeys(["c1", "c2", "c3", "c4", "c5"], np.nan),
            "c0": float(value),
        }
        for index, value in enumerate(right)
    ]


def right(n: int, of: int = 10) -> list[int]:
    return [1] * n + [0] * (of - n)


@pytest.fixture
def results() -> pd.DataFrame:
    """Floor 0.45, ceiling 0.9 and 0.8; a weak model that ran with seed 0 only."""
    rows = classified("W1", "weak", right(4)) + classified("W2", "weak", right(5))
    rows += classified("Top", "ceiling", right(9), 0) + classified("Top", "ceiling", right(8), 1)
    rows += classified("S", "student", right(7), 0) + classified("S", "student", right(6), 1)
    return pd.DataFrame(rows)


def row_of(summary: pd.DataFrame, system: str) -> pd.Series:
    return summary[summary["system"] == system].iloc[0]


def test_scores_pgr_gap_and_difference_by_hand(results: pd.DataFrame) -> None:
    summary = summarise(results)
    assert list(summary["system"]) == ["W1", "W2", "Top", "S"]
    student = row_of(summary, "S")
    assert student["score_mean"] == pytest.approx(0.65)
    assert student["score_std"] == pytest.approx(0.1 / np.sqrt(2))
    per_seed = [(3 / 5 + 2 / 4) / 2, (2 / 4 + 1 / 3) / 2]
    assert student["pgr_mean"] == pytest.approx(np.mean(per_seed))
    assert student["pgr_std"] == pytest.approx(np.std(per_seed, ddof=1))
    assert student["gap"] == pytest.approx(0.2)
    assert student["best_weak"] == "W2"
    assert student["diff"] == pytest.approx(0.15)
    assert student["diff_low"] <= 0.15 <= student["diff_high"]
    assert (student["seeds"], student["items"], student["answers"]) == (2, 10, 20)
    assert student["malformed"] == 2
    weak = row_of(summary, "W1")
    assert np.isnan([weak["score_std"], weak["pgr_mean"], weak["gap"], weak["diff"]]).all()
    assert np.isnan(row_of(summary, "Top")["pgr_mean"])


def test_generation_scores_are_micro_f1_and_pooling_concatenates_seeds() -> None:
    rng = np.random.default_rng(0)
    counts = rng.random((2, 12, 6)) * rng.integers(1, 5, (2, 12, 1))
    rows = []
    for system, role, table in (("S", "student", counts), ("W", "weak", counts**2)):
        for seed in range(2):
            for row, values in zip(
                classified(system, role, right(12, 12), seed), table[seed], strict=True
            ):
                named = {f"c{k}": value for k, value in enumerate(values)}
                rows.append(row | named | {"kind": "generation"})
    student = row_of(summarise(pd.DataFrame(rows)), "S")
    assert student["score_mean"] == pytest.approx(np.mean([from_counts(c).f1 for c in counts]))
    pooled = from_counts(counts.reshape(-1, 6)).f1 - from_counts(counts.reshape(-1, 6) ** 2).f1
    assert student["diff"] == pytest.approx(pooled)
    assert student["pgr_note"] == "the results have no ceiling"


def test_repeated_seeds_add_no_certainty_about_items() -> None:
    answers = np.random.default_rng(1).integers(0, 2, 80).tolist()
    once = summarise(pd.DataFrame(classified("S", "student", answers)))
    thrice = summarise(
        pd.DataFrame([r for seed in range(3) for r in classified("S", "student", answers, seed)])
    )
    ends = ["score_low", "score_high"]
    assert thrice.loc[0, ends].tolist() == pytest.approx(once.loc[0, ends].tolist())


def test_an_undefined_pgr_is_never_a_number(results: pd.DataFrame, tmp_path: Path) -> None:
    ceiling = (results["system"] == "Top") & (results["seed"] == 1)
    weak_ceiling = pd.DataFrame(classified("Top", "ceiling", right(5), 1))
    results = pd.concat([results[~ceiling], weak_ceiling], ignore_index=True)
    summary = summarise(results)
    student = row_of(summary, "S")
    assert np.isnan(student["pgr_mean"])
    assert student["pgr_note"] == "the ceiling (0.5000) is not above W2 (0.5000) (seed 1)"
    write_csv(summary, tmp_path / "new" / "summary.csv")
    written = pd.read_csv(tmp_path / "new" / "summary.csv")
    assert list(written["pgr_mean"].fillna("")) == ["", "", "", "undefined"]
    assert np.isnan(summary["pgr_mean"]).all()
    assert ">undefined<" in page(results)
    assert "undefined" in printed(summary)


def test_csv_keeps_the_numbers(results: pd.DataFrame, tmp_path: Path) -> None:
    summary = summarise(results)
    write_csv(summary, tmp_path / "summary.csv")
    written = pd.read_csv(tmp_path / "summary.csv", keep_default_na=True)
    assert list(written.columns) == list(summary.columns)
    numbers = summary.select_dtypes("number").columns
    pd.testing.assert_frame_equal(written[numbers], summary[numbers])


def test_a_runs_folder_holds_the_tables_and_the_page(results: pd.DataFrame, tmp_path: Path) -> None:
    run = config.load(Path(__file__).parents[2] / "configs" / "tiny.yaml")
    store, plan, folder = Store(tmp_path / "store"), Plan(), tmp_path / "run"
    job = plan.add(Job("results", "sciq", {}))
    with store.write(job) as (artefact, _):
        results.to_parquet(artefact / "results.parquet", index=False)
    folder.mkdir()
    (folder / "config.yaml").write_text("name: tiny")
    environment = {"packages": {"torch": "2.13"}, "python": "3.12", "git_commit": "0123abc"}
    (folder / "environment.json").write_text(json.dumps(environment))
    write_report(run, plan, store, folder, Console(file=io.StringIO()))
    written = pd.read_csv(folder / "calibration.csv", keep_default_na=True)
    expected = summarise_uncertainty(results)
    numbers = expected.select_dtypes("number").columns
    pd.testing.assert_frame_equal(written[numbers], expected[numbers])
    assert list(written["system"]) == [
        "W1", "W2", "Weak models' ensemble", "Top", "S", "S, ensemble of seeds",
    ]  # fmt: skip
    for name in ("report.html", "results.md"):
        assert "S, ensemble of seeds" in (folder / name).read_text()
    assert len(pd.read_csv(folder / "results.csv")) == 4
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "results.parquet"), results)


def printed(summary: pd.DataFrame) -> str:
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(terminal_table(summary))
    return console.export_text()


def test_markdown_has_a_table_for_each_experiment(results: pd.DataFrame, tmp_path: Path) -> None:
    both = pd.concat([results, results.assign(experiment="a|b")], ignore_index=True)
    summary = summarise(both, n_resamples=50)
    uncertainty = summarise_uncertainty(results)
    parts = summarise_parts(both)
    write_markdown(summary, uncertainty, parts, no_bridge(), tmp_path / "results.md")
    lines = (tmp_path / "results.md").read_text().splitlines()
    headings = ["**sciq**", "**sciq**: uncertainty and calibration", "**a|b**"]
    assert [line for line in lines if line.startswith("**")] == headings
    rows = [line.split(" | ") for line in lines if line.startswith("| ")]
    assert [len(row) for row in rows] == [6] * 6 + [11] * 8 + [6] * 6
    system = summary.iloc[0]
    assert rows[2][:2] == [f"| {system['system']}", cells.row_texts(system)[2]]
    # Brier: 9 of 10 at 2 (1/4)^2 and one at 2 (1/2)^2 with seed 0, 8 and 2 with seed 1.
    assert [rows[11][at] for at in (0, 1, 3)] == ["| Top", "0.850 ± 0.071", "0.181 ± 0.027"]


def test_each_part_of_the_test_has_its_own_floor_and_ceiling(
    results: pd.DataFrame, tmp_path: Path
) -> None:
    # The first four items are easy. W1 has 4 right, W2 5, Top 9 and 8, S 7 and 6 of ten.
    results["part"] = np.where(results["item"].isin(["i0", "i1", "i2", "i3"]), "easy", "hard")
    parts = summarise_parts(results)
    found = {
        (row["system"], row["part"]): (row["score_mean"], row["pgr_mean"])
        for _, row in parts.iterrows()
    }
    assert found["W1", "easy"][0] == 1 and found["W1", "hard"][0] == 0
    assert found["W2", "hard"][0] == pytest.approx(1 / 6)
    # Hard: weak 0 and 1/6; ceiling 5/6 and 4/6; S 3/6 and 2/6.
    seeds = [((3 / 6) / (5 / 6) + (2 / 6) / (4 / 6)) / 2, ((2 / 6) / (4 / 6) + 1 / 3) / 2]
    assert found["S", "hard"] == (pytest.approx(2.5 / 6), pytest.approx(np.mean(seeds)))
    assert np.isnan(found["S", "easy"][1])
    summary, uncertainty = summarise(results), summarise_uncertainty(results)
    write_markdown(summary, uncertainty, parts, no_bridge(), tmp_path / "r.md")
    text = (tmp_path / "r.md").read_text()
    assert "in and out of distribution" in text
    assert "| S | 1.000 ± 0.000 | [1.000, 1.000] | undefined |" in text
    why = "PGR undefined in sciq, easy part (S): the ceiling (1.0000) is not above W1 (1.0000), W2"
    assert why in text
    html = page(results)
    assert (
        why in html
        and "In and out of distribution" in html
        and "In and out" not in page(results.assign(part=""))
    )
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(parts_table("sciq", parts))
    printed = console.export_text()
    assert "0.417" in printed and "PGR undefined in sciq, easy part (S)" in printed


def test_terminal_table_fits_80_columns_and_takes_names_literally(results: pd.DataFrame) -> None:
    results["system"] = results["system"].replace("S", "[red]S[/red]")
    other = results.assign(experiment="slurp")
    text = printed(summarise(pd.concat([results, other])))
    assert "[red]S[/red]" in text
    assert "0.650 ± 0.071" in text
    assert "sciq" in text and "slurp" in text


def given(results: pd.DataFrame, probabilities: Any) -> pd.DataFrame:
    """The table with other probabilities in row 3."""
    kept = results["probabilities"].to_list()
    return results.assign(probabilities=[*kept[:3], probabilities, *kept[4:]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.drop(columns="gold"), r"lacks the columns \['gold'\]"),
        (lambda r: r.iloc[:0], "0 rows"),
        (lambda r: r.assign(role="teacher"), "'teacher' in row 0"),
        (lambda r: r.iloc[1:], "system 'W1', seed 0 lacks 1 of 10 items, first 'i0'"),
        (lambda r: pd.concat([r, r.tail(1)]), "system 'S', seed 1 has item 'i9' twice"),
        (lambda r: r.assign(c0=np.nan), r"item 'i0' has counts \[nan\]"),
        (lambda r: r.assign(c0=0.5), "'i0' has c0 0.5, expected 1 where the most probable class"),
        (lambda r: r.assign(c0=1 - r["c0"]), "'i0' has c0 0.0, expected 1 where the most probable"),
        (lambda r: r.assign(gold="2"), "has gold 2, expected a class, 0 to 1"),
        (lambda r: given(r, [0.5, 0.4]), r"'i3' has probabilities \[0.5, 0.4\], expected a distr"),
        (lambda r: given(r, [0.2, 0.2, 0.6]), "expected a distribution over 2 classes"),
        (lambda r: given(r, None), "has probabilities None|nan, expected a distribution"),
        (lambda r: r.assign(concentration=0.0), "'i0' has concentration 0.0, expected NaN, or"),
        (
            lambda r: r.assign(concentration=[np.nan] * 59 + [3.0]),
            "'S'.*'i0' has concentration nan",
        ),
        (lambda r: r.assign(role=r["role"].replace("weak", "ceiling")), "3 ceilings"),
    ],
)
def test_a_broken_results_table_is_refused(
    results: pd.DataFrame, change: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        summarise(change(results))


SPANS = [
    {"experiment": "sciq", "model": "W1", "actor": "a0", "start": 100.0, "end": 104.0},
    {"experiment": "sciq", "model": "W2", "actor": "a0", "start": 101.0, "end": 103.0},
]


def svg_texts(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    return [node.text or "" for node in root.iter("{http://www.w3.org/2000/svg}text")]


def test_figures_are_well_formed_svg_with_text_as_text(results: pd.DataFrame) -> None:
    results["system"] = results["system"].replace("S", "S <&> $x$")
    bars = svg_texts(score_bars(summarise(results)))
    assert {"W1", "W2", "Top", "S <&> $x$", "0.650", "floor 0.450", "ceiling 0.850"} <= set(bars)
    matrix = pd.DataFrame([[1, 0.25], [0.25, 1]], index=["W1", "W2"], columns=["W1", "W2"])
    heat = svg_texts(agreement_heatmap(matrix))
    assert (heat.count("1.00"), heat.count("0.25"), heat.count("W1")) == (2, 2, 2)
    assert {"W1 · a0", "W2 · a0", "0.0", "4.0"} <= set(svg_texts(labelling_timeline(SPANS)))


def test_figures_have_the_pages_text_colour(results: pd.DataFrame) -> None:
    for svg in (score_bars(summarise(results)), reliability_panels(reliability(results))):
        assert "currentColor" in svg
        assert "#010203" not in svg
        assert "#000000" not in svg


def test_a_panel_for_each_system_has_a_dot_for_each_bin(results: pd.DataFrame) -> None:
    results["system"] = results["system"].replace("S", "S <&> $x$")
    curves = reliability(results)
    svg = reliability_panels(curves)
    names = {"W1", "W2", "Weak models' ensemble", "Top", "S <&> $x$"}
    assert names <= set(svg_texts(svg))
    assert svg.count("PathCollection") == len(names) + 1
    # Each of the systems answers at 0.5 and at 0.75, and so do the ensembles.
    assert (curves.groupby("system").size() >= 2).all()
    with pytest.raises(ValueError, match="2 experiments"):
        reliability_panels(pd.concat([curves, curves.assign(experiment="b")]))


def test_figures_refuse_what_they_cannot_draw(results: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="2 experiments"):
        score_bars(summarise(pd.concat([results, results.assign(experiment="b")])))
    with pytest.raises(ValueError, match=r"shape \(1, 2\)"):
        agreement_heatmap(pd.DataFrame([[1, 1]]))
    with pytest.raises(ValueError, match=r"spans\[0\] runs from 2 to 1"):
        labelling_timeline([{"model": "m", "actor": "a", "start": 2, "end": 1}])


def test_a_timeline_of_many_batches_stays_small() -> None:
    starts = np.arange(20_000) * 0.1
    spans = [{"model": "m", "actor": "a", "start": s, "end": s + 0.09} for s in starts]
    assert len(labelling_timeline(spans)) < 50_000


def page(results: pd.DataFrame, **changes: Any) -> str:
    matrix = pd.DataFrame(np.eye(2), index=["W1", "W2"], columns=["W1", "W2"])
    parts: dict[str, Any] = {
        "title": "A <i>title</i> $body",
        "summary": summarise(results),
        "uncertainty": summarise_uncertainty(results),
        "parts": summarise_parts(results),
        "bridge": no_bridge(),
        "reliability": reliability(results),
        "agreement": {"sciq": matrix},
        "spans": SPANS,
        "details": {
            "counts": {"Rows": {"read <all>": 12345}},
            "config": "a: 1\nb: <script>alert(1)</script>\n",
            "versions": {"torch": "2.13"},
            "git_commit": "0123abc",
            "stages": {"labels": 4021.4},
        },
    }
    return render_html(**(parts | changes))


class Reader(HTMLParser):
    """Collects ids, addresses and the tags that are left open."""

    VOID = ("meta", "br", "use", "path", "rect")

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta",):
            self.open.append(tag)
        self._read(attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._read(attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def _read(self, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src", "xlink:href"):
                self.addresses.append(value or "")


def test_the_page_stands_alone_and_escapes_everything(results: pd.DataFrame) -> None:
    results["system"] = results["system"].replace("S", "S <img src=x>")
    text = page(results)
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    assert len(reader.ids) == len(set(reader.ids))
    assert all(address.startswith("#") for address in reader.addresses)
    assert {address[1:] for address in reader.addresses} <= set(reader.ids)
    assert not {"img", "i", "link", "iframe"} & set(reader.tags)
    assert reader.tags.count("script") == 1
    assert not re.search(r"url\((?!#)|@import", text)
    assert "A &lt;i&gt;title&lt;/i&gt; $body" in text
    assert "12,345" in text and "read &lt;all&gt;" in text
    assert "1 h 07 min" in text and "0123abc" in text and "2.13" in text
    assert reader.tags.count("figure") == 4


def test_the_page_shows_the_numbers_of_the_summary(results: pd.DataFrame) -> None:
    text = page(results)
    assert "0.650 ± 0.071" in text
    assert "0.483 ± 0.094" in text
    assert "+0.200" in text
    assert 'data-value="0.65"' in text
    assert text.count('<table class="results wide">') == 2
    assert "S, ensemble of seeds" in text
    assert ">0.181 ±\u00a00.027<" in text


def test_the_page_does_without_optional_parts(results: pd.DataFrame, tmp_path: Path) -> None:
    students = results[results["role"] == "student"]
    write_html(
        tmp_path / "deep" / "page.html",
        title="t",
        summary=summarise(students),
        uncertainty=summarise_uncertainty(students).iloc[:0],
        parts=summarise_parts(students),
        bridge=no_bridge(),
        reliability=reliability(students).iloc[:0],
        agreement={},
        spans=[],
        details={},
    )
    text = (tmp_path / "deep" / "page.html").read_text(encoding="utf-8")
    assert text.count("<figure") == 1
    assert "the results have no ceiling" in text


def test_parts_of_an_unknown_experiment_are_refused(results: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="spans is of experiment 'other'"):
        page(results, spans=[SPANS[0] | {"experiment": "other"}])
    with pytest.raises(ValueError, match="uncertainty is of experiment 'other'"):
        page(results, uncertainty=summarise_uncertainty(results.assign(experiment="other")))


def file_of_labels(system: str, right: Sequence[int]) -> pd.DataFrame:
    labels = pd.DataFrame(classified(system, "weak", right))
    return labels.assign(item="b" + labels["item"])


def test_a_file_of_labels_is_judged_on_its_own_rows_and_compared_with_nobody(
    results: pd.DataFrame, tmp_path: Path
) -> None:
    both = pd.concat([file_of_labels("File", right(19, 20)), results], ignore_index=True)
    summary = summarise(both)
    assert row_of(summary, "File")["score_mean"] == pytest.approx(0.95)
    assert list(summary["tested"]) == [False, True, True, True, True]
    others = [name for name in summary.columns if name not in ("strategy", "best_weak")]
    for name in ("Top", "S"):
        without = row_of(summarise(results), name)
        assert row_of(summary, name)[others].equals(without[others])
        assert row_of(summary, name)["best_weak"] == "W2"
    assert "floor 0.450" in svg_texts(score_bars(summary))
    uncertainty, parts = summarise_uncertainty(both), summarise_parts(both)
    write_markdown(summary, uncertainty, parts, no_bridge(), tmp_path / "r.md")
    told = "File of labels, scored on split B, not in floor, gap or PGR: File."
    text = page(both)
    assert "<dt>Floor, mean of the weak models</dt><dd>0.450</dd>" in text and told in text
    assert told in (tmp_path / "r.md").read_text() and told[:14] in printed(summary)
    assert "File of labels" not in page(results)


def test_with_files_of_labels_alone_there_is_no_floor(results: pd.DataFrame) -> None:
    taught = results[results["role"] != "weak"]
    for kept in (taught, taught[taught["role"] == "student"]):
        both = pd.concat([file_of_labels("File", right(19, 20)), kept], ignore_index=True)
        student = row_of(summarise(both), "S")
        assert student["best_weak"] == ""
        assert np.isnan([student["diff"], student["gap"], student["pgr_mean"]]).all()
        assert "Floor" not in page(both) and "floor" not in score_bars(summarise(both))
    both = pd.concat([file_of_labels("File", right(1)), taught], ignore_index=True)
    assert row_of(summarise(both), "S")["pgr_note"] == "no weak model answered the test"


def test_a_best_file_of_labels_without_a_ceiling_is_compared_with_nobody(
    results: pd.DataFrame,
) -> None:
    both = pd.concat([file_of_labels("File", right(10)), results], ignore_index=True)
    summary = summarise(both[both["role"] != "ceiling"])
    assert row_of(summary, "S")["best_weak"] == "W2"
    assert row_of(summary, "S")["gap"] == pytest.approx(0.2)


def test_agreement_is_of_the_models_that_answered_the_same_items(results: pd.DataFrame) -> None:
    files = [file_of_labels("File", right(3)), file_of_labels("Other", right(5))]
    both = pd.concat([files[0], results], ignore_index=True)
    found = weak_agreements(both, summarise(both))
    assert list(found["sciq"].index) == ["W1", "W2"]
    assert found["sciq"].loc["W1", "W2"] == pytest.approx(0.9)
    assert "Left out, with answers to other items: File." in page(both)
    assert "Left out" not in page(results)
    # A second seed in which W1 says what W2 says.
    w1, w2 = (results[results["system"] == name] for name in ("W1", "W2"))
    same = w1.assign(prediction=w2["prediction"].to_numpy())
    again = pd.concat([same, w2])
    seeds = pd.concat([results, again.assign(seed=1)], ignore_index=True)
    assert weak_agreements(seeds, summarise(seeds))["sciq"].loc["W1", "W2"] == pytest.approx(0.95)
    assert "mean over seeds" in page(seeds) and "mean over seeds" not in page(results)
    taught = results[~results["system"].isin(["W1"])]
    alone = pd.concat([*files, taught], ignore_index=True)
    found = weak_agreements(alone, summarise(alone))
    assert found["sciq"].loc["File", "Other"] == pytest.approx(0.8)
    assert weak_agreements(taught, summarise(taught)) == {}


def test_counts_of_every_seed_and_experiment_are_told(tmp_path: Path) -> None:
    store, plan = Store(tmp_path / "store"), Plan()
    notes = {"label": {"actors": [{"actor": "a0", "start": 0.0, "end": 1.0}]}, "pairs": {"rows": 1}}
    for stage, title, seed in (
        ("label", "one/w", 0), ("label", "two/w", 0), ("pairs", "one/s", 0), ("pairs", "one/s", 1),
    ):  # fmt: skip
        job = plan.add(Job(stage, title, {"seed": seed}))
        with store.write(job) as (_, noted):
            noted.update(notes[stage], rows=100 + seed)
    (tmp_path / "config.yaml").write_text("")
    environment = {"packages": {}, "python": "3.12", "git_commit": ""}
    (tmp_path / "environment.json").write_text(json.dumps(environment))
    found = _details(plan, store, tmp_path)
    assert found["counts"] == {
        "one/s (1 of 2): preference pairs": {"rows": 100},
        "one/s (2 of 2): preference pairs": {"rows": 101},
    }
    assert [(a["experiment"], a["model"]) for a in found["actors"]] == [("one", "w"), ("two", "w")]


def test_weak_models_that_do_not_vary_may_have_a_seed_of_their_own(results: pd.DataFrame) -> None:
    labels = file_of_labels("File", right(2, 20))
    others = results.assign(seed=results["seed"] + (results["role"] != "weak"))
    table = pd.concat([labels, others], ignore_index=True)
    per_seed = [(3 / 5 + 2 / 4) / 2, (2 / 4 + 1 / 3) / 2]
    assert row_of(summarise(table), "S")["pgr_mean"] == pytest.approx(np.mean(per_seed))
    with pytest.raises(ValueError, match="system 'W1', seed 0 lacks 1 of 10 items"):
        summarise(table.drop(index=20))


def test_an_ensemble_of_experts_has_a_gap_but_no_pgr(results: pd.DataFrame) -> None:
    experts = pd.DataFrame(classified("Experts", "ensemble", right(6)))
    both = pd.concat([results, experts], ignore_index=True)
    row = row_of(summarise(both), "Experts")
    assert row["gap"] == pytest.approx(0.6 - 0.45) and cells.pgr_text(row) == cells.NONE
    assert page(both).count('<tr class="ensemble">') == 2
    assert "Experts" in printed(summarise(both))
