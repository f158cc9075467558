"""Wrong answers in a weak model's ground truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raw2s import config
from raw2s.config import Model, Noise
from raw2s.errors import ConfigError
from raw2s.pipeline import recipe
from raw2s.stages.noise import noise_spec, noisy

TINY = Path(__file__).parents[2] / "configs" / "tiny.yaml"
CLASSES = pd.DataFrame({"id": range(1000), "label": np.arange(1000) % 5, "gold": "kept"})
TEXTS = pd.DataFrame({"id": range(200), "target": [f"a{n % 7}" for n in range(200)]})


def spec(name: str = "m", **noise: Any) -> dict[str, Any]:
    return noise_spec(Model(name=name, path="p", noise=Noise(**noise)))


def test_without_noise_nothing_changes() -> None:
    assert noise_spec(Model(name="m", path="p")) == {}
    pd.testing.assert_frame_equal(noisy(CLASSES, {}, 5), CLASSES)


@pytest.mark.parametrize("kind", ["random", "flipped"])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_exactly_the_share_is_wrong(kind: str, share: float) -> None:
    label = noisy(CLASSES, spec(share=share, kind=kind), 5)["label"]
    wrong = (label != CLASSES["label"]).to_numpy()
    assert wrong.sum() == share * 1000
    assert label.isin(range(5)).all()
    if kind == "flipped":
        assert (label[wrong] == (CLASSES["label"][wrong] + 1) % 5).all()
    elif share:
        # Each of the four other classes about alike.
        steps = (label[wrong] - CLASSES["label"][wrong]) % 5
        assert set(steps) == {1, 2, 3, 4}
        assert steps.value_counts().min() > 0.15 * wrong.sum()


def test_more_noise_keeps_what_is_wrong_already() -> None:
    little, much = (noisy(CLASSES, spec(share=share), 5)["label"] for share in (0.2, 0.6))
    wrong = little != CLASSES["label"]
    assert (much[wrong] == little[wrong]).all()


def test_models_err_in_rows_of_their_own_unless_alike() -> None:
    def wrong(name: str, alike: bool) -> set[int]:
        label = noisy(CLASSES, spec(name, share=0.2, alike=alike), 5)["label"]
        return set(np.flatnonzero(label != CLASSES["label"]))

    assert wrong("a", True) == wrong("b", True)
    shared = len(wrong("a", False) & wrong("b", False))
    assert 20 < shared < 65  # 40 by chance


def test_a_text_becomes_another_rows() -> None:
    target = noisy(TEXTS, spec(share=0.5), None)["target"]
    assert (target != TEXTS["target"]).sum() == 100
    assert set(target) <= set(TEXTS["target"])
    alike = TEXTS.assign(target="one")
    pd.testing.assert_frame_equal(noisy(alike, spec(share=1.0), None), alike)


def test_noise_retrains_the_model_and_what_follows_only() -> None:
    def plan(**more: Any) -> Any:
        return recipe(config.load(TINY, overrides=more))

    clean = plan()
    found = plan(**{"experiments.topics.weak.0.noise": {"share": 0.5}})
    changed = {s for s in clean.stages if set(clean.stages[s]) != set(found.stages[s])}
    assert changed == {"finetune", "label", "supervision", "student", "answer", "results"}
    assert len(set(clean.stages["finetune"]) - set(found.stages["finetune"])) == 1


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("experiments.topics.strong.noise", "noise is for weak models"),
        ("experiments.slots.weak.0.noise", "flipped is for classes"),
    ],
)
def test_noise_where_it_cannot_be_is_refused(key: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        config.load(TINY, overrides={key: {"share": 0.5, "kind": "flipped"}})
