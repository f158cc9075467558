"""The evidential loss for few and many classes: torch.distributions, sampling, ends and dtypes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.distributions import Dirichlet, kl_divergence

from raw2s.method.evidence import Evidence
from raw2s.method.evidential import evidential_loss

EVIDENCE: list[Evidence] = ["exp+1", "exp", "softplus+1", "relu+1"]
KINDS = ["indices", "per_label", "mixed"]
CLASSES = [2, 3, 10, 1000, 32_000, 151_936]
SAMPLED = 5
"""Classes that are looped over where there are many."""
CLAMP = 10.0


def drawn(rows: int, classes: int, scale: float, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rows, classes, generator=generator, dtype=torch.float64)


def concentration(z: Tensor, evidence: Evidence) -> Tensor:
    return {
        "exp+1": z.exp() + 1,
        "exp": z.exp(),
        "softplus+1": torch.logaddexp(z, torch.zeros_like(z)) + 1,
        "relu+1": z.clamp(min=0) + 1,
    }[evidence]


def targets_of(kind: str, rows: int, classes: int) -> Tensor:
    if kind == "indices":
        return torch.randint(classes, (rows,), generator=torch.Generator().manual_seed(1))
    return torch.softmax(drawn(rows, classes, 6.0, seed=2), -1)


def loss_and_gradient(z: Tensor, targets: Tensor, kind: str, **options: Any) -> list[Tensor]:
    leaf = z.detach().clone().requires_grad_()
    regulariser = "mixed" if kind == "mixed" else "per_label"
    loss = evidential_loss(leaf, targets, regulariser=regulariser, reduction="none", **options)
    loss.sum().backward()
    assert leaf.grad is not None
    return [loss.detach(), leaf.grad]


@pytest.mark.parametrize("evidence", EVIDENCE)
@pytest.mark.parametrize("classes", CLASSES)
def test_every_class_against_torch_distributions(classes: int, evidence: Evidence) -> None:
    """One KL of torch.distributions a class, in float64; the logits reach beyond the clamp."""
    z = drawn(2, classes, 5.0)
    z[:, :2] = torch.tensor([[12.0, -13.0], [-11.0, 40.0]])
    labels = torch.linspace(0, classes - 1, min(classes, SAMPLED)).long()
    whole = concentration(z, evidence)
    cut = concentration(z.clamp(-CLAMP, CLAMP), evidence)
    each = []
    for label in labels.tolist():
        changed = cut.clone()
        changed[:, label] = 1
        kl = kl_divergence(Dirichlet(changed), Dirichlet(torch.ones_like(changed)))
        each.append(whole.sum(-1).log() - whole[:, label].log() + 0.3 * kl)
        hard = torch.full((2,), label)
        assert_near(evidential_loss(z, hard, evidence=evidence, reg_coef=0.3, reduction="none"),
                    each[-1])  # fmt: skip
    # A soft label on the same classes is their mixture.
    share = torch.softmax(drawn(2, len(labels), 1.0, seed=3), -1)
    soft = torch.zeros_like(z).index_copy(1, labels, share)
    expected = (share * torch.stack(each, -1)).sum(-1)
    assert_near(
        evidential_loss(z, soft, evidence=evidence, reg_coef=0.3, reduction="none"), expected
    )


def assert_near(found: Tensor, expected: Tensor) -> None:
    """Within 1e-10 max(1, |value|)."""
    assert bool(((found - expected).abs() <= 1e-10 * expected.abs().clamp(min=1)).all())


@pytest.mark.parametrize("evidence", EVIDENCE)
def test_monte_carlo(evidence: Evidence) -> None:
    """L_NLL = -log E[p_k] and L_REG = E[log Dir(p; alpha~) - log Dir(p; 1)] over drawn p."""
    rng, draws = np.random.default_rng(0), 100_000
    z = torch.tensor([0.3, -0.8, 1.4, 0.1], dtype=torch.float64)
    alpha = concentration(z, evidence).numpy()
    p = rng.dirichlet(alpha, draws)
    for k in range(4):
        label = torch.tensor(k)
        nll = evidential_loss(z, label, evidence=evidence, reg_coef=0.0).item()
        error = p[:, k].std() / p[:, k].mean() / math.sqrt(draws)
        assert nll == pytest.approx(-math.log(p[:, k].mean()), abs=4 * error)
        changed = np.where(np.arange(4) == k, 1.0, alpha)
        ratio = stats.dirichlet.logpdf(rng.dirichlet(changed, draws).T, changed) - math.lgamma(4)
        kl = evidential_loss(z, label, evidence=evidence, reg_coef=1.0).item() - nll
        assert kl == pytest.approx(ratio.mean(), abs=4 * ratio.std() / math.sqrt(draws))


@pytest.mark.parametrize("evidence", EVIDENCE)
@pytest.mark.parametrize("classes", [2, 5])
def test_gradcheck_of_indices(classes: int, evidence: Evidence) -> None:
    """Soft labels of both regularisers: test_evidential."""
    z = drawn(4, classes, 3.0).requires_grad_()
    labels = targets_of("indices", 4, classes)

    def loss(z: Tensor) -> Tensor:
        return evidential_loss(z, labels, evidence=evidence, reg_coef=0.3, reduction="none")

    assert torch.autograd.gradcheck(loss, (z,), eps=1e-6, atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("evidence", EVIDENCE)
def test_finite_at_both_ends_and_where_alpha_is_one(
    evidence: Evidence, kind: str, dtype: torch.dtype
) -> None:
    for classes in (2, 7, 5000):
        z = torch.stack(
            [
                torch.full((classes,), 1e4),
                torch.full((classes,), -1e4),
                torch.full((classes,), -20.0),  # alpha is 1 but for rounding
                torch.zeros(classes),  # alpha is 1 with exp evidence
                torch.where(torch.arange(classes) % 2 == 0, 1e4, -1e4),
                1e4 * drawn(1, classes, 1.0)[0].clamp(-1, 1),
            ]
        ).to(dtype)
        targets = targets_of(kind, len(z), classes)
        for found in loss_and_gradient(z, targets, kind, evidence=evidence):
            assert bool(torch.isfinite(found).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("evidence", EVIDENCE)
@pytest.mark.parametrize("classes", [2, 10, 1000, 151_936])
def test_every_dtype_against_float64_on_the_same_rounded_inputs(
    classes: int, evidence: Evidence, kind: str, dtype: torch.dtype
) -> None:
    rows = 1 if classes > 10_000 else 8
    z = drawn(rows, classes, 3.0).to(dtype)
    targets = targets_of(kind, rows, classes)
    if kind != "indices":
        targets = targets.to(dtype)
    found, gradient = loss_and_gradient(z, targets, kind, evidence=evidence, reg_coef=0.3)
    wide = targets.double() if kind != "indices" else targets
    expected, exact = loss_and_gradient(
        z.double(), wide, kind, evidence=evidence, reg_coef=0.3, validate=False
    )
    assert found.dtype == torch.float32 and gradient.dtype == dtype
    error = (found.double() - expected).abs() / expected.abs().clamp(min=1)
    assert float(error.max()) <= 1e-3
    # The gradients of L_NLL and L_REG are each rounded to the logits' dtype.
    scale = exact.abs().amax(-1, keepdim=True).clamp(min=1e-6)
    allowed = max(1e-3, torch.finfo(dtype).eps)
    assert float(((gradient.double() - exact).abs() / scale).max()) <= allowed
