"""Patients who were scored at several exams: each patient's row is the mean over that patient's exams.

A mean of bounded rows is within their bound, so the sum that a measure is stays what it was, and a
patient counts once however often that patient came. Imports scores and rows.
Legend: n patients · e exams · o outputs · k fields · m cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.measures.scored import Scored
from shared.sums.contract import Floats
from shared.sums.one_sum import Rows

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class ScoredExams:
    """Exams with outputs, label and fields, in the order of their patients.

    Shapes: exams of e; starts [n+1], where each patient's exams begin, and e.
    ``room``: exams for which each patient has room, a constant of the plan.
    """

    exams: Scored
    starts: Indices
    room: int = 1

    def __len__(self) -> int:
        """Number of patients."""
        return len(self.starts) - 1

    def select(self, indices: Sequence[int], /) -> ScoredExams:
        """The patients at ``indices``, in that order."""
        rows = [np.arange(self.starts[place], self.starts[place + 1]) for place in indices]
        exams = np.concatenate([np.zeros(0, dtype=np.int64), *rows])
        starts = np.cumsum([0, *(len(each) for each in rows)])
        return ScoredExams(self.exams.select(exams.tolist()), starts.astype(np.int64), self.room)

    def filled(self, size: int, /) -> ScoredExams:
        """The same patients and after them, up to ``size``, some with one exam each."""
        missing = max(size - len(self), 0)
        more = self.starts[-1] + np.arange(1, missing + 1)
        exams = self.exams.filled(len(self.exams) + missing)
        return ScoredExams(exams, np.concatenate([self.starts, more]), self.room)

    def earliest(self) -> Scored:
        """Each patient's first exam."""
        return self.exams.select(self.starts[:-1].tolist())


def exams_of(exams: Scored, patient: Indices, *, room: int = 1) -> ScoredExams:
    """Exams by patient, each of whom has one at least.

    Args:
        exams: e of them.
        patient: [e], rising: whose each exam is, whatever the numbers.
        room: as of ``ScoredExams``.
    """
    is_first = np.concatenate([[True], patient[1:] != patient[:-1]])[: len(patient)]
    starts = np.append(np.flatnonzero(is_first), len(patient))
    return ScoredExams(exams, starts.astype(np.int64), room)


@dataclass(frozen=True)
class MeanOverExams:
    """Rows of scored patients, made of patients with several exams."""

    asked: Rows[Scored]

    @property
    def n_cells(self) -> int:
        """As of an exam's row."""
        return self.asked.n_cells

    @property
    def norm(self) -> float:
        """As of an exam's row: a mean of rows is no longer than the longest."""
        return self.asked.norm

    def rows_of(self, patients: ScoredExams) -> Floats:
        """The mean of each patient's rows [n,m], added exam by exam: company changes no bit of it.

        Rows are made for all the room that patients have; who has fewer exams has the last one again,
        which is not added.
        """
        counts = np.diff(patients.starts)
        rows = np.zeros((len(patients), self.n_cells))
        for place in range(max(patients.room, int(counts.max(initial=0)))):
            shown = patients.starts[:-1] + np.minimum(place, counts - 1)
            made = self.asked.rows_of(patients.exams.select(shown.tolist()))
            rows += np.where((counts > place)[:, None], made, 0.0)
        means: Floats = rows / np.maximum(counts, 1)[:, None]
        return means
