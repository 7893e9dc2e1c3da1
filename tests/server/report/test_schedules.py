"""What a coordinator is told of each schedule: messages, bytes, hours, and what it has reached."""

from __future__ import annotations

import pytest
from practice_plan import plan_of

from server.federation.compose import compose_settings
from server.federation.measured import MeasuredSchedule, MeasuredSchedules, row_of
from server.report.schedules import (
    NOT_MEASURED,
    SCHEDULE_COLUMNS,
    message_bytes,
    schedule_rows,
    write_hours,
    write_measured,
)
from shared.contract.plan import Plan
from shared.contract.settings import Settings
from shared.learners.table import LEARNERS
from shared.model.build import build_model
from shared.model.weights import flatten_weights

SIZES = {"aster": 112, "birch": 225, "cedar": 450}


def settings_of(*overrides: str) -> Settings:
    return compose_settings(["fusion=linear", "privacy.epsilon=3", *overrides])


def measured_of(plan: Plan, settings: Settings, r2: float) -> MeasuredSchedules:
    """One figure: of the plan's own training."""
    assert plan.training is not None
    return MeasuredSchedules(
        encoder_sha256=settings.encoder.sha256,
        cohort=settings.cohort.name,
        clip_norm=settings.privacy.clip_norm,
        seeds=(1,),
        n_evaluated=10,
        measured_utc="2026-01-01T00:00:00+00:00",
        rows=(
            MeasuredSchedule(
                fusion=settings.fusion,
                schedule=settings.schedule,
                epsilon=3.0,
                declared=tuple(SIZES.values()),
                row=row_of(plan.training),
                r2=(r2,),
            ),
        ),
    )


def told(*overrides: str, r2: float = 0.6) -> dict[str, dict[str, str]]:
    settings = settings_of(*overrides)
    plan = plan_of(settings, SIZES)
    rows = schedule_rows(settings, plan, measured_of(plan, settings, r2))
    return {row[0]: dict(zip(SCHEDULE_COLUMNS, row, strict=True)) for row in rows}


def test_each_schedule_is_shown_with_its_messages_and_the_chosen_one_first() -> None:
    rows = told()
    assert list(rows) == ["chosen: standard", "few_messages", "one_message"]
    assert [row["messages per site"] for row in rows.values()] == ["10", "2", "1"]
    assert list(told("schedule=one_message")) == ["chosen: one_message", "standard", "few_messages"]


def test_what_was_set_by_hand_leaves_no_other_choice() -> None:
    by_hand = [f"federation.{each}" for each in ("rounds=4", "local_steps=3", "learning_rate=1")]
    rows = told(*by_hand, "federation.local_tail=0", "federation.fold=site")
    assert list(rows) == ["chosen: standard"]
    assert rows["chosen: standard"]["steps"] == "12"


def test_a_figure_is_told_of_the_schedule_that_was_measured_only() -> None:
    rows = told(r2=0.612)
    column = SCHEDULE_COLUMNS[-1]
    assert rows["chosen: standard"][column] == "R² 0.61 (ε 3, 787 synthetic patients of 3 sites)"
    assert rows["one_message"][column] == NOT_MEASURED == write_measured(None)


def test_a_message_is_the_weights_there_and_the_total_back() -> None:
    plan = plan_of(settings_of(), SIZES)
    n = flatten_weights(build_model(plan.settings, generator_seed=1)).size
    stage = plan.training
    assert stage is not None
    assert stage.fold == "coordinator"
    # float32 weights; a sum of gradients in float64, a change of the weights in float32
    assert message_bytes(plan, stage) == (4 + 8) * n
    folded = stage.model_copy(update={"fold": "site"})
    assert message_bytes(plan, folded) == (4 + 4) * n
    shown = float(told()["chosen: standard"]["MB per site"])
    assert shown == pytest.approx(10 * 12 * n / 1e6, rel=0.01)


def test_hours_are_those_of_each_schedules_messages() -> None:
    column = "hours on the link"
    waiting = told("federation.link_wait_h=2.5")
    assert [row[column] for row in waiting.values()] == ["25", "5.00", "2.50"]
    assert {row[column] for row in told().values()} == {"under 0.01"}
    assert write_hours(1234.4) == "1,234"


def test_what_is_not_trained_by_gradients_has_no_schedule() -> None:
    assert "second_moments" in LEARNERS
    settings = settings_of("learner=second_moments")
    plan = plan_of(settings, SIZES)
    found = measured_of(plan_of(settings_of(), SIZES), settings_of(), 0.6)
    assert schedule_rows(settings, plan, found) == []
