from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from raw2s.method.preference import (
    best_candidate,
    cdpo_loss,
    combine_scores,
    preference_pair,
    robust_label_smoothing,
    sequence_score,
    unique_candidates,
)


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_cdpo_numbers() -> None:
    # x = 1: plain DPO gives 0.313262, conservative DPO with epsilon 0.1 adds 0.1.
    zero = column(0.0)
    plain = cdpo_loss(column(0.5), zero, zero, zero, beta=2.0, epsilon=0.0)
    assert plain.item() == pytest.approx(0.313262, abs=1e-6)
    ours = cdpo_loss(column(0.5), zero, zero, zero, beta=2.0, epsilon=0.1)
    assert ours.item() == pytest.approx(0.413262, abs=1e-6)


def test_cdpo_is_the_mixture_and_trl_robust_identity() -> None:
    policy_c, policy_r = column(-3, -10, -1), column(-4, -2, -400)
    ref_c, ref_r = column(-2, -11, -1), column(-5, -2.5, -2)
    beta, epsilon = 0.7, 0.15
    s = robust_label_smoothing(epsilon)
    ours = cdpo_loss(policy_c, policy_r, ref_c, ref_r, beta=beta, epsilon=epsilon)
    for row in range(3):
        x = beta * float(policy_c[row] - policy_r[row] - ref_c[row] + ref_r[row])
        forward, backward = math.log1p(math.exp(-x)), math.log1p(math.exp(x))
        mixture = (1 - epsilon) * forward + epsilon * backward
        assert ours[row].item() == pytest.approx(mixture, rel=1e-12)
        assert ((1 - s) * forward - s * backward) / (1 - 2 * s) == pytest.approx(mixture)


def test_cdpo_refuses() -> None:
    zero = column(0.0)
    for epsilon in (0.5, -0.1, float("nan")):
        with pytest.raises(ValueError, match="epsilon"):
            cdpo_loss(zero, zero, zero, zero, beta=1.0, epsilon=epsilon)
    with pytest.raises(ValueError, match="beta"):
        cdpo_loss(zero, zero, zero, zero, beta=0.0, epsilon=0.1)
    with pytest.raises(ValueError, match=r"policy_rejected \(shape \(2,\)\) must be \(1,\)"):
        cdpo_loss(zero, column(0.0, 1.0), zero, zero, beta=1.0, epsilon=0.1)


def test_scores() -> None:
    logprobs = [math.log(0.5), math.log(0.25)]
    assert sequence_score(logprobs) == pytest.approx(math.log(0.125) / 2)
    assert sequence_score(logprobs, "sum") == pytest.approx(math.log(0.125))
    assert sequence_score(logprobs, "probability") == pytest.approx(0.125)
    with pytest.raises(ValueError, match=r"token_logprobs \(shape \(0,\)\)"):
        sequence_score([])
    with pytest.raises(ValueError, match=r"is not <= 0 at \(1,\): nan"):
        sequence_score([0.0, float("nan")])


def test_combine_scores() -> None:
    assert combine_scores([[-1, -2], [-4, 0]], [3, 1]).tolist() == [-1.25, -3]
    # A model of weight 0 is left out, also where its score is -inf.
    assert combine_scores([[-1, -math.inf], [-4, 0]], [1, 0]).tolist() == [-1, -4]
    with pytest.raises(ValueError, match=r"\(0, 1\)"):
        combine_scores([[-1, -math.inf]], [1, 1])


def test_pairs_of_distinct_texts() -> None:
    assert unique_candidates(["a", "b", "a", "c"]) == [0, 1, 3]
    assert preference_pair(["a", "b", "a", "c"], [-1, -3, -1, -0.5]) == (3, 1)
    assert preference_pair(["a", "a"], [-1, -2]) is None
    assert preference_pair(["a", "b"], [-1, -1]) is None
    # The second "b" is the lowest number, but its text counts once, with its first score.
    assert preference_pair(["a", "b", "c", "b"], [-3, -1, -2, -9]) == (1, 0)
    with pytest.raises(ValueError, match=r"scores .* at \(1,\): nan"):
        preference_pair(["a", "b"], [0.0, float("nan")])


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(-3, 0)), min_size=1, max_size=8))
def test_pairs_and_best_against_all_pairs(judged: list[tuple[str, int]]) -> None:
    texts, scores = [text for text, _ in judged], [score for _, score in judged]
    distinct = [i for i, text in enumerate(texts) if text not in texts[:i]]
    better = [(a, b) for a in distinct for b in distinct if scores[a] > scores[b]]
    widest = min(better, key=lambda pair: scores[pair[1]] - scores[pair[0]], default=None)
    assert preference_pair(texts, scores) == widest
    no_better = [a for a in distinct if all(scores[a] >= scores[b] for b in distinct)]
    assert best_candidate(texts, scores) == no_better[0]


def test_best_candidate_takes_the_first_on_ties() -> None:
    assert best_candidate(["a", "b", "c"], [-2, -1, -1]) == 1
    assert best_candidate(["a", "b", "a"], [-2, -3, -1]) == 0
    with pytest.raises(ValueError, match=r"scores \(shape \(1,\)\) must be \(3,\)"):
        best_candidate(["a", "b", "c"], [0.0])
