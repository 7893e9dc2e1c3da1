"""The table as a sum gives the table that it always was."""

from __future__ import annotations

import numpy as np
from practice_sums import BMD_TABLE, CLASS_TABLE
from practice_tables import sum_table

from shared.measure.table.rows import contributions, sensitivity
from shared.measure.table.sum import ScoredPatients, TableSum
from shared.sums.federate import federate


def test_without_noise_the_state_is_the_table_of_all_sites() -> None:
    draw = np.random.default_rng(0)
    target, prediction = draw.normal(0.7, 0.1, size=(2, 90))
    patients = ScoredPatients(prediction, target <= 0.558, target, prediction)
    rows = contributions(
        BMD_TABLE, score=prediction, is_positive=target <= 0.558, target=target, prediction=prediction
    )
    sites = [patients.select(range(0, 30)), patients.select(range(30, 90))]
    state = federate(TableSum(BMD_TABLE), sites, n_declared=90)
    assert np.allclose(state.vector, sum_table(rows), atol=1e-9)


def test_a_classification_needs_no_target() -> None:
    patients = ScoredPatients(np.array([0.1, 0.9, 0.8]), np.array([False, True, True]))
    asked = TableSum(CLASS_TABLE)
    state = federate(asked, [patients], n_declared=3)
    assert state.vector.tolist() == [0, 0, 0, 2, 1, 0, 0, 0]
    assert asked.bound(state) == sensitivity(CLASS_TABLE) == 1.0
    assert asked.length(state) == 8
