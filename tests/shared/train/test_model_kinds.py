"""Three kinds of models, one gradient per patient: right by an oracle, bounded, and fit to be trained.

A fusion on cached tokens, DINOv2 with low-rank layers, and a whole ResNet with group normalisation.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from practice_films import (
    KINDS,
    EncoderFile,
    film_model,
    film_patients,
    pack_random_dinov2,
    small_dinov2,
)
from practice_patients import in_double, practice_loss
from torch import Tensor, nn

from shared.errors import PrivacyError
from shared.model.end_to_end import EndToEnd
from shared.model.lora import LowRankLinear
from shared.model.resnet_gn import GroupNormResNet
from shared.model.weights import flatten_weights, layout, trainable
from shared.sums.lattice import spacing_of
from shared.train.patient_gradients import clipped_sum
from shared.train.patients import PatientBatch
from shared.train.rows import Backend
from shared.train.validator import validate_model

C = 0.05  # below the usual gradient norm, so that clipping acts
BACKENDS: tuple[Backend, ...] = ("loop", "vmap")


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> EncoderFile:
    with small_dinov2():
        return pack_random_dinov2(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def file(packed: EncoderFile) -> Iterator[EncoderFile]:
    with small_dinov2():
        yield packed


def plain_autograd(model: nn.Module, batch: PatientBatch, clip_norm: float | None) -> Tensor:
    """Σ of clipped gradients by ``backward`` alone, one patient after the other, float64 [p]."""
    weights = [weight for _, weight in trainable(model)]
    total = torch.zeros(sum(weight.numel() for weight in weights), dtype=torch.float64)
    for index in range(len(batch)):
        model.zero_grad()
        practice_loss()(model, batch.patient(index)).backward()
        parts = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in weights]
        flat = torch.cat([part.reshape(-1).double() for part in parts])
        total += flat if clip_norm is None else flat * min(1.0, clip_norm / float(flat.norm()))
    return total


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("clip_norm", [C, None])
def test_vmap_loop_and_plain_autograd_agree_in_double(
    kind: str, clip_norm: float | None, file: EncoderFile
) -> None:
    model, batch = film_model(kind, file).double(), in_double(film_patients(kind))
    expected = plain_autograd(model, batch, clip_norm)
    for backend in BACKENDS:
        found = clipped_sum(
            model, batch, loss=practice_loss(), clip_norm=clip_norm, backend=backend, chunk=4
        )
        # each row lies up to one step of the lattice below the oracle's, in every cell
        steps = 0.0 if clip_norm is None else len(batch) * spacing_of(clip_norm)
        assert float((found - expected).abs().max()) <= 1e-8 * float(expected.norm()) + steps
    assert expected.norm() > 1e-2


@pytest.mark.parametrize("kind", KINDS)
def test_single_precision_stays_near_plain_autograd_in_double(kind: str, file: EncoderFile) -> None:
    batch = film_patients(kind)
    expected = plain_autograd(film_model(kind, file).double(), in_double(batch), C)
    for backend in BACKENDS:
        found = clipped_sum(
            film_model(kind, file),
            batch,
            loss=practice_loss(),
            clip_norm=C,
            backend=backend,
            chunk=4,
        )
        assert float((found - expected).norm() / expected.norm()) <= 1e-3


def adversarial_patients(kind: str) -> PatientBatch:
    """×1e3, inf and NaN in images, fields and targets; one to three views, or none; no fields."""
    batch = film_patients(kind, 13, seed=5)
    for row, bad in enumerate((1e3, torch.inf, torch.nan)):
        batch.tokens[row] *= bad
        batch.film_exam[row, 0] = 0
        batch.fields[3 + row, :, 0] = bad
        batch.field_mask[3 + row, :, 0] = True
        batch.target[6 + row] *= bad
    batch.tokens[9, :1] *= -1e3
    batch.film_exam[9:12, :3] = torch.tensor([[0, -1, -1], [0, 0, -1], [0, 0, 0]])
    batch.film_exam[12] = -1
    batch.field_mask[10:12] = False
    return batch


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_adding_or_removing_any_patient_moves_the_sum_by_that_patients_row_and_nothing_else(
    kind: str, backend: Backend, file: EncoderFile
) -> None:
    model, batch = film_model(kind, file), adversarial_patients(kind)

    def total(rows: list[int]) -> Tensor:
        found = clipped_sum(
            model, batch.select(rows), loss=practice_loss(), clip_norm=C, backend=backend, chunk=8
        )
        steps = found / spacing_of(C)
        assert torch.equal(steps, steps.round())
        return steps.to(torch.int64)

    rows = list(range(len(batch)))
    everybody, alone = total(rows), [total([row]) for row in rows]
    assert torch.equal(torch.stack(alone).sum(dim=0), everybody)
    assert torch.equal(total(rows[::-1]), everybody)
    for left_out in (0, 5, 9, 12):
        rest = total([row for row in rows if row != left_out])
        assert torch.equal(everybody - rest, alone[left_out])
    norms = [float(row.double().norm()) * spacing_of(C) for row in alone]
    assert max(norms) <= C
    assert sum(norm > 0.9999 * C for norm in norms) >= 5, "clipping must act, or this shows nothing"


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_a_patients_further_views_and_exams_do_not_add_to_their_share(
    kind: str, file: EncoderFile
) -> None:
    model, batch = film_model(kind, file), film_patients(kind, 4, views=4)
    batch.film_exam[:] = torch.arange(8) % 2
    batch.exam_mask[:] = True
    for row in range(4):
        for backend in BACKENDS:
            alone = clipped_sum(
                model, batch.select([row]), loss=practice_loss(), clip_norm=C, backend=backend
            )
            assert float(alone.norm()) <= C


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_films_that_are_masked_change_no_gradient(kind: str, file: EncoderFile) -> None:
    model, batch = film_model(kind, file).double(), in_double(film_patients(kind, 4))
    before = clipped_sum(model, batch, loss=practice_loss(), clip_norm=C, backend="loop")
    hidden = batch.film_exam < 0
    assert hidden.any()
    batch.tokens[hidden] = torch.rand_like(batch.tokens[hidden])
    after = clipped_sum(model, batch, loss=practice_loss(), clip_norm=C, backend="loop")
    torch.testing.assert_close(after, before, rtol=1e-9, atol=4 * spacing_of(C))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_fit_from_its_start_and_left_unchanged(kind: str, file: EncoderFile) -> None:
    model = film_model(kind, file, is_awake=False)
    before = flatten_weights(model)
    validate_model(model, film_patients(kind), loss=practice_loss())
    assert (flatten_weights(model) == before).all()


def test_batch_normalisation_left_in_train_is_refused_inside_an_encoder(file: EncoderFile) -> None:
    model = film_model("full", file)
    assert isinstance(model, EndToEnd)
    assert isinstance(model.encoder.network, GroupNormResNet)
    norm = nn.BatchNorm2d(16).requires_grad_(False)
    model.encoder.network.stem_norm = norm
    with pytest.raises(PrivacyError, match=r"stem_norm \(BatchNorm2d\) averages over patients"):
        validate_model(model, film_patients("full"), loss=practice_loss())
    validate_model(model.eval(), film_patients("full"), loss=practice_loss())


@pytest.mark.parametrize(("frozen", "silent"), [("up", "down"), ("down", None)])
def test_a_low_rank_pair_whose_b_is_frozen_at_zero_is_refused_by_the_name_of_its_a(
    frozen: str, silent: str | None, file: EncoderFile
) -> None:
    model = film_model("lora", file, is_awake=False)
    layer = next(part for part in model.modules() if isinstance(part, LowRankLinear))
    getattr(layer, frozen).requires_grad_(False)
    if silent is None:
        validate_model(model, film_patients("lora"), loss=practice_loss())
        return
    with pytest.raises(PrivacyError) as caught:
        validate_model(model, film_patients("lora"), loss=practice_loss())
    assert f"blocks.0.attn.qkv.{silent} gets no gradient" in caught.value.fact
    assert caught.value.fact.count("gets no gradient") == 1


@pytest.mark.slow
def test_dinov2_at_its_real_size_gives_two_patients_a_bounded_update_and_keeps_its_file(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    real = pack_random_dinov2(tmp_path_factory.mktemp("real"))
    model = film_model("lora", real)
    assert isinstance(model, EndToEnd)
    n_pairs = sum(
        torch.Size(shape).numel() for name, shape in layout(model) if not name.startswith("head.")
    )
    assert n_pairs == 12 * 4 * 4 * (384 + 384)
    batch = film_patients("lora", 2, views=1)
    batch.film_exam[:, 0] = 0
    total = clipped_sum(model, batch, loss=practice_loss(), clip_norm=C, backend="loop")
    assert torch.isfinite(total).all()
    assert C < float(total.norm()) <= 2 * C
    start = 0
    for name, shape in layout(model):
        size = torch.Size(shape).numel()
        assert total[start : start + size].any(), name
        start += size
    assert not any(weight.requires_grad for name, weight in model.named_parameters() if "base" in name)
