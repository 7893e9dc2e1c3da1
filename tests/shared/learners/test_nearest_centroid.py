"""Centroids against scikit-learn's, and what noise draws together."""

from __future__ import annotations

import numpy as np
import pytest
from practice_tables import classes, in_three, table_task
from sklearn.neighbors import NearestCentroid as Reference

from shared.errors import SettingsError
from shared.features.columns import Columns
from shared.learners.nearest_centroid import NearestCentroid, NearestCentroidSettings
from shared.learners.task import TableTask
from shared.sums.contract import State
from shared.sums.federate import federate


def make(task: TableTask, **changes: object) -> NearestCentroid:
    values = {"kind": "nearest_centroid", "radius_per_column": 100.0, **changes}
    return NearestCentroid.build(NearestCentroidSettings.model_validate(values), task)


def test_without_noise_a_patient_belongs_to_whom_scikit_learn_says() -> None:
    patients, fresh = classes(300, 4), classes(300, 4, seed=1)
    learner = make(table_task(4, n_classes=3))
    state = federate(learner, in_three(patients), n_declared=300)
    reference = Reference().fit(patients.columns, patients.target)
    np.testing.assert_allclose(state.vector.reshape(3, 4), reference.centroids_, atol=1e-9)
    expected = reference.predict(fresh.columns)
    assert np.array_equal(learner.predict(state, fresh).argmax(axis=1), expected)


def test_odds_fall_with_half_the_squared_distance_over_the_temper_by_hand() -> None:
    learner = make(table_task(1, n_classes=2), temper=2.0)
    shares = learner.predict(State(np.array([0.0, 2.0]), 1), Columns(np.zeros((1, 1)), np.zeros(1)))
    assert np.log(shares[0, 0] / shares[0, 1]) == pytest.approx(0.5 * 4.0 / 2.0)


def test_noise_draws_the_classes_together_and_at_last_into_one() -> None:
    learner, patients = make(table_task(4, n_classes=3)), classes(300, 4)
    total = learner.rows(learner.start(), patients).sum(axis=0)
    spread = [
        np.ptp(
            learner.advance(learner.start(), total, sd=sd, n_declared=300).vector.reshape(3, 4), axis=0
        ).max()
        for sd in (0.0, 20.0, 1e4)
    ]
    assert spread[0] > spread[1] > spread[2] == 0.0


def test_a_number_as_target_is_refused() -> None:
    with pytest.raises(SettingsError) as error:
        make(table_task(2))
    assert error.value.code == "settings.needs-classes"
