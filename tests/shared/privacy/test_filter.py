"""The lifetime filter never lets more be spent than was granted, whoever chooses the next event."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import shared.privacy.filter as filter_module
from shared.privacy.accountant import (
    PRV_EPSILON_ERROR,
    calibrate,
    epsilon_of,
    gaussian_epsilon,
    squared_mu,
)
from shared.privacy.events import GaussianEvent, merge_events
from shared.privacy.filter import filter_epsilon, fits

DELTA = 1e-5
full_batch = st.builds(GaussianEvent, noise_multiplier=st.floats(0.3, 100), steps=st.integers(1, 100))


@settings(max_examples=60, deadline=None)
@given(asked=st.lists(full_batch, max_size=12), cap=st.floats(0.1, 30))
def test_admitted_events_never_cost_more_than_the_cap(asked: list[GaussianEvent], cap: float) -> None:
    admitted: list[GaussianEvent] = []
    for event in asked:
        if fits([*admitted, event], epsilon=cap, delta=DELTA):
            admitted.append(event)
    # by the definition of the GDP filter, and by an accountant that was told everything beforehand
    assert gaussian_epsilon(squared_mu(admitted) ** 0.5, DELTA) <= cap
    assert epsilon_of(admitted, DELTA) <= cap
    for event in set(asked) - set(admitted):
        assert filter_epsilon([*admitted, event], DELTA) > cap * (1 - 1e-6)


def test_a_calibrated_run_fits_its_own_cap_once_and_not_twice() -> None:
    run = GaussianEvent(noise_multiplier=calibrate(3.0, DELTA, steps=50), steps=50)
    assert fits([run], epsilon=3.0, delta=DELTA)
    assert not fits([run, GaussianEvent(noise_multiplier=20.0, steps=5)], epsilon=3.0, delta=DELTA)


def test_one_sampled_event_switches_to_the_renyi_filter_which_costs_more() -> None:
    full = GaussianEvent(noise_multiplier=4.24, steps=50)
    assert filter_epsilon([full], DELTA) == pytest.approx(8.010, abs=5e-4)
    # a negligible sampled event: the difference is the Rényi filter's own price (8.61 published)
    sampled = GaussianEvent(noise_multiplier=100.0, sample_rate=0.001, steps=1)
    assert filter_epsilon([full, sampled], DELTA) == pytest.approx(8.61, abs=0.03)
    assert not fits([full, sampled], epsilon=8.5, delta=DELTA)
    assert fits([full, sampled], epsilon=8.7, delta=DELTA)


def test_the_lifetime_epsilon_is_at_least_that_of_any_run_in_it() -> None:
    runs = [
        GaussianEvent(noise_multiplier=5.0, steps=20),
        GaussianEvent(noise_multiplier=1.0, sample_rate=0.1, steps=50),
    ]
    lifetime = filter_epsilon(runs, DELTA)
    assert all(lifetime >= epsilon_of([run], DELTA) for run in runs)


@settings(max_examples=60, deadline=None)
@given(runs=st.lists(full_batch, min_size=1, max_size=12), extra=full_batch)
def test_a_lifetime_costs_no_less_than_any_run_in_it_and_grows_with_each(
    runs: list[GaussianEvent], extra: GaussianEvent
) -> None:
    lifetime = filter_epsilon(runs, DELTA)
    assert lifetime >= max(epsilon_of([run], DELTA) for run in runs) - 1e-9
    assert filter_epsilon([*runs, extra], DELTA) > lifetime
    assert filter_epsilon(runs[::-1], DELTA) == lifetime


@settings(max_examples=8, deadline=None)
@given(
    full=full_batch,
    sampled=st.builds(
        GaussianEvent,
        noise_multiplier=st.floats(0.8, 200),
        sample_rate=st.sampled_from([0.01, 0.1, 0.25, 0.9]),
        steps=st.integers(1, 60),
    ),
)
def test_a_lifetime_with_sampled_runs_costs_no_less_than_any_of_them(
    full: GaussianEvent, sampled: GaussianEvent
) -> None:
    # Both are upper bounds of the sampled run's cost; PRV's may lie its numeric error above.
    alone = filter_epsilon([sampled], DELTA)
    assert alone >= epsilon_of([sampled], DELTA) - PRV_EPSILON_ERROR
    assert filter_epsilon([full, sampled], DELTA) >= max(alone, epsilon_of([full], DELTA)) - 1e-9


@pytest.mark.parametrize("sample_rate", [1.0, 0.1])
def test_ten_thousand_rounds_are_one_event_and_cost_what_one_event_of_as_many_steps_costs(
    sample_rate: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_given: list[int] = []

    def counted(kept: Callable[..., object]) -> Callable[..., object]:
        def call(events: tuple[GaussianEvent, ...], *rest: object) -> object:
            n_given.append(len(events))
            return kept(events, *rest)

        return call

    for name in ("squared_mu", "renyi_divergences"):
        monkeypatch.setattr(filter_module, name, counted(getattr(filter_module, name)))
    one = GaussianEvent(noise_multiplier=40.0, sample_rate=sample_rate, steps=5)
    costs = [filter_epsilon([one] * n_rounds, DELTA) for n_rounds in (10, 10_000)]
    assert n_given == [1, 1]
    assert costs == [
        filter_epsilon([replace(one, steps=5 * n_rounds)], DELTA) for n_rounds in (10, 10_000)
    ]
    other = replace(one, noise_multiplier=50.0)
    assert len(merge_events([one, other] * 5_000)) == 2


def test_nothing_costs_nothing() -> None:
    assert filter_epsilon([], DELTA) == 0.0
    assert fits([], epsilon=1e-9, delta=DELTA)


@pytest.mark.parametrize("cap", [0.1, 1.0, 4.5, 12.0])
def test_the_filter_stops_within_a_thousandth_of_the_cap(cap: float) -> None:
    # one step of noise 1/μ is μ-GDP; ε(μ) = cap by the accountant, not by the filter
    low, high = 1e-3, 3.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if gaussian_epsilon(middle, DELTA) <= cap else (low, middle)
    above = GaussianEvent(noise_multiplier=1 / (low * 1.0005))
    below = GaussianEvent(noise_multiplier=1 / (low * 0.9995))
    assert fits([below], epsilon=cap, delta=DELTA)
    assert not fits([above], epsilon=cap, delta=DELTA)
