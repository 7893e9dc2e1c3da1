"""A sum that is asked once: its state is the total, whatever stood there before."""

from __future__ import annotations

import numpy as np
from practice_sums import BMD_TABLE

from shared.measure.table.sum import TableRows
from shared.measures.scored import Scored
from shared.sums.contract import State
from shared.sums.one_sum import OneSum


def test_it_is_the_rows_on_the_contract() -> None:
    rows = TableRows(BMD_TABLE)
    asked = OneSum(rows)
    label = np.array([0.5, 0.7, 0.9])
    patients = Scored(label[:, None] + 0.01, label, np.zeros((3, 0)))
    start = asked.start()
    assert (start.vector.size, asked.shares()) == (0, (1.0,))
    assert (asked.length(start), asked.bound(start)) == (rows.n_cells, rows.norm)
    assert np.array_equal(asked.rows(start, patients), rows.rows_of(patients))


def test_its_state_after_the_sum_is_the_total() -> None:
    asked = OneSum(TableRows(BMD_TABLE))
    total = np.arange(float(BMD_TABLE.n_cells))
    after = asked.advance(State(np.ones(3), 0), total, sd=2.0, n_declared=10.0)
    assert after.sums_done == 1
    assert np.array_equal(after.vector, total)
