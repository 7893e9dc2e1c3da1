"""Importance of fields: mean rises against the scores' own, intervals that hold, what is not said."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from server.federation.compose import compose_settings
from shared.contract.decision import decision_of
from shared.errors import PolicyError, SettingsError
from shared.measures.importance import Importance, ImportanceSettings
from shared.measures.scored import MeasureTask, Scored
from shared.sums.estimate import SUPPRESSED, TOO_NOISY, Estimate
from shared.sums.federate import federate
from shared.sums.one_sum import OneSum

SETTINGS = compose_settings()
FIELDS = SETTINGS.cohort.fields[:4]
TASK = MeasureTask(decision_of(SETTINGS), FIELDS)
CLIP = 0.1
MEASURE = Importance.build(ImportanceSettings(kind="importance", clip=CLIP), TASK)


def people(n: int, *, seed: int = 0) -> Scored:
    """The first field carries much, the second a little, the others nothing."""
    draw = np.random.default_rng(seed)
    label = draw.normal(0.7, 0.12, n)
    output = label + draw.normal(0, 0.06, n)
    moves = draw.normal(0, 1, (n, 4)) * np.array([0.08, 0.02, 0.0, 0.0])
    return Scored(output[:, None], label, np.zeros((n, 4)), (), (output[:, None] + moves)[:, :, None])


def total_of(patients: Scored) -> np.ndarray:
    return federate(OneSum(MEASURE), [patients], n_declared=1.0).vector


def rises_of(patients: Scored) -> np.ndarray:
    error = np.abs(patients.outputs[:, 0] - patients.label)
    after = np.abs(patients.replaced[:, :, 0] - patients.label[:, None])
    return np.clip(after - error[:, None], -CLIP, CLIP)


def rises_in(found: dict[str, Estimate]) -> list[Estimate]:
    return [found[f"error rises by, without {field.name}"] for field in FIELDS]


def test_a_rise_is_the_mean_of_the_clipped_rises_with_the_interval_of_a_mean() -> None:
    patients = people(800)
    found = MEASURE.read(total_of(patients), sd=0.0, minimum_cell=10, n_expected=800)
    rises = rises_of(patients)
    for each, column in zip(rises_in(dict(found)), rises.T, strict=True):
        assert each.value == pytest.approx(column.mean(), abs=1e-12)
        half = 1.959964 * column.std() / math.sqrt(800)
        assert each.high - each.value == pytest.approx(half, rel=1e-6, abs=1e-9)
    assert found["n, measured"].value == 800
    first, second, third, _ = rises.mean(axis=0)
    assert first > 3 * second > 0
    assert third == 0


def test_nobody_moves_the_total_by_more_than_the_norm_and_somebody_by_all_of_it() -> None:
    label = np.array([0.7, 0.7])
    output = np.array([[0.7], [0.7]])
    replaced = np.stack([np.full((4, 1), 9.0), np.full((4, 1), np.nan)])
    rows = MEASURE.rows_of(Scored(output, label, np.zeros((2, 4)), (), replaced))
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), MEASURE.norm, rtol=1e-12)
    # at a full clip each way
    better = Scored(replaced[:1, 0], label[:1], np.zeros((1, 4)), (), np.full((1, 4, 1), 0.7))
    assert (MEASURE.rows_of(better)[0, 1:5] == -0.5).all()


def test_intervals_hold_the_truth_under_noise() -> None:
    truth = rises_of(people(100_000, seed=1)).mean(axis=0)
    draw, sd, held = np.random.default_rng(2), 3.0, []
    for seed in range(200):
        noisy = total_of(people(600, seed=10 + seed)) + draw.normal(0, sd, MEASURE.n_cells)
        found = rises_in(dict(MEASURE.read(noisy, sd=sd, minimum_cell=10, n_expected=600)))
        held += [each.low <= true <= each.high for each, true in zip(found, truth, strict=True)]
    assert 0.92 <= np.mean(held) <= 0.985  # of 800: 95 %, and three SDs


def test_what_noise_swallows_is_not_said_whatever_came_out() -> None:
    total = total_of(people(60)) * 50.0
    found = MEASURE.read(total, sd=3.0, minimum_cell=10, n_expected=60)
    assert set(rises_in(dict(found))) == {TOO_NOISY}


def test_too_few_give_no_figure_and_no_exact_total() -> None:
    total = total_of(people(6))
    found = MEASURE.read(total, sd=0.0, minimum_cell=10, n_expected=100)
    assert set(found.values()) == {SUPPRESSED}
    with pytest.raises(PolicyError, match="fewer than 10") as caught:
        MEASURE.suppress(total, 10)
    assert caught.value.code == "policy.cell-too-small"
    assert MEASURE.suppress(total_of(people(10)), 10)[0] == 2.5
    assert MEASURE.suppress(np.zeros(MEASURE.n_cells), 10).tolist() == [0.0] * MEASURE.n_cells


def test_of_classes_it_is_the_probability_of_the_true_class_that_falls() -> None:
    task = MeasureTask(decision_of(compose_settings(["experiment=bmd_classes"])), FIELDS[:1])
    measure = Importance.build(ImportanceSettings(kind="importance", clip=0.5), task)
    outputs = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]])
    replaced = np.array([[[0.5, 0.4, 0.1]], [[0.1, 0.8, 0.1]]])
    rows = measure.rows_of(Scored(outputs, np.array([0.0, np.nan]), np.zeros((2, 1)), (), replaced))
    assert rows[0, :2] == pytest.approx([0.25, 0.4])
    assert not rows[1].any()


@pytest.mark.parametrize("clip", [0.0, -1.0, math.inf, math.nan])
def test_a_clip_is_a_number_above_none(clip: float) -> None:
    with pytest.raises(ValidationError):
        ImportanceSettings(kind="importance", clip=clip)


def test_a_rise_of_a_probability_is_clipped_where_it_can_be() -> None:
    task = MeasureTask(decision_of(compose_settings(["experiment=bmd_classes"])), FIELDS[:1])
    with pytest.raises(SettingsError, match="rises by 1 at most, and is clipped at 50") as refused:
        Importance.build(ImportanceSettings(kind="importance", clip=50), task)
    assert refused.value.code == "settings.clip-above-rise"
    assert Importance.build(ImportanceSettings(kind="importance", clip=1), task).clip == 1


def test_of_local_training_the_release_without_it_stands_beside() -> None:
    settings = ImportanceSettings(kind="importance", of="local_training", clip=CLIP)
    measure = Importance.build(settings, TASK)
    assert list(measure.replaced_fields) == []
    assert measure.n_cells == 3
    people_read_twice = people(800)
    total = federate(
        OneSum(measure),
        [replace(people_read_twice, replaced=people_read_twice.replaced[:, :1])],
        n_declared=1.0,
    ).vector
    found = measure.read(total, sd=0.0, minimum_cell=10, n_expected=800)
    expected = rises_of(people_read_twice)[:, 0].mean()
    assert found["error rises by, without local training"].value == pytest.approx(expected, abs=1e-12)


def test_a_coordinator_cannot_ask_for_what_a_hospital_trained_for_itself() -> None:
    with pytest.raises(SettingsError, match="personalise"):
        compose_settings(["measure=importance", "measures.importance.measure.of=local_training"])
