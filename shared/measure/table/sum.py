"""The validation table as a sum: ``shared.measure.table.rows`` on the one contract.

Imports the rows, the contract and nothing of how a table is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shared.measure.table.rows import Bools, Floats, TableSpec, contributions, sensitivity
from shared.sums.contract import State


@dataclass(frozen=True)
class ScoredPatients:
    """What a table needs of each patient, see ``contributions``.

    Shapes:
        score [n]; is_positive [n]; in regression target [n] and prediction [n], else None.
    """

    score: Floats
    is_positive: Bools
    target: Floats | None = None
    prediction: Floats | None = None

    def __len__(self) -> int:
        """Number of patients."""
        return len(self.score)

    def select(self, indices: Sequence[int], /) -> ScoredPatients:
        """The patients at ``indices``, in that order."""
        rows = np.asarray(indices, dtype=np.intp)
        return ScoredPatients(
            score=self.score[rows],
            is_positive=self.is_positive[rows],
            target=None if self.target is None else self.target[rows],
            prediction=None if self.prediction is None else self.prediction[rows],
        )


@dataclass(frozen=True)
class TableSum:
    """State after the sum: the table, as ``read_table`` takes it."""

    spec: TableSpec

    def start(self) -> State:
        """Nothing: a row depends on no state."""
        return State(np.zeros(0))

    def shares(self) -> tuple[float, ...]:
        """One sum."""
        return (1.0,)

    def length(self, state: State) -> int:
        """The table's cells."""
        del state
        return self.spec.n_cells

    def bound(self, state: State) -> float:
        """The table's sensitivity."""
        del state
        return sensitivity(self.spec)

    def rows(self, state: State, patients: ScoredPatients) -> Floats:
        """The patients' contributions [n, n_cells]."""
        del state
        return contributions(
            self.spec,
            score=patients.score,
            is_positive=patients.is_positive,
            target=patients.target,
            prediction=patients.prediction,
        )

    def advance(self, state: State, total: Floats, *, sd: float, n_declared: float) -> State:
        """The table."""
        del sd, n_declared
        return State(total, state.sums_done + 1)
