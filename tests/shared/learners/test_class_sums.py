"""Sums by class against numpy's own means, and what noise leaves of a class."""

from __future__ import annotations

import numpy as np
import pytest
from practice_tables import classes, number_columns

from shared.features.columns import Columns
from shared.learners.class_sums import ClassSums


def make(radius: float = 1e3, count_weight: float = 2.0) -> ClassSums:
    return ClassSums(columns=number_columns(3), n_classes=3, radius=radius, count_weight=count_weight)


def test_without_noise_counts_and_means_are_those_of_the_classes() -> None:
    patients, asked = classes(200, 3), make()
    found = asked.read(asked.rows(patients).sum(axis=0), sd=0.0)
    for place in range(3):
        here = patients.target == place
        assert found.counts[place] == pytest.approx(here.sum())
        np.testing.assert_allclose(found.means[place], patients.columns[here].mean(axis=0))
    assert found.noise_sd.tolist() == [0.0] * 3


def test_a_patient_far_out_attains_the_bound_and_keeps_the_direction() -> None:
    asked = make(radius=2.0, count_weight=1.5)
    row = asked.rows(Columns(np.array([[60.0, -80.0, 0.0]]), np.array([1.0])))[0]
    assert row.tolist() == pytest.approx([0.0] * 4 + [1.5, 1.2, -1.6, 0.0] + [0.0] * 4)
    assert np.linalg.norm(row) == pytest.approx(asked.bound) == 2.5
    assert len(row) == asked.length


@pytest.mark.parametrize(("value", "target"), [(np.nan, 1.0), (0.5, np.nan), (0.5, 3.0)])
def test_who_has_no_class_or_no_number_is_in_no_sum(value: float, target: float) -> None:
    patient = Columns(np.array([[value, 0.0, 0.0]]), np.array([target]))
    assert not make().rows(patient).any()


def test_a_class_that_noise_swallows_is_as_large_as_the_noise_by_hand() -> None:
    total = np.zeros((3, 4))
    total[:, 0], total[:, 1] = (-30.0, 10.0, 200.0), 40.0
    found = make(count_weight=2.0).read(total.ravel(), sd=20.0)
    assert found.counts.tolist() == [10.0, 10.0, 100.0]
    assert found.means[:, 0].tolist() == [4.0, 4.0, 0.4]
    assert found.noise_sd.tolist() == [2.0, 2.0, 0.2]
