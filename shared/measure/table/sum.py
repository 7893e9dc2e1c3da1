"""The validation table as rows of scored patients, for ``shared.sums.one_sum``.

Imports the rows and nothing of how a table is read.
"""

from __future__ import annotations

from dataclasses import dataclass

from shared.measure.table.rows import Floats, contributions
from shared.measure.table.spec import TableSpec, sensitivity
from shared.measures.scored import Scored


@dataclass(frozen=True)
class TableRows:
    """Cells of a table, as ``read_table`` takes their sum."""

    spec: TableSpec

    @property
    def n_cells(self) -> int:
        """The table's cells."""
        return self.spec.n_cells

    @property
    def norm(self) -> float:
        """The table's sensitivity."""
        return sensitivity(self.spec)

    def rows_of(self, patients: Scored) -> Floats:
        """The patients' contributions [n, n_cells]."""
        return contributions(self.spec, outputs=patients.outputs, label=patients.label)
