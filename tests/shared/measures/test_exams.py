"""A patient with several exams counts once, by the mean of the exams' rows."""

from __future__ import annotations

import numpy as np
import pytest
from practice_sums import BMD_TABLE

from shared.measure.table.cells import count_patients
from shared.measure.table.rows import contributions
from shared.measure.table.sum import TableRows
from shared.measures.exams import MeanOverExams, ScoredExams, exams_of
from shared.measures.scored import Scored

TABLE = TableRows(BMD_TABLE)
ASKED = MeanOverExams(TABLE)


def people(counts: list[int], seed: int = 0) -> ScoredExams:
    draw = np.random.default_rng(seed)
    label = draw.normal(0.7, 0.1, sum(counts))
    exams = Scored(
        label[:, None] + draw.normal(0, 0.05, (len(label), 1)), label, np.zeros((len(label), 0))
    )
    return exams_of(exams, np.repeat(np.arange(len(counts)) * 7, counts))


def test_a_patients_row_is_the_mean_of_the_exams_rows() -> None:
    patients = people([1, 3, 2])
    rows = ASKED.rows_of(patients)
    of_exams = contributions(BMD_TABLE, outputs=patients.exams.outputs, label=patients.exams.label)
    expected = [of_exams[:1].mean(axis=0), of_exams[1:4].mean(axis=0), of_exams[4:].mean(axis=0)]
    assert rows == pytest.approx(np.array(expected))
    assert np.linalg.norm(rows, axis=1).max() <= TABLE.norm
    assert count_patients(rows.sum(axis=0), BMD_TABLE, noise_sd=0.0)[0] == pytest.approx(3)


def test_a_patients_row_is_the_same_bit_for_bit_in_any_company() -> None:
    patients = people([2, 1, 3, 3, 1, 2])
    together = ASKED.rows_of(patients)
    for order in ([3], [5, 3, 0], [2, 2, 3]):
        rows = ASKED.rows_of(patients.select(order))
        assert np.array_equal(rows, together[order])


def test_patients_are_selected_with_all_their_exams_and_may_be_none() -> None:
    patients = people([2, 1, 3])
    some = patients.select([2, 0])
    assert np.diff(some.starts).tolist() == [3, 2]
    assert some.exams.label.tolist() == patients.exams.label[[3, 4, 5, 0, 1]].tolist()
    assert some.earliest().label.tolist() == patients.exams.label[[3, 0]].tolist()
    nobody = patients.select([])
    assert len(nobody) == len(people([])) == 0
    assert ASKED.rows_of(nobody).shape == (0, BMD_TABLE.n_cells)


def test_rows_are_made_for_all_the_room_that_patients_have_however_often_they_came() -> None:
    asked: list[int] = []

    class Noted:
        n_cells, norm = TABLE.n_cells, TABLE.norm

        def rows_of(self, exams: Scored) -> np.ndarray:
            asked.append(len(exams))
            return TABLE.rows_of(exams)

    def shapes(counts: list[int], size: int) -> list[int]:
        asked.clear()
        held = people(counts)
        MeanOverExams(Noted()).rows_of(ScoredExams(held.exams, held.starts, room=3).filled(size))
        return list(asked)

    assert shapes([1, 1], 4) == shapes([3, 1, 2], 4) == shapes([], 4) == [4, 4, 4]


def test_stand_ins_come_after_the_patients_and_change_none_of_them() -> None:
    patients = people([2, 1])
    filled = patients.filled(5)
    assert np.diff(filled.starts).tolist() == [2, 1, 1, 1, 1]
    assert np.array_equal(ASKED.rows_of(filled)[:2], ASKED.rows_of(patients))
    assert len(patients.filled(1)) == 2
