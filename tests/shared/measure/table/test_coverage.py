"""One quick row of docs/coverage.md: intervals hold the truth as often as they say, with and without
noise.
"""

from __future__ import annotations

from functools import cache

import pytest
from practice_coverage import FIGURES, POPULATIONS, Population, Tally, tally, with_bins

REFERRED, BIASED = POPULATIONS[0], POPULATIONS[2]
REPETITIONS, N, MULTIPLIER = 1000, 600, 1.4
ERROR = (0.95 * 0.05 / REPETITIONS) ** 0.5  # binomial
# R² is held .956 of the time (2,500 repetitions, 2026-11-26): public bounds cut the target's tails
EXPECTED = {"r2": 0.956}
COUNTS = FIGURES[:2]
MEASURES = FIGURES[2:]


@cache
def row(population: Population, multiplier: float) -> dict[str, Tally]:
    return tally(
        population,
        N,
        spec=with_bins(8 if multiplier else 64),
        multiplier=multiplier,
        repetitions=REPETITIONS,
        seed=11,
    )


@pytest.mark.parametrize("name", FIGURES)
def test_noisy_intervals_hold_the_truth_95_times_in_100(name: str) -> None:
    found = row(REFERRED, MULTIPLIER)[name]
    assert found.shown == 1.0
    assert found.coverage() == pytest.approx(0.95, abs=3 * ERROR)


@pytest.mark.parametrize("name", MEASURES)
def test_exact_intervals_hold_the_truth_95_times_in_100(name: str) -> None:
    assert row(REFERRED, 0.0)[name].coverage() == pytest.approx(EXPECTED.get(name, 0.95), abs=3 * ERROR)


@pytest.mark.parametrize("name", COUNTS)
def test_an_exact_count_is_right(name: str) -> None:
    found = row(REFERRED, 0.0)[name]
    assert (found.coverage(), found.width) == (1.0, 0.0)


@pytest.mark.parametrize("multiplier", [0.0, MULTIPLIER])
@pytest.mark.parametrize("name", ["rmse", "bias", "limit_low", "limit_high"])
def test_a_real_bias_makes_no_limit_of_agreement_too_sure(name: str, multiplier: float) -> None:
    assert row(BIASED, multiplier)[name].coverage() == pytest.approx(0.95, abs=3 * ERROR)


@pytest.mark.parametrize("stretch", [1.5**0.5, 1.5**-0.5])
@pytest.mark.parametrize("multiplier", [0.0, MULTIPLIER])
def test_a_variance_wrong_by_half_would_be_noticed(stretch: float, multiplier: float) -> None:
    for name in MEASURES:
        found = row(REFERRED, multiplier)[name].coverage(stretch)
        assert abs(found - 0.95) > 3 * ERROR, name


def test_of_far_fewer_ill_than_planned_the_auc_is_seen_whatever_noise_made_of_them() -> None:
    """Of 200 with 14 ill, noise of 5 patients took the class away in a third of the draws."""
    screened = POPULATIONS[1]
    found = tally(
        screened, 200, spec=with_bins(8), multiplier=MULTIPLIER, repetitions=REPETITIONS, seed=3
    )
    for name in ("auc", "sensitivity"):
        assert found[name].shown > 0.97, name
        assert found[name].coverage() == pytest.approx(0.955, abs=3 * ERROR)
