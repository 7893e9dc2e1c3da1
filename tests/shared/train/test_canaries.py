"""Canaries in the loop: each writes one clip norm in its own place; patients never notice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from practice_patients import practice_loss, practice_model, practice_patients

from server.federation.compose import compose_settings
from shared.errors import PrivacyError
from shared.model.build import build_model
from shared.model.weights import trainable
from shared.privacy.noise import NoiseStream
from shared.train.canaries import AuditRegister, with_canaries
from shared.train.local_steps import Update, train_round
from shared.train.loss import make_patient_loss
from shared.train.public_batch import draw_public_batch

COINS = np.array([True, False, True, True, False])
CLIP_NORM = 0.05


def run(register: AuditRegister | None, **changes: object) -> Update:
    values: dict[str, object] = {
        "loss": practice_loss(),
        "steps": 3,
        "learning_rate": 0.1,
        "clip_norm": CLIP_NORM,
        "noise_multiplier": 0.0,
        "divisor": 10,
        "update_norm_max": 1e6,
        "proximal_mu": 0.0,
        "draw_normals": NoiseStream(),
        "register": register,
    }
    model = changes.pop("model", None) or practice_model()
    return train_round(model, practice_patients(6), **(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", ["loop", "vmap", "layers"])
def test_a_canary_moves_each_sum_by_one_clip_norm_in_its_own_place(backend: str) -> None:
    register = AuditRegister(COINS)
    run(register, backend=backend)
    expected = np.tile(np.where(COINS, -CLIP_NORM, 0.0), (3, 1))
    np.testing.assert_allclose(register.sums, expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("backend", ["loop", "vmap", "layers"])
def test_weights_that_overflow_cannot_silence_a_canary(backend: str) -> None:
    model = practice_model("cross_attention")
    with torch.no_grad():
        for _, weight in trainable(model):
            weight.fill_(1e30)
    alone = with_canaries(practice_patients(2), COINS).select([2, 3, 4])
    for patient in range(3):
        assert not torch.isfinite(practice_loss()(model, alone.patient(patient)))
    register = AuditRegister(COINS)
    run(register, model=model, backend=backend, steps=1)
    np.testing.assert_allclose(register.sums[0], np.where(COINS, -CLIP_NORM, 0.0), rtol=1e-6)


def test_patients_train_as_if_there_were_no_canaries() -> None:
    audited, plain = run(AuditRegister(COINS)), run(None)
    assert audited.shape == plain.shape
    np.testing.assert_allclose(audited, plain, rtol=1e-5, atol=1e-7)


def test_noise_on_the_register_is_of_the_size_that_patients_get() -> None:
    register = AuditRegister(np.zeros(4000, dtype=bool))
    run(register, noise_multiplier=2.0)
    assert register.sums.std() == pytest.approx(2.0 * CLIP_NORM, rel=0.05)


def test_sampling_leaves_canaries_out_as_often_as_patients() -> None:
    register = AuditRegister(np.ones(400, dtype=bool))
    run(register, sample_rate=0.25, steps=10)
    written = register.sums / -CLIP_NORM
    assert set(np.unique(written.round(6))) == {0.0, 1.0}
    assert written.mean() == pytest.approx(0.25, abs=0.04)


def test_a_canary_has_as_many_exams_and_films_as_any_patient_may_have() -> None:
    patients = practice_patients(6)
    batch = with_canaries(patients, COINS)
    is_canary = batch.canary >= 0
    assert batch.canary[is_canary].tolist() == [0, 2, 3]
    assert batch.exam_mask[is_canary].all()
    assert batch.n_films()[is_canary].tolist() == [[2, 2, 2]] * 3
    assert all(
        own.shape[1:] == tensor.shape[1:]
        for own, tensor in zip(patients.tensors(), batch.tensors(), strict=True)
    )


def test_a_whole_resnet_trains_beside_canaries_and_they_see_no_film() -> None:
    settings = compose_settings(["encoder=resnet_gn", "fusion=linear"])
    films = torch.rand(3, 128, 128).half()
    number = torch.tensor([1, 2, 3]).reshape(3, 1)
    batch = replace(draw_public_batch(settings).select([0, 1, 2]), tokens=number, films=films)
    batch = replace(batch, film_exam=torch.zeros_like(number))
    held = with_canaries(batch, COINS).with_films()
    assert (held.tokens[held.canary >= 0] == 0).all()
    register = AuditRegister(COINS)
    found = {}
    for name, audited in (("audited", register), ("plain", None)):
        found[name] = train_round(
            build_model(settings, 1),
            batch,
            loss=make_patient_loss(settings.task),
            steps=2,
            learning_rate=0.5,
            clip_norm=CLIP_NORM,
            noise_multiplier=0.0,
            divisor=3,
            update_norm_max=1e6,
            proximal_mu=0.0,
            draw_normals=NoiseStream(),
            register=audited,
            backend="loop",
        )
    np.testing.assert_allclose(
        register.sums, np.tile(np.where(COINS, -CLIP_NORM, 0.0), (2, 1)), rtol=1e-6
    )
    np.testing.assert_allclose(found["audited"], found["plain"], rtol=1e-4, atol=1e-7)
    assert np.abs(found["plain"][:10_000]).max() > 0


def test_canaries_without_a_clip_norm_are_refused() -> None:
    with pytest.raises(PrivacyError, match="needs a clip norm"):
        run(AuditRegister(COINS), clip_norm=None)
