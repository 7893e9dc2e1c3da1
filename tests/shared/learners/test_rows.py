"""What rows of learners are made of, by hand."""

from __future__ import annotations

import numpy as np

from shared.features.columns import Column
from shared.learners.rows import (
    all_finite,
    by_class,
    one_hot,
    softmax,
    standardised,
    weighted_sums,
)


def test_columns_are_clipped_then_counted_in_public_sds_from_the_public_centre() -> None:
    column = Column(name="x", source="clinical", low=-2.0, high=6.0, centre=2.0, spread=4.0)
    values = np.array([[-np.inf], [2.0], [4.0], [1e300], [np.nan]])
    made = standardised(values, [column])[:, 0]
    assert made[:4].tolist() == [-1.0, 0.0, 0.5, 1.0]
    assert np.isnan(made[4])


def test_what_is_no_class_has_a_row_of_nan() -> None:
    hot = one_hot(np.array([0.0, 2.0, 3.0, -1.0, 0.5, np.nan]), 3)
    assert hot[:2].tolist() == [[1, 0, 0], [0, 0, 1]]
    assert np.isnan(hot[2:]).all()


def test_a_patient_shows_in_the_cells_of_one_class_or_nowhere() -> None:
    shown = np.array([[1.0, 5.0], [1.0, 7.0], [np.nan, 1.0]])
    hot = one_hot(np.array([1.0, np.nan, 0.0]), 2)
    rows = by_class(shown, hot, is_usable=all_finite(shown))
    assert rows.tolist() == [[0, 0, 1, 5], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_a_weighted_sum_is_a_matrix_product_whose_rows_do_not_know_each_other() -> None:
    draw = np.random.default_rng(0)
    values, weights = draw.normal(size=(67, 33)), draw.normal(size=(33, 5))
    whole = weighted_sums(values, weights)
    assert np.allclose(whole, values @ weights)
    for row in range(67):
        assert np.array_equal(weighted_sums(values[row : row + 1], weights)[0], whole[row])


def test_softmax_of_scores_that_overflow_alone() -> None:
    scores = np.array([[1e4, 1e4 + np.log(3.0)], [np.log(9.0) - 1e4, -1e4], [0.0, 0.0]])
    np.testing.assert_allclose(softmax(scores), [[0.25, 0.75], [0.9, 0.1], [0.5, 0.5]])
    np.testing.assert_allclose(softmax(np.log([[1.0, 2.0, 5.0]])), [[0.125, 0.25, 0.625]])
