"""Sums of columns by class: what centroids, linear discriminants and the choice of columns need.

A row is class ⊗ (a, z), with z a patient's columns about their public centres in public SDs, scaled
down to ‖z‖ ≤ R, and a what the patient weighs in the count of the class. Its norm is √(a² + ‖z‖²), at
most √(a² + R²), which every patient attains whose columns reach R. Imports columns and the lattice.

Legend: n patients · f columns · q classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shared.features.columns import Column, Columns
from shared.learners.rows import Floats, all_finite, by_class, one_hot, standardised
from shared.sums.lattice import bound_rows

# A class never counts for fewer patients, whatever the noise leaves of it.
_FEWEST = 1.0


@dataclass(frozen=True)
class ClassMeans:
    """Counts [q], means [q,f] in public SDs, and the SD of the noise in each class's means [q]."""

    counts: Floats
    means: Floats
    noise_sd: Floats


@dataclass(frozen=True, kw_only=True)
class ClassSums:
    """The rows, their bound, and what a total of them says.

    Attributes:
        columns: the patients' columns.
        n_classes: q.
        radius: R.
        count_weight: a.
    """

    columns: Sequence[Column]
    n_classes: int
    radius: float
    count_weight: float

    @property
    def length(self) -> int:
        """q·(1 + f)."""
        return self.n_classes * (1 + len(self.columns))

    @property
    def bound(self) -> float:
        """√(a² + R²)."""
        return math.hypot(self.count_weight, self.radius)

    def bounded(self, patients: Columns) -> Floats:
        """z [n,f]; NaN where a column is not finite."""
        z = standardised(patients.columns, self.columns)
        return np.where(all_finite(z)[:, None], bound_rows(z, bound=self.radius), np.nan)

    def rows(self, patients: Columns) -> Floats:
        """class ⊗ (a, z), [n, q·(1 + f)]."""
        z = self.bounded(patients)
        shown = np.hstack([np.full((len(z), 1), self.count_weight), z])
        hot = one_hot(patients.target, self.n_classes)
        return by_class(shown, hot, is_usable=all_finite(z))

    def read(self, total: Floats, *, sd: float) -> ClassMeans:
        """Counts and means; a class of which noise leaves nothing is taken as large as the noise."""
        table = total.reshape(self.n_classes, 1 + len(self.columns))
        counts = np.maximum(table[:, 0] / self.count_weight, max(sd / self.count_weight, _FEWEST))
        return ClassMeans(counts, table[:, 1:] / counts[:, None], sd / counts)
