from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from raw2s.method.binary_kl import binary_kl
from raw2s.method.bridge import full_target
from raw2s.method.evidential import EvidentialOptions, evidential_loss
from raw2s.method.losses import (
    classification_loss,
    cross_entropy,
    gamma,
    sequence_loss,
)


def logits(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(*shape, generator=generator, dtype=torch.float64)


def grad(value: Tensor, z: Tensor) -> Tensor:
    return torch.autograd.grad(value, z, retain_graph=True)[0]


def test_gamma_schedules() -> None:
    assert gamma(0.25, 0.4) == pytest.approx(0.1)
    assert [gamma(p, 0.4, "warmup", 0.2) for p in (0, 0.1, 0.2, 1)] == pytest.approx(
        [0, 0.2, 0.4, 0.4]
    )
    assert [gamma(p, 0.4, "burns", 0.1) for p in (0, 0.1, 0.11, 1)] == pytest.approx(
        [0, 0.04, 0.4, 0.4]
    )
    assert gamma(0.0, 0.4, "warmup", 0.0) == 0.4
    with pytest.raises(ValueError, match=r"progress .* 1.5"):
        gamma(1.5, 0.4)


def test_cross_entropy_hard_and_soft() -> None:
    z, p, y = logits(5, 4), torch.softmax(logits(5, 4, seed=1), -1), torch.tensor([0, 3, 1, 2, 2])
    torch.testing.assert_close(cross_entropy(z, y), F.cross_entropy(z, y))
    torch.testing.assert_close(cross_entropy(z, p), F.cross_entropy(z, p))
    assert cross_entropy(z.bfloat16(), y).dtype == torch.float32


@pytest.mark.parametrize("detach_tail", [True, False])
def test_binary_kl_is_the_full_kl_in_value_and_gradient(detach_tail: bool) -> None:
    z = logits(7, 9).requires_grad_()
    s = torch.arange(7)
    log_t = torch.tensor([-3.0, -0.5, -1e-3, -1.0, -0.1, -2.0, -8.0], dtype=torch.float64)
    # The soft label by definition, not through the code under test.
    q = torch.softmax(z.detach() if detach_tail else z, -1)
    t = log_t.exp()
    q_s = q[torch.arange(7), s]
    p = q * ((1 - t) / (1 - q_s))[:, None]
    p = p.scatter(-1, s[:, None], t[:, None])
    kl = (p * (p.log() - F.log_softmax(z, -1))).sum()
    ours = binary_kl(z, s, log_t).sum()
    torch.testing.assert_close(ours, kl)
    torch.testing.assert_close(grad(ours, z), grad(kl, z))
    if detach_tail:
        torch.testing.assert_close(grad(ours, z), grad(-(p * F.log_softmax(z, -1)).sum(), z))
    torch.testing.assert_close(full_target(z, s, log_t, detach_tail=detach_tail), p)


def test_binary_kl_at_the_edges() -> None:
    z = torch.tensor([[40.0, 0.0, 0.0]], requires_grad=True)  # 1 - q_s is 0 in float32
    label = torch.tensor([0])
    for t in (0.5, 0.9, 1.0, 0.0):
        log_t = torch.tensor([math.log(t) if t else -math.inf])
        value = binary_kl(z, label, log_t)
        rest = 2 * math.exp(-40)
        expected = (1 - t) * -math.log(rest) + sum(x * math.log(x) for x in (t, 1 - t) if x)
        assert value.item() == pytest.approx(expected, rel=1e-5, abs=1e-6)
        assert bool(torch.isfinite(grad(value.sum(), z)).all())
    # t that float32 rounds to 1: KL is still right, and 0 where the student agrees.
    near = torch.tensor([-1e-9])
    agree = torch.tensor([[-math.log(math.expm1(1e-9)), 0.0]], dtype=torch.float64)
    assert binary_kl(agree, label, near.double()).item() == pytest.approx(0, abs=1e-15)
    off = binary_kl(torch.zeros(1, 2, dtype=torch.float64), label, near.double()).item()
    assert off == pytest.approx(math.log(2), rel=1e-6)


@pytest.mark.parametrize("loss", ["cross_entropy", "evidential"])
@pytest.mark.parametrize("regulariser", ["per_label", "mixed"])
@pytest.mark.parametrize("g", [0.0, 0.3])
def test_classification_is_the_sum_over_weak_models(loss: str, regulariser: str, g: float) -> None:
    z = logits(6, 4)
    p = torch.softmax(logits(6, 3, 4, seed=1), -1)
    weights = torch.softmax(logits(6, 3, seed=2), -1)
    options: EvidentialOptions = {
        "reg_coef": 0.2,
        "regulariser": "mixed" if regulariser == "mixed" else "per_label",
    }
    total = 0.0
    for b in range(6):
        own = z[b].argmax()
        for i in range(3):
            if loss == "cross_entropy":
                weak, aux = F.cross_entropy(z[b], p[b, i]), F.cross_entropy(z[b], own)
            else:
                weak = evidential_loss(z[b], p[b, i], **options)
                aux = evidential_loss(z[b], own, **options)
            total += weights[b, i].item() * ((1 - g) * weak + g * aux).item() / 6
    got = classification_loss(
        z,
        p,
        weights,
        loss="evidential" if loss == "evidential" else "cross_entropy",
        gamma=g,
        evidential=options,
    )
    assert got.item() == pytest.approx(total, rel=1e-10)


def test_a_cut_regulariser_is_cut_for_each_weak_model() -> None:
    z, p = torch.tensor([[6.0, -3.0]]), torch.eye(2)[None]
    options: EvidentialOptions = {"max_regulariser": 1.0}
    # The class with z = 6 has its regulariser near 0, the other one far above 1.
    nll = [evidential_loss(z, p[:, i], reg_coef=0.0).item() for i in range(2)]
    small = evidential_loss(z, p[:, 0]).item() - nll[0]
    assert 0 < small < 0.1
    got = classification_loss(z, p, torch.full((1, 2), 0.5), loss="evidential", evidential=options)
    assert got.item() == pytest.approx((sum(nll) + small + 1.0) / 2, rel=1e-5)


def test_a_label_alone_is_cut_as_its_soft_label() -> None:
    z, label, log_t = torch.tensor([[[6.0, -3.0, 1.0]]]), torch.tensor([[1]]), math.log(0.3)
    nll = evidential_loss(z[0], label[0], reg_coef=0.0).item()
    got = sequence_loss(
        z, label, torch.tensor([[log_t]]), torch.ones(1), loss="evidential",
        target_kind="label_only", evidential={"max_regulariser": 0.5},
    )  # fmt: skip
    assert got.item() == pytest.approx(0.3 * nll + 0.5, rel=1e-5)


def test_classification_refuses() -> None:
    z, p, w = torch.zeros(2, 3), torch.full((2, 2, 3), 1 / 3), torch.full((2, 2), 0.5)
    classification_loss(z, p, w)
    with pytest.raises(ValueError, match=r"sum of weights .* at \(1,\)"):
        classification_loss(z, p, torch.tensor([[0.5, 0.5], [0.5, 0.9]]))
    with pytest.raises(ValueError, match=r"sum of targets .* at \(0, 1\)"):
        classification_loss(z, p * torch.tensor([1.0, 0.5])[None, :, None], w)
    with pytest.raises(ValueError, match=r"targets must be \(B, N, K\)"):
        classification_loss(z, p[:, 0], w)
    with pytest.raises(ValueError, match=r"weights are \(2, 1\)"):
        classification_loss(z, p, w[:, :1])
    with pytest.raises(ValueError, match="gamma"):
        classification_loss(z, p, w, gamma=1.5)


def sequences() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    z = logits(3, 5, 7)
    labels = torch.tensor([[-100, 2, 4, 6, -100], [1, 0, -100, -100, -100], [-100, 3, 3, 5, 2]])
    log_t = -logits(3, 5, seed=3).abs()
    return z, labels, log_t, torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)


