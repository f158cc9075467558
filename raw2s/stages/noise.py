"""Wrong answers in a weak model's ground truth, for studies of how much a strategy can bear."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from raw2s.config import Model


def noise_spec(model: Model) -> dict[str, Any]:
    """What a model's noise adds to the spec of its training; nothing without."""
    if model.noise is None:
        return {}
    whose = "" if model.noise.alike else model.name
    return {"noise": model.noise.model_dump(mode="json", exclude={"alike"}) | {"whose": whose}}


def noisy(truth: pd.DataFrame, spec: Mapping[str, Any], labels: int | None) -> pd.DataFrame:
    """The rows with a share of wrong answers: `label` of `labels` classes, else `target`.

    Which rows are wrong follows from the noise's seed, whose it is, and the rows' ids; a larger
    share has those of a smaller one.
    """
    noise = spec.get("noise")
    if noise is None:
        return truth
    rng = np.random.default_rng([noise["seed"], *noise["whose"].encode()])
    order = rng.permutation(len(truth))
    wrong = order[: round(noise["share"] * len(truth))]
    changed = truth.copy()
    if labels is None:
        # The next of the shuffled rows with another answer.
        target = truth["target"].to_numpy()
        place = {row: at for at, row in enumerate(order)}
        for row in wrong:
            others = np.roll(order, -place[row])
            different = others[target[others] != target[row]]
            if len(different):
                changed.iloc[row, changed.columns.get_loc("target")] = target[different[0]]
        return changed
    # One draw a row, whatever the share, so that a row's wrong class is always the same.
    random = rng.integers(1, labels, len(truth))
    steps = random if noise["kind"] == "random" else np.ones(len(truth), dtype=int)
    label = truth["label"].to_numpy().copy()
    label[wrong] = (label[wrong] + steps[wrong]) % labels
    changed["label"] = label
    return changed
