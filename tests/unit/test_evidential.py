from __future__ import annotations

import math

import mpmath
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Dirichlet, kl_divergence

from raw2s.method.evidence import Evidence, concentration_excess
from raw2s.method.evidential import (
    EvidentialOptions,
    Regulariser,
    clamped_share,
    dirichlet_nll,
    dirichlet_regulariser,
    dirichlet_uncertainty,
    evidential_loss,
    soft_label_evidential_loss,
)

EVIDENCE: list[Evidence] = ["exp+1", "exp", "softplus+1", "relu+1"]


def logits(*shape: int, scale: float = 2.0, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)


def soft(*shape: int, seed: int = 1) -> Tensor:
    return torch.softmax(logits(*shape, seed=seed), -1)


def plain_alpha(z: Tensor, evidence: Evidence) -> Tensor:
    return {
        "exp+1": z.exp() + 1,
        "exp": z.exp(),
        "softplus+1": (1 + z.exp()).log() + 1,
        "relu+1": z.clamp(min=0) + 1,
    }[evidence]


def kl_class_by_class(alpha: Tensor) -> Tensor:
    """KL(Dir(alpha with alpha_k = 1) || Dir(1)) by torch.distributions, one class at a time."""
    columns = []
    for k in range(alpha.shape[-1]):
        changed = alpha.clone()
        changed[..., k] = 1
        columns.append(kl_divergence(Dirichlet(changed), Dirichlet(torch.ones_like(alpha))))
    return torch.stack(columns, -1)


def kl_precise(excess: list[mpmath.mpf], label: int) -> float:
    with mpmath.workdps(60):
        alpha = [mpmath.mpf(1) if j == label else 1 + e for j, e in enumerate(excess)]
        total = mpmath.fsum(alpha)
        value = mpmath.loggamma(total) - mpmath.loggamma(len(alpha))
        for a in alpha:
            value += (a - 1) * (mpmath.digamma(a) - mpmath.digamma(total)) - mpmath.loggamma(a)
        return float(value)


@pytest.mark.parametrize("evidence", EVIDENCE)
def test_loss_is_nll_plus_kl_of_torch_distributions(evidence: Evidence) -> None:
    z, p = logits(6, 5), soft(6, 5)
    alpha = plain_alpha(z, evidence)
    each = alpha.sum(-1, keepdim=True).log() - alpha.log() + 0.3 * kl_class_by_class(alpha)
    got = evidential_loss(z, p, evidence=evidence, reg_coef=0.3, reduction="none")
    torch.testing.assert_close(got, (p * each).sum(-1), rtol=1e-12, atol=1e-12)
    hard = torch.tensor([0, 1, 2, 3, 4, 0])
    got = evidential_loss(z, hard, evidence=evidence, reg_coef=0.3, reduction="none")
    expected = each.gather(-1, hard[:, None])[:, 0]
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    all_labels = dirichlet_regulariser(z, evidence=evidence)
    torch.testing.assert_close(all_labels, kl_class_by_class(alpha), rtol=1e-12, atol=1e-12)


def test_mixed_is_one_kl_and_another_number() -> None:
    z, p = logits(4, 5), soft(4, 5)
    tilde = z.exp() * (1 - p) + 1
    expected = kl_divergence(Dirichlet(tilde), Dirichlet(torch.ones_like(tilde)))
    got = dirichlet_regulariser(z, p, regulariser="mixed")
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(got, dirichlet_regulariser(z, p), rtol=1e-3)
    one_hot = torch.eye(5, dtype=torch.float64)[torch.tensor([3, 1, 0, 4])]
    for regulariser in ("mixed", "per_label"):
        kinds: Regulariser = "mixed" if regulariser == "mixed" else "per_label"
        torch.testing.assert_close(
            dirichlet_regulariser(z, one_hot, regulariser=kinds),
            dirichlet_regulariser(z, torch.tensor([3, 1, 0, 4])),
        )


@pytest.mark.parametrize("classes", [2, 3, 50])
@pytest.mark.parametrize("level", [-10.0, -6.0, -4.6, 0.0, 6.0, 10.0])
def test_float32_logits_keep_precision(classes: int, level: float) -> None:
    z = (level + 0.1 * logits(1, classes)).clamp(-10, 10).float()
    with mpmath.workdps(60):
        excess = [mpmath.exp(mpmath.mpf(float(v))) for v in z[0]]
    expected = kl_precise(excess, 1)
    assert expected > 0
    hard = evidential_loss(z, torch.tensor([1])) - evidential_loss(z, torch.tensor([1]), reg_coef=0)
    index = dirichlet_regulariser(z, torch.tensor([1])).item()
    assert index == pytest.approx(expected, rel=1e-9)
    assert dirichlet_regulariser(z)[0, 1].item() == pytest.approx(expected, rel=1e-7)
    assert hard.item() == pytest.approx(expected, rel=1e-2, abs=1e-6)