@pytest.mark.parametrize("kind", ["one_hot", "label_only", "full"])
@pytest.mark.parametrize("loss", ["cross_entropy", "evidential"])
@pytest.mark.parametrize("regulariser", ["per_label", "mixed"])
@pytest.mark.parametrize("g", [0.0, 0.2])
def test_sequence_loss_token_by_token(kind: str, loss: str, regulariser: str, g: float) -> None:
    z, labels, log_t, weight = sequences()
    options: EvidentialOptions = {
        "reg_coef": 1e-2,
        "regulariser": "mixed" if regulariser == "mixed" else "per_label",
        "validate": False,
    }
    total = 0.0
    for s in range(3):
        values = []
        for j in range(5):
            y = int(labels[s, j])
            if y == -100:
                continue
            row, t = z[s, j], log_t[s, j].exp()
            q = torch.softmax(row, -1)
            p = q * (1 - t) / (1 - q[y]) if kind == "full" else torch.zeros_like(q)
            p[y] = 1.0 if kind == "one_hot" else t
            if loss == "evidential":
                value = evidential_loss(row, p, **options)
                aux = evidential_loss(row, row.argmax(), **options)
            else:
                value = -(p * q.log()).sum()
                if kind == "full":
                    value = value + (p * p.log()).sum()
                aux = -q.log().max()
            values.append((1 - g) * value + g * aux)
        total += weight[s].item() * torch.stack(values).mean().item()
    got = sequence_loss(
        z,
        labels,
        log_t,
        weight,
        loss="evidential" if loss == "evidential" else "cross_entropy",
        target_kind="full" if kind == "full" else "one_hot" if kind == "one_hot" else "label_only",
        gamma=g,
        evidential=options,
    )
    assert got.item() == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize("loss", ["cross_entropy", "evidential"])
