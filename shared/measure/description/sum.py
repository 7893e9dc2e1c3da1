"""A cohort's description as a sum: ``shared.measure.description.rows`` on the one contract.

Imports the rows, the contract and nothing of how a description is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shared.measure.description.rows import (
    Bools,
    DescriptionSpec,
    Floats,
    contributions,
    sensitivity,
)
from shared.sums.contract import State


@dataclass(frozen=True)
class DescribedPatients:
    """What a description needs of each patient, see ``contributions``.

    Shapes:
        fields [n,k]; field_mask [n,k]; target [n]; is_positive [n].
    """

    fields: Floats
    field_mask: Bools
    target: Floats
    is_positive: Bools

    def __len__(self) -> int:
        """Number of patients."""
        return len(self.target)

    def select(self, indices: Sequence[int], /) -> DescribedPatients:
        """The patients at ``indices``, in that order."""
        rows = np.asarray(indices, dtype=np.intp)
        return DescribedPatients(
            self.fields[rows], self.field_mask[rows], self.target[rows], self.is_positive[rows]
        )


@dataclass(frozen=True)
class DescriptionSum:
    """State after the sum: the description's cells, as its readings take them."""

    spec: DescriptionSpec

    def start(self) -> State:
        """Nothing: a row depends on no state."""
        return State(np.zeros(0))

    def shares(self) -> tuple[float, ...]:
        """One sum."""
        return (1.0,)

    def length(self, state: State) -> int:
        """The description's cells."""
        del state
        return self.spec.n_cells

    def bound(self, state: State) -> float:
        """The description's sensitivity."""
        del state
        return sensitivity(self.spec)

    def rows(self, state: State, patients: DescribedPatients) -> Floats:
        """The patients' contributions [n, n_cells]."""
        del state
        return contributions(
            self.spec,
            fields=patients.fields,
            field_mask=patients.field_mask,
            target=patients.target,
            is_positive=patients.is_positive,
        )

    def advance(self, state: State, total: Floats, *, sd: float, n_declared: float) -> State:
        """The cells."""
        del sd, n_declared
        return State(total, state.sums_done + 1)
