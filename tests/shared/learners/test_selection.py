"""Which columns are kept, what the choice costs, and that the rest is the following learner."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from practice_tables import classes, in_three, table_task

from shared.errors import SettingsError
from shared.features.columns import Columns
from shared.learners.logistic import Logistic, LogisticSettings
from shared.learners.mlp import Mlp, MlpSettings
from shared.learners.selection import Selection, SelectionSettings
from shared.learners.task import TableTask
from shared.sums.contract import State
from shared.sums.federate import federate

THEN = {
    "kind": "logistic",
    "sums": 4,
    "schedule": [{"up_to_epsilon": 50.0, "rate_times_sums": 50.0}],
}
BY = {
    "kind": "univariate",
    "shares": [{"up_to_epsilon": 1, "share": 0.1}, {"up_to_epsilon": 3, "share": 0.03}],
    "radius_per_column": 10.0,
}


def make(task: TableTask, *, keep: int = 2, **changes: object) -> Selection:
    values = {"kind": "selection", "by": BY, "keep": keep, "then": THEN, **changes}
    return Selection.build(SelectionSettings.model_validate(values), task)


def following(task: TableTask) -> Logistic:
    return Logistic.build(LogisticSettings.model_validate(THEN), task)


def test_the_columns_that_the_classes_follow_are_kept_and_the_rest_is_the_following_learner() -> None:
    task, patients, fresh = table_task(9, n_classes=3), classes(400, 9), classes(100, 9, seed=1)
    learner = make(task)
    state = federate(learner, in_three(patients), n_declared=400)
    assert learner.columns_kept(state) == ("x0", "x1"), "the classes follow these"
    alone = following(replace(task, columns=task.columns[:2]))
    trained = federate(
        alone,
        [Columns(each.columns[:, :2], each.target) for each in in_three(patients)],
        n_declared=400,
    )
    expected = alone.predict(trained, Columns(fresh.columns[:, :2], fresh.target))
    np.testing.assert_allclose(learner.predict(state, fresh), expected, atol=1e-12)


def test_the_choice_takes_its_share_and_the_following_learner_the_rest() -> None:
    shares = make(table_task(5, n_classes=3, epsilon=1.0)).shares()
    assert shares == pytest.approx((0.1, *[0.9 / 4] * 4))
    assert math.fsum(shares) == pytest.approx(1.0)


def test_where_nothing_is_paid_for_a_choice_all_columns_are_kept() -> None:
    task, patients = table_task(5, n_classes=3, epsilon=8.0), classes(200, 5)
    learner, alone = make(task), following(task)
    assert learner.shares() == alone.shares()
    state = federate(learner, [patients], n_declared=200)
    assert np.array_equal(state.vector, federate(alone, [patients], n_declared=200).vector)
    assert learner.columns_kept(state) == ("x0", "x1", "x2", "x3", "x4")


def test_clusters_that_noise_would_hide_leave_the_columns_of_the_largest_public_spread() -> None:
    task, patients = table_task(5, n_classes=3, epsilon=1.0), classes(200, 5)
    wide = tuple(replace(task.columns[place], spread=2.0) for place in (3, 4))
    task = replace(task, columns=(*task.columns[:3], *wide))
    by = {"kind": "varclus", "shares": BY["shares"], "noise": 0.11}
    learner = make(task, by=by)
    alone = following(replace(task, columns=wide))
    assert learner.shares() == alone.shares(), "nothing is paid for a choice"
    state = federate(learner, [patients], n_declared=200)
    assert learner.columns_kept(state) == ("x3", "x4")
    trained = federate(alone, [Columns(patients.columns[:, 3:], patients.target)], n_declared=200)
    assert np.array_equal(state.vector, trained.vector)
    quiet = make(task, by=by | {"noise": 0.1})
    assert quiet.shares()[0] == 0.1


def test_equal_scores_and_no_numbers_stand_in_the_columns_order() -> None:
    learner = make(table_task(4, n_classes=3, epsilon=1.0), keep=3)
    state = State(np.concatenate([[np.nan, 1.0, 2.0, 1.0], np.zeros(12)]), 1)
    assert learner.columns_kept(state) == ("x2", "x1", "x3")


def test_more_columns_than_there_are_cannot_be_kept() -> None:
    with pytest.raises(SettingsError, match=r"at most 4.*not 5") as error:
        make(table_task(4, n_classes=3), keep=5)
    assert error.value.code == "settings.too-many-kept"


def test_a_following_learner_that_does_not_suit_the_classes_is_refused_before_anything_is_asked() -> (
    None
):
    odds = {"kind": "proportional_odds", "schedule": THEN["schedule"]}
    with pytest.raises(SettingsError) as error:
        make(table_task(4, n_classes=3, is_ordered=False), then=odds)
    assert error.value.code == "settings.needs-ordered-classes"


def test_a_network_on_chosen_columns_starts_as_one_on_these_alone() -> None:
    task, patients = table_task(9, n_classes=3, epsilon=1.0), classes(400, 9)
    wide = replace(task.columns[8], spread=5.0)
    task = replace(task, columns=(*task.columns[:8], wide))
    then = {"kind": "mlp", "hidden": 3, "schedule": THEN["schedule"]}
    learner = make(task, then=then)
    rows = learner.rows(learner.start(), patients).sum(axis=0)
    state = learner.advance(learner.start(), rows, sd=0.0, n_declared=400)
    kept = learner.columns_kept(state)
    chosen = tuple(column for name in kept for column in task.columns if column.name == name)
    alone = Mlp.build(MlpSettings.model_validate(then), replace(task, columns=chosen))
    assert np.array_equal(state.vector[9:], alone.start().vector)
    after = federate(learner, in_three(patients), n_declared=400)
    assert learner.predict(after, patients).shape == (400, 3)
