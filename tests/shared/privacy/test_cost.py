"""What a plan costs: an independent formula, and the dearest patient of each kind of site."""

from __future__ import annotations

import math

import pytest
from practice_site import make_plan
from scipy.optimize import brentq
from scipy.stats import norm

from shared.contract.settings import Settings
from shared.errors import PlanError
from shared.privacy.cost import given, predict_cost, run_epsilon, total_steps

DELTA = 1e-5


@pytest.fixture
def plain(tmp_path) -> Settings:
    """Noise multiplier 10, 10 rounds of 5 steps."""
    return make_plan(tmp_path).settings


def changed(settings: Settings, **groups: dict[str, object]) -> Settings:
    return settings.model_copy(
        update={name: getattr(settings, name).model_copy(update=v) for name, v in groups.items()}
    )


def epsilon(mu: float) -> float:
    """ε of a Gaussian mechanism with this μ (Balle & Wang 2018), by bisection."""

    def excess(e: float) -> float:
        return norm.cdf(mu / 2 - e / mu) - math.exp(e) * norm.cdf(-mu / 2 - e / mu) - DELTA

    return float(brentq(excess, 0.0, 60.0, xtol=1e-12))


def test_training_costs_all_its_steps(plain: Settings) -> None:
    predicted = predict_cost(plain)
    assert total_steps(plain.federation) == 50
    assert predicted.training_epsilon == pytest.approx(epsilon(math.sqrt(50) / 10), abs=1e-6)
    assert predicted.delta == DELTA


def test_a_table_costs_its_own_epsilon_and_no_more(plain: Settings) -> None:
    predicted = predict_cost(plain)
    noise = predicted.validation_noise_multiplier
    assert predicted.validation_epsilon == pytest.approx(epsilon(1 / noise), abs=1e-6)
    assert 2.9 < predicted.validation_epsilon <= plain.validation.epsilon == 3.0
    assert predicted.description_epsilon is None
    assert predicted.description_noise_multiplier is None


def test_without_protection_there_is_no_epsilon_anywhere(plain: Settings) -> None:
    bare = changed(
        plain,
        privacy={"mode": "off"},
        validation={"release_class": "governed", "description_epsilon": 1.0},
    )
    predicted = predict_cost(bare)
    assert predicted.training_epsilon is None
    assert predicted.validation_epsilon is None
    assert predicted.validation_noise_multiplier is None
    assert predicted.description_epsilon is None
    assert predicted.mechanism.startswith("none")
    for trains in (True, False):
        assert run_epsilon(bare, predicted, trains=trains) is None


def test_a_run_costs_the_dearer_of_training_and_validation_and_never_their_sum(
    plain: Settings,
) -> None:
    for noise in (10.0, 100.0):
        settings = changed(plain, privacy={"noise_multiplier": noise})
        predicted = predict_cost(settings)
        both = predicted.training_epsilon, predicted.validation_epsilon
        assert run_epsilon(settings, predicted, trains=True) == max(both)
        assert run_epsilon(settings, predicted, trains=False) == predicted.validation_epsilon


def test_a_description_is_paid_beside_either(plain: Settings) -> None:
    settings = changed(plain, validation={"description_epsilon": 1.0})
    predicted = predict_cost(settings)
    assert 0.9 < predicted.description_epsilon <= 1.0
    mus = [math.sqrt(50) / 10, 1 / predicted.validation_noise_multiplier]
    louder = 1 / predicted.description_noise_multiplier
    expected = max(epsilon(math.hypot(mu, louder)) for mu in mus)
    assert run_epsilon(settings, predicted, trains=True) == pytest.approx(expected, abs=1e-6)
    outside = epsilon(math.hypot(mus[1], louder))
    assert run_epsilon(settings, predicted, trains=False) == pytest.approx(outside, abs=1e-6)


def test_a_site_that_trains_without_noise_is_promised_nothing_though_its_table_is_noised(
    plain: Settings,
) -> None:
    settings = changed(plain, privacy={"mode": "off"})
    predicted = predict_cost(settings)
    assert run_epsilon(settings, predicted, trains=True) is None
    assert run_epsilon(settings, predicted, trains=False) == predicted.validation_epsilon


def test_an_open_value_is_refused_and_zero_is_none(plain: Settings) -> None:
    assert given(0.0) == 0.0
    for group in ({"privacy": {"noise_multiplier": None}}, {"federation": {"rounds": None}}):
        with pytest.raises(PlanError) as caught:
            predict_cost(changed(plain, **group))
        assert caught.value.code == "plan.unresolved"
