"""ε against hand values and a second accountant; calibration rounds towards privacy."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import PrivacyError
from shared.privacy.accountant import (
    accountant_name,
    calibrate,
    epsilon_of,
    gaussian_delta,
    gaussian_epsilon,
    gaussian_mu,
    squared_mu,
)
from shared.privacy.events import GaussianEvent, merge_events

DELTA = 1e-5


def pld_epsilon(event: GaussianEvent, delta: float) -> float:
    """Second opinion: dp-accounting's privacy loss distributions."""
    from dp_accounting import dp_event
    from dp_accounting.pld import PLDAccountant

    inner = dp_event.GaussianDpEvent(event.noise_multiplier)
    step = inner if event.sample_rate == 1 else dp_event.PoissonSampledDpEvent(event.sample_rate, inner)
    accountant = PLDAccountant()
    accountant.compose(dp_event.SelfComposedDpEvent(step, event.steps))
    return float(accountant.get_epsilon(delta))


def test_delta_by_hand() -> None:
    # μ = 1, ε = 0: Φ(1/2) − Φ(−1/2) = 0.382925; μ = 1, ε = 1: Φ(−1/2) − e·Φ(−3/2) = 0.126936737
    assert gaussian_delta(0.0, 1.0) == pytest.approx(0.3829249225, abs=1e-9)
    assert gaussian_delta(1.0, 1.0) == pytest.approx(0.1269367376, abs=1e-9)
    assert gaussian_delta(2.0, 0.0) == 0.0


def test_fifty_steps_at_4_24_cost_8_010() -> None:
    event = GaussianEvent(noise_multiplier=4.24, steps=50)
    assert epsilon_of([event], DELTA) == pytest.approx(8.010, abs=5e-4)


def test_epsilon_and_mu_invert_each_other_and_huge_epsilons_do_not_overflow() -> None:
    for epsilon in (0.01, 0.5, 3.0, 50.0, 900.0):
        assert gaussian_epsilon(gaussian_mu(epsilon, DELTA), DELTA) == pytest.approx(epsilon, rel=1e-6)
    assert gaussian_epsilon(gaussian_mu(3.0, DELTA), DELTA) <= 3.0


@pytest.mark.parametrize(
    ("noise", "steps"), [(0.8, 1), (1.4, 1), (4.24, 50), (9.84, 50), (26.38, 50), (30.0, 1000)]
)
def test_exact_formula_agrees_with_privacy_loss_distributions(noise: float, steps: int) -> None:
    event = GaussianEvent(noise_multiplier=noise, steps=steps)
    assert epsilon_of([event], DELTA) == pytest.approx(pld_epsilon(event, DELTA), abs=2e-3)


@pytest.mark.parametrize(("rate", "noise", "steps"), [(0.1, 1.0, 100), (0.25, 2.0, 60)])
def test_sampled_epsilon_agrees_with_privacy_loss_distributions(
    rate: float, noise: float, steps: int
) -> None:
    event = GaussianEvent(noise_multiplier=noise, sample_rate=rate, steps=steps)
    found, second = epsilon_of([event], DELTA), pld_epsilon(event, DELTA)
    assert abs(found - second) <= 0.02
    assert found < epsilon_of([GaussianEvent(noise_multiplier=noise, steps=steps)], DELTA)
    assert accountant_name([event]) == "PRV (Opacus)"


def test_different_events_add_up_as_squared_mu() -> None:
    # 8/2² + 9/3² = 3
    events = [
        GaussianEvent(noise_multiplier=2.0, steps=8),
        GaussianEvent(noise_multiplier=3.0, steps=9),
    ]
    assert squared_mu(events) == pytest.approx(3.0)
    assert epsilon_of(events, DELTA) == pytest.approx(gaussian_epsilon(math.sqrt(3.0), DELTA))
    assert epsilon_of([], DELTA) == 0.0
    assert accountant_name(events) == "exact Gaussian"


@settings(max_examples=40, deadline=None)
@given(
    epsilon=st.floats(0.05, 50), steps=st.integers(1, 500), delta=st.sampled_from([1e-3, 1e-5, 1e-7])
)
def test_calibrated_noise_keeps_the_promise_and_one_grid_step_less_breaks_it(
    epsilon: float, steps: int, delta: float
) -> None:
    noise = calibrate(epsilon, delta, steps=steps)
    assert noise == round(noise, 2) >= 0.3
    assert epsilon_of([GaussianEvent(noise_multiplier=noise, steps=steps)], delta) <= epsilon
    if noise > 0.3:
        less = GaussianEvent(noise_multiplier=round(noise - 0.01, 2), steps=steps)
        assert epsilon_of([less], delta) > epsilon


@settings(max_examples=30, deadline=None)
@given(first=st.floats(0.1, 20), second=st.floats(0.1, 20), steps=st.integers(1, 200))
def test_calibration_is_monotone_in_epsilon_and_steps(first: float, second: float, steps: int) -> None:
    low, high = sorted((first, second))
    assert calibrate(low, DELTA, steps=steps) >= calibrate(high, DELTA, steps=steps)
    assert calibrate(low, DELTA, steps=steps + 1) >= calibrate(low, DELTA, steps=steps)


def test_sampled_calibration_keeps_the_promise_with_less_noise() -> None:
    noise = calibrate(3.0, DELTA, steps=60, sample_rate=0.25)
    event = GaussianEvent(noise_multiplier=noise, sample_rate=0.25, steps=60)
    assert epsilon_of([event], DELTA) <= 3.0
    assert noise < calibrate(3.0, DELTA, steps=60)


def test_noise_below_the_minimum_is_refused_before_any_accountant() -> None:
    with pytest.raises(PrivacyError, match=r"at least 0\.3, not 0\.001") as caught:
        GaussianEvent(noise_multiplier=1e-3, sample_rate=0.1, steps=100)
    assert caught.value.code == "privacy.noise-too-low"


@pytest.mark.parametrize(
    ("noise", "rate", "steps"),
    [(math.nan, 1.0, 1), (math.inf, 1.0, 1), (1.0, 0.0, 1), (1.0, 1.1, 1), (1.0, 1.0, 0)],
)
def test_events_out_of_range_are_refused(noise: float, rate: float, steps: int) -> None:
    with pytest.raises(PrivacyError):
        GaussianEvent(noise_multiplier=noise, sample_rate=rate, steps=steps)


def test_targets_out_of_range_are_refused() -> None:
    for epsilon, delta in ((0.0, DELTA), (-1.0, DELTA), (1.0, 0.0), (1.0, 1.0)):
        with pytest.raises(PrivacyError):
            calibrate(epsilon, delta)
    with pytest.raises(PrivacyError, match="no noise multiplier up to 1000"):
        calibrate(0.01, 1e-9, steps=1_000_000)


def test_equal_events_merge_and_order_does_not_matter() -> None:
    one = GaussianEvent(noise_multiplier=2.0, steps=3)
    other = GaussianEvent(noise_multiplier=2.0, sample_rate=0.1, steps=1)
    assert merge_events([one, other, one]) == merge_events([other, one, one])
    assert merge_events([one, one]) == (GaussianEvent(noise_multiplier=2.0, steps=6),)
