"""Scores by class means against scikit-learn's F-test and a covariance by hand."""

from __future__ import annotations

import numpy as np
import pytest
from practice_tables import table_task
from sklearn.feature_selection import f_classif

from shared.errors import SettingsError
from shared.features.columns import Columns
from shared.learners.task import TableTask
from shared.learners.univariate import ShareRow, Univariate, UnivariateSettings, share_at

ROWS = (ShareRow(up_to_epsilon=1, share=0.1), ShareRow(up_to_epsilon=3, share=0.03))


def make(task: TableTask) -> Univariate:
    settings = UnivariateSettings(kind="univariate", shares=ROWS, radius_per_column=100.0)
    return Univariate.build(settings, task)


def apart(n: int = 600) -> Columns:
    """Ten columns whose means lie apart by classes, each more than the one before."""
    draw = np.random.default_rng(0)
    target = np.arange(float(n)) % 3
    values = draw.normal(size=(n, 10))
    return Columns(values + 0.15 * np.arange(10) * (target - 1)[:, None], target)


def scores(task: TableTask, patients: Columns) -> np.ndarray:
    asked = make(task)
    return asked.scores(asked.rows(patients).sum(axis=0), sd=0.0, n_declared=len(patients))


def test_classes_without_an_order_are_scored_as_by_an_f_test() -> None:
    patients = apart()
    found = scores(table_task(10, n_classes=3, is_ordered=False), patients)
    expected, _ = f_classif(patients.columns, patients.target)
    assert set(np.argsort(-found)[:5]) == set(np.argsort(-expected)[:5])
    assert np.corrcoef(found, expected)[0, 1] > 0.99


def test_a_class_counts_by_its_patients_by_hand() -> None:
    # 6, 2 and 2 patients: a column of the large class apart, and one of a small class by as much
    target = np.repeat([0.0, 1.0, 2.0], [6, 2, 2])
    columns = np.stack([target == 0, target == 1], axis=1).astype(np.float64)
    large, small = scores(table_task(2, n_classes=3, is_ordered=False), Columns(columns, target))
    # Σ n (mean − common mean)²: 6 · .4² + 4 · .6² and 2 · .8² + 8 · .2², in one public unit
    assert small / large == pytest.approx(1.6 / 2.4)


def test_ordered_classes_are_scored_by_the_covariance_with_their_place() -> None:
    patients = apart()
    expected = [
        abs(np.cov(column, patients.target, bias=True)[0, 1]) * 600 for column in patients.columns.T
    ]
    np.testing.assert_allclose(scores(table_task(10, n_classes=3), patients), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("epsilon", "share"), [(0.5, 0.1), (1.0, 0.1), (2.0, 0.03), (3.0, 0.03), (8.0, 0.0), (None, 0.1)]
)
def test_a_choice_costs_less_the_larger_epsilon_and_at_last_nothing(
    epsilon: float | None, share: float
) -> None:
    assert share_at(ROWS, epsilon) == share


def test_a_number_as_target_is_refused() -> None:
    with pytest.raises(SettingsError) as error:
        make(table_task(2))
    assert error.value.code == "settings.needs-classes"
