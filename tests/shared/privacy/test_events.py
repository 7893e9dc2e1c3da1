"""Events: values out of range never reach an accountant, equal ones merge."""

from __future__ import annotations

import math

import pytest

from shared.errors import PrivacyError
from shared.privacy.events import GaussianEvent, is_full_batch, merge_events


def event(noise: float, rate: float = 1.0, steps: int = 1) -> GaussianEvent:
    return GaussianEvent(noise_multiplier=noise, sample_rate=rate, steps=steps)


@pytest.mark.parametrize(
    ("noise", "rate", "steps", "code"),
    [
        (0.29, 1.0, 1, "privacy.noise-too-low"),
        (0.0, 1.0, 1, "privacy.noise-too-low"),
        (math.inf, 1.0, 1, "privacy.noise-too-low"),
        (math.nan, 1.0, 1, "privacy.noise-too-low"),
        (1.0, 0.0, 1, "privacy.bad-event"),
        (1.0, 1.01, 1, "privacy.bad-event"),
        (1.0, 1.0, 0, "privacy.bad-event"),
    ],
)
def test_values_out_of_range_are_refused(noise: float, rate: float, steps: int, code: str) -> None:
    with pytest.raises(PrivacyError) as caught:
        event(noise, rate, steps)
    assert caught.value.code == code


def test_the_ends_of_the_ranges_are_in() -> None:
    assert event(0.3, 1.0, 1).noise_multiplier == 0.3
    assert event(1.0, 1e-6).sample_rate == 1e-6


def test_equal_noise_and_rate_add_their_steps_and_nothing_else_does() -> None:
    merged = merge_events([event(2.0, steps=3), event(1.0), event(2.0, 0.5), event(2.0, steps=4)])
    assert merged == (event(1.0), event(2.0, 0.5), event(2.0, steps=7))
    assert merge_events([]) == ()


def test_one_sampled_event_is_enough_to_leave_the_exact_formula() -> None:
    assert is_full_batch([])
    assert is_full_batch([event(1.0), event(2.0)])
    assert not is_full_batch([event(1.0), event(2.0, 0.99)])
