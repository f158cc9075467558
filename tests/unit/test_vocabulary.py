"""The chunked evidential loss against the float64 closed form and torch.distributions."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch.distributions import Dirichlet, kl_divergence

from raw2s.method import vocabulary
from raw2s.method.evidence import Evidence
from raw2s.method.evidential import evidential_loss

EVIDENCE: list[Evidence] = ["exp+1", "exp", "softplus+1", "relu+1"]
KINDS = ["indices", "per_label", "mixed"]
CLASSES = vocabulary.FEWEST_CLASSES


def drawn(rows: int, classes: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed))


def targets_of(kind: str, rows: int, classes: int) -> Tensor:
    if kind == "indices":
        generator = torch.Generator().manual_seed(2)
        return torch.randint(classes, (rows,), generator=generator)
    return torch.softmax(6 * drawn(rows, classes, 3), -1)


def options_of(kind: str, evidence: Evidence, **more: Any) -> dict[str, Any]:
    regulariser = "mixed" if kind == "mixed" else "per_label"
    return {"evidence": evidence, "regulariser": regulariser, "reg_coef": 0.3} | more


def loss_and_gradient(z: Tensor, targets: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    z = z.detach().clone().requires_grad_()
    # Rows count differently, so that a gradient in the wrong row shows.
    loss = evidential_loss(z, targets, reduction="none", validate=False, **options)
    (loss * torch.arange(1, len(z) + 1)).sum().backward()
    return loss.detach(), cast(Tensor, z.grad)


def wide(targets: Tensor) -> Tensor:
    return targets.double() if targets.is_floating_point() else targets


def assert_same(z: Tensor, targets: Tensor, tolerance: float = 1e-5, **options: Any) -> None:
    """Values within tolerance * max(1, |value|), each row's gradient within that of its largest."""
    found, gradient = loss_and_gradient(z, targets, **options)
    expected, exact = loss_and_gradient(z.double(), wide(targets), **options)
    error = (found.double() - expected).abs() / expected.abs().clamp(min=1)
    assert error.max() < tolerance
    scale = exact.abs().amax(-1, keepdim=True).clamp(min=1e-6)
    assert ((gradient.double() - exact).abs() / scale).max() < max(1e-4, tolerance)


@pytest.mark.parametrize("evidence", EVIDENCE)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("scale", "level"),
    [(0.0, 0.0), (0.01, 0.0), (1.0, 0.0), (2.0, -9.0), (0.5, -9.5), (8.0, 6.0), (50.0, -9.0)],
)
def test_equals_the_closed_form(evidence: Evidence, kind: str, scale: float, level: float) -> None:
    z = scale * drawn(3, CLASSES) + level
    assert_same(z, targets_of(kind, 3, CLASSES), **options_of(kind, evidence))


@pytest.mark.parametrize("kind", KINDS)
def test_one_class_far_above_the_rest(kind: str) -> None:
    """All others beyond the clamp, as a language model's often are: little evidence is left."""
    z = torch.full((2, CLASSES), -60.0)
    z[0, 7], z[1, 4000] = 9.5, 30.0
    assert_same(z, targets_of(kind, 2, CLASSES), **options_of(kind, "exp"))
    on_the_peak = torch.tensor([7, 4000])
    if kind != "indices":
        on_the_peak = torch.nn.functional.one_hot(on_the_peak, CLASSES).float()
    assert_same(z, on_the_peak, **options_of(kind, "exp"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("evidence", ["exp+1", "exp"])
def test_chunks_split_rows_and_columns_alike(
    kind: str, evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    z, targets = 2 * drawn(5, CLASSES), targets_of(kind, 5, CLASSES)
    options = options_of(kind, evidence)
    whole = loss_and_gradient(z, targets, **options)
    for size in (1000, CLASSES, 2 * CLASSES + 1, 20 * CLASSES):
        monkeypatch.setattr(vocabulary, "_CHUNK_CPU", size)
        for one, other in zip(loss_and_gradient(z, targets, **options), whole, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_against_the_same_rounded_logits(kind: str, dtype: torch.dtype) -> None:
    z = (3 * drawn(2, CLASSES)).to(dtype)
    targets, options = targets_of(kind, 2, CLASSES), options_of(kind, "exp+1")
    found, gradient = loss_and_gradient(z, targets, **options)
    expected, exact = loss_and_gradient(z.double(), wide(targets), **options)
    assert found.dtype == torch.float32 and gradient.dtype == dtype
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient.double(), exact, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("evidence", EVIDENCE)
def test_logits_of_any_size_give_finite_losses(kind: str, evidence: Evidence) -> None:
    z = drawn(3, CLASSES)
    z[0, :5] = torch.tensor([1e4, -1e4, 0.0, 9.99, -9.99])
    z[1] = -1e4
    z[2] = 1e4
    assert_same(z, targets_of(kind, 3, CLASSES), **options_of(kind, evidence))
    for result in loss_and_gradient(z, targets_of(kind, 3, CLASSES), **options_of(kind, evidence)):
        assert bool(torch.isfinite(result).all())


@pytest.mark.parametrize("evidence", EVIDENCE)
def test_a_real_vocabulary_class_by_class(evidence: Evidence) -> None:
    """Sampled labels of K = 151,936 against one KL of torch.distributions each."""
    classes = 151_936
    z = 2 * drawn(1, classes)
    alpha = {
        "exp+1": z.double().exp() + 1,
        "exp": z.double().exp(),
        "softplus+1": torch.nn.functional.softplus(z.double()) + 1,
        "relu+1": z.double().clamp(min=0) + 1,
    }[evidence]
    for label in (0, int(z.argmax()), int(z.argmin()), classes - 1):
        changed = alpha.clone()
        changed[0, label] = 1
        kl = kl_divergence(Dirichlet(changed), Dirichlet(torch.ones_like(changed)))
        nll = alpha.sum(-1).log() - alpha[:, label].log()
        found = evidential_loss(z, torch.tensor([label]), evidence=evidence, reg_coef=1.0)
        assert found.item() == pytest.approx((nll + kl).item(), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_cut_takes_the_regularisers_gradient_with_it(kind: str) -> None:
    z = drawn(2, CLASSES) * torch.tensor([[0.1], [3.0]])
    targets, seen = targets_of(kind, 2, CLASSES), list[Tensor]()
    options = options_of(kind, "exp+1", max_regulariser=3000.0)
    cut, gradient = loss_and_gradient(z, targets, on_regulariser=seen.append, **options)
    assert (seen[0] > 3000).tolist() == [False, True]
    assert_same(z, targets, **options)
    nll, slope = loss_and_gradient(z, targets, **options_of(kind, "exp+1", reg_coef=0.0))
    torch.testing.assert_close(cut[1], nll[1] + 0.3 * 3000)
    torch.testing.assert_close(gradient[1], slope[1])


def test_targets_that_learn_take_the_closed_form() -> None:
    z = drawn(1, CLASSES)
    targets = torch.softmax(drawn(1, CLASSES, 5), -1).requires_grad_()
    evidential_loss(z, targets).backward()
    assert targets.grad is not None and bool(targets.grad.any())