@pytest.mark.parametrize("kind", ["one_hot", "label_only", "full"])
@pytest.mark.parametrize("g", [0.0, 0.2])
def test_token_weight_multiplies_each_tokens_whole_loss(loss: Any, kind: Any, g: float) -> None:
    z, labels, log_t, weight = sequences()
    z.requires_grad_()
    token_weight = logits(3, 5, seed=4).abs()
    token_weight[0, 1] = 0.0
    token_weight[labels == -100] = float("nan")
    options: dict[str, Any] = {"loss": loss, "target_kind": kind, "gamma": g}
    expected = torch.zeros((), dtype=torch.float64)
    for s, t in (labels != -100).nonzero().tolist():
        alone = sequence_loss(
            z[s : s + 1, t : t + 1],
            labels[s : s + 1, t : t + 1],
            log_t[s : s + 1, t : t + 1],
            torch.ones(1),
            **options,
        )
        targets = (labels[s] != -100).sum()
        expected = expected + weight[s] * token_weight[s, t] * alone / targets
    got = sequence_loss(z, labels, log_t, weight, token_weight=token_weight, **options)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(grad(got, z), grad(expected, z))
    ones = torch.ones_like(token_weight)
    assert torch.equal(
        sequence_loss(z, labels, log_t, weight, token_weight=ones, **options),
        sequence_loss(z, labels, log_t, weight, **options),
    )


@pytest.mark.parametrize("loss", ["cross_entropy", "evidential"])
@pytest.mark.parametrize("kind", ["one_hot", "label_only", "full"])
def test_sequences_may_share_their_logits(loss: Any, kind: Any) -> None:
    z, labels, log_t, weight = sequences()
    z.requires_grad_()
    rows = torch.tensor([2, 0, 2])
    options: dict[str, Any] = {"loss": loss, "target_kind": kind, "gamma": 0.2}
    apart = sequence_loss(z[rows], labels, log_t, weight, **options)
    places = rows[:, None] * z.shape[1] + torch.arange(z.shape[1])
    # What is no target has no place.
    places = places.where(labels != -100, -1)
    shared = sequence_loss(z.flatten(0, 1), labels, log_t, weight, places=places, **options)
    torch.testing.assert_close(shared, apart)
    torch.testing.assert_close(grad(shared, z), grad(apart, z))
    with pytest.raises(ValueError, match="places"):
        sequence_loss(z[0], labels, log_t, weight, places=places, **options)


