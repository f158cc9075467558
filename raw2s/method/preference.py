"""Conservative DPO and the scores its pairs are made from (Sec. 4.2 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor

from raw2s.method.arrays import Array, as_array, check_one_of, check_shape, refuse
from raw2s.method.ensemble import check_weights
from raw2s.method.targets import check_finite

Score = Literal["mean", "sum", "probability"]


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
    beta <= 0, for epsilon (chance that a pair is the wrong way round) outside [0, 0.5), and for
    log-probabilities of different shapes or not finite.
    """
    if not beta > 0:
        raise ValueError(f"beta must be > 0, it is {beta}")
    _check_epsilon(epsilon)
    for name, logprobs in (
        ("policy_chosen", policy_chosen),
        ("policy_rejected", policy_rejected),
        ("reference_chosen", reference_chosen),
        ("reference_rejected", reference_rejected),
    ):
        check_shape(name, logprobs.shape, policy_chosen.shape)
        check_finite(name, logprobs)
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

    `mean` (authors' code) or `sum` of them, or the sequence's `probability` (Eq. 8). Raises
    ValueError for no tokens, NaN and log-probabilities above 0; -inf is an impossible token.
    """
    check_one_of("kind", kind, get_args(Score))
    values = as_array("token_logprobs", token_logprobs, np.float64)
    check_shape("token_logprobs", values.shape, ("T",))
    refuse(~(values <= 0), "token_logprobs", values.shape, "is not <= 0", values)
    if kind == "mean":
        return float(values.mean())
    return float(values.sum()) if kind == "sum" else float(np.exp(values.sum()))


def combine_scores(scores: ArrayLike, weights: ArrayLike) -> Array:
    """sum_i lambda_i s_i(y): (M,) of scores (M, N) by N weak models and weights (N,) (Eq. 8).

    A weak model of weight 0 has no say, whatever its scores. Raises ValueError for other scores
    that are not finite and as `check_weights`.
    """
    array = as_array("scores", scores, np.float64)
    # M may be 0: no text that every weak model can read.
    check_shape("scores", array.shape, (*array.shape[:1], "N"))
    lambdas = check_weights(as_array("weights", weights), array.shape[1])
    heard = lambdas > 0
    refuse(~np.isfinite(array) & heard, "scores", array.shape, "is not finite", array)
    return np.asarray(array[:, heard] @ lambdas[heard], dtype=np.float64)


def unique_candidates(candidates: Sequence[str]) -> list[int]:
    """Indices of each text's first appearance, in order."""
    first: dict[str, int] = {}
    for index, text in enumerate(candidates):
        first.setdefault(text, index)
    return list(first.values())


def best_candidate(candidates: Sequence[str], scores: ArrayLike) -> int:
    """Index of the highest score among distinct texts; the first on ties (Joint Decoding).

    Raises ValueError for no candidates, another number of scores, and NaN.
    """
    values = _check_scores(candidates, scores)
    return max(unique_candidates(candidates), key=lambda index: values[index])


def preference_pair(candidates: Sequence[str], scores: ArrayLike) -> tuple[int, int] | None:
    """Indices (chosen, rejected) of the highest and the lowest score among distinct texts.

    A text counts with the score of its first appearance; the first on ties. None when all are one
    text, or all scores are equal: there is then nothing to prefer. Raises ValueError as
    `best_candidate`.
    """
    values = _check_scores(candidates, scores)
    distinct = unique_candidates(candidates)
    chosen = max(distinct, key=lambda index: values[index])
    rejected = min(distinct, key=lambda index: values[index])
    return None if values[chosen] == values[rejected] else (chosen, rejected)


def _check_scores(candidates: Sequence[str], scores: ArrayLike) -> Array:
    check_shape("candidates", (len(candidates),), ("M",))
    values = as_array("scores", scores, np.float64)
    check_shape("scores", values.shape, (len(candidates),))
    refuse(np.isnan(values), "scores", values.shape, "is not a number", values)
    return values


def _check_epsilon(epsilon: float) -> None:
    if not 0 <= epsilon < 0.5:
        raise ValueError(f"epsilon must be in [0, 0.5), it is {epsilon}")
