"""Too small a square refutes promised noise; what patients add can hide a fault and never feign one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import chi2, norm

from shared.audit.least_noise import NONE, Residual, of_halves, residual

DRAW = np.random.default_rng(7)


@pytest.mark.parametrize(("square", "n"), [(0.5, 1), (3.0, 10), (90.0, 100), (1100.0, 1000)])
def test_z_is_the_normal_quantile_of_the_chance_of_so_small_a_square(square: float, n: int) -> None:
    assert Residual(square, n).z == pytest.approx(norm.ppf(chi2.cdf(square, n)), abs=1e-6)


def test_no_noise_at_all_has_the_lowest_z_and_no_numbers_have_none() -> None:
    assert Residual(0.0, 50).z == -38.0
    assert Residual(1e9, 50).z == 38.0
    assert NONE.z == 0.0
    assert not NONE.is_refuted
    assert math.isnan(NONE.mean_square)
    assert NONE.power(0.1) == 0.0


def test_promised_noise_is_not_refuted_whatever_lies_under_it() -> None:
    for scale in (0.0, 0.3, 3.0):
        found = [residual(DRAW.normal(size=200) + scale * DRAW.normal(size=200)) for _ in range(500)]
        assert min(each.z for each in found) > -5
        assert not any(each.is_refuted for each in found)


def test_training_that_follows_its_own_noise_cannot_feign_missing_noise() -> None:
    # the worst case: what the next total holds of patients cancels all noise that was drawn before
    for _ in range(50):
        noise = DRAW.normal(size=(30, 40))
        totals = noise.copy()
        totals[1:] -= np.cumsum(noise, axis=0)[:-1]
        found = NONE
        for number in range(1, 30):
            before = totals[:number].mean(axis=0)
            found += residual(totals[number], before, known_noise=1.0 / number)
        assert not found.is_refuted
        assert found.n == 29 * 40


@pytest.mark.parametrize(
    ("share", "n", "is_seen"), [(0.1, 200, True), (0.9, 200, False), (0.9, 9000, True)]
)
def test_the_power_is_how_often_noise_of_a_share_is_refuted(
    share: float, n: int, is_seen: bool
) -> None:
    correct = residual(DRAW.normal(size=n))
    assert (correct.power(share) >= 0.99) == is_seen
    refuted = [residual(share * DRAW.normal(size=n)).is_refuted for _ in range(200)]
    assert np.mean(refuted) >= correct.power(share) - 0.05


def test_what_patients_add_takes_the_power_and_taking_it_off_gives_it_back() -> None:
    patients = 4.0 * DRAW.normal(size=500)
    first, second = (patients + DRAW.normal(size=500) for _ in range(2))
    assert residual(second).power(0.1) < 0.01
    assert residual(second, first, known_noise=1.0).power(0.1) > 0.99
    assert residual(second, first, known_noise=1.0).mean_square == pytest.approx(2.0, rel=0.25)


def test_noise_used_twice_is_taken_off_by_itself() -> None:
    noise = DRAW.normal(size=300)
    assert residual(noise + 0.1, noise, known_noise=1.0).is_refuted
    assert not residual(noise, DRAW.normal(size=300), known_noise=1.0).is_refuted


@pytest.mark.parametrize("n", [300, 301])
def test_a_half_that_repeats_the_other_is_refuted(n: int) -> None:
    half = DRAW.normal(size=(n + 1) // 2)
    twice = np.concatenate([half, half])[:n]
    assert of_halves(twice).n == n // 2
    assert of_halves(twice).square == 0.0
    assert of_halves(twice).is_refuted
    assert not of_halves(DRAW.normal(size=n)).is_refuted


def test_squares_of_rounds_add_up_and_so_does_what_is_known_of_them() -> None:
    both = Residual(3.0, 10, 1.0) + Residual(5.0, 30, 0.5)
    assert (both.square, both.n, both.known_noise) == (8.0, 40, pytest.approx(0.625))
