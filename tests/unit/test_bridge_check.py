"""What the bridge takes for granted: words and chunks by hand, and the stage from small tables."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raw2s.config import load
from raw2s.evaluation.correlation import correlation
from raw2s.method.bridge import AlignmentError
from raw2s.method.bridge_check import ChunkShare, Word, check_text
from raw2s.models.scratch import train_tokenizer
from raw2s.pipeline import Plan, recipe
from raw2s.stages.bridge_check import check, check_job, texts, texts_job
from raw2s.stages.training import no_progress
from raw2s.store import Job, Store

TINY = Path(__file__).parents[2] / "configs" / "tiny.yaml"
# "ab|c| d" and "a|b|c| d": two words, of two chunks and of one.
WEAK = ([(0, 2), (2, 3), (3, 5)], [-1.0, -2.0, -4.0])
STRONG = ([(0, 1), (1, 2), (2, 3), (3, 5)], [-0.5, -0.5, -1.0, -3.0], [0.9, 0.1, 0.4, 0.2])


def test_words_and_chunks_by_hand() -> None:
    told, shares = check_text("abc d", *WEAK, *STRONG)
    assert told == [Word(-3.0, -2.0, 2, 3, 2), Word(-4.0, -3.0, 1, 1, 1)]
    assert [(share.word, share.weak, share.uniform) for share in shares] == [
        (0, pytest.approx(1 / 3), pytest.approx(2 / 3)),
        (0, pytest.approx(2 / 3), pytest.approx(1 / 3)),
    ]
    for sign, rule in ((-1, "confidence"), (1, "plus_sign")):
        a, b, c = (math.exp(sign * sure) for sure in (0.9, 0.1, 0.4))
        assert [getattr(share, rule) for share in shares] == [
            pytest.approx((a + b) / (a + b + c)), pytest.approx(c / (a + b + c)),
        ]  # fmt: skip


def test_with_one_tokenizer_a_chunk_is_a_token() -> None:
    spans = [(i, i + 1) for i in range(4)]
    told, shares = check_text(
        "abcd", spans, [-1, -2, -3, -4], spans, [-0.1, -0.2, -0.3, -0.4], [0.5] * 4
    )
    assert told == [Word(-10.0, pytest.approx(-1.0), 4, 4, 4)]
    # All steps are alike to the strong model: every rule is uniform.
    for share, weak in zip(shares, (0.1, 0.2, 0.3, 0.4), strict=True):
        assert share == (0, *map(pytest.approx, (weak, 0.25, 0.25, 0.25)))


def test_a_certain_word_has_no_shares() -> None:
    spans = [(0, 1), (1, 2), (2, 4), (4, 5)]
    told, shares = check_text("ab cd", spans, [-1e-7, -2e-7, -1, -1], spans, [-1] * 4, [0.5] * 4)
    assert [word.chunks for word in told] == [2, 2]
    assert [share.word for share in shares] == [1, 1]


def test_an_empty_text_has_no_words() -> None:
    assert check_text("", [], [], [], [], []) == ([], [])


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(AlignmentError, match="strong_spans .* leaves bytes 1 to 2"):
        check_text("ab", [(0, 2)], [-1.0], [(0, 1)], [-1.0], [0.5])
    one = [(0, 1)]
    for bad, message in (
        ([[0.5], [-1.0], [0.5]], r"weak_logprobs .* is not <= 0 at \(0,\): 0.5"),
        ([[-1.0], [math.nan], [0.5]], r"strong_logprobs .* is not finite at \(0,\)"),
        ([[-1.0], [-1.0], [0.5, 0.5]], r"confidence \(shape \(2,\)\) must be \(1,\)"),
    ):
        weak, strong, sure = bad
        with pytest.raises(ValueError, match=message):
            check_text("a", one, weak, one, strong, sure)


def test_correlations_are_numpys() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 6, 40).astype(float)
    y = np.exp(x) + rng.normal(size=40)
    found = correlation(x, y)
    # Of equal values each has the mean rank.
    ranks = [[(v < w).sum() + ((v == w).sum() + 1) / 2 for w in v] for v in (x, y)]
    assert found.pearson == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert found.spearman == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert correlation(x, x) == (pytest.approx(1), pytest.approx(1))
    # 0.1 + 0.2 is not 0.3 to the last bit; there is still one value.
    for constant in ([0.3, 0.1 + 0.2], [1.0, 1.0]):
        assert np.isnan(correlation(constant, [1.0, 2.0])).all()
    assert np.isnan(correlation([], [])).all() and np.isnan(correlation([1], [2])).all()
    with pytest.raises(ValueError, match=r"other \(shape \(1,\)\) must be \(2,\)"):
        correlation([1, 2], [1])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def written(store: Store, job: Job, rows: list[dict[str, Any]]) -> Job:
    with store.write(job) as (folder, _):
        pd.DataFrame(rows).to_parquet(folder / "rows.parquet", index=False)
    return job


def label(item: str, candidate: int, text: str) -> dict[str, Any]:
    """A beam in tokens of one byte, each of log-probability -1."""
    size = len(text.encode())
    return {
        "id": item, "candidate": candidate, "text": text, "finished": item != "b",
        "token_logprobs": [-1.0] * size, "starts": list(range(size)),
        "ends": list(range(1, size + 1)), "eos_logprob": -0.1,
    }  # fmt: skip


def score(item: str, candidate: int, text: str, logprob: float, scored: bool = True) -> Any:
    """The same text in tokens of two bytes, or none."""
    starts = list(range(0, len(text.encode()), 2)) if scored else []
    return {
        "id": item, "candidate": candidate, "scored": scored, "starts": starts,
        "ends": [start + 2 for start in starts], "token_logprobs": [logprob] * len(starts),
        "eos_logprob": -0.1, "confidences": [0.5] * len(starts),
    }  # fmt: skip


def test_the_ceilings_reading_meets_the_weak_models_own(store: Store) -> None:
    told = {
        "w1": [label("a", 0, "play"), label("a", 1, "other"), label("b", 0, "pl")],
        "w2": [label("a", 0, "pl{}"), label("b", 0, "play")],
    }
    labels_of = {
        name: written(store, Job("label", name, {"of": name}), told[name]) for name in told
    }
    asked = texts_job("slots", labels_of)
    texts(asked, store)
    read = pd.read_parquet(store.path(asked) / "texts.parquet")
    assert read.to_dict("split")["data"] == [
        ["a", 0, "play"], ["b", 0, "pl"], ["a", 1, "pl{}"], ["b", 1, "play"],
    ]  # fmt: skip
    ceiling = Job("finetune", "ceiling", {})
    with store.write(ceiling) as (folder, _):
        train_tokenizer("wordpiece", ["play pl"] * 20, 100).save_pretrained(folder)
    scores = written(
        store,
        Job("score", "ceiling", {}),
        [
            score("a", 0, "play", -0.5), score("a", 1, "pl{}", -0.5), score("b", 0, "pl", -2.0),
            score("b", 1, "play", 0.0, scored=False),
        ],
    )  # fmt: skip
    job = check_job("slots", 7, labels_of, ceiling, scores)
    check(job, store, no_progress)
    words = pd.read_parquet(store.path(job) / "words.parquet")
    chunks = pd.read_parquet(store.path(job) / "chunks.parquet")
    assert list(words.columns) == ["experiment", "seed", "model", "id", *Word._fields]
    assert words.to_dict("split")["data"] == [
        ["slots", 7, "w1", "a", -4.0, -1.0, 4, 2, 2], ["slots", 7, "w1", "b", -2.0, -2.0, 2, 1, 1],
    ]  # fmt: skip
    assert list(chunks.columns) == ["experiment", "seed", "model", "id", *ChunkShare._fields]
    half = [0.5, 0.5, 0.5, 0.5]
    assert chunks.to_dict("split")["data"] == [["slots", 7, "w1", "a", 0, *half]] * 2
    # No piece of the ceiling's tokenizer spells a brace; the other text is longer than it can read.
    assert store.manifest(job)["notes"]["counts"] == {
        "w1": {"sequences": 2},
        "w2": {
            "sequences": 2,
            "refused by the bridge": 1,
            "longer than the ceiling's context": 1,
        },
    }


def test_the_check_is_beside_the_run_and_changes_none_of_it() -> None:
    def planned(**changes: Any) -> Plan:
        return recipe(load(TINY, overrides={"seeds": [0, 1], **changes}))

    plain, checked = planned(), planned(**{"experiments.slots.bridge_check": True})
    added = {stage for stage in checked.stages if len(checked.jobs(stage)) > len(plain.jobs(stage))}
    assert added == {"bridge_texts", "bridge_score", "bridge_check"}
    assert plain.fingerprints() < checked.fingerprints()
    # The weak models do not vary with the seed, the ceiling does.
    assert [len(checked.jobs(f"bridge_{what}")) for what in ("texts", "score", "check")] == [
        1,
        2,
        2,
    ]
    for job in checked.jobs("bridge_check"):
        assert list(job.inputs) == ["model", "scores", "label.gpt2", "label.bloom", "label.llama"]
        scores = job.inputs["scores"]
        assert scores.inputs["model"] is job.inputs["model"]
        assert scores.spec["options"] == {"confidences": True}
        assert list(scores.inputs["texts"].inputs) == ["gpt2", "bloom", "llama"]
