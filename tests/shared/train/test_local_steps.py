"""One round at a site: the steps by hand, its bound, its repeatability, and what noise does to it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from practice_patients import practice_loss, practice_model, practice_patients

from shared.errors import PrivacyError
from shared.model.weights import flatten_weights, trainable
from shared.privacy.noise import NoiseStream
from shared.train.canaries import AuditRegister
from shared.train.local_steps import Update, bound_update, one_sum, train_round, weights_of_steps
from shared.train.patient_gradients import clipped_sum

N_PATIENTS = 6


def run(model: torch.nn.Module, **changes: object) -> Update:
    values: dict[str, object] = {
        "loss": practice_loss(),
        "steps": 2,
        "learning_rate": 0.1,
        "clip_norm": None,
        "noise_multiplier": 0.0,
        "divisor": 10,
        "update_norm_max": 1e6,
        "proximal_mu": 0.0,
        "draw_normals": NoiseStream(),
    }
    return train_round(model, practice_patients(N_PATIENTS), **(values | changes))


@pytest.mark.parametrize("clip_norm", [None, 0.05])
@pytest.mark.parametrize("mu", [0.0, 0.5])
def test_noise_free_round_equals_the_formula_step_by_step(clip_norm: float | None, mu: float) -> None:
    start = flatten_weights(practice_model("concatenation")).astype(np.float64)
    update = run(practice_model("concatenation"), clip_norm=clip_norm, proximal_mu=mu)
    model = practice_model("concatenation")
    weights = start.copy()
    for _ in range(2):
        total = clipped_sum(
            model,
            practice_patients(N_PATIENTS),
            loss=practice_loss(),
            clip_norm=clip_norm,
            backend="loop",
        )
        weights -= 0.1 * (total.numpy() / 10 + mu * (weights - start))
        torch.nn.utils.vector_to_parameters(
            torch.from_numpy(weights).float(), [weight for _, weight in trainable(model)]
        )
    np.testing.assert_allclose(update, weights - start, rtol=1e-3, atol=1e-6)
    assert update.dtype == np.float32
    assert np.abs(update).max() > 1e-4


def test_without_noise_a_round_is_the_same_bit_for_bit() -> None:
    assert np.array_equal(run(practice_model()), run(practice_model()))


def test_backends_agree() -> None:
    np.testing.assert_allclose(
        run(practice_model(), backend="loop"), run(practice_model(), backend="vmap"), atol=1e-6
    )


@pytest.mark.parametrize("noise_multiplier", [0.0, 5.0])
def test_the_finished_update_never_exceeds_its_bound(noise_multiplier: float) -> None:
    update = run(
        practice_model(),
        clip_norm=0.5,
        noise_multiplier=noise_multiplier,
        learning_rate=100.0,
        update_norm_max=0.25,
    )
    norm = float(np.linalg.norm(update.astype(np.float64)))
    assert 0.2499 < norm <= 0.25


def test_noise_has_the_size_that_was_charged() -> None:
    # one step from the same weights: runs differ by noise alone, of sd lr·σ·C/B
    deviation = 0.1 * 2.0 * 0.5 / 10
    noisy = {"clip_norm": 0.5, "noise_multiplier": 2.0, "steps": 1}
    updates = np.stack([run(practice_model(), **noisy) for _ in range(30)])  # [30,p]
    n_draws = updates.size - updates.shape[1]
    found = float(np.sqrt(updates.var(axis=0, ddof=1).mean()))
    assert abs(found - deviation) < 5 * deviation / (2 * n_draws) ** 0.5


def test_two_noised_rounds_differ_and_noise_without_clipping_is_refused() -> None:
    noisy = {"clip_norm": 0.5, "noise_multiplier": 1.0}
    assert not np.array_equal(run(practice_model(), **noisy), run(practice_model(), **noisy))
    with pytest.raises(PrivacyError, match="noise protects nobody"):
        run(practice_model(), noise_multiplier=1.0)


def test_an_update_that_is_not_finite_becomes_zero() -> None:
    assert not bound_update(torch.tensor([1.0, torch.nan]), norm_max=1.0).any()


def test_a_tail_averages_the_weights_after_the_last_steps_and_rounds_its_length_up() -> None:
    first, second, third = (
        run(practice_model(), steps=steps, clip_norm=0.05).astype(np.float64) for steps in (1, 2, 3)
    )
    tails = {0.0: third, 0.34: (second + third) / 2, 1.0: (first + second + third) / 3}
    for share, expected in tails.items():
        found = run(practice_model(), steps=3, clip_norm=0.05, local_tail=share)
        np.testing.assert_allclose(found, expected, atol=1e-7)
    assert np.abs(second - third).max() > 1e-4


def summed(**changes: object) -> np.ndarray:
    values: dict[str, object] = {
        "loss": practice_loss(),
        "clip_norm": 0.5,
        "noise_multiplier": 0.0,
        "draw_normals": NoiseStream(),
    }
    return one_sum(practice_model(), practice_patients(N_PATIENTS), **(values | changes))


@pytest.mark.parametrize(("mu", "local_tail"), [(0.0, 0.0), (0.3, 0.0), (0.0, 0.5), (0.3, 0.5)])
def test_how_much_of_each_step_is_in_a_change_is_what_the_noise_of_one_step_leaves(
    mu: float, local_tail: float
) -> None:
    steps, rate, p = 5, 0.5, flatten_weights(practice_model()).size
    found = []
    for chosen in range(steps):
        drawn = iter(range(steps))

        def only_then(n: int, chosen: int = chosen, drawn: Iterator[int] = drawn) -> torch.Tensor:
            return torch.full((n,), float(next(drawn) == chosen), dtype=torch.float64)

        change = train_round(
            practice_model(),
            practice_patients(6).select([]),
            loss=practice_loss(),
            steps=steps,
            learning_rate=rate,
            clip_norm=0.5,
            noise_multiplier=2.0,
            divisor=10,
            update_norm_max=1e9,
            proximal_mu=mu,
            draw_normals=only_then,
            local_tail=local_tail,
        )
        np.testing.assert_allclose(change, change[0], rtol=1e-3)
        found.append(-change[0] / (rate * 2.0 * 0.5 / 10))
        assert change.size == p
    expected = weights_of_steps(steps, kept=1.0 - rate * mu, local_tail=local_tail)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_one_sum_is_the_clipped_sum_with_noise_of_the_multiplier_times_the_clip_norm() -> None:
    exact = clipped_sum(
        practice_model(), practice_patients(N_PATIENTS), loss=practice_loss(), clip_norm=0.5
    ).numpy()
    assert np.array_equal(summed(), exact)
    loud = summed(noise_multiplier=2.0, draw_normals=lambda n: torch.ones(n, dtype=torch.float64))
    np.testing.assert_allclose(loud - exact, 1.0, rtol=1e-6)


def test_one_sum_leaves_the_weights_as_they_are_and_refuses_noise_without_a_clip() -> None:
    model = practice_model()
    before = flatten_weights(model)
    values = {"loss": practice_loss(), "noise_multiplier": 0.0, "draw_normals": NoiseStream()}
    one_sum(model, practice_patients(3), clip_norm=0.5, **values)
    assert np.array_equal(flatten_weights(model), before)
    with pytest.raises(PrivacyError, match="noise protects nobody"):
        summed(clip_norm=None, noise_multiplier=1.0)
    with pytest.raises(PrivacyError, match="an audit needs a clip norm"):
        summed(clip_norm=None, register=AuditRegister(np.array([True])))


def test_canaries_stay_at_the_site_and_the_sum_of_the_patients_leaves() -> None:
    register = AuditRegister(np.array([True, False, True, True]))
    found = summed(register=register)
    np.testing.assert_allclose(found, summed(), atol=1e-6)
    # a canary's gradient is −10·C on its own place, clipped to C
    np.testing.assert_allclose(register.sums, [[-0.5, 0.0, -0.5, -0.5]], rtol=1e-5)
