"""Hostile input to the public functions: a ValueError names argument, shape and first bad index."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from raw2s.evaluation import (
    accuracy,
    agreement,
    bootstrap,
    calibration,
    dirichlet,
    ensemble,
    entropy,
    from_counts,
    item_counts,
    paired_bootstrap,
    pgr,
    slu_f1,
)
from raw2s.evaluation.statistics import mean_value, seed_noise
from raw2s.method import bridge, losses, preference
from raw2s.method.bagging import Bagging
from raw2s.method.balanced import BalancedPredictions
from raw2s.method.boosting import Boosting, combine, difficulty_boundary
from raw2s.method.ensemble import check_weights, dynamic, dynamic_from_scores, mean_probability
from raw2s.method.evidential import (
    dirichlet_uncertainty,
    evidential_loss,
    soft_label_evidential_loss,
)
from raw2s.method.gate import Gate
from raw2s.method.label_models import (
    DawidSkene,
    FlyingSquid,
    MajorityVote,
    WeightedMean,
    signed_votes,
)
from raw2s.method.one_coin import OneCoin
from raw2s.method.reliability import learned_weights
from raw2s.method.sample_weights import drawn_weights, resample, update_weights, weighted_error
from raw2s.method.slot_reliability import slot_weights
from raw2s.method.vocabulary import FEWEST_CLASSES

FINITE = ("nan", "inf", "-inf")
NUMBERS = (*FINITE, "short", "empty")
ROWS = (*FINITE, "empty", "sum", "negative")
DISTRIBUTIONS = (*ROWS, "short")
WEIGHTS = (*NUMBERS, "negative", "zero")
LOGPROBS = (*NUMBERS, "positive")
LABEL_LOGPROBS = ("nan", "inf", "short", "empty", "positive")
"""-inf, a label of probability 0, is fine."""


@dataclass(frozen=True)
class Argument:
    """An argument, a value that is fine, the call that takes it, and the faults that apply."""

    name: str
    good: np.ndarray
    call: Callable[[Any], object]
    faults: tuple[str, ...]
    least: int = 0
    most: int = 1
    """The range of whole numbers."""


def hostile(argument: Argument, fault: str) -> tuple[np.ndarray, tuple[int, ...] | None]:
    """The value with a fault in its middle and at its end, and the first bad index."""
    good = argument.good
    if fault == "short":
        return good[:-1], None
    if fault == "empty":
        return good[:0], None
    if fault == "zero":
        return np.zeros_like(good), None
    middle = tuple((size - 1) // 2 for size in good.shape)
    last = tuple(size - 1 for size in good.shape)
    if fault == "sum":
        bad = good.copy()
        bad[middle[:-1]] *= 1.5
        bad[last[:-1]] *= 0.5
        return bad, middle[:-1] if good.ndim > 1 else None
    values = {
        "nan": np.nan,
        "inf": np.inf,
        "-inf": -np.inf,
        "negative": -0.25,
        "positive": 0.25,
        "below": argument.least - 1,
        "above": argument.most + 1,
        "fraction": argument.least + 0.5,
    }
    bad = good.astype(np.float64) if isinstance(values[fault], float) else good.copy()
    bad[middle] = bad[last] = values[fault]
    return bad, middle


def tensor(values: Any) -> Tensor:
    return torch.tensor(np.asarray(values))


P2 = np.array([[0.5, 0.5], [0.25, 0.75], [0.75, 0.25]])
P3 = np.stack([P2, P2[::-1], P2, P2], axis=1)  # (3, 4, 2)
VOTES = np.array([[0, 1, 1], [1, -1, 1], [0, 0, -1], [1, 1, 1]])
SIGNED = np.array([[-1, 1, 1], [1, 0, 1], [-1, -1, 0], [1, 1, 1]])
FOUR = np.array([0.5, 0.25, 0.125, 0.125])
LOGITS = np.linspace(-1, 2, 12).reshape(4, 3)
SOFT = np.array([[0.5, 0.25, 0.25]] * 4)
LABELS = np.array([0, 2, 1, 2])
LOGPROB = np.array([-1.0, -2.0, -0.5, -0.25])
COUNTS = np.arange(24.0).reshape(4, 6)
UNIT = torch.tensor([0, 0, 1, 2])
COMPLETIONS = {
    "policy_chosen": LOGPROB,
    "policy_rejected": LOGPROB - 1,
    "reference_chosen": LOGPROB,
    "reference_rejected": LOGPROB,
}
SPANS = [(0, 1), (1, 2), (2, 3), (3, 4)]
SEQUENCES = {
    "logits": np.linspace(-1, 2, 24).reshape(2, 4, 3),
    "labels": np.array([[-100, 1, 2, 0], [-100, 0, 2, 1]]),
    "target_logprob": np.stack([LOGPROB, LOGPROB]),
    "sequence_weight": FOUR[:2],
    "token_weight": np.stack([FOUR, FOUR]),
}
VOCABULARY = np.linspace(-1, 2, 4 * FEWEST_CLASSES).reshape(4, -1)


def cdpo(name: str) -> Callable[[Any], object]:
    given = {key: tensor(values) for key, values in COMPLETIONS.items()}
    return lambda v: preference.cdpo_loss(**given | {name: tensor(v)}, beta=1.0, epsilon=0.1)


def sequences(name: str) -> Callable[[Any], object]:
    given: dict[str, Any] = {key: tensor(values) for key, values in SEQUENCES.items()}
    return lambda v: losses.sequence_loss(**given | {name: tensor(v)})


def soft_label(name: str, logits: np.ndarray) -> Callable[[Any], object]:
    given = {"logits": logits, "labels": LABELS, "target_logprob": LOGPROB}

    def call(value: Any) -> object:
        rows = len(value) if name == "logits" else len(logits)
        arguments: dict[str, Any] = {
            key: tensor(v[:rows]) for key, v in {**given, name: value}.items()
        }
        return soft_label_evidential_loss(**arguments)

    return call


def class_votes(call: Callable[[Any], object], good: np.ndarray = VOTES) -> Argument:
    return Argument("votes", good, call, ("nan", "below", "above", "fraction", "empty"), -1, 1)


ARGUMENTS = {
    "check_weights": Argument("weights", FOUR, lambda v: check_weights(v, 4), WEIGHTS),
    "dynamic": Argument("probabilities", P3, dynamic, ROWS),
    "dynamic_from_scores": Argument("scores", LOGITS, dynamic_from_scores, (*FINITE, "empty")),
    "mean_probability": Argument(
        "probabilities", P3, lambda v: mean_probability(v, FOUR), ROWS
    ),
    "mean_probability weights": Argument(
        "weights", FOUR, lambda v: mean_probability(P3, v), WEIGHTS
    ),
    "mean_probability rows": Argument(
        "weights", np.array([FOUR] * 3), lambda v: mean_probability(P3, v), WEIGHTS
    ),
    "WeightedMean": Argument("weights", FOUR, WeightedMean, ("nan", "empty", "negative", "zero")),
    "WeightedMean.fit": Argument("probabilities", P3, WeightedMean(FOUR).fit, ROWS),
    "WeightedMean.predict_proba": Argument(
        "probabilities", P3, WeightedMean(FOUR).predict_proba, ROWS
    ),
    "signed_votes": class_votes(signed_votes),
    "MajorityVote.fit": class_votes(MajorityVote(2).fit),
    "MajorityVote": class_votes(MajorityVote(2).predict_proba),
    "DawidSkene.fit": class_votes(DawidSkene(2).fit),
    "DawidSkene": class_votes(DawidSkene(2).fit(VOTES).predict_proba),
    "Gate.fit": Argument("probabilities", P3, Gate().fit, ROWS),
    "Gate.accuracies": Argument("probabilities", P3, Gate().fit(P3).accuracies, ROWS),
    "Gate.weights": Argument("probabilities", P3, Gate().fit(P3).weights, ROWS),
    "FlyingSquid.fit": class_votes(FlyingSquid().fit, SIGNED),
    "FlyingSquid": class_votes(FlyingSquid().fit(SIGNED).predict_proba, SIGNED),
    "FlyingSquid balance": Argument("class_balance", FOUR[:2], FlyingSquid, WEIGHTS),
    "learned_weights": class_votes(lambda v: learned_weights(v, 2)),
    "weighted_error": Argument(
        "wrong", np.array([0, 1, 0, 1]), lambda v: weighted_error(v, FOUR),
        ("nan", "below", "above", "short"),
    ),
    "weighted_error weights": Argument(
        "weights", FOUR, lambda v: weighted_error([0, 1, 0, 1][: len(v)], v),
        (*FINITE, "empty", "negative", "zero"),
    ),
    "update_weights": Argument(
        "wrong", np.array([0, 1, 0, 1]), lambda v: update_weights(FOUR, v, 1.0),
        ("nan", "below", "above", "short"),
    ),
    "update_weights item": Argument(
        "item", np.array([0, 0, 1, 1]),
        lambda v: update_weights(FOUR, [0, 1, 0, 1], 1.0, level="example", item=v), ("short",),
    ),
    "resample": Argument(
        "weights", FOUR, lambda v: resample(v, 3, 0), (*FINITE, "empty", "negative", "zero")
    ),
    "drawn_weights": Argument(
        "weights", FOUR, lambda v: drawn_weights(v, 0), (*FINITE, "empty", "negative", "zero")
    ),
    "drawn_weights item": Argument(
        "item", np.array([0, 0, 1, 1]),
        lambda v: drawn_weights(FOUR, 0, level="example", item=v), ("short", "empty"),
    ),
    "difficulty_boundary": Argument(
        "difficulty", FOUR, lambda v: difficulty_boundary(v, 0.5), (*FINITE, "empty")
    ),
    "Bagging": Argument(
        "item", np.array([0, 0, 1, 1]), lambda v: Bagging(4, item=v, max_rounds=1),
        ("short", "empty"),
    ),
    "Bagging.add": Argument(
        "wrong", np.array([0, 1, 0, 0]), lambda v: Bagging(4, max_rounds=1).add(v),
        ("nan", "below", "above", "short"),
    ),
    "Boosting.add": Argument(
        "wrong", np.array([0, 1, 0, 0]), lambda v: Boosting(4, epsilon=0.5, max_rounds=1).add(v),
        ("nan", "below", "above", "short"),
    ),
    "combine": Argument("probabilities", P3, lambda v: combine(v, [1.0] * len(v)), ROWS),
    "combine alphas": Argument("alphas", np.ones(3), lambda v: combine(P3, v), NUMBERS),
    **{f"cdpo_loss {name}": Argument(name, COMPLETIONS[name], cdpo(name), FINITE)
       for name in COMPLETIONS},
    **{f"cdpo_loss short {name}": Argument(name, COMPLETIONS[name], cdpo(name), ("short",))
       for name in list(COMPLETIONS)[1:]},
    "sequence_score": Argument(
        "token_logprobs", LOGPROB, preference.sequence_score, ("nan", "inf", "positive", "empty")
    ),
    "combine_scores": Argument(
        "scores", LOGITS, lambda v: preference.combine_scores(v, [1, 1, 1]), FINITE
    ),
    "combine_scores weights": Argument(
        "weights", FOUR[:3], lambda v: preference.combine_scores(LOGITS, v), WEIGHTS
    ),
    "best_candidate": Argument(
        "scores", LOGPROB, lambda v: preference.best_candidate("abcd", v), ("nan", "short", "empty")
    ),
    "preference_pair": Argument(
        "scores", LOGPROB, lambda v: preference.preference_pair("abcd", v),
        ("nan", "short", "empty"),
    ),
    "word_targets": Argument(
        "weak_logprobs", LOGPROB,
        lambda v: bridge.word_targets("abcd", SPANS, v, SPANS, weak_eos_logprob=-1.0), LOGPROBS,
    ),
    "split_logprob": Argument(
        "unit_logprob", LOGPROB,
        lambda v: bridge.split_logprob(tensor(v), UNIT, torch.ones(4)), LOGPROBS,
    ),
    "split_logprob confidence": Argument(
        "confidence", FOUR, lambda v: bridge.split_logprob(-torch.ones(4), UNIT, tensor(v)),
        NUMBERS,
    ),
    "soft_targets": Argument(
        "logits", LOGITS,
        lambda v: bridge.soft_targets(tensor(v), tensor(LABELS)[: len(v)], tensor(LOGPROB), UNIT),
        (*FINITE, "empty"),
    ),
    "soft_targets labels": Argument(
        "labels", LABELS,
        lambda v: bridge.soft_targets(tensor(LOGITS), tensor(v), tensor(LOGPROB), UNIT),
        ("below", "above", "short", "empty"), 0, 2,
    ),
    "soft_targets logprob": Argument(
        "unit_logprob", LOGPROB,
        lambda v: bridge.soft_targets(tensor(LOGITS), tensor(LABELS), tensor(v), UNIT), LOGPROBS,
    ),
    "BalancedPredictions": Argument("shares", FOUR, BalancedPredictions, ROWS),
    "BalancedPredictions.predict": Argument(
        "logits", LOGITS, lambda v: BalancedPredictions(SOFT[0]).predict(tensor(v)),
        (*FINITE, "empty"),
    ),
    "dirichlet_uncertainty": Argument(
        "logits", LOGITS, lambda v: dirichlet_uncertainty(tensor(v)), FINITE
    ),
    **{
        f"{loss.__name__} {name}": argument
        for loss in (evidential_loss, losses.cross_entropy)
        for name, argument in {
            "logits": Argument(
                "logits", LOGITS, lambda v, loss=loss: loss(tensor(v), tensor(SOFT[: len(v)])),
                (*FINITE, "empty"),
            ),
            "targets": Argument(
                "targets", SOFT, lambda v, loss=loss: loss(tensor(LOGITS), tensor(v)),
                DISTRIBUTIONS,
            ),
            "indices": Argument(
                "targets", LABELS, lambda v, loss=loss: loss(tensor(LOGITS), tensor(v)),
                ("below", "above", "short", "empty"), 0, 2,
            ),
        }.items()
    },
    **{
        f"soft_label_evidential_loss of {logits.shape[1]}: {name}": argument
        for logits in (LOGITS, VOCABULARY)
        for name, argument in {
            "logits": Argument(
                "logits", logits, soft_label("logits", logits), (*FINITE, "empty")
            ),
            "labels": Argument(
                "labels", LABELS, soft_label("labels", logits),
                ("below", "above", "short", "empty"), 0, logits.shape[1] - 1,
            ),
            "target_logprob": Argument(
                "target_logprob", LOGPROB, soft_label("target_logprob", logits), LABEL_LOGPROBS
            ),
        }.items()
    },
    "sequence_loss": Argument(
        "logits", SEQUENCES["logits"], sequences("logits"), (*FINITE, "empty")
    ),
    "sequence_loss labels": Argument(
        "labels", SEQUENCES["labels"], sequences("labels"),
        ("below", "above", "short", "empty"), 0, 2,
    ),
    "sequence_loss target_logprob": Argument(
        "target_logprob", SEQUENCES["target_logprob"], sequences("target_logprob"), LABEL_LOGPROBS
    ),
    **{
        f"sequence_loss {name}": Argument(
            name, SEQUENCES[name], sequences(name), (*NUMBERS, "negative")
        )
        for name in ("sequence_weight", "token_weight")
    },
    "classification_loss": Argument(
        "logits", LOGITS[:3],
        lambda v: losses.classification_loss(
            tensor(v), tensor(SOFT[:3, None]), torch.ones(3, 1).double()
        ),
        FINITE,
    ),
    "classification_loss targets": Argument(
        "targets", SOFT[:, None],
        lambda v: losses.classification_loss(tensor(LOGITS), tensor(v), torch.ones(4, 1).double()),
        DISTRIBUTIONS,
    ),
    "classification_loss weights": Argument(
        "weights", P2,
        lambda v: losses.classification_loss(
            tensor(LOGITS[:3]), tensor(np.stack([SOFT[:3]] * 2, 1)), tensor(v)
        ),
        DISTRIBUTIONS,
    ),
    "accuracy": Argument(
        "predicted", LABELS, lambda v: accuracy(LABELS.tolist(), v.tolist()), ("short", "empty")
    ),
    "accuracy of nothing": Argument(
        "gold", LABELS, lambda v: accuracy(v.tolist(), v.tolist()), ("empty",)
    ),
    "agreement": Argument(
        "predictions['b']", LABELS, lambda v: agreement({"a": LABELS.tolist(), "b": v.tolist()}),
        ("short", "empty"),
    ),
    "calibration": Argument(
        "probabilities", P2, lambda v: calibration(v, [0, 1, 1][: len(v)]), ROWS
    ),
    "calibration labels": Argument(
        "labels", np.array([0, 1, 1]), lambda v: calibration(P2, v),
        ("nan", "below", "above", "fraction", "short", "empty"),
    ),
    "calibration uncertainty": Argument(
        "uncertainty", FOUR[:3], lambda v: calibration(P2, [0, 1, 1], uncertainty=v), NUMBERS
    ),
    "entropy": Argument("probabilities", P2, entropy, ROWS),
    "dirichlet": Argument(
        "probabilities", P2, lambda v: dirichlet(v, [1.0, 2.0, 3.0][: len(v)]), ROWS
    ),
    "dirichlet concentration": Argument(
        "concentration", FOUR[:3], lambda v: dirichlet(P2, v), WEIGHTS
    ),
    "ensemble": Argument("probabilities", P3, ensemble, ROWS),
    "ensemble weights": Argument("weights", FOUR[:3], lambda v: ensemble(P3, v), WEIGHTS),
    "pgr": Argument("weak", FOUR, lambda v: pgr(v.tolist(), 0.9, 0.8), (*FINITE, "empty")),
    "slu_f1": Argument(
        "predicted", LABELS, lambda v: slu_f1([[]] * 4, [[]] * len(v)), ("short", "empty")
    ),
    "from_counts": Argument("counts", COUNTS, from_counts, (*FINITE, "negative")),
    "bootstrap": Argument(
        "items", COUNTS, lambda v: bootstrap(mean_value, v), (*FINITE, "empty")
    ),
    "paired_bootstrap": Argument(
        "items_b", FOUR, lambda v: paired_bootstrap(mean_value, FOUR, v), NUMBERS
    ),
    "seed_noise": Argument("differences", FOUR, seed_noise, FINITE),
}  # fmt: skip


def cases() -> Iterator[Any]:
    for where, argument in ARGUMENTS.items():
        for fault in argument.faults:
            yield pytest.param(argument, fault, id=f"{where}: {fault}")


@pytest.mark.parametrize(("argument", "fault"), cases())
def test_hostile_values_are_named(argument: Argument, fault: str) -> None:
    argument.call(argument.good)
    bad, index = hostile(argument, fault)
    with pytest.raises(ValueError) as raised:
        argument.call(bad)
    message = str(raised.value)
    assert argument.name in message and str(bad.shape) in message and "\n" not in message
    if index is not None:
        assert f" at {index}: " in message


ONE, TWO = torch.zeros(1, 2, 3), torch.zeros(2)
PAIR = [("date", "today")]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: check_weights([[1.0], [1.0]], 2), "weights (shape (2, 1)) must be (2,)"),
        (lambda: WeightedMean([1, 2]).predict_proba(P3), "weights (shape (2,)) must be (4,)"),
        (lambda: mean_probability(P3, P2), "weights (shape (3, 2)) must be (3, 4)"),
        (lambda: MajorityVote(2).fit([[0, 1], [1]]), "votes is no array of numbers"),
        (lambda: MajorityVote(2).fit([0, 1]), "votes (shape (2,)) must be (n, N) with n, N > 0"),
        (lambda: DawidSkene(2).fit([[-1, -1]]), "votes (shape (1, 2)) has no row in which"),
        (
            lambda: DawidSkene(2).fit(VOTES).predict_proba(VOTES[:, :2]),
            "votes (shape (4, 2)) must be (n, 3)",
        ),
        (lambda: FlyingSquid().fit(SIGNED[:, :2]), "votes (shape (4, 2)) must be (n, N) with N >="),
        (lambda: FlyingSquid().fit([[0, 1, 1]]), "votes (shape (1, 3)) must be -1 and +1"),
        (
            lambda: update_weights([1, 1], [0, 1], 1, level="example", item=[0.5, 1]),
            "item (shape (2,)) must be integers, not float64",
        ),
        (
            lambda: drawn_weights([1, 1], 0, level="example", item=[0.5, 1]),
            "item (shape (2,)) must be integers, not float64",
        ),
        (
            lambda: Bagging(2, item=[0.5, 1], max_rounds=1),
            "item (shape (2,)) must be integers, not float64",
        ),
        (lambda: OneCoin().fit([]), "votes (shape (0, 0)) must be (n, N) with n, N > 0"),
        (lambda: OneCoin().fit([["a"], []]), "votes[1] (shape (0,)) must be (1,)"),
        (
            lambda: OneCoin(2).fit([["a", "a", None], ["a", "b", "c"]]),
            "votes (shape (2, 3)) has more different answers than n_answers 2 at (1,): 3",
        ),
        (
            lambda: OneCoin().fit([["a", "b"]]).posterior([["a", "b"], ["a"]]),
            "votes[1] (shape (1,)) must be (2,)",
        ),
        (lambda: slot_weights([], per_type=True), "answers (shape (0,)) must be (N,) with N > 0"),
        (lambda: slot_weights([[[]], []], per_type=True), "answers[1] (shape (0,)) must be (1,)"),
        (
            lambda: slot_weights([[[*PAIR, ("date", 3)]]], per_type=True),  # type: ignore[list-item]
            "answers[0][0] (shape (2,)) is no (type, filler) of strings at (1,): ('date', 3)",
        ),
        (
            lambda: slot_weights([[PAIR], [[*PAIR, "ab"]]], per_type=True),  # type: ignore[list-item]
            "answers[1][0] (shape (2,)) is no (type, filler) of strings at (1,): ab",
        ),
        (lambda: entropy([[1.0]]), "probabilities (shape (1, 1)) must be of 2 classes or more"),
        (lambda: dirichlet(P2, FOUR), "concentration (shape (4,)) must be (3,)"),
        (lambda: ensemble(P2), "probabilities (shape (3, 2)) must be (N, n, K) with N, n, K > 0"),
        (
            lambda: preference.combine_scores(LOGPROB, [1]),
            "scores (shape (4,)) must be (4, N) with N > 0",
        ),
        (lambda: preference.preference_pair([], []), "candidates (shape (0,)) must be (M,)"),
        (
            lambda: bridge.byte_spans("ab", [(0, 1), (1, 3), (2, 1)]),
            "char_offsets (shape (3, 2)) is outside the text's 2 characters at (1,): (1, 3)",
        ),
        (
            lambda: bridge.align("ab", [(0, 1), (1, 3)], [(0, 2)]),
            "weak_spans (shape (2, 2)) is outside the text's 2 bytes at (1,): (1, 3)",
        ),
        (
            lambda: bridge.align("ab", [(0, 2)], [(1, 2), (0, 1)]),
            "strong_spans (shape (2, 2)) leaves bytes 0 to 1 b'a' of 'ab'",
        ),
        (
            lambda: bridge.align("ab", [(0, 2)], [(0, 1), (1, 2), (0, 1)]),
            "strong_spans (shape (3, 2)) starts before byte 1, where one before it starts at (2,)",
        ),
        (
            lambda: bridge.word_targets("a", [(0, 1)], [-1], [(0, 1)], weak_eos_logprob=np.nan),
            "weak_eos_logprob must be finite and <= 0, it is nan",
        ),
        (
            lambda: evidential_loss(ONE, torch.zeros(1, 2)),
            "targets (shape (1, 2)) must be (1, 2, 3), probabilities for logits (shape (1, 2, 3))",
        ),
        (
            lambda: evidential_loss(ONE, torch.zeros(3).long()),
            "targets (shape (3,)) must be (1, 2), indices",
        ),
        (lambda: evidential_loss(ONE, TWO.int()), "targets (shape (2,)) must be int64 indices or"),
        (lambda: evidential_loss(TWO[:1], TWO), "logits (shape (1,)) must be (..., K) with K >= 2"),
        (
            lambda: BalancedPredictions([0.5, 0.5]).predict(ONE[0]),
            "logits (shape (2, 3)) must be (B, 2) with B > 0",
        ),
        (lambda: BalancedPredictions([1.0]), "shares (shape (1,)) must be of 2 classes or more"),
        (lambda: agreement({}), "predictions (shape (0,)) must be (N,) with N > 0"),
        (
            lambda: agreement({"a": ["x", "y"], "b": ["x", None]}, "text"),
            "predictions['b'] (shape (2,)) is no string at (1,): None",
        ),
        (lambda: pgr([0.5], float("nan"), 0.6), "ceiling (shape ()) is not finite: nan"),
        (lambda: pgr([0.5], 0.7, float("inf")), "student (shape ()) is not finite: inf"),
        (
            lambda: slu_f1([[], PAIR], [[], [*PAIR, ("date", 3)]]),  # type: ignore[list-item]
            "predicted[1] (shape (2,)) is no (type, filler) of strings at (1,): ('date', 3)",
        ),
        (
            lambda: item_counts([*PAIR, "ab"], PAIR),  # type: ignore[list-item]
            "gold_item (shape (2,)) is no (type, filler) of strings at (1,): ab",
        ),
        (lambda: from_counts(np.zeros((2, 5))), "counts (shape (2, 5)) must be (2, 6)"),
        (lambda: paired_bootstrap(mean_value, [1], [[1]]), "items_b (shape (1, 1)) must be (1,)"),
    ],
)
def test_shapes_and_items_are_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as raised:
        call()
    assert message in str(raised.value) and "\n" not in str(raised.value)
