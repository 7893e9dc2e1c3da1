"""An update and scores from films that stay in their store: as if all had been in memory at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from company_attack import GRIDS, hostile_model, patients_of
from practice_patients import practice_patients, practice_settings

import shared.train.update
from server.federation.compose import compose_settings
from server.federation.plan import resolve_stages
from shared.contract.settings import Settings
from shared.contract.stages import GradientStage
from shared.model.build import build_model
from shared.model.end_to_end import EndToEnd
from shared.model.weights import flatten_weights
from shared.train.patients import PatientBatch, build_patients
from shared.train.public_batch import draw_public_batch
from shared.train.update import (
    first_exams,
    patients_in,
    score_exams,
    score_patients,
    train_sum,
    train_update,
)


def settings_without_noise() -> Settings:
    return compose_settings(
        [
            *("encoder=resnet_gn", "fusion=linear", "privacy=off", "privacy.update_norm_max=1e9"),
            *("federation.local_steps=1", "federation.learning_rate=0.1", "device=cpu"),
        ]
    )


def stage_of(settings: Settings) -> GradientStage:
    """The training stage of a plan of these settings."""
    stage = resolve_stages(settings, n_parameters=100, declared={"training": (100,)})[0]
    assert isinstance(stage, GradientStage)
    return stage


def stored_patients(settings: Settings, n: int = 5) -> PatientBatch:
    """Patients of one to three exams, of which some are unlabelled, with one or two films each."""
    generator = np.random.default_rng(4)
    exams = [(patient, exam) for patient in range(n) for exam in range(1 + patient % 3)]
    n_films = [1 + (patient + exam) % 2 for patient, exam in exams]
    ends = np.cumsum(n_films).tolist()
    films = torch.from_numpy(generator.random((ends[-1], 128, 128)).astype(np.float16))
    columns = len(settings.cohort.fields)
    return build_patients(
        fields=np.zeros((len(exams), columns), dtype=np.float32),
        field_mask=np.ones((len(exams), columns), dtype=bool),
        target=np.array([np.nan if exam == 0 and p == 2 else 0.1 * p + exam for p, exam in exams]),
        patient_index=np.array([patient for patient, _ in exams]),
        exam_films=[tuple(range(end - k, end)) for end, k in zip(ends, n_films, strict=True)],
        film_order=range(ends[-1]),
        exam_order=range(len(exams)),
        films=films,
        max_views=6,
        max_exams=3,
    )


def awake(settings: Settings) -> np.ndarray:
    """Initial weights with a head that is not zero, so that scores and gradients see the films."""
    weights = flatten_weights(build_model(settings, settings.seed))
    return weights + np.random.default_rng(0).normal(0, 0.02, weights.size).astype(np.float32)


def test_films_read_by_their_patients_turn_give_the_update_of_films_in_memory() -> None:
    settings = settings_without_noise()
    batch, weights = stored_patients(settings), awake(settings)
    assert batch.films is not None
    assert batch.tokens.numel() * batch.tokens.element_size() < 1000
    held = batch.with_films()
    assert held.films is None
    assert held.tokens.shape == (*batch.film_exam.shape, 128, 128)
    stage = stage_of(settings)
    lazy, whole = (train_update(settings, stage, each, weights, divisor=5) for each in (batch, held))
    np.testing.assert_allclose(lazy, whole, rtol=1e-5, atol=1e-8)
    assert np.abs(lazy).max() > 1e-3


def test_each_film_reaches_its_own_patient_and_padding_is_black() -> None:
    batch = stored_patients(settings_without_noise())
    held = batch.select([4, 1]).with_films()
    assert batch.films is not None
    # exams are listed patient by patient, and so are the films
    assert batch.tokens[batch.film_exam >= 0].tolist() == list(range(1, len(batch.films) + 1))
    for row, patient in enumerate((4, 1)):
        for place in np.ndindex(*batch.tokens.shape[1:]):
            number = int(batch.tokens[(patient, *place)])
            found = held.tokens[(row, *place)]
            expected = batch.films[number - 1].float() if number else torch.zeros(128, 128)
            assert torch.equal(found, expected)


def test_scores_in_batches_are_those_of_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_without_noise()
    batch, weights = stored_patients(settings), awake(settings)
    at_once, labels = score_patients(settings, batch, weights)
    passes = []
    forward = EndToEnd.forward
    monkeypatch.setattr(
        EndToEnd,
        "forward",
        lambda self, *inputs: passes.append(len(inputs[0])) or forward(self, *inputs),
    )
    monkeypatch.setattr(shared.train.update, "patients_at_once", lambda *_, **__: 2)
    in_parts, again = score_patients(settings, batch, weights)
    assert passes == [2, 2, 2], "the last part is filled"
    padded, _ = score_exams(settings, first_exams(batch), weights, places=9)
    assert np.array_equal(padded, in_parts)
    assert passes == [2, 2, 2] + [2] * 5, "and parts of nobody follow"
    np.testing.assert_allclose(in_parts, at_once, rtol=1e-5)
    assert (labels == again).all()
    assert np.ptp(at_once) > 1e-3
    # patient 2 lost the label of the first exam: the second one counts, 0.1 * 2 + 1
    task = settings.task
    assert labels[2] == pytest.approx(task.target_mean + task.target_sd * 1.2)


def test_training_and_scoring_ask_for_kernels_that_repeat_themselves() -> None:
    settings = settings_without_noise()
    batch, weights, stage = stored_patients(settings, 2), awake(settings), stage_of(settings)
    seen: list[bool] = []
    hook = torch.nn.modules.module.register_module_forward_pre_hook(
        lambda *_: seen.append(torch.are_deterministic_algorithms_enabled())
    )
    try:
        for work in (
            lambda: train_update(settings, stage, batch, weights, divisor=2),
            lambda: train_sum(settings, stage, batch, weights),
            lambda: score_patients(settings, batch, weights),
        ):
            seen.clear()
            work()
            assert seen
            assert all(seen)
    finally:
        hook.remove()
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("grid", GRIDS)
def test_a_score_is_the_same_bits_whoever_else_is_scored(grid: int) -> None:
    settings = practice_settings("cross_attention")
    encoder = settings.encoder.model_copy(update={"token_grid": grid})
    settings = settings.model_copy(update={"encoder": encoder})
    batch = patients_of(140, grid)
    everybody = list(range(len(batch)))
    for seed in (1, 2):
        weights = flatten_weights(hostile_model(grid, seed=seed))
        together, _ = score_patients(settings, batch, weights)
        assert np.ptp(together) > 0.1
        for company in (everybody[::-1], everybody[:-1], [140, 3, 5], [7]):
            alone, _ = score_patients(settings, batch.select(company), weights)
            assert np.array_equal(alone, together[company])


def test_a_score_on_films_is_the_same_bits_whoever_else_is_scored() -> None:
    settings = settings_without_noise()
    batch, weights = stored_patients(settings), awake(settings)
    together, _ = score_patients(settings, batch, weights)
    for company in ([4, 3, 2, 1, 0], [0, 1, 2, 4], [2]):
        alone, _ = score_patients(settings, batch.select(company), weights)
        assert np.array_equal(alone, together[company])


def test_nobody_is_scored_where_nobody_has_a_label() -> None:
    settings = settings_without_noise()
    batch = stored_patients(settings)
    nobody = replace(batch, exam_mask=torch.zeros_like(batch.exam_mask))
    output, label = score_patients(settings, nobody, awake(settings))
    assert (output.shape, label.shape) == ((0, 1), (0,))
    assert len(first_exams(batch.select([]))) == 0


def test_tokens_in_memory_are_left_as_they_are() -> None:
    batch = practice_patients(3)
    assert batch.with_films() is batch
    assert draw_public_batch(compose_settings()).films is None


def head_settings(*overrides: str) -> Settings:
    """A head on frozen tokens, one step; ``overrides`` win."""
    return compose_settings(
        [
            *("encoder=tiny", "fusion=concatenation", "privacy.update_norm_max=1e9", "device=cpu"),
            *(
                "federation.local_steps=1",
                "federation.learning_rate=0.1",
                "federation.fold=site",
                *overrides,
            ),
        ]
    )


def updated(patients: PatientBatch, *overrides: str, divisor: int = 5) -> np.ndarray:
    settings = head_settings(*overrides)
    weights = flatten_weights(build_model(settings, settings.seed))
    stage = stage_of(settings)
    return train_update(settings, stage, patients, weights, divisor=divisor).astype(np.float64)


def test_fedprox_pulls_towards_the_start_by_its_mu_and_fedavg_does_not() -> None:
    patients = draw_public_batch(head_settings("privacy=off"))
    off = ("privacy=off", "federation.local_steps=2")
    one = updated(patients, "privacy=off")
    plain = updated(patients, *off, "strategy.name=fedavg", "strategy.proximal_mu=2.0")
    pulled = updated(patients, *off, "strategy.name=fedprox", "strategy.proximal_mu=2.0")
    free = updated(patients, *off, "strategy.name=fedprox", "strategy.proximal_mu=0.0")
    np.testing.assert_array_equal(free, plain)
    # the second step's extra term by hand: −learning rate · μ · (what the first step moved)
    np.testing.assert_allclose(pulled - plain, -0.1 * 2.0 * one, rtol=1e-3, atol=1e-7)
    assert np.abs(pulled - plain).max() > 1e-4


def test_the_noised_sum_of_a_sampled_step_is_divided_by_the_patients_expected_in_it() -> None:
    patients = draw_public_batch(head_settings("privacy=off"))
    # so much noise that nothing else shows: SD = learning rate · noise · clip norm / (B · sample rate)
    loud = ("privacy.noise_multiplier=1000", "privacy.clip_norm=0.5")
    for rate in (1.0, 0.25):
        moved = updated(patients, *loud, f"privacy.sample_rate={rate}", divisor=200)
        assert moved.size > 200
        expected = 0.1 * 1000 * 0.5 / (200 * rate)
        assert moved.std() == pytest.approx(expected, rel=5 / (2 * moved.size) ** 0.5)


def test_a_gpus_chunk_follows_from_its_whole_memory_and_the_places_for_films() -> None:
    gib = 2**30
    assert [patients_in(n * gib, n_films=1) for n in (8, 24, 139)] == [16, 32, 128]
    assert patients_in(24 * gib, n_films=4) == 8
    assert patients_in(gib // 2, n_films=4) == 1, "one patient is always tried"
