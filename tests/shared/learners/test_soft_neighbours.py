"""Votes against the kernel that the random features stand for."""

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


def kernel_shares(patients: Columns, fresh: Columns, *, width: float) -> np.ndarray:
    """Each class's share of Σ exp(−‖x − z‖²/2h²) over all patients, h = width·√(2f)."""
    f = patients.columns.shape[1]
    apart = ((fresh.columns[:, None] - patients.columns[None]) ** 2).sum(axis=2)
    near = np.exp(-apart / (2 * width**2 * 2 * f))
    votes = np.stack([near[:, patients.target == index].sum(axis=1) for index in range(3)], axis=1)
    return votes / votes.sum(axis=1, keepdims=True)


def test_with_many_frequencies_votes_are_those_of_the_gaussian_kernel() -> None:
    patients, fresh = classes(300, 4), classes(60, 4, seed=1)
    learner = make(table_task(4, n_classes=3), frequencies=20_000, width=0.5)
    state = federate(learner, in_three(patients), n_declared=300)
    expected = kernel_shares(patients, fresh, width=0.5)
    assert np.abs(learner.predict(state, fresh) - expected).max() < 0.05


def test_a_patients_features_have_norm_one_beside_the_count() -> None:
    learner = make(table_task(4, n_classes=3), count_weight=0.5)
    rows = learner.rows(learner.start(), classes(20, 4))
    assert np.linalg.norm(rows, axis=1) == pytest.approx(np.full(20, np.sqrt(1.25)))
    assert (np.count_nonzero(rows.reshape(20, 3, -1)[:, :, 0], axis=1) == 1).all()


def test_votes_below_the_noise_count_as_the_classes_sizes() -> None:
    patients = classes(200, 4)
    learner = make(table_task(4, n_classes=3), vote_floor=1.0)
    state = learner.start()
    total = np.zeros(learner.length(state))
    counts = np.array([50.0, 100.0, 50.0])
    total.reshape(3, -1)[:, 0] = 0.5 * counts
    shares = learner.predict(learner.advance(state, total, sd=4.0, n_declared=200), patients)
    assert np.allclose(shares, counts / 200)


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
