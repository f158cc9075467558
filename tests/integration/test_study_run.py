"""A study on the tiny run's models: what is shared is found, what was asked is answered."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest


def test_a_study_answers_with_a_table_and_a_figure(studied: Path, undisturbed: Path) -> None:
    folder = studied / "studies" / "studied"
    text = (folder / "study.md").read_text()
    assert text.startswith("# How many?") and "Are two enough?" in text
    assert "raw2s study" in text and "| accuracy by weak models | 2 | 3 |" in text
    assert "<svg" in (folder / "study.svg").read_text()
    table = pd.read_csv(folder / "study.csv")
    assert set(table["variant"]) == {2, 3}
    of_three = table[table["variant"] == 3].set_index("system")
    assert list(of_three.index[:3]) == ["gpt2", "bloom", "llama"]
    naive = of_three.loc["Naive Multi-Weak"]
    assert naive["all_seconds"] > naive["own_seconds"] > 0
    # 64 rows, one epoch, some words each.
    assert 64 * 5 < naive["tokens"] < 64 * 96

    # The undisturbed run has trained this student: the same score, and nothing trained twice.
    before = pd.read_csv(undisturbed / "runs" / "tiny" / "results.csv").set_index(
        ["experiment", "system"]
    )
    name = "Bayesian Multi-Weak + aux"
    score = before.loc[("topics", name), "score_mean"]
    assert of_three.loc[name, "score_mean"] == pytest.approx(score)
    trained = {
        storage: {path.name for path in storage.glob("artefacts/finetune/*")}
        for storage in (undisturbed, studied)
    }
    assert trained[studied] == trained[undisturbed]
