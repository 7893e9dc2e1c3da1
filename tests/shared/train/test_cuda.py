"""The same gradients and rounds on a CUDA device as on the processor, and the same bits in any company.

Skipped, with the reason said, where there is no such device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from company_attack import GRIDS, hostile_model, patients_of
from practice_films import (
    KINDS,
    EncoderFile,
    film_model,
    film_patients,
    pack_random_dinov2,
    small_dinov2,
)
from practice_patients import in_double, practice_loss, practice_settings
from torch import Tensor

from shared.model.architectures import ARCHITECTURES
from shared.model.encoders import encode, make_encoder
from shared.model.weights import flatten_weights
from shared.privacy.noise import NoiseStream
from shared.sums.lattice import spacing_of
from shared.train.canaries import AuditRegister
from shared.train.device import repeatable
from shared.train.local_steps import train_round
from shared.train.patient_gradients import clipped_sum
from shared.train.rows import Backend
from shared.train.update import score_patients

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device"),
]
C = 0.05  # below the usual gradient norm, so that clipping acts
COINS = np.arange(400) % 2 == 0


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EncoderFile]:
    with small_dinov2():
        yield pack_random_dinov2(tmp_path_factory.mktemp("weights"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backend", ["loop", "vmap"])
def test_the_sum_on_the_device_is_that_of_the_processors_oracle(
    kind: str, backend: Backend, file: EncoderFile
) -> None:
    model, batch = film_model(kind, file).double(), in_double(film_patients(kind))
    oracle = clipped_sum(model, batch, loss=practice_loss(), clip_norm=C, backend="loop")
    found = clipped_sum(
        model.to("cuda"),
        batch.to("cuda"),
        loss=practice_loss(),
        clip_norm=C,
        backend=backend,
        chunk=4,
    )
    assert found.device.type == "cuda"
    steps = len(batch) * spacing_of(C)
    assert float((found.cpu() - oracle).abs().max()) <= 1e-8 * float(oracle.norm()) + steps


def rows_that_differ(total: Callable[[list[int]], Tensor], n: int) -> dict[str, int]:
    """Of ``n`` patients: how many have another row than alone, in four companies."""
    everybody = list(range(n))
    alone = torch.stack([total([row]) for row in everybody])
    again = torch.stack([total([row]) for row in everybody])
    companies = {
        "together": everybody,
        "reversed": everybody[::-1],
        "one left out": everybody[:-1],
        "one put in front": [n - 1, *everybody],
    }
    differ = {
        name: int((total(company) != alone[company].sum(dim=0)).any())
        for name, company in companies.items()
    }
    return {"the same call twice": int((again != alone).any(dim=1).sum()), **differ}


@pytest.mark.parametrize("kind", KINDS)
def test_a_patient_moves_the_sum_on_the_device_by_that_patients_row_and_nothing_else(
    kind: str, file: EncoderFile
) -> None:
    model, batch = film_model(kind, file).to("cuda"), film_patients(kind, 40).to("cuda")

    def total(rows: list[int]) -> Tensor:
        found = clipped_sum(model, batch.select(rows), loss=practice_loss(), clip_norm=C, chunk=16)
        assert float(found.norm()) <= len(rows) * C
        return (found / spacing_of(C)).to(torch.int64).cpu()

    with repeatable():
        counts = rows_that_differ(total, len(batch))
    assert set(counts.values()) == {0}, counts


@pytest.mark.parametrize("grid", GRIDS)
def test_hostile_weights_turn_nobodys_gradient_on_the_device(grid: int) -> None:
    model, batch = hostile_model(grid).to("cuda"), patients_of(40, grid).to("cuda")

    def total(rows: list[int]) -> Tensor:
        found = clipped_sum(model, batch.select(rows), loss=practice_loss(), clip_norm=C)
        return (found / spacing_of(C)).to(torch.int64).cpu()

    with repeatable():
        counts = rows_that_differ(total, len(batch))
    assert set(counts.values()) == {0}, counts


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_a_films_tokens_on_the_device_do_not_depend_on_the_others(name: str) -> None:
    encoder = make_encoder(name, grid=ARCHITECTURES[name].grid)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in encoder.parameters():
            weight.copy_(0.05 * torch.randn(weight.shape, generator=draw))
    encoder, films = encoder.to("cuda"), torch.rand(40, 1, 128, 128, generator=draw)
    with repeatable():
        first = encode(encoder, films, batch=16)
        for company in (list(range(40)), list(range(40))[::-1], list(range(39)), [5]):
            assert torch.equal(encode(encoder, films[company], batch=16), first[company])


def test_a_score_on_the_device_does_not_depend_on_who_else_is_scored() -> None:
    settings = practice_settings("cross_attention").model_copy(update={"device": "cuda"})
    batch, weights = patients_of(140, 2), flatten_weights(hostile_model(2))
    together, _ = score_patients(settings, batch, weights)
    for company in (list(range(141))[::-1], list(range(140)), [140, 3]):
        alone, _ = score_patients(settings, batch.select(company), weights)
        assert np.array_equal(alone, together[company])


@pytest.mark.parametrize("kind", KINDS)
def test_a_sampled_audited_round_on_the_device_has_the_noise_and_canaries_of_the_plan(
    kind: str, file: EncoderFile
) -> None:
    register = AuditRegister(COINS)
    update = train_round(
        film_model(kind, file).to("cuda"),
        film_patients(kind).to("cuda"),
        loss=practice_loss(),
        steps=5,
        learning_rate=0.1,
        clip_norm=C,
        noise_multiplier=1.5,
        divisor=3.0,
        update_norm_max=1e6,
        proximal_mu=0.0,
        draw_normals=NoiseStream(),
        sample_rate=0.5,
        register=register,
    )
    assert np.isfinite(update).all()
    out = register.sums[:, ~COINS]
    assert out.std() == pytest.approx(1.5 * C, rel=0.1)
    assert -register.sums[:, COINS].mean() == pytest.approx(0.5 * C, abs=5 * 1.6 * C / 1000**0.5)
