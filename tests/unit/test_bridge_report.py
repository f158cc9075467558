"""What was measured of the bridge, in numbers, in a run's folder and in a study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raw2s.method.bridge_check import ChunkShare, Word, check_text
from raw2s.pipeline import Plan
from raw2s.reports.bridge import bridge_html, bridge_markdown, no_bridge, summarise_bridge
from raw2s.reports.run.html import render_html
from raw2s.reports.run.markdown import write_markdown
from raw2s.reports.run.report import _bridge
from raw2s.reports.run.uncertainty import summarise_uncertainty
from raw2s.reports.study.comparison import Cell
from raw2s.reports.study.html import write_study
from raw2s.reports.table import summarise
from raw2s.store import Job, Store

COSTS = ("own_seconds", "all_seconds", "tokens")
HEADING = "The bridge: what it takes for granted"
# Two seeds of one weak model: words (weak and strong log P, tokens, chunks) and shares.
WORDS = {
    0: [Word(-1.0, -1.0, 2, 3, 2), Word(-2.0, -2.0, 1, 2, 1), Word(-3.0, -4.0, 3, 1, 1)],
    1: [Word(-1.0, -3.0, 2, 3, 2), Word(-2.0, -2.0, 2, 2, 2), Word(-1e-9, -1.0, 2, 1, 2)],
}
SHARES = {
    0: [ChunkShare(0, 0.25, 0.5, 0.5, 0.75), ChunkShare(0, 0.75, 0.5, 0.5, 0.25)],
    1: [
        *(ChunkShare(0, 0.25, 0.5, 0.75, 0.25), ChunkShare(0, 0.75, 0.5, 0.25, 0.75)),
        *(ChunkShare(1, 0.5, 0.5, 0.5, 0.5), ChunkShare(1, 0.5, 0.5, 0.5, 0.5)),
    ],
}


def table(rows: dict[int, Any], **key: str) -> pd.DataFrame:
    key = {"experiment": "slots", "model": "W", "id": "a"} | key
    return pd.DataFrame([key | {"seed": s} | row._asdict() for s in rows for row in rows[s]])


def measured(**key: str) -> pd.DataFrame:
    return summarise_bridge(table(WORDS, **key), table(SHARES, **key))


def test_means_and_deviations_over_seeds_by_hand() -> None:
    (row,) = measured().to_dict("records")
    assert (row["experiment"], row["model"]) == ("slots", "W")
    counts = ("words", "split_words", "certain_words", "weak_tokens", "strong_tokens")
    assert [row[name] for name in counts] == [3, 1.5, 0.5, 2, 2]
    of_seeds = [
        np.corrcoef([[word.weak_logprob, word.strong_logprob] for word in words], rowvar=False)
        for words in WORDS.values()
    ]
    pearson = [matrix[0, 1] for matrix in of_seeds]
    assert row["pearson_mean"] == pytest.approx(np.mean(pearson))
    assert row["pearson_std"] == pytest.approx(np.std(pearson, ddof=1))
    # Ranks 3 2 1 against 3 2 1, and 2 1 3 against 1 2 3.
    assert row["spearman_mean"] == pytest.approx((1 + 0.5) / 2)
    errors = {"confidence": [0.25, 0.125], "uniform": [0.25, 0.25], "plus_sign": [0.5, 0.0]}
    for rule, values in errors.items():
        assert row[f"{rule}_error_mean"] == pytest.approx(np.mean(values))
        assert row[f"{rule}_error_std"] == pytest.approx(np.std(values, ddof=1))
    assert [row[f"{rule}_spearman_mean"] for rule in ("confidence", "uniform", "plus_sign")] == [
        pytest.approx(np.nan, nan_ok=True), pytest.approx(np.nan, nan_ok=True), pytest.approx(0),
    ]  # fmt: skip


def test_a_weak_model_that_is_the_strong_one_agrees_with_it() -> None:
    spans, logprobs = [(0, 2), (2, 3), (3, 5), (5, 7)], [-0.1, -2.0, -0.7, -0.4]
    words, shares = check_text("abc d e", spans, logprobs, spans, logprobs, np.exp(logprobs))
    (row,) = summarise_bridge(table({0: words}), table({0: shares})).to_dict("records")
    assert [row["pearson_mean"], row["spearman_mean"]] == pytest.approx([1, 1])
    assert np.isnan([row["pearson_std"], row["uniform_error_std"]]).all()
    # "ab" has 0.1 of 2.1; the more confident token gets the smaller share.
    weights = np.exp([-np.exp(-0.1), -np.exp(-2.0)])
    assert row["uniform_error_mean"] == pytest.approx(0.5 - 0.1 / 2.1)
    assert row["confidence_error_mean"] == pytest.approx(weights[0] / weights.sum() - 0.1 / 2.1)


def results(experiment: str) -> pd.DataFrame:
    """One answer of one weak model, which is all that a report needs."""
    row = {
        "experiment": experiment, "kind": "generation", "seed": 0, "system": "W", "role": "weak",
        "strategy": "", "item": "a", "part": "", "prediction": "", "gold": "[]",
        "malformed": False, "probabilities": None, "concentration": np.nan,
        **{f"c{n}": 1.0 for n in range(6)},
    }  # fmt: skip
    return pd.DataFrame([row])


def test_a_run_tells_it_where_it_was_measured(tmp_path: Path) -> None:
    store, plan = Store(tmp_path / "store"), Plan()
    for seed in (0, 1):
        job = plan.add(Job("bridge_check", "slots/bridge", {"seed": seed}))
        with store.write(job) as (folder, _):
            for name, rows in (("words", WORDS), ("chunks", SHARES)):
                of_seed = table({seed: rows[seed]})
                of_seed.to_parquet(folder / f"{name}.parquet", index=False)
    bridge = _bridge(plan, store, tmp_path)
    pd.testing.assert_frame_equal(bridge, measured())
    assert len(pd.read_parquet(tmp_path / "bridge_words.parquet")) == 6
    assert len(pd.read_parquet(tmp_path / "bridge_chunks.parquet")) == 6
    assert pd.read_csv(tmp_path / "bridge.csv")["words"].to_list() == [3]
    assert _bridge(Plan(), store, tmp_path).empty
    both = pd.concat([results("topics"), results("slots")], ignore_index=True)
    summary, uncertainty = summarise(both, n_resamples=20), summarise_uncertainty(both)
    write_markdown(summary, uncertainty, no_bridge(), bridge, tmp_path / "r.md")
    text = (tmp_path / "r.md").read_text()
    assert text.index("**topics**") < text.index("**slots**") < text.index("**slots**: the bridge")
    shown = [line for line in text.splitlines() if line.startswith("| W | 3 |")]
    assert shown == [bridge_markdown(bridge).splitlines()[2]]
    cells = shown[0].strip("| ").split(" | ")
    assert cells[1:6] == ["3", "1.5", "0.5", "2.000", "2.000"]
    assert cells[8:] == [
        "0.188 ± 0.088", "0.250 ± 0.000", "0.250 ± 0.354", "–", "–", "0.000 ± 1.414",
    ]  # fmt: skip
    asked: dict[str, Any] = {
        "title": "t", "summary": summary, "uncertainty": uncertainty, "parts": no_bridge(),
        "reliability": uncertainty, "agreement": {}, "spans": [], "details": {},
    }  # fmt: skip
    page = render_html(**asked, bridge=bridge)
    assert page.count(HEADING) == 1 and bridge_html(bridge) in page
    assert HEADING not in render_html(**asked, bridge=no_bridge())
    with pytest.raises(ValueError, match="bridge is of experiment 'other'"):
        render_html(**asked, bridge=measured(experiment="other"))


def test_a_study_tells_it_by_variant(tmp_path: Path) -> None:
    names = ("slots-b", "slots-a", "topics-b")
    write_study(
        tmp_path, title="T", question="Q", command="raw2s study x",
        results=pd.concat(map(results, names), ignore_index=True),
        cells=[Cell(name, *name.split("-")) for name in names], axis="tokenizer",
        costs=pd.DataFrame(columns=["experiment", "system", *COSTS]),
        bridge=pd.concat([measured(experiment=name) for name in ("slots-a", "slots-b", "slots-c")]),
        reports="", details={},
    )  # fmt: skip
    text, page = ((tmp_path / name).read_text() for name in ("study.md", "study.html"))
    assert text.count(HEADING) == page.count(HEADING) == 1
    assert text.index(HEADING) < text.index("## topics")
    told = text.split(HEADING)[1].split("\n\n")[1].splitlines()
    assert told[0].startswith("| tokenizer | Weak model | Words all |")
    assert [line[:13] for line in told[2:]] == ["| b | W | 3 |", "| a | W | 3 |"]
