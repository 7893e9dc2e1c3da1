"""A sum that is asked once and keeps no state, from one bounded row per patient: what measures are.

Imports the contract only. Legend: n patients · m cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from shared.sums.contract import AnyPatients, Floats, Patients, State

ThesePatients = TypeVar("ThesePatients", bound=Patients)


class Rows(Protocol[AnyPatients]):
    """One bounded row per patient, whatever was asked before."""

    @property
    def n_cells(self) -> int:
        """m."""
        ...

    @property
    def norm(self) -> float:
        """Largest L2 norm that a row can have, whatever a patient's data are."""
        ...

    def rows_of(self, patients: AnyPatients) -> Floats:
        """One row per patient [n,m]; a patient without a label has a row of zeros."""
        ...


@dataclass(frozen=True)
class OneSum(Generic[ThesePatients]):
    """The rows on the one contract; the state after the sum is its total."""

    asked: Rows[ThesePatients]

    def start(self) -> State:
        """Nothing: a row depends on no state."""
        return State(np.zeros(0))

    def shares(self) -> tuple[float, ...]:
        """One sum has it all."""
        return (1.0,)

    def length(self, state: State) -> int:
        """The rows' cells."""
        del state
        return self.asked.n_cells

    def bound(self, state: State) -> float:
        """The rows' norm."""
        del state
        return self.asked.norm

    def rows(self, state: State, patients: ThesePatients) -> Floats:
        """The patients' rows."""
        del state
        return self.asked.rows_of(patients)

    def advance(self, state: State, total: Floats, *, sd: float, n_declared: float) -> State:
        """The total itself."""
        del sd, n_declared
        return State(total, state.sums_done + 1)
