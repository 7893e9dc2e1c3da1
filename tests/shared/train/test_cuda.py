"""The same gradients and rounds on a CUDA device as on the processor.

Skipped, with the reason said, where there is no such device.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
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

from shared.privacy.noise import NoiseStream
from shared.train.canaries import AuditRegister
from shared.train.local_steps import train_round
from shared.train.patient_gradients import clipped_sum

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
    kind: str, backend: str, file: EncoderFile
) -> None:
    model, batch = film_model(kind, file).double(), in_double(film_patients(kind))
    oracle = clipped_sum(model, batch, loss=practice_loss(), clip_norm=C, backend="loop")
    found = clipped_sum(
        model.to("cuda"),
        batch.to("cuda"),
        loss=practice_loss(),
        clip_norm=C,
        backend=backend,  # type: ignore[arg-type]
        chunk=4,
    )
    assert found.device.type == "cuda"
    assert float((found.cpu() - oracle).norm() / oracle.norm()) <= 1e-8


@pytest.mark.parametrize("kind", KINDS)
def test_a_patient_moves_the_sum_on_the_device_by_at_most_the_clip_norm(
    kind: str, file: EncoderFile
) -> None:
    model, batch = film_model(kind, file).to("cuda"), film_patients(kind).to("cuda")
    everybody = clipped_sum(model, batch, loss=practice_loss(), clip_norm=C)
    for patient in range(len(batch)):
        rest = batch.select([row for row in range(len(batch)) if row != patient])
        without = clipped_sum(model, rest, loss=practice_loss(), clip_norm=C)
        assert float((everybody - without).norm()) <= 1.0001 * C


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
