"""What a plan costs: an independent formula, and the dearest patient of each group at each role."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from practice_site import make_plan
from scipy.optimize import brentq
from scipy.stats import norm

from shared.contract.plan import PredictedCost
from shared.contract.stages import Stage
from shared.errors import PlanError, PrivacyError
from shared.privacy.cost import event_of, events_of, predict_cost, touching
from shared.privacy.events import GaussianEvent

DELTA = 1e-5


@pytest.fixture
def plain(tmp_path: Path) -> tuple[Stage, ...]:
    """Noise multiplier 10, 10 rounds of 5 steps; three tables of ε 3."""
    return make_plan(tmp_path).stages


@pytest.fixture
def described(tmp_path: Path) -> tuple[Stage, ...]:
    """The same with a description of ε 1."""
    return make_plan(tmp_path, validation__description_epsilon=1.0).stages


def changed(stages: tuple[Stage, ...], name: str, **values: object) -> tuple[Stage, ...]:
    return tuple(stage.model_copy(update=values) if stage.name == name else stage for stage in stages)


def without_noise(stages: tuple[Stage, ...], name: str, release_class: str) -> tuple[Stage, ...]:
    return changed(stages, name, release_class=release_class, noise_multipliers=(0.0,))


def epsilon(mu: float) -> float:
    """ε of a Gaussian mechanism with this μ (Balle & Wang 2018), by bisection."""

    def excess(e: float) -> float:
        return norm.cdf(mu / 2 - e / mu) - math.exp(e) * norm.cdf(-mu / 2 - e / mu) - DELTA

    return float(brentq(excess, 0.0, 60.0, xtol=1e-12))


def of_split(cost: PredictedCost, role: str, patients: str) -> float | None:
    [found] = [each for each in cost.splits if (each.role, each.patients) == (role, patients)]
    return found.epsilon


def noise_of(stages: tuple[Stage, ...], name: str) -> float:
    return next(stage for stage in stages if stage.name == name).noise_of(1)


def test_a_round_of_training_is_its_steps_and_a_round_of_a_table_one_sum(
    plain: tuple[Stage, ...],
) -> None:
    train = plain[0]
    assert event_of(train, 3) == GaussianEvent(noise_multiplier=10.0, steps=5)
    sampled = train.model_copy(update={"sample_rate": 0.1})
    assert event_of(sampled, 1) == GaussianEvent(noise_multiplier=10.0, sample_rate=0.1, steps=5)
    assert events_of(train) == (GaussianEvent(noise_multiplier=10.0, steps=50),)
    table = plain[1].model_copy(update={"rounds": 2, "noise_multipliers": (2.0, 4.0)})
    assert event_of(table, 2) == GaussianEvent(noise_multiplier=4.0)
    assert set(events_of(table) or ()) == {
        GaussianEvent(noise_multiplier=2.0), GaussianEvent(noise_multiplier=4.0),
    }  # fmt: skip
    [bare] = without_noise((train,), "train", "off")
    assert event_of(bare, 1) is events_of(bare) is None


def test_noise_too_low_to_be_accounted_has_no_event(plain: tuple[Stage, ...]) -> None:
    with pytest.raises(PrivacyError, match=r"at least 0\.3"):
        event_of(plain[1].model_copy(update={"noise_multipliers": (0.29,)}), 1)


def test_training_costs_all_its_steps(plain: tuple[Stage, ...]) -> None:
    predicted = predict_cost(plain, delta=DELTA)
    assert predicted.training_epsilon == pytest.approx(epsilon(math.sqrt(50) / 10), abs=1e-6)
    assert of_split(predicted, "training", "train") == predicted.training_epsilon
    assert predicted.delta == DELTA


def test_noise_that_differs_between_rounds_costs_each_round_its_own(plain: tuple[Stage, ...]) -> None:
    stages = changed(plain, "internal", rounds=2, noise_multipliers=(2.0, 4.0))
    found = of_split(predict_cost(stages, delta=DELTA), "training", "internal")
    assert found == pytest.approx(epsilon(math.hypot(1 / 2, 1 / 4)), abs=1e-6)


def test_a_table_costs_its_own_epsilon_and_no_more(plain: tuple[Stage, ...]) -> None:
    predicted = predict_cost(plain, delta=DELTA)
    expected = epsilon(1 / noise_of(plain, "internal"))
    assert predicted.validation_epsilon == pytest.approx(expected, abs=1e-6)
    assert predicted.validation_epsilon is not None
    assert 2.9 < predicted.validation_epsilon <= 3.0
    for role, patients in (
        ("training", "internal"), ("training", "accrued"),
        ("external", "everybody"), ("external", "accrued"),
    ):  # fmt: skip
        assert of_split(predicted, role, patients) == predicted.validation_epsilon
    assert predicted.description_epsilon == 0.0, "there is none"


def test_a_validation_patient_pays_for_every_table_that_asks(plain: tuple[Stage, ...]) -> None:
    table = next(stage for stage in plain if stage.name == "internal")
    twice = (*plain, table.model_copy(update={"name": "again"}))
    predicted = predict_cost(twice, delta=DELTA)
    expected = epsilon(math.sqrt(2) / noise_of(plain, "internal"))
    assert predicted.validation_epsilon == pytest.approx(expected, abs=1e-6)
    assert predicted.validation_epsilon == of_split(predicted, "training", "internal")


def test_without_protection_there_is_no_epsilon_anywhere(described: tuple[Stage, ...]) -> None:
    bare = without_noise(described, "train", "off")
    for name in ("internal", "external", "prospective", "description"):
        bare = without_noise(bare, name, "governed")
    predicted = predict_cost(bare, delta=DELTA)
    assert predicted.training_epsilon is None
    assert predicted.validation_epsilon is None
    assert predicted.description_epsilon is None
    assert predicted.mechanism.startswith("none")
    assert {each.epsilon for each in predicted.splits} == {None}
    assert predicted.dearest("training") is predicted.dearest("external") is None


def test_a_run_costs_the_dearer_of_training_and_validation_and_never_their_sum(
    plain: tuple[Stage, ...],
) -> None:
    for noise in (10.0, 100.0):
        stages = changed(plain, "train", noise_multipliers=(noise,))
        predicted = predict_cost(stages, delta=DELTA)
        both = predicted.training_epsilon, predicted.validation_epsilon
        assert predicted.dearest("training") == max(each for each in both if each is not None)
        assert predicted.dearest("external") == predicted.validation_epsilon


def test_a_description_is_paid_beside_either(described: tuple[Stage, ...]) -> None:
    predicted = predict_cost(described, delta=DELTA)
    assert predicted.description_epsilon is not None
    assert 0.9 < predicted.description_epsilon <= 1.0
    train, table, louder = (
        math.sqrt(50) / 10,
        *(1 / noise_of(described, name) for name in ("internal", "description")),
    )
    expected = {
        ("training", "train"): (train, louder),
        ("training", "internal"): (table, louder),
        ("training", "everybody"): (louder,),
        ("training", "accrued"): (table,),
        ("external", "everybody"): (table, louder),
        ("external", "accrued"): (table,),
    }
    assert {(each.role, each.patients) for each in predicted.splits} == set(expected)
    for (role, patients), mus in expected.items():
        found = of_split(predicted, role, patients)
        assert found == pytest.approx(epsilon(math.hypot(*mus)), abs=1e-6), (role, patients)
    dearest = max(epsilon(math.hypot(mu, louder)) for mu in (train, table))
    assert predicted.dearest("training") == pytest.approx(dearest, abs=1e-6)


def test_who_is_asked_as_everybody_is_asked_in_every_split_and_nobody_accrued(
    described: tuple[Stage, ...],
) -> None:
    def names(role: str, patients: str) -> list[str]:
        found = touching(described, role=role, patients=patients)  # type: ignore[arg-type]
        return [stage.name for stage in found]

    assert names("training", "train") == ["train", "description"]
    assert names("training", "internal") == ["internal", "description"]
    assert names("training", "accrued") == ["prospective"]
    assert names("external", "everybody") == ["external", "description"]
    assert names("external", "train") == ["external", "description"]


def test_a_site_that_trains_without_noise_is_promised_nothing_though_its_table_is_noised(
    plain: tuple[Stage, ...],
) -> None:
    predicted = predict_cost(without_noise(plain, "train", "off"), delta=DELTA)
    assert of_split(predicted, "training", "train") is None
    assert predicted.dearest("training") is None
    assert predicted.dearest("external") == predicted.validation_epsilon


def test_a_plan_that_only_measures_says_that_training_costs_nothing(plain: tuple[Stage, ...]) -> None:
    predicted = predict_cost(plain[1:], delta=DELTA)
    assert predicted.training_epsilon == 0.0
    assert predicted.mechanism == "none in training; Gaussian on each table"
    assert predicted.dearest("training") == predicted.validation_epsilon


def test_exact_figures_of_a_plan_that_only_measures_are_not_called_noised(
    plain: tuple[Stage, ...],
) -> None:
    exact = without_noise(plain[1:], plain[1].name, "governed")
    mixed = predict_cost(exact, delta=DELTA).mechanism
    assert mixed.startswith("none in training; exact figures without a formal privacy guarantee")
    assert mixed.endswith("; Gaussian on each other table")
    alone = [stage for stage in exact if stage.release_class == "governed"]
    assert "Gaussian" not in predict_cost(alone, delta=DELTA).mechanism


def test_a_table_of_the_patients_who_trained_has_no_price(plain: tuple[Stage, ...]) -> None:
    with pytest.raises(PlanError) as caught:
        predict_cost(changed(plain, "internal", patients="train"), delta=DELTA)
    assert caught.value.code == "plan.measures-its-training"
