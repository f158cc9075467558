"""The stages: each a declaration (`…_job`) and the function that makes its artefact.

The dictionaries below say how a stage's jobs are run; `raw2s.pipeline` says in which order.
"""

from __future__ import annotations

from raw2s.stages import (
    bridge_check,
    data,
    experts,
    labels,
    preference,
    results,
    supervision,
    training,
)
from raw2s.stages.training import no_progress

# In the driver, job after job: little work, no model.
DRIVEN = {
    "splits": data.splits,
    "corpus": data.corpus,
    "precomputed": labels.precomputed,
    "candidates": supervision.candidates,
    "pairs": preference.pairs,
    "bridge_texts": bridge_check.texts,
    "results": results.results,
}
# A Ray task each.
COMPUTED = {
    "tokenizer": data.tokenizer,
    "fit": data.fit,
    "pretrain": training.pretrain,
    "supervision": supervision.supervision,
    "bridge_check": bridge_check.check,
}
# By Ray Train, a group of workers each.
TRAINED = {
    "finetune": training.finetune,
    "experts": experts.experts,
    "student": training.student,
    "cdpo": training.cdpo,
}
# By models hosted in Ray actor pools: a pool each, all at once…
ASKED_AT_ONCE = ("label", "score", "sample", "reference")
# …or one pool for all of them.
ASKED = ("answer",)

__all__ = ["ASKED", "ASKED_AT_ONCE", "COMPUTED", "DRIVEN", "TRAINED", "no_progress"]
