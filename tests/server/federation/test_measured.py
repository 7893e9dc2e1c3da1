"""What a plan may expect of measured schedules: its own model and row, and nobody better off."""

from __future__ import annotations

import pytest

from server.federation.compose import compose_settings
from server.federation.measured import (
    MeasuredSchedule,
    MeasuredSchedules,
    read_measured,
    row_of,
)
from server.federation.plan import gradient_stage, schedule_for
from shared.contract.stages import GradientStage

SIZES = (112, 225, 450)


def stage_of(*overrides: str, training: tuple[int, ...] = SIZES) -> GradientStage:
    return gradient_stage(compose_settings(overrides), n_parameters=100, training=training)


def figure(r2: float, *overrides: str, epsilon: float, training: tuple[int, ...]) -> MeasuredSchedule:
    asked = (*overrides, f"privacy.epsilon={epsilon}")
    settings = compose_settings(asked)
    return MeasuredSchedule(
        fusion=settings.fusion,
        schedule=settings.schedule,
        epsilon=epsilon,
        declared=training,
        row=row_of(stage_of(*asked, training=training)),
        r2=(r2 - 0.2, r2, r2 + 0.1),
    )


def measured(*rows: MeasuredSchedule) -> MeasuredSchedules:
    settings = compose_settings()
    return MeasuredSchedules(
        encoder_sha256=settings.encoder.sha256,
        cohort=settings.cohort.name,
        clip_norm=settings.privacy.clip_norm,
        seeds=(1, 2, 3),
        n_evaluated=10,
        measured_utc="2026-01-01T00:00:00+00:00",
        rows=rows,
    )


LINEAR = measured(
    figure(0.60, "fusion=linear", epsilon=3.0, training=SIZES),
    figure(0.62, "fusion=linear", epsilon=8.0, training=SIZES),
    figure(0.50, "fusion=linear", epsilon=1.0, training=(112,)),
    figure(0.55, "fusion=linear", epsilon=3.0, training=(112,)),
)


def expected(*overrides: str, training: tuple[int, ...] = SIZES) -> float | None:
    asked = ("fusion=linear", *overrides)
    found = LINEAR.expected(compose_settings(asked), stage_of(*asked, training=training), training)
    return found and found.typical_r2


def test_a_plan_that_was_measured_expects_the_median_population() -> None:
    assert expected("privacy.epsilon=3") == 0.60
    assert expected("privacy.epsilon=8") == 0.62
    assert expected("privacy.epsilon=1", training=(112,)) == 0.50


def test_sizes_as_they_are_declared_are_those_that_were_measured() -> None:
    assert expected("privacy.epsilon=3", training=(110, 220, 450)) == 0.60
    assert expected("privacy.epsilon=1", training=(110,)) == 0.50


def test_between_two_figures_a_plan_expects_that_of_less_signal() -> None:
    assert expected("privacy.epsilon=5") == 0.60
    assert expected("privacy.epsilon=3", training=(700, 700)) == 0.60
    assert expected("privacy.epsilon=2", training=(130,)) == 0.50
    # another row of the same table, as its signal asks
    assert expected("privacy.epsilon=3", training=(300,)) == 0.55


def test_nobody_expects_what_more_patients_have_reached() -> None:
    # as much signal as three sites at ε 3, but fewer patients
    assert expected("privacy.epsilon=8", training=(200,)) == 0.55
    assert expected("privacy.epsilon=8", training=(100,)) is None
    assert expected("privacy.epsilon=0.5", training=(112,)) is None


def test_a_table_that_was_changed_was_not_measured() -> None:
    rows = "[{from_signal: 0, learning_rate: 1.5, rounds: 10, local_steps: 1, fold: coordinator}, "
    other = "{from_signal: null, learning_rate: 9, rounds: 1, local_steps: 1}]"
    table = f"fusion.schedules.standard={rows}{other}"
    assert expected("privacy.epsilon=3", table) == 0.60, "the row that ε 3 was measured with"
    assert expected("privacy.epsilon=3", table, training=(112,)) is None


@pytest.mark.parametrize(
    "override",
    [
        "fusion=concatenation",
        "federation.learning_rate=0.123",
        "federation.rounds=7",
        "schedule=one_message",
        "privacy.clip_norm=0.7",
        "privacy.sample_rate=0.5",
        "strategy=median",
        "privacy=off",
        "encoder.training=full",
        f"encoder.sha256={'0' * 64}",
        "cohort.name=other",
    ],
)
def test_another_model_or_another_training_was_not_measured(override: str) -> None:
    assert expected("privacy.epsilon=3") == 0.60
    assert expected("privacy.epsilon=3", override) is None


def test_every_shipped_figure_is_of_the_rows_that_are_shipped() -> None:
    shipped = read_measured()
    assert shipped.encoder_sha256 == compose_settings().encoder.sha256
    for found in shipped.rows:
        asked = (
            f"fusion={found.fusion.name}",
            f"schedule={found.schedule}",
            f"privacy.epsilon={found.epsilon}",
        )
        settings, name = compose_settings(asked), (found.fusion.name, found.schedule, found.epsilon)
        assert found.fusion == settings.fusion
        row = schedule_for(settings, found.declared).model_copy(update={"from_signal": None})
        assert found.row == row, (*name, "was changed since; run make schedules")
        stage = stage_of(*asked, training=found.declared)
        assert shipped.expected(settings, stage, found.declared) == found, name
