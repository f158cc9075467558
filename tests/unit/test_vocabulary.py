"""The chunked evidential loss against the float64 closed form and torch.distributions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch.distributions import Dirichlet, kl_divergence
from torch.profiler import ProfilerActivity, profile

from raw2s.method import blocks, vocabulary
from raw2s.method.binary_kl import binary_kl
from raw2s.method.evidence import Evidence
from raw2s.method.evidential import evidential_loss, soft_label_evidential_loss

EVIDENCE: list[Evidence] = ["exp+1", "exp", "softplus+1", "relu+1"]
KINDS = ["indices", "per_label", "mixed"]
# Regulariser, and whether 1 - t is spread over the tail.
SOFT = [("per_label", True), ("per_label", False), ("mixed", True), ("mixed", False)]
LOGPROBS = [0.0, -1e-9, -1e-6, -1e-3, -0.7, -20.0, -math.inf]
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


def assert_same(z: Tensor, targets: Tensor, **options: Any) -> None:
    assert_close(
        loss_and_gradient(z, targets, **options),
        loss_and_gradient(z.double(), wide(targets), **options),
    )


def assert_close(ours: tuple[Tensor, Tensor], exact: tuple[Tensor, Tensor]) -> None:
    """Values within 1e-5 max(1, |value|), each row's gradient within 1e-4 of its largest."""
    error = (ours[0].double() - exact[0]).abs() / exact[0].abs().clamp(min=1)
    assert error.max() < 1e-5
    scale = exact[1].abs().amax(-1, keepdim=True).clamp(min=1e-6)
    assert ((ours[1].double() - exact[1]).abs() / scale).max() < 1e-4


