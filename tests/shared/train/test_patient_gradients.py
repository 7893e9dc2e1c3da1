"""The sum of clipped gradients: right by an oracle, and never moved by more than the clip norm."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from practice_patients import in_double, join, practice_loss, practice_model, practice_patients

from shared.errors import PrivacyError
from shared.model.weights import trainable
from shared.train.patient_gradients import clipped_sum, sum_clipped_rows
from shared.train.patients import PatientBatch

FUSIONS = ("cross_attention", "concatenation", "linear")
C = 0.05  # below the usual gradient norm, so that clipping acts


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("clip_norm", [C, 1e6, None])
def test_vmap_equals_the_loop_in_double(fusion: str, clip_norm: float | None) -> None:
    model, batch = practice_model(fusion).double(), in_double(practice_patients(6))
    loop = clipped_sum(model, batch, loss=practice_loss(), clip_norm=clip_norm, backend="loop")
    for chunk in (1, 4, 64):
        fast = clipped_sum(
            model, batch, loss=practice_loss(), clip_norm=clip_norm, backend="vmap", chunk=chunk
        )
        torch.testing.assert_close(fast, loop, rtol=1e-8, atol=1e-12)
    assert loop.abs().max() > 1e-4


@pytest.mark.parametrize("fusion", FUSIONS)
def test_vmap_equals_the_loop_in_single_precision(fusion: str) -> None:
    model, batch = practice_model(fusion), practice_patients(6)
    loop = clipped_sum(model, batch, loss=practice_loss(), clip_norm=C, backend="loop")
    fast = clipped_sum(model, batch, loss=practice_loss(), clip_norm=C, backend="vmap", chunk=4)
    torch.testing.assert_close(fast, loop, rtol=1e-3, atol=1e-6)


def test_loop_equals_plain_autograd_over_all_tensors_jointly() -> None:
    model, batch, loss = practice_model("concatenation"), practice_patients(3), practice_loss()
    expected = torch.zeros(sum(weight.numel() for _, weight in trainable(model)))
    for index in range(3):
        model.zero_grad()
        loss(model, batch.patient(index)).backward()
        parts = [weight.grad.reshape(-1) for _, weight in trainable(model)]
        flat = torch.cat(parts)
        expected += flat * min(1.0, C / float(flat.norm()))
    total = clipped_sum(model, batch, loss=loss, clip_norm=C, backend="loop")
    torch.testing.assert_close(total.float(), expected)


def adversarial_patients() -> PatientBatch:
    """1e3×, inf and NaN in tokens, fields and targets, 1e30, one without views, one ordinary."""
    batch = practice_patients(12, seed=5)
    for row, bad in enumerate((1e3, torch.inf, torch.nan)):
        batch.tokens[row] *= bad
        batch.fields[3 + row, :, 0] = bad
        batch.target[6 + row] *= bad
    batch.target[9] = 1e30
    return replace(batch, view_mask=batch.view_mask & (torch.arange(12) < 11)[:, None, None])


@pytest.mark.parametrize(
    ("fusion", "backend", "precision"),
    [
        ("cross_attention", "vmap", "single"),
        ("concatenation", "vmap", "double"),
        ("concatenation", "loop", "single"),
        ("linear", "vmap", "single"),
    ],
)
def test_adding_or_removing_any_patient_moves_the_sum_by_at_most_the_clip_norm(
    fusion: str, backend: str, precision: str
) -> None:
    model, batch = practice_model(fusion), adversarial_patients()
    if precision == "double":
        model, batch = model.double(), in_double(batch)
    everybody = clipped_sum(model, batch, loss=practice_loss(), clip_norm=C, backend=backend, chunk=8)
    assert torch.isfinite(everybody).all()
    moves = []
    for patient in range(len(batch)):
        rest = batch.select([row for row in range(len(batch)) if row != patient])
        without = clipped_sum(model, rest, loss=practice_loss(), clip_norm=C, backend=backend, chunk=8)
        moves.append(float((everybody - without).norm()))
    assert max(moves) <= 1.00001 * C
    assert sum(move > 0.999 * C for move in moves) >= 5, "clipping must act, or this shows nothing"


def test_many_copies_of_one_patients_exams_are_still_one_patient() -> None:
    model, one = practice_model(), practice_patients(1, exams=1)
    ten_exams = PatientBatch(
        *(tensor.repeat(1, 10, *[1] * (tensor.dim() - 2)) for tensor in one.tensors())
    )
    single = clipped_sum(model, one, loss=practice_loss(), clip_norm=C)
    torch.testing.assert_close(clipped_sum(model, ten_exams, loss=practice_loss(), clip_norm=C), single)


def test_a_patient_with_a_gradient_that_is_not_finite_counts_as_zero() -> None:
    model, batch = practice_model("concatenation"), practice_patients(4)
    bad = practice_patients(2, seed=8)
    bad.target[:, 0] = torch.nan
    for backend in ("loop", "vmap"):
        alone = clipped_sum(model, batch, loss=practice_loss(), clip_norm=C, backend=backend)
        both = clipped_sum(model, join(batch, bad), loss=practice_loss(), clip_norm=C, backend=backend)
        torch.testing.assert_close(both, alone, rtol=1e-6, atol=1e-9)


def test_rows_are_clipped_by_hand() -> None:
    # norms 5, 0.5, inf, 0 under a clip norm of 1: (3, 4)/5 + (0.3, 0.4) + 0 + 0
    rows = torch.tensor([[3.0, 4.0], [0.3, 0.4], [torch.inf, 1.0], [0.0, 0.0]])
    total = sum_clipped_rows(rows, clip_norm=1.0)
    torch.testing.assert_close(total, torch.tensor([0.9, 1.2], dtype=torch.float64), rtol=1e-7, atol=0)


def test_no_patients_give_zeros_and_a_clip_norm_must_be_positive() -> None:
    model, nobody = practice_model(), practice_patients(3).select([])
    for backend in ("loop", "vmap"):
        total = clipped_sum(model, nobody, loss=practice_loss(), clip_norm=C, backend=backend)
        assert not total.any()
    with pytest.raises(PrivacyError, match="clip norm must be above 0"):
        clipped_sum(model, nobody, loss=practice_loss(), clip_norm=0.0)
    for weight in model.parameters():
        weight.requires_grad_(False)
    with pytest.raises(PrivacyError, match="no trainable weights"):
        clipped_sum(model, nobody, loss=practice_loss(), clip_norm=C)
