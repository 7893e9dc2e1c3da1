"""The most that a claim lets an attack reach, against the best test there is."""

from __future__ import annotations

import math

import pytest
from scipy.special import ndtr, ndtri

from shared.audit.attack.ceilings import auc_ceiling, true_rate_ceiling
from shared.privacy.accountant import gaussian_mu
from shared.privacy.events import GaussianEvent

DELTA = 1e-5


def claim(epsilon: float) -> list[GaussianEvent]:
    """One full-batch release that costs ``epsilon``."""
    return [GaussianEvent(noise_multiplier=1 / gaussian_mu(epsilon, DELTA))]


@pytest.mark.parametrize(("epsilon", "auc"), [(1, 0.575), (3, 0.694), (8, 0.881)])
def test_gaussian_ceilings_follow_from_mu(epsilon: float, auc: float) -> None:
    assert auc_ceiling(claim(epsilon)) == pytest.approx(auc, abs=5e-4)
    expected = ndtr(ndtri(0.01) + gaussian_mu(epsilon, DELTA))
    assert true_rate_ceiling(0.01, claim(epsilon)) == pytest.approx(expected)


def test_steps_add_up_in_a_ceiling() -> None:
    many = [GaussianEvent(noise_multiplier=5.0, steps=20), GaussianEvent(noise_multiplier=5.0, steps=5)]
    assert auc_ceiling(many) == pytest.approx(ndtr(1 / math.sqrt(2)))


@pytest.mark.parametrize(("noise_multiplier", "sample_rate"), [(0.8, 0.5), (1.5, 0.9)])
def test_ceiling_of_a_sampled_step_lies_just_above_the_best_test(
    noise_multiplier: float, sample_rate: float
) -> None:
    # N(0,σ²) against (1−q)·N(0,σ²) + q·N(1,σ²): the best test calls everything above a value "in".
    # The ceiling holds with the two exchanged as well, which takes a few hundredths.
    events = [GaussianEvent(noise_multiplier=noise_multiplier, sample_rate=sample_rate)]
    best = (1 - sample_rate) / 2 + sample_rate * ndtr(1 / noise_multiplier / math.sqrt(2))
    assert best <= auc_ceiling(events) <= best + 0.04
    for false_rate in (0.01, 0.1):
        raised = ndtr(ndtri(false_rate) + 1 / noise_multiplier)
        best = (1 - sample_rate) * false_rate + sample_rate * raised
        assert best <= true_rate_ceiling(false_rate, events) <= best + 0.06