@pytest.mark.parametrize("regulariser", ["per_label", "mixed"])
@pytest.mark.parametrize("kind", ["label_only", "full"])
@pytest.mark.parametrize("detach_tail", [True, False])
def test_float32_sequences_over_a_vocabulary_equal_float64(
    regulariser: Any, kind: Any, detach_tail: bool
) -> None:
    z, labels, log_t, weight = sequences()
    wide = torch.cat([z, logits(3, 5, 5000, seed=5)], -1).float().double().requires_grad_()
    narrow = wide.detach().float().requires_grad_()
    options: dict[str, Any] = {"loss": "evidential", "target_kind": kind, "gamma": 0.2}
    options |= {"evidential": {"regulariser": regulariser}, "detach_tail": detach_tail}
    exact = sequence_loss(wide, labels, log_t.float().double(), weight, **options)
    ours = sequence_loss(narrow, labels, log_t.float(), weight, **options)
    torch.testing.assert_close(ours.double(), exact, rtol=1e-6, atol=0)
    torch.testing.assert_close(grad(ours, narrow).double(), grad(exact, wide), rtol=1e-4, atol=1e-6)


def test_detach_tail_changes_the_evidential_gradient_only() -> None:
    z, labels, log_t, weight = sequences()
    z.requires_grad_()
    values, grads = [], []
    for detach in (True, False):
        value = sequence_loss(z, labels, log_t, weight, loss="evidential", detach_tail=detach)
        values.append(value.item())
        grads.append(grad(value, z))
    assert values[0] == values[1]
    assert not torch.allclose(grads[0], grads[1])
    assert bool((grads[0][labels == -100] == 0).all())


def test_ignored_positions_may_hold_anything() -> None:
    z, labels, log_t, weight = sequences()
    expected = sequence_loss(z, labels, log_t, weight).item()
    ignored = labels == -100
    z[ignored] = float("nan")
    log_t[ignored] = float("nan")
    assert sequence_loss(z, labels, log_t, weight).item() == expected


def test_sequence_loss_refuses() -> None:
    z, labels, log_t, weight = sequences()
    empty = labels.clone()
    empty[1] = -100
    with pytest.raises(ValueError, match=r"labels \(shape \(3, 5\)\) is -100 .* at \(1,\): -100"):
        sequence_loss(z, empty, log_t, weight)
    with pytest.raises(ValueError, match=r"target_logprob \(.* is not <= 0 at \(0, 1\)"):
        sequence_loss(z, labels, -log_t, weight)
    outside = labels.clone()
    outside[1, 0] = 7
    with pytest.raises(ValueError, match=r"labels .* whole number in \[0, 7\) at \(1, 0\): 7"):
        sequence_loss(z, outside, log_t, weight)
    with pytest.raises(ValueError, match=r"token_weight \(shape \(3,\)\) must be \(3, 5\)"):
        sequence_loss(z, labels, log_t, weight, token_weight=weight)
    with pytest.raises(ValueError, match=r"logits \(shape \(0, 5, 7\)\) must be \(S, T, V\)"):
        sequence_loss(z[:0], labels[:0], log_t[:0], weight[:0])
    # Ignored positions before it are skipped, and counted.
    z[0, 0], z[2, 1, 6] = math.nan, math.inf
    with pytest.raises(ValueError, match=r"logits .* is not finite at \(2, 1, 6\): inf"):
        sequence_loss(z, labels, log_t, weight)
