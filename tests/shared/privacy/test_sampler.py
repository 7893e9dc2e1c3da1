"""Who is in a step is drawn patient by patient, step by step, as the accountant supposes."""

from __future__ import annotations

import math
import os

import pytest
import torch
from scipy import stats

import shared.privacy.sampler
from shared.errors import PrivacyError
from shared.privacy.events import STEP_OVERFLOW
from shared.privacy.sampler import PoissonSampler

# A correct sampler leaves five standard errors once in 1.7 million measurements.
SIGMAS = 5.0
RATE, PATIENTS, STEPS = 0.15, 500, 2000


def draw_steps(sampler: PoissonSampler, *, patients: int, steps: int) -> torch.Tensor:
    """Who took part, [steps, patients] float64."""
    drawn = torch.zeros(steps, patients, dtype=torch.float64)
    for step in range(steps):
        drawn[step, sampler.draw_rows(patients)] = 1.0
    return drawn


@pytest.fixture(scope="module")
def drawn() -> torch.Tensor:
    """A million draws: 2000 steps over 500 patients."""
    return draw_steps(PoissonSampler(RATE, patients=PATIENTS), patients=PATIENTS, steps=STEPS)


def test_a_million_draws_include_with_the_promised_chance(drawn: torch.Tensor) -> None:
    deviation = math.sqrt(RATE * (1 - RATE))
    assert drawn.numel() == 1_000_000
    assert abs(float(drawn.mean()) - RATE) < SIGMAS * deviation / 1000
    # the variance of one inclusion is q(1 − q); its estimate moves by (1 − 2q) per unit of the mean
    assert abs(float(drawn.var()) - RATE * (1 - RATE)) < SIGMAS * (1 - 2 * RATE) * deviation / 1000


@pytest.mark.parametrize("rate", [0.001, 0.02, 0.5, 0.999])
def test_small_and_large_rates_are_met_too(rate: float) -> None:
    included = len(PoissonSampler(rate, patients=1_000_000).draw_rows(1_000_000))
    assert abs(included - 1e6 * rate) < SIGMAS * math.sqrt(1e6 * rate * (1 - rate))


def test_batch_size_has_the_variance_of_independent_draws(drawn: torch.Tensor) -> None:
    sizes = drawn.sum(dim=1)
    variance = PATIENTS * RATE * (1 - RATE)
    # (steps − 1)·s²/variance is χ² for nearly normal sizes; a batch of fixed size would give 0
    found = float(sizes.var()) * (STEPS - 1) / variance
    low, high = stats.chi2.ppf((1e-6, 1 - 1e-6), STEPS - 1)
    assert low < found < high
    assert abs(float(sizes.mean()) - PATIENTS * RATE) < SIGMAS * math.sqrt(variance / STEPS)


def test_no_patient_is_drawn_more_often_than_chance_allows(drawn: torch.Tensor) -> None:
    # shuffling gives every patient the same count per pass, a faulty index gives some none
    counts = drawn.sum(dim=0)
    found = float(((counts - STEPS * RATE) ** 2).sum()) / (STEPS * RATE * (1 - RATE))
    low, high = stats.chi2.ppf((1e-6, 1 - 1e-6), PATIENTS)
    assert low < found < high


@pytest.mark.parametrize("axis", ["steps", "patients"])
@pytest.mark.parametrize("lag", [1, 2, 7])
def test_draws_at_a_lag_are_uncorrelated(drawn: torch.Tensor, axis: str, lag: int) -> None:
    standard = (drawn - RATE) / math.sqrt(RATE * (1 - RATE))
    if axis == "patients":
        standard = standard.T
    products = standard[:-lag] * standard[lag:]
    assert abs(float(products.mean())) < SIGMAS / math.sqrt(products.numel())


def test_batch_sizes_of_consecutive_steps_are_uncorrelated(drawn: torch.Tensor) -> None:
    sizes = drawn.sum(dim=1)
    standard = (sizes - PATIENTS * RATE) / math.sqrt(PATIENTS * RATE * (1 - RATE))
    assert abs(float((standard[:-1] * standard[1:]).mean())) < SIGMAS / math.sqrt(STEPS - 1)


def test_rows_are_ascending_integers_without_repeats_and_everybody_is_reached() -> None:
    sampler = PoissonSampler(0.5, patients=1000)
    rows = sampler.draw_rows(1000)
    assert rows.dtype == torch.int64
    assert torch.equal(rows, torch.unique(rows))
    reached = torch.cat([sampler.draw_rows(7) for _ in range(60)]).unique()
    assert reached.tolist() == list(range(7))


def test_a_rate_of_one_takes_everybody_and_steps_may_be_empty() -> None:
    assert PoissonSampler(1.0, patients=1000).draw_rows(1000).tolist() == list(range(1000))
    assert PoissonSampler(1.0, patients=1000).draw_rows(0).shape == (0,)
    sizes = {len(PoissonSampler(0.5, patients=1).draw_rows(1)) for _ in range(60)}
    assert sizes == {0, 1}


@pytest.mark.parametrize(("patients", "rate"), [(7, 0.5), (176, 0.25), (2000, 0.1)])
def test_the_places_of_a_step_are_public_and_run_out_never_in_practice(
    patients: int, rate: float
) -> None:
    places = PoissonSampler(rate, patients=patients).places
    assert stats.binom.sf(places, patients, rate) <= STEP_OVERFLOW
    assert places == patients or stats.binom.sf(places - 1, patients, rate) > STEP_OVERFLOW
    assert places == patients or places < patients * rate + 14 * math.sqrt(patients * rate)
    assert PoissonSampler(1.0, patients=patients).places == patients


def test_a_step_for_which_more_are_drawn_than_it_has_places_adds_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shared.privacy.sampler, "binomial_quantile", lambda *_, **__: 5)
    sampler = PoissonSampler(0.5, patients=10)
    sizes = {len(sampler.draw_rows(10)) for _ in range(200)}
    assert max(sizes) == 5
    assert 0 in sizes, "about four steps of ten have more than five"


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.1, math.nan, math.inf])
def test_a_rate_that_is_no_chance_is_refused(rate: float) -> None:
    with pytest.raises(PrivacyError) as caught:
        PoissonSampler(rate, patients=10)
    assert caught.value.code == "privacy.bad-sample-rate"


def test_seeding_torch_does_not_repeat_a_draw() -> None:
    draws = []
    for _ in range(2):
        torch.manual_seed(1)
        draws.append(PoissonSampler(0.5, patients=200).draw_rows(200).tolist())
    assert draws[0] != draws[1]


def test_two_processes_never_draw_the_same() -> None:
    sampler = PoissonSampler(0.5, patients=200)
    sampler.draw_rows(10)
    drawn = [_draw_in_child(sampler) for _ in range(2)]
    drawn.append(tuple(sampler.draw_rows(200).tolist()))
    drawn.append(tuple(PoissonSampler(0.5, patients=200).draw_rows(200).tolist()))
    assert len(set(drawn)) == 4


def _draw_in_child(sampler: PoissonSampler) -> tuple[int, ...]:
    """What a forked copy of the sampler draws from 200 patients."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write_end, bytes(sampler.draw_rows(200).tolist()))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as stream:
        return tuple(stream.read())