@pytest.mark.parametrize("level", [-9.0, -3.0, 0.0])
def test_precise_over_a_vocabulary(level: float) -> None:
    classes, e = 151_936, mpmath.exp(mpmath.mpf(level))
    with mpmath.workdps(60):
        total = 1 + (classes - 1) * (1 + e)
        per_class = mpmath.loggamma(1 + e) - e * (mpmath.digamma(1 + e) - mpmath.digamma(total))
        expected = mpmath.loggamma(total) - mpmath.loggamma(classes) - (classes - 1) * per_class
    z = torch.full((1, classes), level)
    got = dirichlet_regulariser(z, torch.tensor([7])).item()
    assert got == pytest.approx(float(expected), rel=1e-8)


@pytest.mark.parametrize("evidence", EVIDENCE)
@pytest.mark.parametrize("regulariser", ["per_label", "mixed"])
def test_gradient(evidence: Evidence, regulariser: Regulariser) -> None:
    z = logits(3, 4).requires_grad_()
    # Both branches of the series, and a class far down.
    z.data[0] = torch.tensor([-9.0, -5.0, -4.0, -7.0])
    p = soft(3, 4).requires_grad_()

    def loss(z: Tensor, p: Tensor) -> Tensor:
        return evidential_loss(
            z, p, evidence=evidence, regulariser=regulariser, reduction="none", validate=False
        )

    assert torch.autograd.gradcheck(loss, (z, p), eps=1e-6, atol=1e-7, rtol=1e-5)


def test_exp_evidence_is_cross_entropy_and_unclamped() -> None:
    z = 20 * logits(8, 6)
    labels = torch.arange(8) % 6
    expected = F.cross_entropy(z, labels)
    got = evidential_loss(z, labels, evidence="exp", reg_coef=0)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(dirichlet_nll(z, "exp"), -F.log_softmax(z, -1))


def test_extreme_and_half_precision_logits_stay_finite() -> None:
    z = torch.tensor([[500.0, -500.0, 3.0]], dtype=torch.bfloat16, requires_grad=True)
    loss = evidential_loss(z, torch.tensor([1]))
    assert loss.dtype == torch.float32
    loss.backward()
    assert z.grad is not None and bool(torch.isfinite(z.grad).all())
    assert dirichlet_nll(z)[0, 1].item() == pytest.approx(500)


def test_max_regulariser_cuts_each_position_and_reports() -> None:
    z = torch.tensor([[0.0, 0.0, 0.0], [4.0, 4.0, 5.0]], requires_grad=True)
    target = torch.tensor([0, 0])
    seen: list[Tensor] = []
    cut = evidential_loss(
        z, target, max_regulariser=1.0, reduction="none", on_regulariser=seen.append
    )
    nll = evidential_loss(z, target, reg_coef=0.0, reduction="none")
    assert cut[1].item() - nll[1].item() == pytest.approx(1.0, rel=1e-5)
    assert 0 < cut[0].item() - nll[0].item() < 1
    assert clamped_share(seen[0], 1.0) == 0.5
    assert clamped_share(seen[0], None) == 0.0
    (cut[1] - nll[1]).backward()
    assert z.grad is not None
    torch.testing.assert_close(z.grad, torch.zeros_like(z), atol=1e-6, rtol=0)


def test_clamp_acts_in_the_regulariser_only() -> None:
    high, higher = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 5.0]])
    label = torch.tensor([0])
    same = [dirichlet_regulariser(z, label, clamp=2.0) for z in (high, higher)]
    torch.testing.assert_close(same[0], same[1])
    losses = [evidential_loss(z, label, clamp=2.0).item() for z in (high, higher)]
    assert losses[1] > losses[0] + 2


def test_excess_is_exact_where_concentration_rounds_to_one() -> None:
    z = torch.full((1, 3), -20.0)
    assert torch.equal(concentration_excess(z), z.exp())
    assert concentration_excess(z, clamp=10.0)[0, 0].item() == pytest.approx(4.5399929e-05)


def test_uncertainty_by_sampling() -> None:
    z = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)
    torch.manual_seed(0)
    drawn = Dirichlet(z.exp() + 1).sample((200_000,))
    entropy = -(drawn * drawn.log()).sum(-1).mean().item()
    mean = drawn.mean(0)
    total = -(mean * mean.log()).sum().item()
    got = dirichlet_uncertainty(z)
    assert got["vacuity"].item() == pytest.approx(3 / (z.exp() + 1).sum().item())
    assert got["expected_entropy"].item() == pytest.approx(entropy, abs=2e-3)
    assert got["mutual_information"].item() == pytest.approx(total - entropy, abs=2e-3)


def test_a_dirichlet_of_tiny_concentrations_is_one_class_that_is_not_known() -> None:
    # Each draw is one class, so all of the mean's entropy is mutual information.
    for level, entropy in (([-40.0] * 4, math.log(4)), ([-34.0, -35.0, -36.0], 0.8324)):
        got = dirichlet_uncertainty(torch.tensor([level]), "exp")
        assert got["mutual_information"].item() == pytest.approx(entropy, abs=1e-4)
        total = sum(math.exp(z) for z in level)
        assert got["vacuity"].item() == pytest.approx(len(level) / total)


