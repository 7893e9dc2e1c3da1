"""ε against hand values and a second accountant; calibration rounds towards privacy."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import shared.privacy.events
from server.federation.compose import compose_settings
from server.federation.plan import resolve_stages
from shared.errors import PrivacyError
from shared.privacy import accountant
from shared.privacy.accountant import (
    NO_ACCOUNTANT,
    _prv_epsilon,
    accountant_name,
    calibrate,
    delta_of_noise,
    epsilon_of,
    gaussian_delta,
    gaussian_epsilon,
    gaussian_mu,
    is_overflow_paid,
    squared_mu,
)
from shared.privacy.cost import predict_cost
from shared.privacy.events import GaussianEvent, merge_events, overflow_of
from shared.privacy.filter import filter_epsilon, fits

DELTA = 1e-5


def pld_epsilon(event: GaussianEvent, delta: float) -> float:
    """Second opinion: dp-accounting's privacy loss distributions."""
    return pld_epsilon_of([event], delta)


def pld_epsilon_of(events: Iterable[GaussianEvent], delta: float) -> float:
    from dp_accounting import dp_event
    from dp_accounting.pld import PLDAccountant

    accountant = PLDAccountant()
    for event in events:
        inner = dp_event.GaussianDpEvent(event.noise_multiplier)
        is_full = event.sample_rate == 1
        step = inner if is_full else dp_event.PoissonSampledDpEvent(event.sample_rate, inner)
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


# Sample rate, noise multiplier, steps, δ. Chosen once to span ε from 0.4 to 57: few and many steps,
# rare and near-certain sampling, the least noise that is allowed. Not to be tuned to agree.
SAMPLED = (
    (0.1, 0.6, 50, 1e-5),
    (0.1, 1.0, 100, 1e-5),
    (0.1, 1.5, 300, 1e-7),
    (0.25, 1.0, 60, 1e-5),
    (0.25, 2.0, 60, 1e-3),
    (0.25, 4.0, 200, 1e-5),
    (0.02, 0.8, 1000, 1e-6),
    (0.5, 1.5, 20, 1e-5),
    (0.9, 5.0, 30, 1e-5),
    (0.2, 8.0, 500, 1e-5),
    (0.001, 2.0, 50_000, 1e-5),
    (0.1, 0.3, 30, 1e-5),
)


@pytest.mark.parametrize(("rate", "noise", "steps", "delta"), SAMPLED)
def test_sampled_epsilon_agrees_with_privacy_loss_distributions(
    rate: float, noise: float, steps: int, delta: float
) -> None:
    event = GaussianEvent(noise_multiplier=noise, sample_rate=rate, steps=steps)
    found, second = epsilon_of([event], delta), pld_epsilon(event, delta)
    assert abs(found - second) <= 0.02
    assert found < epsilon_of([GaussianEvent(noise_multiplier=noise, steps=steps)], delta)
    assert accountant_name([event]) == "PRV (Opacus)"


def test_where_nothing_was_noised_no_accountant_is_named() -> None:
    assert accountant_name([]) == NO_ACCOUNTANT == "none: nothing is noised"


@pytest.mark.parametrize(("noise", "steps"), [(0.8, 1), (4.24, 50), (9.84, 50), (30.0, 1000)])
def test_both_numeric_accountants_agree_with_the_exact_formula_at_a_sample_rate_of_one(
    noise: float, steps: int
) -> None:
    event = GaussianEvent(noise_multiplier=noise, steps=steps)
    exact = epsilon_of([event], DELTA)
    assert accountant_name([event]) == "exact Gaussian"
    # PRV reports the upper end of its error of 0.01
    assert exact <= _prv_epsilon((event,), DELTA) <= exact + 0.0115
    assert pld_epsilon(event, DELTA) == pytest.approx(exact, abs=2e-3)


def test_full_and_sampled_steps_together_agree_with_privacy_loss_distributions() -> None:
    full = GaussianEvent(noise_multiplier=6.0, steps=10)
    sampled = GaussianEvent(noise_multiplier=1.5, sample_rate=0.1, steps=50)
    found = epsilon_of([full, sampled], DELTA)
    assert abs(found - pld_epsilon_of([full, sampled], DELTA)) <= 0.02
    assert found > max(epsilon_of([full], DELTA), epsilon_of([sampled], DELTA))


