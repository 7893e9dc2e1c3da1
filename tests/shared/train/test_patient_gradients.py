"""The sum of clipped gradients: right by an oracle, and a patient moves it by exactly one row."""

from __future__ import annotations

import pytest
import torch
from company_attack import CLIP_NORM, GRIDS, hostile_model, patients_of, worst
from planted import planted
from practice_patients import in_double, practice_loss, practice_model, practice_patients
from torch import Tensor, nn

from shared.errors import PrivacyError
from shared.model.weights import trainable
from shared.sums.lattice import spacing_of
from shared.train.patient_gradients import clipped_sum, sum_clipped_rows
from shared.train.patients import NO_EXAM, PatientBatch, join_patients
from shared.train.rows import Backend

BACKENDS: tuple[Backend, ...] = ("loop", "vmap", "layers")
FUSIONS = ("cross_attention", "concatenation", "linear")
C = 0.05  # below the usual gradient norm, so that clipping acts


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("backend", ["vmap", "layers"])
@pytest.mark.parametrize("clip_norm", [C, 1e6, None])
def test_every_backend_equals_the_loop_in_double(
    fusion: str, backend: Backend, clip_norm: float | None
) -> None:
    model, batch = practice_model(fusion).double(), in_double(practice_patients(6))
    loop = clipped_sum(model, batch, loss=practice_loss(), clip_norm=clip_norm, backend="loop")
    # a row that rounds to the next point of the lattice moves a cell by one step
    step = 0.0 if clip_norm is None else spacing_of(clip_norm)
    for chunk in (1, 4, 64):
        fast = clipped_sum(
            model, batch, loss=practice_loss(), clip_norm=clip_norm, backend=backend, chunk=chunk
        )
        torch.testing.assert_close(fast, loop, rtol=1e-8, atol=max(1e-12, len(batch) * step))
    assert loop.abs().max() > 1e-4


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("backend", ["vmap", "layers"])
def test_every_backend_equals_the_loop_in_single_precision(fusion: str, backend: Backend) -> None:
    model, batch = practice_model(fusion), practice_patients(6)
    loop = clipped_sum(model, batch, loss=practice_loss(), clip_norm=C, backend="loop")
    fast = clipped_sum(model, batch, loss=practice_loss(), clip_norm=C, backend=backend, chunk=4)
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
    batch.film_exam[11] = NO_EXAM
    return batch


def units(model: nn.Module, batch: PatientBatch, backend: Backend, *, chunk: int = 8) -> Tensor:
    """The clipped sum in steps of its lattice, int64 [p]."""
    total = clipped_sum(model, batch, loss=practice_loss(), clip_norm=C, backend=backend, chunk=chunk)
    steps = total / spacing_of(C)
    whole = steps.to(torch.int64)
    assert torch.equal(whole.to(torch.float64), steps), "the sum does not lie on its lattice"
    return whole


COMPANIES: list[tuple[str, Backend, str]] = [
    ("cross_attention", "layers", "single"),
    ("cross_attention", "vmap", "single"),
    ("cross_attention", "loop", "single"),
    ("concatenation", "layers", "double"),
    ("concatenation", "vmap", "single"),
    ("concatenation", "loop", "single"),
    ("linear", "layers", "single"),
    ("linear", "vmap", "double"),
]


@pytest.mark.parametrize(("fusion", "backend", "precision"), COMPANIES)
def test_adding_or_removing_any_patient_moves_the_sum_by_that_patients_row_and_nothing_else(
    fusion: str, backend: Backend, precision: str
) -> None:
    model, batch = practice_model(fusion), adversarial_patients()
    if precision == "double":
        model, batch = model.double(), in_double(batch)
    everybody = units(model, batch, backend)
    norms = []
    for patient in range(len(batch)):
        row = units(model, batch.select([patient]), backend)
        rest = batch.select([other for other in range(len(batch)) if other != patient])
        assert torch.equal(everybody - units(model, rest, backend), row)
        norms.append(float(row.double().norm()) * spacing_of(C))
    assert max(norms) <= C
    assert sum(norm > 0.9999 * C for norm in norms) >= 5, "clipping must act, or this shows nothing"


@pytest.mark.parametrize("backend", ["layers", "vmap", "loop"])
@pytest.mark.parametrize("grid", GRIDS)
def test_under_weights_that_turn_rounding_into_signal_a_patient_is_that_patients_row(
    grid: int, backend: Backend
) -> None:
    batch = patients_of(20, grid)
    everybody = list(range(len(batch)))
    for seed in (1, 2):
        model = hostile_model(grid, seed=seed)
        rows = torch.stack([units(model, batch.select([one]), backend, chunk=16) for one in everybody])
        assert rows.double().norm(dim=1).max() * spacing_of(C) <= C
        companies = [
            everybody,
            everybody[::-1],
            everybody[:-1],  # without the one who has more films than the rest
            [20, *range(7), 20, 20, 19, 3],
            [row for row in everybody if row % 3],
        ]
        for company in companies:
            found = units(model, batch.select(company), backend, chunk=16)
            assert torch.equal(found, rows[company].sum(dim=0))


def test_without_fixed_shapes_a_patients_row_depends_on_the_company() -> None:
    # else the tests above show nothing
    model, batch = hostile_model(2, seed=1), patients_of(20, 2)
    with planted("shape of the company"):
        together = units(model, batch, "layers", chunk=64)
        alone = [units(model, batch.select([row]), "layers", chunk=64) for row in range(21)]
        assert not torch.equal(together, torch.stack(alone).sum(dim=0))


