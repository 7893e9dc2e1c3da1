"""The table as a sum gives the table that it always was."""

from __future__ import annotations

import numpy as np
from practice_sums import BMD_TABLE, CLASS_TABLE
from practice_tables import sum_table
from practice_validation import rows_of_numbers

from shared.measure.table.spec import sensitivity
from shared.measure.table.sum import TableRows
from shared.measures.scored import Scored
from shared.sums.federate import federate
from shared.sums.one_sum import OneSum


def test_without_noise_the_state_is_the_table_of_all_sites() -> None:
    draw = np.random.default_rng(0)
    target, prediction = draw.normal(0.7, 0.1, size=(2, 90))
    patients = Scored(prediction[:, None], target, np.zeros((90, 0)))
    rows = rows_of_numbers(BMD_TABLE, prediction, target)
    sites = [patients.select(range(0, 30)), patients.select(range(30, 90))]
    state = federate(OneSum(TableRows(BMD_TABLE)), sites, n_declared=90)
    assert np.allclose(state.vector, sum_table(rows), atol=1e-9)


def test_a_table_of_two_classes_counts_who_has_the_endpoint_first() -> None:
    score = np.array([0.1, 0.9, 0.8])
    outputs = np.stack([1 - score, score], axis=1)
    patients = Scored(outputs, np.array([0.0, 1.0, 1.0]), np.zeros((3, 0)))
    asked = OneSum(TableRows(CLASS_TABLE))
    state = federate(asked, [patients], n_declared=3)
    assert state.vector.tolist() == [0, 0, 0, 2, 1, 0, 0, 0]
    assert asked.bound(state) == sensitivity(CLASS_TABLE) == 1.0
    assert asked.length(state) == 8
