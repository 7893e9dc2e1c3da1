"""Loss values by hand; weights average 1 over the public reference; nothing unlabelled counts."""

from __future__ import annotations

import math

import pytest
import torch

from shared.contract.model_settings import ClassificationTask, RegressionTask
from shared.train.loss import (
    exam_loss,
    exam_weight,
    make_patient_loss,
    mean_weight,
    patient_loss,
)
from shared.train.patients import PatientBatch

PLAIN = RegressionTask(
    target_mean=0.75, target_sd=0.12, smooth_l1_beta=0.7, endpoint="x", endpoint_threshold=0.558
)
EMPHASIS = PLAIN.model_copy(update={"loss_threshold": 0.558, "loss_emphasis": 2.0, "loss_scale": 0.05})
CLASSES = ClassificationTask(endpoint="x", positive_class="y")


def test_smooth_l1_by_hand() -> None:
    # |e| = 0.35 < β: 0.5·0.35²/0.7 = 0.0875; |e| = 2 ≥ β: 2 − 0.35 = 1.65
    output, target = torch.tensor([[0.35], [-2.0]]), torch.tensor([0.0, 0.0])
    torch.testing.assert_close(exam_loss(output, target, PLAIN), torch.tensor([0.0875, 1.65]))


def test_cross_entropy_by_hand() -> None:
    # logits (0, ln 3): probabilities (1/4, 3/4)
    output = torch.tensor([[0.0, math.log(3.0)]] * 2)
    expected = torch.tensor([math.log(4.0), math.log(4.0 / 3.0)])
    torch.testing.assert_close(exam_loss(output, torch.tensor([0.0, 1.0]), CLASSES), expected)


def test_weight_by_hand_is_heavier_below_the_threshold() -> None:
    # At y = t the sigmoid is 1/2, raw weight 1 + 2/2 = 2; 0.1 g/cm² below, sigmoid(2) = 0.8808.
    z = torch.tensor([(0.558 - 0.75) / 0.12, (0.458 - 0.75) / 0.12])
    raw = exam_weight(z, EMPHASIS) * mean_weight(EMPHASIS)
    torch.testing.assert_close(raw, torch.tensor([2.0, 1.0 + 2.0 * 0.880797]), atol=1e-5, rtol=0)


def test_weight_averages_one_over_the_public_reference() -> None:
    draws = torch.randn(400_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights = exam_weight(draws, EMPHASIS)
    standard_error = float(weights.std()) / math.sqrt(len(weights))
    assert abs(float(weights.mean()) - 1.0) < 4 * standard_error < 0.005


def test_mean_weight_by_symmetry() -> None:
    # Threshold at the mean: sigmoid averages exactly 1/2, so the mean is 1 + a/2.
    task = EMPHASIS.model_copy(update={"loss_threshold": 0.75})
    assert mean_weight(task) == pytest.approx(2.0, abs=1e-12)


def test_without_emphasis_every_weight_is_one() -> None:
    assert torch.equal(exam_weight(torch.linspace(-3, 3, 7), PLAIN), torch.ones(7))


def make_patient(exam_mask: list[bool]) -> PatientBatch:
    u = len(exam_mask)
    return PatientBatch(
        tokens=torch.zeros(0, 4, 6),
        film_exam=torch.zeros(0, dtype=torch.int64),
        fields=torch.arange(u, dtype=torch.float32)[:, None],
        field_mask=torch.ones(u, 1, dtype=torch.bool),
        target=torch.zeros(u),
        exam_mask=torch.tensor(exam_mask),
    )


def first_field(
    tokens: torch.Tensor, film_exam: torch.Tensor, fields: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    return fields


def test_patient_loss_is_the_mean_over_labelled_exams() -> None:
    # errors 0, 1, 2 -> losses 0, 0.65, 1.65; the middle exam is not labelled
    loss = patient_loss(first_field, make_patient([True, False, True]), task=PLAIN)
    assert loss.item() == pytest.approx(1.65 / 2)
    alone = patient_loss(first_field, make_patient([False, False, True]), task=PLAIN)
    assert alone.item() == pytest.approx(1.65)
    assert make_patient_loss(PLAIN)(first_field, make_patient([True, True, True])).item() == (
        pytest.approx((0.65 + 1.65) / 3)
    )


def test_losses_of_several_patients_are_those_of_each() -> None:
    masks = [[True, False, True], [False, False, False], [True, True, True]]
    together = PatientBatch(
        *(
            torch.stack(column)
            for column in zip(*(make_patient(mask).tensors()[:-1] for mask in masks), strict=True)
        )
    )
    alone = [patient_loss(first_field, make_patient(mask), task=PLAIN) for mask in masks]
    torch.testing.assert_close(
        patient_loss(first_field, together, task=PLAIN), torch.stack(alone), rtol=1e-6, atol=0
    )


def test_a_patient_without_labelled_exams_costs_nothing() -> None:
    assert patient_loss(first_field, make_patient([False, False]), task=PLAIN).item() == 0.0
