"""Splits that the seed draws, and the way of a patient through them."""

from __future__ import annotations

import numpy as np
import pytest
from practice_sums import COLUMNS
from practice_tables import number_columns

from shared.features.columns import Column
from shared.learners.public_trees import PublicTrees


def make(
    columns: tuple[Column, ...], *, seed: int = 7, n_trees: int = 12, depth: int = 3
) -> PublicTrees:
    return PublicTrees(columns=columns, n_trees=n_trees, depth=depth, seed=seed)


def test_trees_come_from_the_seed_and_the_public_columns_alone() -> None:
    column, threshold = make(COLUMNS).splits
    again = make(COLUMNS).splits
    assert np.array_equal(column, again[0])
    assert np.array_equal(threshold, again[1])
    assert not np.array_equal(column, make(COLUMNS, seed=8).splits[0])
    is_mark = np.array([each.is_mark for each in COLUMNS])
    assert (threshold[is_mark[column]] == 0.0).all()
    assert (threshold[~is_mark[column]] != 0.0).all()


def test_the_trees_of_a_seed_do_not_change_between_versions_of_numpy() -> None:
    # Made with numpy 2.4's RandomState on 2026-11-26, whose stream is frozen (NEP 19).
    column, threshold = make(number_columns(5), seed=1, n_trees=2, depth=2).splits
    assert column.tolist() == [[3, 4, 2], [4, 0, 4]]
    assert threshold.ravel() == pytest.approx(
        [0.3807866326, 1.8099844017, 0.3427905841, 1.6391327316, 0.1010684581, 1.7366677879], abs=1e-9
    )


def test_a_value_at_a_threshold_goes_to_the_left() -> None:
    trees = make(number_columns(1), n_trees=1, depth=1)
    threshold = trees.splits[1][0, 0]
    values = np.array([[threshold], [np.nextafter(threshold, np.inf)]])
    assert trees.leaves(values).tolist() == [[0], [1]]


def test_leaves_are_those_of_trees_walked_one_by_one() -> None:
    trees, values = make(number_columns(4)), np.random.default_rng(0).normal(size=(50, 4))
    column, threshold = trees.splits
    for patient, leaves in zip(values, trees.leaves(values), strict=True):
        for tree, leaf in enumerate(leaves):
            node = 0
            for _ in range(3):
                node = 2 * node + (2 if patient[column[tree, node]] > threshold[tree, node] else 1)
            assert leaf == node - 7
