"""The plan of local training follows from the release; short steps, its price, and a comparison."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from practice_plan import planned_locally, started_release

from shared.errors import OsteoFedError
from shared.privacy.cost import predict_cost
from shared.stages.local_plan import local_stage, price_of, read_comparison, verdict_of
from shared.stages.measure import measure_of


def test_a_plan_of_the_same_day_is_the_same_and_says_what_each_group_pays() -> None:
    release = started_release("privacy.epsilon=3", "validation.epsilon=2")
    plan = planned_locally(release)
    assert (
        plan.sha256
        == planned_locally(release).sha256
        != planned_locally(release, day=date(2026, 1, 6)).sha256
    )
    assert plan.is_local
    assert plan.predicted == predict_cost(plan.stages, delta=plan.settings.delta)
    assert {split.patients: round(split.epsilon or 0, 1) for split in plan.predicted.splits} == {
        "train": 3.0,
        "internal": 2.0,
    }
    assert planned_locally(release, epsilon=1.0).predicted.training_epsilon == pytest.approx(
        1.0, abs=0.02
    )


def test_steps_reach_a_fifteenth_of_the_releases_own_way_whatever_it_costs() -> None:
    release = started_release("privacy.epsilon=3")
    trained = release.plan.training
    assert trained is not None
    for epsilon in (1.0, 3.0):
        stage = local_stage(release.plan, declared=200, epsilon=epsilon, n_parameters=12)
        assert stage.total_steps * stage.learning_rate == pytest.approx(
            trained.total_steps * trained.learning_rate / 15
        )
        assert (stage.rounds, stage.fold, stage.clip_norm) == (1, "site", trained.clip_norm)
    assert price_of(release.plan) == pytest.approx(3.0, abs=0.02)


@pytest.mark.parametrize(
    ("overrides", "code"),
    [
        (("learner=second_moments",), "plan.cannot-go-on"),
        (("privacy=off",), "plan.no-price"),
        (("validation.release_class=governed",), "plan.no-noised-table"),
    ],
)
def test_what_cannot_be_gone_on_from_is_refused(overrides: tuple[str, ...], code: str) -> None:
    with pytest.raises(OsteoFedError) as caught:
        planned_locally(started_release(*overrides))
    assert caught.value.code == code
    assert caught.value.hint


def test_a_release_without_privacy_is_gone_on_from_at_a_price_that_is_named() -> None:
    plan = planned_locally(started_release("privacy=off"), epsilon=2.0)
    assert plan.training is not None
    assert plan.training.is_private


@pytest.mark.parametrize(
    ("rise", "word"), [(0.6, "helps"), (-0.6, "WORSE"), (-0.01, "below 0"), (0.01, "above 0")]
)
def test_the_verdict_says_plainly_where_local_training_is_worse(rise: float, word: str) -> None:
    plan = planned_locally(started_release("validation.epsilon=3"), declared_patients=2000)
    measure = measure_of(plan.settings, plan.measures[0])
    total = 300.0 * np.array([0.25, rise, 0.25 * 0.25 + rise**2 * 0.25])
    assert total.shape == (measure.n_cells,)
    figures = read_comparison(plan, total)
    assert word in verdict_of(figures)
    assert figures["error rises by, without local training"].value == pytest.approx(0.05 * rise)


def test_too_few_patients_give_no_verdict() -> None:
    plan = planned_locally(started_release("validation.epsilon=1"), declared_patients=40)
    assert verdict_of(read_comparison(plan, np.array([1.0, 5.0, 1.0]))).startswith("not told")