def test_the_attack_moves_the_sum_by_no_more_than_a_clip_norm() -> None:
    # 29 and 19 clip norms before shapes were fixed (DECISIONS.md)
    for grid in GRIDS:
        change, length = worst(grid, n=30)
        assert 0.9999 < length <= 1.0
        steps = change / spacing_of(CLIP_NORM)
        assert torch.equal(steps, steps.round())


def test_a_sum_of_many_patients_is_the_sum_of_their_rows_wherever_they_stand() -> None:
    # every place of a chunk of the size that is used, two chunks and a part of a third
    model, batch = hostile_model(2, seed=2), patients_of(300, 2)
    draw = torch.Generator().manual_seed(0)
    first = units(model, batch, "layers", chunk=128)
    for _ in range(3):
        order = torch.randperm(len(batch), generator=draw)
        assert torch.equal(units(model, batch.select(order), "layers", chunk=128), first)


def test_many_copies_of_one_patients_exams_are_still_one_patient() -> None:
    model, one = practice_model(), practice_patients(1, exams=1)
    copies = {
        name: tensor if name == "canary" else tensor.repeat(1, 10, *[1] * (tensor.dim() - 2))
        for name, tensor in one.named_tensors().items()
    }
    n_slots = one.film_exam.shape[1]
    exam = torch.arange(10).repeat_interleave(n_slots)[None]
    copies["film_exam"] = torch.where(copies["film_exam"] == 0, exam, NO_EXAM)
    ten_exams = PatientBatch(**copies)
    assert ten_exams.n_films().tolist() == [one.n_films()[0].tolist() * 10]
    single = clipped_sum(model, one, loss=practice_loss(), clip_norm=C)
    torch.testing.assert_close(clipped_sum(model, ten_exams, loss=practice_loss(), clip_norm=C), single)


def test_a_patient_with_a_gradient_that_is_not_finite_counts_as_zero() -> None:
    model, batch = practice_model("concatenation"), practice_patients(4)
    bad = practice_patients(2, seed=8)
    bad.target[:, 0] = torch.nan
    for backend in BACKENDS:
        alone = clipped_sum(model, batch, loss=practice_loss(), clip_norm=C, backend=backend)
        both = clipped_sum(
            model, join_patients(batch, bad), loss=practice_loss(), clip_norm=C, backend=backend
        )
        assert torch.equal(both, alone)


def test_rows_are_clipped_by_hand() -> None:
    # norms 5, 0.5, inf, 0 under a clip norm of 1: (3, 4)/5 + (0.3, 0.4) + 0 + 0
    rows = torch.tensor([[3.0, 4.0], [0.3, 0.4], [torch.inf, 1.0], [0.0, 0.0]])
    total = sum_clipped_rows(rows, clip_norm=1.0)
    torch.testing.assert_close(total, torch.tensor([0.9, 1.2], dtype=torch.float64), rtol=1e-6, atol=0)


def test_rows_are_truncated_towards_zero_by_hand() -> None:
    # steps of 2^-30 under a clip norm of 1: 1.75 steps count as 1, −1.75 as −1, 0.75 as none
    rows = torch.tensor([[1.75, -1.75, 0.75], [1.75, 0.75, 0.0]]) * 2.0**-30
    assert (sum_clipped_rows(rows, clip_norm=1.0) * 2.0**30).tolist() == [2.0, -1.0, 0.0]


@pytest.mark.parametrize("clip_norm", [1e-3, 0.05, 0.5, 1.0, 1.9, 1e6])
def test_no_row_is_longer_than_the_clip_norm_whatever_it_holds(clip_norm: float) -> None:
    draw = torch.Generator().manual_seed(0)
    for scale in (1e-30, 1e-3, 1.0, 1e8, 1e18, 1e25, 3e37):
        for precision in (torch.float32, torch.float64):
            rows = torch.randn(50, 200, generator=draw, dtype=precision) * scale
            for row in rows:
                total = sum_clipped_rows(row[None].clone(), clip_norm=clip_norm)
                assert float(total.norm()) <= clip_norm
                steps = total / spacing_of(clip_norm)
                assert torch.equal(steps, steps.round())
            long = float(rows[0].double().norm()) > clip_norm
            assert not long or float(total.norm()) > 0.99999 * clip_norm


def test_without_privacy_rows_are_added_as_they_are() -> None:
    rows = torch.tensor([[3.0, 4.0], [1 / 3, 0.0], [torch.nan, 1.0]])
    expected = [3.0 + float(torch.tensor(1 / 3)), 4.0]
    assert sum_clipped_rows(rows, clip_norm=None).tolist() == expected


@pytest.mark.parametrize("backend", BACKENDS)
def test_places_of_nobody_change_no_bit_of_a_sum(backend: Backend) -> None:
    model, batch = practice_model(), practice_patients(5)
    plain = clipped_sum(model, batch, loss=practice_loss(), clip_norm=C, backend=backend, chunk=4)
    padded = clipped_sum(
        model, batch, loss=practice_loss(), clip_norm=C, backend=backend, chunk=4, places=13
    )
    assert plain.abs().max() > 0
    assert torch.equal(padded, plain)


def test_no_patients_give_zeros_and_a_clip_norm_must_be_positive() -> None:
    model, nobody = practice_model(), practice_patients(3).select([])
    for backend in BACKENDS:
        total = clipped_sum(model, nobody, loss=practice_loss(), clip_norm=C, backend=backend)
        assert not total.any()
    with pytest.raises(PrivacyError, match="clip norm must be above 0"):
        clipped_sum(model, nobody, loss=practice_loss(), clip_norm=0.0)
    for weight in model.parameters():
        weight.requires_grad_(False)
    with pytest.raises(PrivacyError, match="no trainable weights"):
        clipped_sum(model, nobody, loss=practice_loss(), clip_norm=C)
