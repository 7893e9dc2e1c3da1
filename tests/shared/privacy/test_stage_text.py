"""Stages and prices as rows of text: a plan's own numbers, of each stage and of each group."""

from __future__ import annotations

import pytest
from practice_patients import practice_settings
from practice_plan import plan_of, with_training

from shared.contract.plan import Plan
from shared.contract.settings import PrivacySettings, ValidationSettings
from shared.privacy.accountant import gaussian_epsilon
from shared.privacy.cost import predict_cost
from shared.privacy.stage_text import (
    GROUP_COLUMNS,
    STAGE_COLUMNS,
    group_rows,
    purposes_of,
    qualifier_facts,
    stage_epsilon,
    stage_rows,
)


def private_plan(*, external: str = "dune", description_epsilon: float | None = None) -> Plan:
    asked = practice_settings("linear")
    settings = asked.model_copy(
        update={
            "privacy": PrivacySettings(mode="patient_dp", epsilon=3.0, noise_multiplier=4.0),
            "validation": ValidationSettings(description_epsilon=description_epsilon),
        }
    )
    return plan_of(settings, {"aster": 100}, external=external)


def cell(plan: Plan, stage: str, column: str) -> str:
    [row] = [row for row in stage_rows(plan) if row[0] == stage]
    return row[STAGE_COLUMNS.index(column)]


def test_a_stage_is_told_by_its_own_numbers() -> None:
    plan = private_plan()
    assert [row[0] for row in stage_rows(plan)] == ["train", "internal", "external", "prospective"]
    assert cell(plan, "train", "rounds × sums") == "10 × 1"
    assert cell(plan, "train", "noise") == "4"
    assert cell(plan, "prospective", "asks") == "training and external"
    assert cell(plan, "external", "patients") == "everybody"
    # ten sums of noise 4 are one of noise 4/√10
    epsilon = gaussian_epsilon(10**0.5 / 4, 1e-5)
    assert cell(plan, "train", "of the stage alone") == f"epsilon {epsilon:.3f}"
    assert stage_epsilon(plan, plan.stage("train")) == pytest.approx(epsilon, abs=1e-6)


def test_noise_that_differs_between_rounds_is_told_as_a_range() -> None:
    plan = with_training(private_plan(), rounds=3, noise_multipliers=(2.0, 8.0, 4.0))
    assert cell(plan, "train", "noise") == "2 to 8"


def test_steps_at_the_site_are_sums_of_a_round() -> None:
    plan = with_training(private_plan(), fold="site", rounds=6, local_steps=5)
    assert cell(plan, "train", "rounds × sums") == "6 × 5"


def test_a_stage_without_noise_promises_nothing() -> None:
    plan = plan_of(practice_settings("linear"), {"aster": 100})
    assert cell(plan, "train", "noise") == "none"
    assert cell(plan, "train", "class") == "off"
    assert cell(plan, "train", "of the stage alone") == "no formal privacy guarantee"
    assert stage_epsilon(plan, plan.stage("train")) is None


def test_a_group_pays_for_all_stages_that_touch_it_and_only_where_a_site_has_the_role() -> None:
    plan = private_plan(description_epsilon=1.0)
    told = {row[:2]: row[2:] for row in group_rows(plan)}
    assert len(GROUP_COLUMNS) == 4
    assert told["training", "train"][0] == "training and description"
    assert told["external", "everybody"][0] == "external validation and description"
    stages = [plan.stage("train"), plan.stage("description")]
    alone = predict_cost(plan.stages, delta=1e-5)
    [both] = [s.epsilon for s in alone.splits if (s.role, s.patients) == ("training", "train")]
    assert told["training", "train"][1] == f"epsilon {both:.3f}"
    assert both > max(stage_epsilon(plan, stage) for stage in stages)
    assert {row[0] for row in group_rows(private_plan(external=""))} == {"training"}


def test_a_purpose_is_named_once() -> None:
    plan = private_plan()
    internal = plan.stage("internal")
    assert purposes_of([internal, plan.stage("train"), internal]) == "internal validation and training"


def test_an_epsilon_has_its_qualifiers_and_a_plan_without_noise_speaks_of_none() -> None:
    assert qualifier_facts(private_plan()) == {
        "mechanism": "Gaussian on the sum of clipped patient gradients",
        "accountant": "exact Gaussian",
        "unit, adjacency, delta": "patient, add/remove, 1e-05",
    }
    asked = practice_settings("linear")
    off = {"privacy": PrivacySettings(mode="off", epsilon=None)}
    tables = plan_of(asked.model_copy(update=off), {"aster": 100}, external="dune")
    assert "accountant" in qualifier_facts(tables), "its tables are noised"
    exact = off | {"validation": ValidationSettings(release_class="governed")}
    plan = plan_of(asked.model_copy(update=exact), {"aster": 100}, external="dune")
    assert qualifier_facts(plan) == {"mechanism": "none: no formal privacy guarantee"}
