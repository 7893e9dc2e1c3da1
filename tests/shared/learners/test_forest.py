"""Leaf counts and votes against trees walked one by one."""

from __future__ import annotations

import numpy as np
import pytest
from practice_tables import classes, in_three, table_task

from shared.errors import SettingsError
from shared.features.columns import Columns
from shared.learners.forest import Forest, ForestSettings
from shared.learners.task import TableTask
from shared.sums.federate import federate
from shared.sums.total import exact_total_of


def make(task: TableTask, **changes: object) -> Forest:
    values = {"kind": "forest", "trees": 12, "depth": 3, "leaf_floor": 1.0, **changes}
    return Forest.build(ForestSettings.model_validate(values), task)


def walk(forest: Forest, tree: int, values: np.ndarray) -> int:
    """The leaf of one patient in one tree, from the left."""
    column, threshold = forest.trees.splits
    node = 0
    for _ in range(forest.settings.depth):
        node = 2 * node + (2 if values[column[tree, node]] > threshold[tree, node] else 1)
    return node - column.shape[1]


def counted(forest: Forest, patients: Columns) -> np.ndarray:
    counts = np.zeros((12, 8, 3))
    for values, target in zip(patients.columns, patients.target, strict=True):
        for tree in range(12):
            counts[tree, walk(forest, tree, values), int(target)] += 1
    return counts


def test_the_total_is_the_count_of_patients_by_leaf_and_class() -> None:
    patients, forest = classes(150, 5), make(table_task(5, n_classes=3))
    total = exact_total_of(forest, forest.start(), patients)
    assert np.allclose(total * np.sqrt(12), counted(forest, patients).ravel(), atol=1e-9)


def test_a_row_has_the_norm_one_before_anything_bounds_it() -> None:
    patients, forest = classes(50, 5), make(table_task(5, n_classes=3))
    rows = forest.rows(forest.start(), patients)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-12)
    assert forest.bound(forest.start()) == 1.0
    assert (np.count_nonzero(rows, axis=1) == 12).all(), "one leaf of each tree"


def test_without_noise_odds_are_raised_by_the_mean_of_the_leaves_votes() -> None:
    patients, fresh = classes(300, 5), classes(40, 5, seed=1)
    forest = make(table_task(5, n_classes=3), sharpness=2.0)
    state = federate(forest, in_three(patients), n_declared=300)
    counts = counted(forest, patients)
    everybody = counts[0].sum(axis=0) / 300
    shares = np.where(
        counts.sum(axis=2, keepdims=True) > 0,
        counts / np.maximum(counts.sum(axis=2, keepdims=True), 1),
        everybody,
    )
    mean = np.array(
        [
            np.mean([shares[tree, walk(forest, tree, values)] for tree in range(12)], axis=0)
            for values in fresh.columns
        ]
    )
    expected = everybody * np.exp(2.0 * (mean / everybody - 1.0))
    expected = expected / expected.sum(axis=1, keepdims=True)
    assert np.allclose(forest.predict(state, fresh), expected, atol=1e-9)


def test_a_leaf_counts_as_its_floor_of_noise_by_hand() -> None:
    forest = make(table_task(1, n_classes=2), trees=1, depth=1, vote_floor=6.0, leaf_floor=1.0)
    counts = np.array([30.0, 10.0, 10.0, 30.0])  # two leaves of 40, one half of each class overall
    said = forest.advance(forest.start(), counts, sd=10.0, n_declared=80).vector[2:]
    assert said.tolist() == pytest.approx(np.array([20, -20, -20, 20]) / (6 * 10 * np.sqrt(2)))
    quiet = forest.advance(forest.start(), counts, sd=1.0, n_declared=80).vector[2:]
    assert quiet.tolist() == pytest.approx(np.array([20, -20, -20, 20]) / 40)


def test_small_leaves_say_less_the_louder_the_noise() -> None:
    forest = make(table_task(5, n_classes=3))
    total = exact_total_of(forest, forest.start(), classes(150, 5))
    said = [
        np.abs(forest.advance(forest.start(), total, sd=sd, n_declared=150).vector[3:]).sum()
        for sd in (0.0, 3.0, 30.0)
    ]
    assert said[0] > 3 * said[1] > 9 * said[2]


def test_a_number_as_target_is_refused() -> None:
    with pytest.raises(SettingsError) as error:
        make(table_task(2))
    assert error.value.code == "settings.needs-classes"