def soft_and_dense(
    z: Tensor, labels: Tensor, log_t: Tensor, tail: bool, **options: Any
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The loss against soft labels, and the float64 closed form against the dense ones."""
    leaf = z.clone().requires_grad_()
    loss = soft_label_evidential_loss(
        leaf, labels, log_t, tail=tail, reduction="none", validate=False, **options
    )
    (loss * torch.arange(1, len(z) + 1)).sum().backward()
    at_label = torch.nn.functional.one_hot(labels, z.shape[1]).bool()
    t = log_t.double().exp()[:, None].expand(z.shape)
    shares = torch.softmax(z.double().masked_fill(at_label, -math.inf), -1)
    rest = -torch.expm1(log_t.double())[:, None] * shares if tail else torch.zeros_like(t)
    dense = loss_and_gradient(z.double(), torch.where(at_label, t, rest), **options)
    return (loss.detach(), cast(Tensor, leaf.grad)), dense


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


@pytest.mark.parametrize("evidence", EVIDENCE)
@pytest.mark.parametrize("peak", [9.5, 25.0])
def test_a_label_with_nearly_all_the_evidence(evidence: Evidence, peak: float) -> None:
    z = 0.5 * drawn(2, CLASSES) - 9
    z[:, 7] = peak
    assert_same(z, torch.tensor([7, 8]), **options_of("indices", evidence))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("evidence", ["exp+1", "exp"])
def test_chunks_split_rows_and_columns_alike(
    kind: str, evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    z, targets = 2 * drawn(5, CLASSES), targets_of(kind, 5, CLASSES)
    options = options_of(kind, evidence)
    whole = loss_and_gradient(z, targets, **options)
    for size in (1000, CLASSES, 2 * CLASSES + 1, 20 * CLASSES):
        monkeypatch.setattr(blocks, "CPU_SIZE", size)
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


@pytest.mark.parametrize("evidence", EVIDENCE)
@pytest.mark.parametrize(("regulariser", "tail"), SOFT)
@pytest.mark.parametrize(
    ("scale", "level", "peak"),
    [(2.0, 0.0, 3.0), (1.0, -3.0, 9.5), (0.5, -9.0, 9.5), (0.5, -9.0, 25.0), (8.0, 6.0, -30.0)],
)
def test_soft_labels_equal_the_dense_closed_form(
    evidence: Evidence, regulariser: str, tail: bool, scale: float, level: float, peak: float
) -> None:
    """From t = 1 to t = 0, with the label far above and far below the rest, and the clamp met."""
    z, log_t = scale * drawn(len(LOGPROBS), CLASSES) + level, torch.tensor(LOGPROBS)
    labels = torch.randint(CLASSES, log_t.shape, generator=torch.Generator().manual_seed(4))
    z[torch.arange(len(z)), labels] = peak
    options = {"evidence": evidence, "regulariser": regulariser, "reg_coef": 0.3}
    assert_close(*soft_and_dense(z, labels, log_t, tail, **options))
    for ours, exact in zip(
        *soft_and_dense(z, labels, log_t, tail, **options | {"reg_coef": 0.0}), strict=True
    ):
        torch.testing.assert_close(ours.double(), exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("regulariser", "tail"), SOFT)
def test_soft_labels_in_column_blocks_half_precision_and_cut(
    regulariser: str, tail: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    z = drawn(3, CLASSES) * torch.tensor([[0.1], [3.0], [3.0]])
    # The tail's peak comes late, so what earlier columns add must be scaled down.
    z[:, 3000] = torch.tensor([1.0, 15.0, 15.0])
    labels, log_t = torch.tensor([0, 999, 4000]), torch.tensor([-0.1, -0.2, -0.5])
    options: dict[str, Any] = {"regulariser": regulariser, "max_regulariser": 3000.0}
    ours, dense = soft_and_dense(z, labels, log_t, tail, **options)
    assert_close(ours, dense)
    nll, _ = soft_and_dense(z, labels, log_t, tail, reg_coef=0.0)
    assert (ours[0] - nll[0] < 2999).tolist() == [True, False, False]
    monkeypatch.setattr(blocks, "CPU_SIZE", 1000)
    assert_close(soft_and_dense(z, labels, log_t, tail, **options)[0], dense)
    (values, gradient), (expected, exact) = soft_and_dense(
        z.bfloat16(), labels, log_t, tail, regulariser=regulariser
    )
    assert values.dtype == torch.float32 and gradient.dtype == torch.bfloat16
    torch.testing.assert_close(values.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient.double(), exact, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("evidence", EVIDENCE)
@pytest.mark.parametrize(("regulariser", "tail"), SOFT)
def test_soft_labels_over_a_real_vocabulary(
    evidence: Evidence, regulariser: str, tail: bool
) -> None:
    z = 2 * drawn(2, 151_936)
    labels, log_t = torch.tensor([151_935, int(z[1].argmax())]), torch.tensor([-1e-4, -1.0])
    options = {"evidence": evidence, "regulariser": regulariser}
    assert_close(*soft_and_dense(z, labels, log_t, tail, **options))


@pytest.mark.parametrize("loss", ["soft, per_label", "soft, mixed", "indices", "binary_kl"])
def test_the_gradient_is_all_that_is_as_large_as_the_logits(
    loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "CPU_SIZE", CLASSES)
    labels, log_t = torch.arange(64), -torch.ones(64)
    losses: dict[str, Callable[[Tensor], Tensor]] = {
        "soft, per_label": lambda z: soft_label_evidential_loss(z, labels, log_t),
        "soft, mixed": lambda z: soft_label_evidential_loss(
            z, labels, log_t, regulariser="mixed", tail=False, evidence="exp"
        ),
        "indices": lambda z: evidential_loss(z, labels),
        "binary_kl": lambda z: binary_kl(z, labels, log_t).sum(),
    }
    z = (4 * drawn(64, CLASSES)).requires_grad_()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        losses[loss](z).backward()
    events = cast(Any, found.profiler).kineto_results.events()
    steps = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    held = torch.tensor([step for _, step in steps]).cumsum(0) / (4 * z.numel())
    # By this measure torch's cross_entropy takes 3.
    assert held[-1] > 0.99 and held.max() < 1.3


def test_targets_that_learn_take_the_closed_form() -> None:
    z = drawn(1, CLASSES)
    targets = torch.softmax(drawn(1, CLASSES, 5), -1).requires_grad_()
    evidential_loss(z, targets).backward()
    assert targets.grad is not None and bool(targets.grad.any())
    log_t = torch.tensor([-1.0], requires_grad=True)
    soft_label_evidential_loss(z, torch.tensor([3]), log_t).backward()
    assert log_t.grad is not None and bool(log_t.grad.any())
