"""Rows of gradients: three ways agree for every layer, and each model gets the one that suits it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from practice_films import EncoderFile, film_model, pack_random_dinov2, small_dinov2
from practice_patients import in_double, practice_loss, practice_model, practice_patients
from torch import Tensor, nn

from shared.model.weights import trainable
from shared.train.canaries import WithRegister, audited_loss, with_canaries
from shared.train.rows import (
    LAYERS,
    Rows,
    choose_backend,
    rows_by_layers,
    rows_by_loop,
    rows_by_vmap,
)

FUSIONS = ("cross_attention", "concatenation", "linear", "image_only", "clinical_only")


@pytest.mark.parametrize("fusion", FUSIONS)
def test_three_ways_give_one_row_per_patient_in_double(fusion: str) -> None:
    model, batch = practice_model(fusion).double(), in_double(practice_patients(5))
    by_loop = rows_by_loop(model, batch, practice_loss())
    n_weights = sum(weight.numel() for _, weight in trainable(model))
    assert by_loop.shape == (5, n_weights)
    assert (by_loop.abs().amax(dim=1) > 1e-4).all()
    for way in (rows_by_vmap, rows_by_layers):
        torch.testing.assert_close(way(model, batch, practice_loss()), by_loop, rtol=1e-8, atol=1e-12)


def test_three_ways_agree_on_canaries_beside_patients() -> None:
    model = WithRegister(practice_model("cross_attention"), 7).double()
    coins = np.array([False, True, True, False, False, False, True])
    batch = with_canaries(in_double(practice_patients(4)), coins)
    loss = audited_loss(practice_loss(), clip_norm=0.5)
    by_loop = rows_by_loop(model, batch, loss)
    expected = torch.zeros(7, 7, dtype=torch.float64)
    for row, place in enumerate((1, 2, 6), start=4):
        expected[row, place] = -5.0  # ten clip norms of 0.5
    assert torch.equal(by_loop[:, :7], expected)
    for way in (rows_by_vmap, rows_by_layers):
        torch.testing.assert_close(way(model, batch, loss), by_loop, rtol=1e-8, atol=1e-12)


class Twice(nn.Module):
    """A layer that a patient meets twice, and one that nothing goes through."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.unused = nn.Linear(width, 2)
        self.again = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, film_exam: Tensor, fields: Tensor, field_mask: Tensor) -> Tensor:
        return self.again(torch.tanh(self.again(self.norm(fields)))).sum(dim=-1, keepdim=True)


def test_a_layer_met_twice_adds_up_and_one_that_is_not_met_has_zeros() -> None:
    batch = in_double(practice_patients(4))
    torch.manual_seed(0)
    model = Twice(batch.fields.shape[-1]).double()
    by_loop = rows_by_loop(model, batch, practice_loss())
    assert not by_loop[:, : 2 * 9 + 2].any()
    torch.testing.assert_close(
        rows_by_layers(model, batch, practice_loss()), by_loop, rtol=1e-8, atol=1e-12
    )


def test_no_weight_keeps_a_gradient_and_no_hook_stays() -> None:
    model = practice_model("cross_attention")
    rows_by_layers(model, practice_patients(3), practice_loss())
    assert all(weight.grad is None and weight.requires_grad for _, weight in trainable(model))
    assert not any(part._forward_hooks for part in model.modules())


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("way", [rows_by_loop, rows_by_vmap, rows_by_layers])
def test_rows_keep_no_graph_that_would_hold_every_activation(way: Rows, fusion: str) -> None:
    assert not way(practice_model(fusion), practice_patients(3), practice_loss()).requires_grad


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EncoderFile]:
    with small_dinov2():
        yield pack_random_dinov2(tmp_path_factory.mktemp("weights"))


def test_each_model_gets_the_backend_that_was_faster_for_it(file: EncoderFile) -> None:
    for fusion in FUSIONS:
        assert choose_backend(practice_model(fusion)) == "layers"
    assert choose_backend(WithRegister(practice_model(), 3)) == "layers"
    for kind in ("lora", "full"):
        assert choose_backend(film_model(kind, file)) == "loop"
    assert nn.Conv2d not in LAYERS
    assert choose_backend(nn.Sequential(nn.Linear(2, 2), nn.Conv2d(1, 1, 1))) == "vmap"
