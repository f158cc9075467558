"""Combinations of real weak labels: SciQ by four sizes of GPT-2."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from raw2s.method.label_models import (
    DawidSkene,
    FlyingSquid,
    MajorityVote,
    WeightedMean,
    signed_votes,
)
from raw2s.method.reliability import learned_weights

# P(p_true > 0.5 equals the label), as stated beside the data.
STATED = {0: [0.659, 0.697, 0.720, 0.739], 1: [0.654, 0.681, 0.716, 0.726]}
NAMES = ["gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl"]


@pytest.mark.parametrize("seed", STATED)
def test_every_combination_is_above_the_worst_model(
    data_folder: Path, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    path = data_folder / "sciq_gpt2_weak_labels" / f"weak_labels_seed{seed}.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    truth = np.array([row["label"] for row in rows])
    positive = np.array([[row["p_true"][name] for name in NAMES] for row in rows])
    probabilities = np.stack([1 - positive, positive], axis=-1)
    votes = (positive > 0.5).astype(np.int64)
    singles = {name: float((votes[:, i] == truth).mean()) for i, name in enumerate(NAMES)}
    np.testing.assert_allclose(list(singles.values()), STATED[seed], atol=5e-4)

    signed = signed_votes(votes)
    weights = {kind: learned_weights(votes, 2, kind=kind) for kind in ("log_odds", "accuracy")}
    posteriors = {
        "majority": MajorityVote(2).fit(votes).predict_proba(votes),
        "mean probability": WeightedMean([1, 1, 1, 1]).predict_proba(probabilities),
        "log-odds weights": WeightedMean(list(weights["log_odds"])).predict_proba(probabilities),
        "accuracy weights": WeightedMean(list(weights["accuracy"])).predict_proba(probabilities),
        "FlyingSquid": FlyingSquid().fit(signed).predict_proba(signed),
        "DawidSkene": DawidSkene(2).fit(votes).predict_proba(votes),
    }
    # A tie, which an even number of votes can end in, is half right.
    own = {name: p[np.arange(len(truth)), truth] for name, p in posteriors.items()}
    scores = {name: float(np.heaviside(p - 0.5, 0.5).mean()) for name, p in own.items()}
    with capsys.disabled():
        print(f"\nSciQ, seed {seed}, {len(truth)} items, accuracy")
        for name, score in {**singles, **scores}.items():
            print(f"  {name:<18}{score:.4f}")
        print("  weights", {kind: w.round(3).tolist() for kind, w in weights.items()})
    worst = min(singles.values())
    assert {name: score for name, score in scores.items() if score <= worst} == {}
