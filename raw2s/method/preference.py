"""Conservative DPO and the scores its pairs are made from (Sec. 4.2 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from raw2s.method.ensemble import check_weights

Score = Literal["mean", "sum", "probability"]
Array = NDArray[np.float64]


def cdpo_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    *,
    beta: float,
    epsilon: float,
) -> Tensor:
    """(1 - epsilon) L_DPO(chosen, rejected) + epsilon L_DPO(rejected, chosen): (B,), in nats.

    = -log sigmoid(x) + epsilon x, with x = beta x (the policy's log-ratio minus the reference's).
    The arguments (B,) are summed log-probabilities of whole completions. Raises ValueError for
    beta <= 0, and for epsilon (chance that a pair is the wrong way round) outside [0, 0.5).
    """
    if not beta > 0:
        raise ValueError(f"beta must be > 0, it is {beta}")
    _check_epsilon(epsilon)
    shapes = {
        tuple(t.shape)
        for t in (policy_chosen, policy_rejected, reference_chosen, reference_rejected)
    }
    if len(shapes) > 1:
        raise ValueError(f"log-probabilities must have one shape, they have {sorted(shapes)}")
    x = beta * ((policy_chosen - policy_rejected) - (reference_chosen - reference_rejected))
    return -F.logsigmoid(x) + epsilon * x


def robust_label_smoothing(epsilon: float) -> float:
    """The `label_smoothing` with which TRL's `robust` loss is `cdpo_loss`: -eps / (1 - 2 eps).

    The robust loss of smoothing s is ((1 - s) L(c, r) - s L(r, c)) / (1 - 2 s).
    """
    _check_epsilon(epsilon)
    return -epsilon / (1 - 2 * epsilon)


def sequence_score(token_logprobs: ArrayLike, kind: Score = "mean") -> float:
    """A weak model's score of one sequence from its token log-probabilities (T,), T >= 1.

    `mean` (authors' code) or `sum` of them, or the sequence's `probability` (Eq. 8).
    """
    values = np.asarray(token_logprobs, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"token_logprobs must be (T,) with T >= 1, they are {values.shape}")
    wrong = ~(values <= 0)
    if wrong.any():
        first = int(wrong.argmax())
        raise ValueError(f"token_logprobs must be <= 0, token {first} has {values[first]}")
    if kind == "mean":
        return float(values.mean())
    if kind == "sum":
        return float(values.sum())
    if kind == "probability":
        return float(np.exp(values.sum()))
    raise ValueError(f"kind must be mean, sum or probability, it is {kind!r}")


def combine_scores(scores: ArrayLike, weights: ArrayLike) -> Array:
    """sum_i lambda_i s_i(y): (M,) of scores (M, N) by N weak models and weights (N,) (Eq. 8).

    A weak model of weight 0 has no say, whatever its scores. Raises ValueError for other scores
    that are not finite and as `check_weights`.
    """
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim != 2:
        raise ValueError(f"scores must be (M, N), they are {array.shape}")
    lambdas = check_weights(np.asarray(weights, dtype=np.float64), array.shape[1])
    heard = lambdas > 0
    wrong = ~np.isfinite(array) & heard
    if wrong.any():
        row, model = (int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(f"scores are not finite at ({row}, {model}): {array[row, model]}")
    return np.asarray(array[:, heard] @ lambdas[heard], dtype=np.float64)


def unique_candidates(candidates: Sequence[str]) -> list[int]:
    """Indices of each text's first appearance, in order."""
    first: dict[str, int] = {}
    for index, text in enumerate(candidates):
        first.setdefault(text, index)
    return list(first.values())


def best_candidate(candidates: Sequence[str], scores: ArrayLike) -> int:
    """Index of the highest score among distinct texts; the first on ties (Joint Decoding)."""
    values = _check_scores(candidates, scores)
    return max(unique_candidates(candidates), key=lambda index: values[index])


def preference_pair(candidates: Sequence[str], scores: ArrayLike) -> tuple[int, int] | None:
    """Indices (chosen, rejected) of the highest and the lowest score among distinct texts.

    A text counts with the score of its first appearance; the first on ties. None when all are one
    text, or all scores are equal: there is then nothing to prefer.
    """
    values = _check_scores(candidates, scores)
    distinct = unique_candidates(candidates)
    chosen = max(distinct, key=lambda index: values[index])
    rejected = min(distinct, key=lambda index: values[index])
    return None if values[chosen] == values[rejected] else (chosen, rejected)


def _check_scores(candidates: Sequence[str], scores: ArrayLike) -> Array:
    values = np.asarray(scores, dtype=np.float64)
    if not candidates or values.shape != (len(candidates),):
        raise ValueError(f"{len(candidates)} candidates have scores of shape {values.shape}")
    if np.isnan(values).any():
        raise ValueError(f"score {int(np.isnan(values).argmax())} is NaN")
    return values


def _check_epsilon(epsilon: float) -> None:
    if not 0 <= epsilon < 0.5:
        raise ValueError(f"epsilon must be in [0, 0.5), it is {epsilon}")
