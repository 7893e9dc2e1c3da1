"""Sums of columns by class: what centroids, linear discriminants and the choice of columns need.

A row is class ⊗ (a, z), with z a patient's columns about their public centres over one common public
SD, scaled down to ‖z‖ ≤ R, and a what the patient weighs in the count of the class. Its norm is √(a² +
‖z‖²), at most √(a² + R²), which every patient attains whose columns reach R. One SD for all, the root
of the columns' mean public variance: many narrow columns, as of an image, then take no more of R than
they hold. Imports columns and the lattice.

Legend: n patients · f columns · q classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shared.features.columns import Column, Columns, clip_columns
from shared.learners.rows import Floats, all_finite, by_class, one_hot
from shared.sums.lattice import bound_rows

# A class never counts for fewer patients, whatever the noise leaves of it.
_FEWEST = 1.0


@dataclass(frozen=True)
class ClassMeans:
    """Counts [q], means [q,f] of z, and the SD of the noise in each class's means [q]."""

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

    def scaled(self, patients: Columns) -> Floats:
        """z before it is scaled down [n,f]."""
        centre = np.array([column.centre for column in self.columns])
        spread = np.array([column.spread for column in self.columns])
        apart: Floats = clip_columns(patients.columns, self.columns) - centre
        return apart / math.sqrt(float((spread**2).mean()))

    def bounded(self, patients: Columns) -> Floats:
        """z [n,f]; NaN where a column is not finite."""
        z = self.scaled(patients)
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