@pytest.mark.parametrize("evidence", ["exp+1", "exp"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_largest_clamp_leaves_digits(evidence: Evidence, dtype: torch.dtype) -> None:
    z = [-30.0, 30.0, 1.0, 0.25, *[-2.0] * 4996]
    with mpmath.workdps(60):
        cut = [mpmath.exp(min(25, max(-25, v))) for v in z]
        excess = cut if evidence == "exp+1" else [alpha - 1 for alpha in cut]
    logits, label = torch.tensor([z], dtype=dtype), torch.tensor([2])
    options: EvidentialOptions = {"evidence": evidence, "clamp": 25.0}
    expected = kl_precise(excess, 2)
    assert dirichlet_regulariser(logits, label, **options).item() == pytest.approx(expected, 1e-4)
    both = [evidential_loss(logits, label, reg_coef=c, **options).item() for c in (0.0, 1.0)]
    assert both[1] - both[0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("clamp", [0.0, -1.0, 25.5, float("nan")])
def test_a_clamp_out_of_range_is_refused(clamp: float) -> None:
    z, label = torch.zeros(2, 3), torch.tensor([0, 2])
    message = rf"clamp must be in \(0, 25\], it is {clamp}"
    with pytest.raises(ValueError, match=message):
        evidential_loss(z, label, clamp=clamp)
    with pytest.raises(ValueError, match=message):
        soft_label_evidential_loss(z, label, torch.zeros(2), clamp=clamp)
    with pytest.raises(ValueError, match=message):
        dirichlet_regulariser(z, clamp=clamp)


@pytest.mark.parametrize(
    ("z", "targets", "message"),
    [
        (torch.tensor([[0.0, float("nan")]]), torch.tensor([0]), r"logits .* at \(0, 1\)"),
        (torch.zeros(2, 2), torch.tensor([0, 2]), r"targets .*\[0, 2\) at \(1,\): 2"),
        (torch.zeros(2, 2), torch.tensor([0, -1]), r"at \(1,\): -1"),
        (torch.zeros(2, 2), torch.tensor([[1.0, 0.0], [0.6, 0.6]]), r"not 1 at \(1,\)"),
        (torch.zeros(1, 2), torch.tensor([[-0.5, 1.5]]), "negative"),
        (torch.zeros(2, 2), torch.zeros(3, dtype=torch.int64), "indices"),
        (torch.zeros(2, 2), torch.zeros(2, 3), "probabilities"),
        (torch.zeros(2, 1), torch.zeros(2, dtype=torch.int64), "K >= 2"),
        (torch.zeros(2, 2), torch.zeros(2, dtype=torch.int32), "int64"),
    ],
)
def test_bad_input_is_named(z: Tensor, targets: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evidential_loss(z, targets)


@pytest.mark.parametrize("regulariser", ["per_label", "mixed"])
@pytest.mark.parametrize("detach", [True, False])
def test_soft_labels_of_few_classes(regulariser: Regulariser, detach: bool) -> None:
    z = logits(2, 3, 5).requires_grad_()
    labels, log_t = torch.tensor([[0, 4, 2], [1, 1, 3]]), -logits(2, 3, seed=3).abs()
    q = torch.softmax(z.detach() if detach else z, -1)
    t, at_label = log_t.exp()[..., None], F.one_hot(labels, 5).bool()
    tail = (1 - t) * q / (1 - q[at_label].view(2, 3, 1))
    for with_tail in (True, False):
        p = torch.where(at_label, t, tail if with_tail else 0.0)
        options: EvidentialOptions = {"regulariser": regulariser, "validate": False}
        expected = evidential_loss(z, p, reduction="none", **options)
        got = soft_label_evidential_loss(
            z, labels, log_t, tail=with_tail, detach_tail=detach, reduction="none", **options
        )
        torch.testing.assert_close(got, expected)
        both = [
            torch.autograd.grad(each.sum(), z, retain_graph=True)[0] for each in (got, expected)
        ]
        torch.testing.assert_close(*both)


def test_bad_soft_labels_are_named() -> None:
    z, labels, log_t = torch.zeros(2, 3), torch.tensor([0, 2]), torch.tensor([-1.0, 0.0])
    with pytest.raises(ValueError, match=r"labels are \(1,\), logits \(2, 3\)"):
        soft_label_evidential_loss(z, labels[:1], log_t)
    with pytest.raises(ValueError, match=r"target_logprob are \(2, 1\)"):
        soft_label_evidential_loss(z, labels, log_t[:, None])
    with pytest.raises(ValueError, match=r"labels .*\[0, 3\).* at \(1,\)"):
        soft_label_evidential_loss(z, labels + 1, log_t)
    with pytest.raises(ValueError, match=r"target_logprob \(shape \(2,\)\) .* at \(0,\)"):
        soft_label_evidential_loss(z, labels, -log_t)
