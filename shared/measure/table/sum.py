"""The validation table as a sum: ``shared.measure.table.rows`` on the one contract.

Imports the rows, the contract and nothing of how a table is read.
"""

from __future__ import annotations

from dataclasses import dataclass

from shared.measure.table.rows import Floats, contributions
from shared.measure.table.spec import TableSpec, sensitivity
from shared.measures.scored import Scored, start_of_measure
from shared.sums.contract import State


@dataclass(frozen=True)
class TableSum:
    """State after the sum: the table, as ``read_table`` takes it."""

    spec: TableSpec

    def start(self) -> State:
        """Nothing: a row depends on no state."""
        return start_of_measure()

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

    def rows(self, state: State, patients: Scored) -> Floats:
        """The patients' contributions [n, n_cells]."""
        del state
        return contributions(self.spec, outputs=patients.outputs, label=patients.label)

    def advance(self, state: State, total: Floats, *, sd: float, n_declared: float) -> State:
        """The table."""
        del sd, n_declared
        return State(total, state.sums_done + 1)
