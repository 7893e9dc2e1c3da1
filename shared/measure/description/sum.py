"""A cohort's description as rows of patients, for ``shared.sums.one_sum``.

Imports the rows and nothing of how a description is read.
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

    def filled(self, size: int, /) -> DescribedPatients:
        """The same patients and after them, up to ``size``, some of whom everything is missing."""
        missing = max(size - len(self), 0)
        return DescribedPatients(
            np.pad(self.fields, ((0, missing), (0, 0))),
            np.pad(self.field_mask, ((0, missing), (0, 0))),
            np.pad(self.target, (0, missing)),
            np.pad(self.is_positive, (0, missing)),
        )


@dataclass(frozen=True)
class DescriptionRows:
    """A description's cells, as its readings take their sum."""

    spec: DescriptionSpec

    @property
    def n_cells(self) -> int:
        """The description's cells."""
        return self.spec.n_cells

    @property
    def norm(self) -> float:
        """The description's sensitivity."""
        return sensitivity(self.spec)

    def rows_of(self, patients: DescribedPatients) -> Floats:
        """The patients' contributions [n, n_cells]."""
        return contributions(
            self.spec,
            fields=patients.fields,
            field_mask=patients.field_mask,
            target=patients.target,
            is_positive=patients.is_positive,
        )
