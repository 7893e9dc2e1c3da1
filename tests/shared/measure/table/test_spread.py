"""Variances of sums of squares, held against those of drawn errors and targets."""

from __future__ import annotations

import numpy as np
import pytest
from practice_coverage import POPULATIONS, Population

from shared.measure.table.spread import (
    Errors,
    error_kurtosis,
    error_target_covariance,
    squares_covariance,
    target_square_variance,
)

N = 400_000
EXAGGERATED = Population(name="exaggerated", prevalence=0.15, stretch=1.5)


def test_variance_and_covariance_of_the_square_by_hand() -> None:
    # e = ±1 about 2: e² is 1 or 9, with variance 16; e and e² move together, 1·4; κ = 1
    errors = Errors(mean=2.0, variance=1.0, kurtosis=1.0)
    assert (errors.square_variance, errors.covariance) == (16.0, 4.0)
    tenfold = errors.scaled(10.0)
    assert (tenfold.mean, tenfold.variance, tenfold.square_variance) == (20.0, 100.0, 160_000.0)


@pytest.mark.parametrize("offset", [0.0, 0.7, -3.0])
def test_normal_errors_have_kurtosis_3_whatever_their_mean(offset: float) -> None:
    error = np.random.default_rng(1).normal(offset, 1.0, N)
    found = error_kurtosis(error.mean(), np.abs(error).mean(), error.var(), noise_sd=0.0)
    assert found == pytest.approx(3.0, abs=0.06)


def test_kurtosis_follows_the_mean_absolute_error() -> None:
    generator = np.random.default_rng(2)
    clipped = np.clip(0.304 * 0.6**0.5 * generator.standard_t(5, N), -1.0, 1.0)
    for error in (clipped, generator.uniform(-1, 1, N)):
        own = ((error - error.mean()) ** 4).mean() / error.var() ** 2
        found = error_kurtosis(error.mean(), np.abs(error).mean(), error.var(), noise_sd=0.0)
        assert found == pytest.approx(own, rel=0.06)


def test_noise_is_not_taken_for_heavy_tails() -> None:
    said = [error_kurtosis(0.0, 0.6, 1.0, noise_sd=sd) for sd in (0.0, 0.04, 1.0)]
    assert said == sorted(said, reverse=True)
    assert said[1] == pytest.approx((said[0] + 3) / 2, rel=0.01)  # 0.04/0.798 is 0.05
    assert said[2] == pytest.approx(3.0, abs=0.02)


@pytest.mark.parametrize("population", [*POPULATIONS, EXAGGERATED], ids=lambda each: each.name)
def test_covariance_is_that_of_error_and_target(population: Population) -> None:
    target, prediction = population.draw(N, np.random.default_rng(3))
    error = prediction - target
    own = np.cov(error, target)
    found = error_target_covariance(
        own[0, 1], error_variance=own[0, 0], target_variance=own[1, 1], noise_sd=0.0
    )
    assert found == pytest.approx(own[0, 1])
    errors = Errors(
        mean=error.mean(),
        variance=error.var(),
        kurtosis=((error - error.mean()) ** 4).mean() / error.var() ** 2,
    )
    squares = np.cov(error**2, (target - target.mean()) ** 2)
    scale = np.sqrt(squares[0, 0] * squares[1, 1])
    # the table's errors are cut to ±0.25; of errors without bounds fourth moments come out slowly
    assert squares_covariance(errors, own[0, 1]) == pytest.approx(squares[0, 1], abs=0.05 * scale)
    assert errors.square_variance == pytest.approx(squares[0, 0], rel=0.05)
    assert target_square_variance(own[1, 1], errors, own[0, 1]) == pytest.approx(
        squares[1, 1], rel=0.05
    )


def test_where_noise_hides_the_covariance_a_prediction_counts_as_calibrated() -> None:
    for error_variance, expected in ((0.006, -0.006), (0.06, -((0.06 * 0.014) ** 0.5))):
        found = error_target_covariance(
            0.004, error_variance=error_variance, target_variance=0.014, noise_sd=10.0
        )
        assert found == pytest.approx(expected, rel=1e-3)
    most = (0.006 * 0.014) ** 0.5
    half = error_target_covariance(0.0, error_variance=0.006, target_variance=0.014, noise_sd=most / 2)
    assert half == pytest.approx(-0.003), "at half of the most it can be, half is believed"


def test_covariance_stays_possible_however_loud_the_noise() -> None:
    for found in (-1.0, 1.0):
        held = error_target_covariance(found, error_variance=0.006, target_variance=0.014, noise_sd=0.0)
        assert held == pytest.approx(found * (0.006 * 0.014) ** 0.5)
