"""Slopes by leaf against trees filled patient by patient, and what rounds of them learn."""

from __future__ import annotations

import numpy as np
import pytest
from practice_tables import classes, in_three, table_task
from sklearn.ensemble import GradientBoostingClassifier

from shared.errors import SettingsError
from shared.features.columns import Columns
from shared.learners.boosting import Boosting, BoostingSettings
from shared.learners.task import TableTask
from shared.sums.contract import State
from shared.sums.federate import federate


def make(task: TableTask, **changes: object) -> Boosting:
    values = {"kind": "boosting", "rounds": 3, "trees": 4, "depth": 2, **changes}
    return Boosting.build(BoostingSettings.model_validate(values), task)


def test_the_total_of_a_round_is_slope_and_curvature_by_leaf() -> None:
    patients, learner = classes(60, 5), make(table_task(5, n_classes=3), clip_norm=0.7)
    draw = np.random.default_rng(0)
    state = State(0.1 * draw.normal(size=3 + 4 * 4 * 3), 1)
    shares = learner.predict(state, patients)
    expected = np.zeros((4, 4, 6))
    leaves = learner.trees.leaves(patients.columns)[:, 4:8]  # the second round's trees
    for patient, target in enumerate(patients.target.astype(int)):
        p = shares[patient]
        both = np.concatenate([p - np.eye(3)[target], p * (1 - p)])
        both *= min(1.0, 0.7 / np.linalg.norm(both))
        for tree in range(4):
            expected[tree, leaves[patient, tree]] += both / 2.0  # √4 trees
    found = learner.rows(state, patients).sum(axis=0)
    np.testing.assert_allclose(found, expected.ravel(), atol=1e-9)


def test_a_round_moves_everybody_and_then_each_leaf_by_hand() -> None:
    learner = make(
        table_task(1, n_classes=2), trees=1, depth=1, rate=2.0, leaf_floor=1.0, noise_floor=0.0
    )
    # two leaves: slopes (−6, 6) and (2, −2), curvature 3 in each cell
    total = np.array([[-6.0, 6.0, 3.0, 3.0], [2.0, -2.0, 3.0, 3.0]]).ravel()
    vector = learner.advance(learner.start(), total, sd=0.0, n_declared=24).vector
    common = 4.0 / 6.0
    left, right = (6.0 - 3 * common) / 4.0, (-2.0 - 3 * common) / 4.0
    assert vector.tolist() == pytest.approx(
        [common, -common, 2 * left, -2 * left, 2 * right, -2 * right]
    )


def test_loud_noise_leaves_the_leaves_next_to_nothing_to_say() -> None:
    learner = make(table_task(5, n_classes=3))
    total = learner.rows(learner.start(), classes(150, 5)).sum(axis=0)
    said = [
        np.abs(learner.advance(learner.start(), total, sd=sd, n_declared=150).vector[3:]).max()
        for sd in (0.0, 3.0, 300.0)
    ]
    assert said[0] > 2 * said[1] > 20 * said[2]


def test_without_noise_it_comes_near_to_boosting_with_searched_splits() -> None:
    patients, fresh = classes(600, 3), classes(600, 3, seed=1)
    learner = make(table_task(3, n_classes=3), rounds=8, trees=30, depth=3, rate=5.0)
    state = federate(learner, in_three(patients), n_declared=600)
    right = (learner.predict(state, fresh).argmax(axis=1) == fresh.target).mean()
    reference = GradientBoostingClassifier(n_estimators=30, max_depth=3, random_state=0)
    reference.fit(patients.columns, patients.target)
    assert right > reference.score(fresh.columns, fresh.target) - 0.05
    assert right > 1.2 * np.bincount(fresh.target.astype(int)).max() / 600


def test_a_target_that_is_no_class_makes_a_row_of_zeros() -> None:
    learner = make(table_task(2, n_classes=3))
    rows = learner.rows(learner.start(), Columns(np.ones((2, 2)), np.array([np.nan, 7.0])))
    assert not rows.any()


def test_a_number_as_target_is_refused() -> None:
    with pytest.raises(SettingsError) as error:
        make(table_task(2))
    assert error.value.code == "settings.needs-classes"
