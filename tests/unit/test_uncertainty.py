"""Uncertainty of Dirichlets and ensembles, and the report's table of it, worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
import torch

from raw2s.evaluation import calibration, dirichlet, ensemble, entropy
from raw2s.method.evidence import Evidence, log_concentration
from raw2s.method.evidential import dirichlet_uncertainty
from raw2s.reports.run import uncertainty_cells
from raw2s.reports.run.reliability import reliability
from raw2s.reports.run.uncertainty import summarise_uncertainty

LOG2 = math.log(2)


def test_the_uniform_dirichlet_over_two_classes() -> None:
    # p ~ U(0, 1): the expected entropy is -2 times the integral of p log p, 1/2.
    found = dirichlet([[0.5, 0.5]], [2.0])
    assert found.entropy == pytest.approx(LOG2)
    assert found.expected_entropy == pytest.approx(0.5)
    assert found.mutual_information == pytest.approx(LOG2 - 0.5)
    assert found.vacuity == pytest.approx(1.0)


def test_the_order_of_the_classes_leaves_the_entropy_as_it_is() -> None:
    rng = np.random.default_rng(0)
    one = rng.dirichlet(np.ones(6))
    p = np.stack([rng.permutation(one) for _ in range(1000)])
    assert len(np.unique(entropy(p))) == 1


def test_a_dirichlet_by_sampling() -> None:
    alpha = np.array([0.6, 2.0, 5.0])
    drawn = np.random.default_rng(0).dirichlet(alpha, 200_000)
    expected = -(drawn * np.log(drawn)).sum(1).mean()
    total = -(drawn.mean(0) * np.log(drawn.mean(0))).sum()
    found = dirichlet([alpha / alpha.sum()], [alpha.sum()])
    assert found.entropy == pytest.approx(total, abs=2e-3)
    assert found.expected_entropy == pytest.approx(expected, abs=2e-3)
    assert found.mutual_information == pytest.approx(total - expected, abs=2e-3)


@pytest.mark.parametrize("evidence", get_args(Evidence))
def test_a_dirichlet_as_the_method_has_it(evidence: Evidence) -> None:
    z = 3 * torch.randn(50, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    alpha = log_concentration(z, evidence).exp()
    total = alpha.sum(-1)
    found = dirichlet((alpha / total[:, None]).numpy(), total.numpy())
    expected = dirichlet_uncertainty(z, evidence)
    for name in ("vacuity", "expected_entropy", "mutual_information"):
        np.testing.assert_allclose(getattr(found, name), expected[name], rtol=1e-9, atol=1e-12)


def test_members_that_agree_and_members_that_do_not() -> None:
    sure, unsure = [[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [0.5, 0.5]]
    found = ensemble([sure, unsure])
    assert found.entropy == pytest.approx([LOG2, LOG2])
    assert found.expected_entropy == pytest.approx([0, LOG2])
    assert found.mutual_information == pytest.approx([LOG2, 0])
    assert found.vacuity is None
    weighted = ensemble([sure, unsure], [3, 1]).mutual_information[0]
    assert weighted == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))


def test_an_ensemble_by_sampling() -> None:
    # The mutual information of who speaks and what is said, from a table of counts.
    rng = np.random.default_rng(1)
    p, weights = rng.dirichlet([0.5] * 3, 4), np.array([0.1, 0.2, 0.3, 0.4])
    speaker = rng.choice(4, 400_000, p=weights)
    said = (rng.random(400_000)[:, None] > p[speaker].cumsum(1)).sum(1)
    joint = np.zeros((4, 3))
    np.add.at(joint, (speaker, said), 1 / 400_000)
    apart = joint.sum(1, keepdims=True) * joint.sum(0)
    found = ensemble(p[:, None], weights)
    assert found.mutual_information == pytest.approx(
        (joint * np.log(joint / apart)).sum(), abs=3e-3
    )
    assert found.entropy == pytest.approx(-(joint.sum(0) * np.log(joint.sum(0))).sum(), abs=3e-3)


def test_entropy_of_the_certain_and_of_the_clueless() -> None:
    assert entropy([[1, 0, 0, 0], [0.25] * 4]) == pytest.approx([0, math.log(4)])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: entropy([0.5, 0.5]), r"probabilities \(shape \(2,\)\)"),
        (lambda: entropy([[0.5, 0.5], [0.5, 0.4]]), r"probabilities .*is not 1 at \(1,\): 0.9"),
        (lambda: dirichlet([[0.5, 0.5]], [1, 2]), r"concentration \(shape \(2,\)\) must be \(1,\)"),
        (lambda: dirichlet([[0.5, 0.5]], [0]), r"concentration .*is not above 0 at \(0,\): 0.0"),
        (lambda: dirichlet([[0.5, 0.5]], [np.inf]), r"concentration .*is not finite at \(0,\)"),
        (lambda: ensemble([[0.5, 0.5]]), r"probabilities \(shape \(1, 2\)\) must be \(N, n, K\)"),
        (lambda: ensemble([[[0.5, 0.5]]], [1, 1]), r"weights \(shape \(2,\)\) must be \(1,\)"),
    ],
)
def test_what_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


GOLD = (1, 1, 1, 0)
# The mean of the two is 0.85, 0.38, 0.64, 0.65: right, wrong, right, wrong.
ONE, TWO = (0.95, 0.56, 0.40, 0.85), (0.75, 0.20, 0.88, 0.45)


def rows(
    system: str,
    role: str,
    ones: Sequence[float],
    seed: int = 0,
    concentration: Sequence[float] | None = None,
    prefix: str = "i",
) -> list[dict[str, Any]]:
    """A system that gives class 1 these probabilities on the four items."""
    return [
        {
            "experiment": "x",
            "kind": "classification",
            "seed": seed,
            "system": system,
            "role": role,
            "strategy": "",
            "item": f"{prefix}{index}",
            "part": "",
            "prediction": str(int(p > 0.5)),
            "gold": str(gold),
            "malformed": False,
            "probabilities": [1 - p, p],
            "concentration": np.nan if concentration is None else concentration[index],
            "c0": float((p > 0.5) == gold),
        }
        | dict.fromkeys(["c1", "c2", "c3", "c4", "c5"], np.nan)
        for index, (p, gold) in enumerate(zip(ones, GOLD, strict=True))
    ]


WEAK = rows("One", "weak", ONE) + rows("Two", "weak", TWO)


def table_of(*parts: list[dict[str, Any]]) -> pd.DataFrame:
    table = pd.DataFrame([row for part in parts for row in part])
    # Systems answer in an order of their own.
    table = table.sample(frac=1, random_state=0).sort_values("system", kind="stable")
    return summarise_uncertainty(table).set_index("system")


def test_the_weak_models_ensemble_by_hand() -> None:
    found = table_of(WEAK, rows("Top", "ceiling", (0.9, 0.8, 0.7, 0.1)))
    assert list(found.index) == ["One", "Two", "Weak models' ensemble", "Top"]
    row = found.loc["Weak models' ensemble"]
    assert (row["members"], row["seeds"], row["items"], row["role"]) == (2, 1, 4, "weak")
    assert row["accuracy_mean"] == 0.5
    # Bins of 1/15: 0.85 alone; 0.62, 0.64 and 0.65 together.
    assert row["ece_mean"] == pytest.approx(0.15 / 4 + abs(1 - 0.62 - 0.64 - 0.65) / 4)
    squares = 0.15**2 + 0.62**2 + 0.36**2 + 0.65**2
    assert row["brier_mean"] == pytest.approx(2 * squares / 4)
    assert row["nll_mean"] == pytest.approx(-math.log(0.85 * 0.38 * 0.64 * 0.35) / 4)
    assert math.isnan(row["nll_std"])
    # Wrong: 0.38 and 0.35 from certainty; right: 0.15 and 0.36. Three of four pairs.
    assert row["auroc_confidence_mean"] == row["auroc_entropy_mean"] == 0.75
    # The members differ by 0.2, 0.36, 0.48, 0.4: the wrong ones beat the first, not the third.
    assert row["auroc_mutual_information_mean"] == row["auroc_plain_entropy_mean"] - 0.25 == 0.5
    assert row["auroc_plain_mutual_information_mean"] == 0.5
    assert math.isnan(row["auroc_vacuity_mean"])


def test_errors_are_spotted_by_the_students_own_and_by_the_plain_uncertainty() -> None:
    student = rows("S", "student", (0.9, 0.8, 0.3, 0.1), 0)  # wrong on the third
    student += rows("S", "student", (0.4, 0.7, 0.9, 0.2), 1)  # wrong on the first
    found = table_of(WEAK, student)
    row = found.loc["S"]
    assert (row["members"], row["seeds"]) == (1, 2)
    assert row["auroc_confidence_mean"] == 1 and row["auroc_confidence_std"] == 0
    assert math.isnan(row["auroc_mutual_information_mean"])
    # The plain ensemble's entropy: 0.15 < 0.35 < 0.36 < 0.38 from certainty, in items 0, 3, 2, 1.
    assert row["auroc_plain_entropy_mean"] == pytest.approx((2 / 3 + 0) / 2)
    assert row["auroc_plain_entropy_std"] == pytest.approx(2 / 3 / math.sqrt(2))
    # It disagrees most on the third item, least on the first.
    assert row["auroc_plain_mutual_information_mean"] == 0.5
    assert row["note"] == ""
    # The seeds' mean, 0.65, 0.75, 0.6, 0.15, is right everywhere.
    row = found.loc["S, ensemble of seeds"]
    assert (row["members"], row["seeds"], row["role"]) == (2, 2, "student")
    assert row["accuracy_mean"] == 1 and row["brier_mean"] == pytest.approx(
        2 * (0.35**2 + 0.25**2 + 0.4**2 + 0.15**2) / 4
    )
    aurocs = [name for name in found.columns if name.startswith("auroc")]
    assert row[aurocs].isna().all()
    assert row["note"] == "no AUROC: all answers are right"
    sentences = uncertainty_cells.notes(found.reset_index())
    assert sentences == ["No AUROC in x (S, ensemble of seeds): all answers are right."]


def test_an_evidential_students_vacuity_and_mutual_information() -> None:
    # Wrong on the second item only, where alpha is (1.4, 0.6).
    student = rows("E", "student", (0.8, 0.3, 0.7, 0.4), concentration=(10, 2, 5, 4))
    row = table_of(WEAK, student).loc["E"]
    assert row["auroc_vacuity_mean"] == row["auroc_mutual_information_mean"] == 1
    # By confidence it beats the first, ties with the third and loses to the fourth.
    assert row["auroc_confidence_mean"] == row["auroc_entropy_mean"] == 0.5
    student = rows("E", "student", (0.8, 0.3, 0.7, 0.4), concentration=(10, 20, 5, 4))
    assert table_of(WEAK, student).loc["E", "auroc_vacuity_mean"] == 0


def test_weak_models_that_vary_are_taken_by_seed() -> None:
    # The means with seed 1: 0.38, 0.64, 0.65, 0.15, right but for the first.
    again = rows("One", "weak", (0.56, 0.40, 0.85, 0.05), 1)
    again += rows("Two", "weak", (0.20, 0.88, 0.45, 0.25), 1)
    student = [row for seed in range(2) for row in rows("S", "student", (0.9, 0.8, 0.3, 0.1), seed)]
    found = table_of(WEAK, again, student)
    # Plain entropy on the third item is above that on two others with seed 0, on one with seed 1.
    assert found.loc["S", "auroc_plain_entropy_mean"] == pytest.approx((2 / 3 + 1 / 3) / 2)
    row = found.loc["Weak models' ensemble"]
    assert (row["members"], row["seeds"]) == (2, 2)
    assert row["accuracy_mean"] == pytest.approx((0.5 + 0.75) / 2)
    # For the ensemble of seeds the plain one has both models with both seeds.
    row = found.loc["S, ensemble of seeds"]
    means = np.array([(0.85 + 0.38) / 2, (0.38 + 0.64) / 2, (0.64 + 0.65) / 2, (0.65 + 0.15) / 2])
    doubt = np.minimum(means, 1 - means)
    assert row["auroc_plain_entropy_mean"] == np.mean(doubt[2] > doubt[[0, 1, 3]])


def test_models_without_answers_to_the_test_are_in_no_ensemble() -> None:
    file = rows("File", "weak", (0.9, 0.9, 0.0, 0.9), prefix="b")
    student = rows("S", "student", (0.9, 0.8, 0.3, 0.1))
    found = table_of(file, WEAK, student)
    assert found.loc["Weak models' ensemble", "members"] == 2
    row = found.loc["File"]
    assert math.isnan(row["auroc_plain_entropy_mean"]) and row["auroc_confidence_mean"] == 0.25
    texts = uncertainty_cells.row_texts(row.rename("").reindex([*row.index, "system"]))
    assert texts[4:6] == ["∞", "0.250"] and texts[7:] == ["–"] * 4
    assert row["note"].split("; ") == [
        "NLL infinite: a true class was given probability 0",
        "no plain ensemble: fewer than two weak models answered the same items",
    ]
    alone = table_of(file, rows("One", "weak", ONE), student)
    assert list(alone.index) == ["File", "One", "S"]
    assert alone["auroc_plain_entropy_mean"].isna().all()


def test_seeds_with_tests_of_their_own_make_no_ensemble() -> None:
    student = rows("S", "student", (0.9, 0.8, 0.3, 0.1), 0)
    student += rows("S", "student", (0.9, 0.8, 0.3, 0.1), 1, prefix="j")
    found = table_of(student)
    assert list(found.index) == ["S"]
    assert found.loc["S", "items"] == 8
    assert found.loc["S", "note"].startswith("no ensemble of seeds: their tests differ; no plain")


def test_an_auroc_needs_right_and_wrong_answers_with_every_seed() -> None:
    student = rows("S", "student", (0.9, 0.8, 0.3, 0.1), 0)
    student += rows("S", "student", (0.9, 0.8, 0.7, 0.1), 1)
    row = table_of(WEAK, student).loc["S"]
    assert math.isnan(row["auroc_confidence_mean"]) and row["accuracy_mean"] == 0.875
    assert row["note"] == "no AUROC: all answers are right with 1 of 2 seeds"


def test_text_has_no_calibration() -> None:
    generated = pd.DataFrame(rows("S", "student", ONE)).assign(
        kind="generation", probabilities=None, c1=0.0, c2=0.0, c3=0.0, c4=0.0, c5=0.0
    )
    assert summarise_uncertainty(generated).empty and reliability(generated).empty


def test_the_gaps_of_the_reliability_diagram_are_the_calibration_error() -> None:
    rng = np.random.default_rng(0)
    parts = []
    for seed in range(50):
        parts += rows("S", "student", rng.random(4).tolist(), seed)
    table = pd.DataFrame(parts)
    bins = reliability(table)
    bins = bins[bins["system"] == "S"]
    pooled = calibration(np.stack(table["probabilities"]), table["gold"].astype(int))
    gaps = (bins["accuracy"] - bins["confidence"]).abs()
    assert (bins["share"] * gaps).sum() == pytest.approx(pooled.ece)
    assert bins["share"].sum() == pytest.approx(1)
    assert (bins["share"] * bins["accuracy"]).sum() == pytest.approx(pooled.accuracy)
    assert len(bins) == 8 and set(bins["classes"]) == {2}