@pytest.mark.parametrize("rounds", [1, 10, 300])
def test_a_sampled_runs_epsilon_costs_one_event_however_many_rounds_were_charged(
    rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    composed: list[tuple[GaussianEvent, ...]] = []

    def record(events: tuple[GaussianEvent, ...], delta: float) -> float:
        composed.append(events)
        return _prv_epsilon(events, delta)

    monkeypatch.setattr(accountant, "_prv_epsilon", record)
    charged = [
        GaussianEvent(noise_multiplier=1.68, sample_rate=0.1, steps=300 // rounds)
        for _ in range(rounds)
    ]
    whole = GaussianEvent(noise_multiplier=1.68, sample_rate=0.1, steps=300)
    assert epsilon_of(charged, DELTA) == _prv_epsilon((whole,), DELTA)
    assert composed == [(whole,)]


def test_sampled_steps_beyond_accounting_are_refused_before_memory_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # With these Opacus needs tens of gigabytes; with the last it answers −98.
    monkeypatch.setattr("opacus.accountants.PRVAccountant.get_epsilon", _refuse_to_run)
    for rate, noise, steps in ((0.5, 0.3, 10_000), (0.5, 10.0, 1_000_000), (1e-6, 0.3, 10**8)):
        event = GaussianEvent(noise_multiplier=noise, sample_rate=rate, steps=steps)
        with pytest.raises(PrivacyError) as caught:
            epsilon_of([event], DELTA)
        assert caught.value.code == "privacy.unaccountable"


def _refuse_to_run(*_: object, **__: object) -> float:
    raise AssertionError("a numeric accountant ran")


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
@given(epsilon=st.floats(0.2, 50), steps=st.integers(1, 500), delta=st.sampled_from([1e-3, 1e-5, 1e-7]))
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


@pytest.mark.parametrize(
    ("epsilon", "rate", "steps"),
    [(3.0, 0.25, 60), (1.0, 0.1, 100), (0.05, 0.01, 500)],
)
def test_sampled_calibration_hits_its_target_within_one_grid_step_and_with_less_noise(
    epsilon: float, rate: float, steps: int
) -> None:
    noise = calibrate(epsilon, DELTA, steps=steps, sample_rate=rate)
    assert noise == round(noise, 2) > 0.3

    def cost(noise_multiplier: float) -> float:
        event = GaussianEvent(noise_multiplier=noise_multiplier, sample_rate=rate, steps=steps)
        return epsilon_of([event], DELTA)

    assert cost(noise) <= epsilon < cost(round(noise - 0.01, 2))
    # one step at ε: noise 1/μ; full batches need √steps of it, here even beyond the grid's end
    assert noise < 0.5 * math.sqrt(steps) / gaussian_mu(epsilon, DELTA)


def test_calibration_passes_over_noise_that_cannot_be_accounted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The search starts at the noise of full batches, where these steps fit into 100,000 points.
    monkeypatch.setattr(accountant, "MAXIMUM_PRV_POINTS", 100_000)
    noise = calibrate(50.0, DELTA, steps=100, sample_rate=0.1)
    event = GaussianEvent(noise_multiplier=noise, sample_rate=0.1, steps=100)
    assert epsilon_of([event], DELTA) <= 50.0
    with pytest.raises(PrivacyError, match="to be accounted"):
        epsilon_of([GaussianEvent(noise_multiplier=0.42, sample_rate=0.1, steps=100)], DELTA)


def test_noise_below_the_minimum_is_refused_before_any_accountant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("opacus.accountants.PRVAccountant.get_epsilon", _refuse_to_run)
    monkeypatch.setattr("opacus.accountants.analysis.rdp.compute_rdp", _refuse_to_run)
    for noise in (1e-3, 0.29, math.nextafter(0.3, 0), 0.0, -1.0):
        with pytest.raises(PrivacyError, match=rf"at least 0\.3, not {noise}") as caught:
            GaussianEvent(noise_multiplier=noise, sample_rate=0.1, steps=100)
        assert caught.value.code == "privacy.noise-too-low"
    settings_below = compose_settings(["privacy.noise_multiplier=0.001", "privacy.sample_rate=0.1"])
    with pytest.raises(PrivacyError, match=r"at least 0\.3, not 0\.001"):
        predict_cost(
            resolve_stages(settings_below, n_parameters=10, declared={"training": (100,)}), delta=DELTA
        )


def test_delta_pays_for_sampled_steps_that_add_nobody_before_noise_is_accounted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    full = [GaussianEvent(noise_multiplier=2.0, steps=40)]
    sampled = [GaussianEvent(noise_multiplier=2.0, sample_rate=0.2, steps=40)]
    assert delta_of_noise(full, DELTA) == DELTA
    left = delta_of_noise(sampled, DELTA)
    assert left == pytest.approx(DELTA * 0.999, rel=1e-12)
    epsilon = epsilon_of(sampled, DELTA)
    # what remains of δ covers the chance p that any step differs from what was accounted
    assert left + (1 + math.exp(epsilon)) * 40 * shared.privacy.events.STEP_OVERFLOW <= DELTA
    assert is_overflow_paid(full, 700.0, DELTA)
    monkeypatch.setattr(shared.privacy.events, "STEP_OVERFLOW", 1e-9)
    _prv_epsilon.cache_clear()
    with pytest.raises(PrivacyError, match="steps without places cost more") as caught:
        epsilon_of(sampled, DELTA)
    assert caught.value.code == "privacy.unaccountable"
    assert filter_epsilon(sampled, DELTA) == math.inf
    assert not fits(sampled, epsilon=50.0, delta=DELTA)
    _prv_epsilon.cache_clear()


@pytest.mark.parametrize(("epsilon", "steps"), [(8.0, 1), (8.0, 10_000), (50.0, 10_000)])
def test_the_chance_of_a_step_without_places_fits_into_every_plan(epsilon: float, steps: int) -> None:
    event = GaussianEvent(noise_multiplier=1.0, sample_rate=0.5, steps=steps)
    assert overflow_of([event]) == pytest.approx(steps * 1e-36, rel=1e-12)
    assert is_overflow_paid([event], epsilon, DELTA)
    assert not is_overflow_paid([event], 80.0, DELTA)


def test_a_sampled_plan_says_so_in_its_mechanism_and_is_priced_by_the_numeric_accountant() -> None:
    full, sampled = (
        predict_cost(
            resolve_stages(
                compose_settings([f"privacy.sample_rate={rate}", "privacy.noise_multiplier=4"]),
                n_parameters=10,
                declared={"training": (100,)},
            ),
            delta=DELTA,
        )
        for rate in (1.0, 0.1)
    )
    assert full.mechanism == "Gaussian on the sum of clipped patient gradients"
    assert sampled.mechanism == full.mechanism + ", each patient in a step with chance 0.1 (Poisson)"
    assert (full.accountant, sampled.accountant) == ("exact Gaussian", "PRV (Opacus)")
    assert full.training_epsilon is not None
    assert sampled.training_epsilon is not None
    assert 0 < sampled.training_epsilon < 0.2 * full.training_epsilon


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
