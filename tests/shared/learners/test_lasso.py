"""Where columns enter a LASSO's path: as scikit-learn has it, by a λ that follows from the noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from practice_tables import classes, table_task
from sklearn.linear_model import lars_path_gram

from shared.errors import SettingsError
from shared.features.columns import Columns
from shared.learners.lasso import Lasso, LassoSettings
from shared.learners.univariate import ShareRow


def asked(f: int, *, n_classes: int = 3, is_ordered: bool = True, **changes: object) -> Lasso:
    shares = (ShareRow(up_to_epsilon=50, share=0.25),)
    settings = LassoSettings(kind="lasso", shares=shares, radius_per_column=100.0)
    task = table_task(f, n_classes=n_classes, is_ordered=is_ordered)
    return Lasso.build(settings.model_copy(update=changes), task)


def test_without_noise_columns_enter_in_the_order_of_scikit_learns_path() -> None:
    patients, lasso = classes(600, 9), asked(9)
    scores = lasso.scores(lasso.rows(patients).sum(axis=0), sd=0.0, n_declared=600)
    z = patients.columns - patients.columns.mean(axis=0)
    place = patients.target - 1.0  # of three classes: -1, 0, 1
    pull = z.T @ (place - place.mean())
    alphas, _, weights = lars_path_gram(pull, z.T @ z, n_samples=1, method="lasso")
    entered = np.array([alphas[max(np.flatnonzero(row)[0] - 1, 0)] for row in weights])
    unit = scores.max() / entered.max()  # a score is in units of λ
    # a grid of 30 penalties finds each entry to within one step
    step = 0.02 ** (1 / 29)
    seen = scores > 0
    assert seen[:2].all(), "the classes follow these"
    assert (scores[seen] <= 1.001 * unit * entered[seen]).all()
    assert (scores[seen] >= 0.999 * step * unit * entered[seen]).all()
    assert (entered[~seen] < 0.03 * entered.max()).all()


def test_lambda_is_the_thresholds_of_noise_and_sampling_times_its_multiple() -> None:
    patients, sd = classes(600, 9), 40.0
    total = asked(9).rows(patients).sum(axis=0)
    [once, twice] = [
        asked(9, multiple=multiple).scores(total, sd=sd, n_declared=600) for multiple in (1.0, 2.0)
    ]
    assert once == pytest.approx(2.0 * twice)
    # the largest score is the largest product of a column and the place over λ
    z = patients.columns - patients.columns.mean(axis=0)
    place = patients.target - 1.0
    largest = np.abs(z.T @ (place - place.mean())).max()
    threshold = np.hypot(sd / np.sqrt(2.0) / 2.0, np.sqrt(600.0)) * np.sqrt(2.0 * np.log(9))
    assert once.max() == pytest.approx(largest / threshold, rel=1e-6)


def test_a_row_has_its_bound_where_columns_reach_it_and_a_class_is_at_an_end() -> None:
    lasso = asked(4, radius_per_column=1.0)
    columns = np.array([[3.0, -3.0, 3.0, 3.0], [3.0, 3.0, 3.0, 3.0], [0.1, 0.0, 0.0, 0.0]])
    norms = np.linalg.norm(lasso.rows(Columns(columns, np.array([0.0, 1.0, 2.0]))), axis=1)
    assert norms[0] == pytest.approx(lasso.bound) == pytest.approx(1.0 + 4.0 + 4.0)
    assert norms[1] == pytest.approx(1.0 + 4.0), "a class in the middle has place 0"
    assert norms[2] < lasso.bound


def test_who_has_no_class_or_no_number_has_no_row() -> None:
    columns = np.array([[1.0, 2.0], [np.nan, 0.0], [1.0, 2.0]])
    rows = asked(2).rows(Columns(columns, np.array([np.nan, 1.0, 2.5])))
    assert not rows.any()


def test_a_table_that_says_nothing_keeps_no_column_above_0() -> None:
    lasso = asked(5)
    assert not lasso.scores(np.zeros(lasso.length), sd=0.0, n_declared=100).any()


def test_classes_without_an_order_have_no_place() -> None:
    assert asked(5, n_classes=2, is_ordered=False).length == 7 * 8 // 2, "two always have one"
    with pytest.raises(SettingsError) as error:
        asked(5, is_ordered=False)
    assert error.value.code == "settings.needs-ordered-classes"
    with pytest.raises(SettingsError) as error:
        Lasso.build(asked(5).settings, replace(table_task(5), n_classes=0))
    assert error.value.code == "settings.needs-classes"
