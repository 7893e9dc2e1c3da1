"""Likeness against the kernel that the random features stand for."""

from __future__ import annotations

import numpy as np
import pytest
from practice_tables import classes, in_three, table_task

from shared.errors import SettingsError
from shared.features.columns import Columns
from shared.learners.soft_neighbours import SoftNeighbours, SoftNeighboursSettings
from shared.learners.task import TableTask
from shared.sums.contract import State
from shared.sums.federate import federate


def make(task: TableTask, **changes: object) -> SoftNeighbours:
    values = {"kind": "soft_neighbours", **changes}
    return SoftNeighbours.build(SoftNeighboursSettings.model_validate(values), task)


def likeness(patients: Columns, fresh: Columns, *, width: float) -> np.ndarray:
    """Mean of exp(−‖x − z‖²/2h²) over the patients of each class, h = width·√(2f)."""
    f = patients.columns.shape[1]
    apart = ((fresh.columns[:, None] - patients.columns[None]) ** 2).sum(axis=2)
    near = np.exp(-apart / (2 * width**2 * 2 * f))
    return np.stack([near[:, patients.target == index].mean(axis=1) for index in range(3)], axis=1)


def test_with_many_frequencies_odds_are_raised_by_the_mean_of_the_gaussian_kernel() -> None:
    patients, fresh = classes(300, 4), classes(60, 4, seed=1)
    learner = make(table_task(4, n_classes=3), frequencies=20_000, radius=10.0, sharpness=5.0)
    state = federate(learner, in_three(patients), n_declared=300)
    sizes = np.bincount(patients.target.astype(int)) / 300
    expected = sizes * np.exp(5.0 * likeness(patients, fresh, width=0.8))
    expected = expected / expected.sum(axis=1, keepdims=True)
    assert np.abs(learner.predict(state, fresh) - expected).max() < 0.03


def test_the_public_mean_is_that_of_normal_columns() -> None:
    learner = make(table_task(6, n_classes=3))
    drawn = Columns(np.random.default_rng(0).normal(size=(20_000, 6)), np.zeros(20_000))
    assert np.abs(learner._features(drawn).mean(axis=0) - learner._public_mean).max() < 0.002


def test_directions_are_orthogonal_within_a_block_and_as_long_as_normal_ones() -> None:
    directions = make(table_task(40, n_classes=3), frequencies=80)._directions
    products = directions[:, :40].T @ directions[:, :40]
    assert np.abs(products - np.diag(np.diag(products))).max() < 1e-12
    # E‖w‖² = f/h², h² = 0.8²·2f
    assert (directions**2).sum(axis=0).mean() == pytest.approx(40 / (0.64 * 80), rel=0.1)


def test_features_have_norm_one_and_rows_the_bound_at_most() -> None:
    learner = make(table_task(4, n_classes=3))
    patients = classes(50, 4)
    assert np.linalg.norm(learner._features(patients), axis=1) == pytest.approx(np.ones(50))
    rows = learner.rows(learner.start(), patients)
    usual = np.sqrt(1 - learner._public_mean @ learner._public_mean)
    assert learner.bound(learner.start()) == pytest.approx(0.7 * usual * np.sqrt(1.25))
    assert (np.count_nonzero(rows.reshape(50, 3, -1)[:, :, 0], axis=1) == 1).all()


def test_a_row_holds_what_a_patient_has_beyond_the_public_mean() -> None:
    learner = make(table_task(4, n_classes=3), radius=10.0)
    patients = classes(20, 4)
    shown = learner.rows(learner.start(), patients).reshape(20, 3, -1).sum(axis=1)[:, 1:]
    assert np.allclose(shown, learner._features(patients) - learner._public_mean)


def test_a_class_lost_in_noise_counts_as_the_noise_and_says_little() -> None:
    learner = make(table_task(4, n_classes=3))
    table = np.zeros((3, 513))
    table[:, 0] = np.array([200.0, 100.0, -5.0]) * learner._count_weight
    table[:, 1:] = np.random.default_rng(0).normal(size=(3, 512))
    state = learner.advance(learner.start(), table.ravel(), sd=1.0, n_declared=300)
    first, second, third = state.vector.reshape(3, 513)
    assert third[0] == pytest.approx(np.log(1 / (1 + 300 * learner._count_weight)))
    assert np.abs(third[1:]).max() < np.abs(table[2, 1:]).max() * learner._count_weight * 1.001
    assert first[0] > second[0] > third[0]


def test_frequencies_come_from_the_seed() -> None:
    patients = classes(5, 4)
    first, again, other = (
        make(table_task(4, n_classes=3, seed=seed)).rows(State(np.zeros(0)), patients)
        for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


def test_a_number_as_target_is_refused() -> None:
    with pytest.raises(SettingsError) as error:
        make(table_task(2))
    assert error.value.code == "settings.needs-classes"
