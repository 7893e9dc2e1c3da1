"""Columns scored one by one, from sums by class: by how far the classes' means lie apart.

Two or ordered classes: the covariance of the column with the class's place. Classes without an order:
the sum of squares between classes, which is an F-test's where columns vary alike within classes. The
row and its bound are those of ``class_sums``. Imports the sums by class.

Legend: n patients · f columns · q classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from shared.features.columns import Columns
from shared.learners.class_sums import ClassSums
from shared.learners.rows import Floats
from shared.learners.task import TableTask, require_classes
from shared.strict import FROZEN


class ShareRow(BaseModel):
    """One row of the public table: what the choice of columns takes of the budget at an ε.

    Attributes:
        up_to_epsilon: largest training ε that the row is for.
        share: of μ²; 0 where all columns are kept.
    """

    model_config = FROZEN

    up_to_epsilon: float = Field(gt=0)
    share: float = Field(ge=0, lt=1)


def share_at(rows: tuple[ShareRow, ...], epsilon: float | None) -> float:
    """The share at an ε: of the first row that reaches it, else 0; without privacy the first row's."""
    if epsilon is None:
        return rows[0].share
    return next((row.share for row in rows if epsilon <= row.up_to_epsilon), 0.0)


class UnivariateSettings(BaseModel):
    """Settings of scores by class means; f is the number of columns.

    Attributes:
        shares: rows by rising ``up_to_epsilon``; beyond the last all columns are kept.
        radius_per_column: R²/f, to which a patient's squared distance from the public centre is
            clipped.
        count_weight: a/R, with a a patient's weight in the count of the class.
    """

    model_config = FROZEN

    kind: Literal["univariate"]
    shares: tuple[ShareRow, ...] = Field(min_length=1)
    radius_per_column: float = Field(default=0.4, gt=0, le=100)
    count_weight: float = Field(default=0.5, gt=0, le=10)

    def share_at(self, epsilon: float | None) -> float:
        """What the choice takes of the budget."""
        return share_at(self.shares, epsilon)


@dataclass(frozen=True)
class Univariate:
    """Scores [f] from one sum by class."""

    task: TableTask
    asked: ClassSums

    @classmethod
    def build(cls, settings: UnivariateSettings, task: TableTask) -> Univariate:
        """The scores of a task.

        Raises:
            SettingsError: the target is no class.
        """
        require_classes(task, kind="selection")
        radius = math.sqrt(settings.radius_per_column * len(task.columns))
        asked = ClassSums(
            columns=task.columns,
            n_classes=task.n_classes,
            radius=radius,
            count_weight=settings.count_weight * radius,
        )
        return cls(task, asked)

    @property
    def length(self) -> int:
        """q·(1 + f)."""
        return self.asked.length

    @property
    def bound(self) -> float:
        """√(a² + R²)."""
        return self.asked.bound

    def rows(self, patients: Columns) -> Floats:
        """class ⊗ (a, z), [n, q·(1 + f)]."""
        return self.asked.rows(patients)

    def scores(self, total: Floats, *, sd: float, n_declared: float) -> Floats:
        """How far the classes' means lie apart in each column [f]."""
        del n_declared
        found = self.asked.read(total, sd=sd)
        n = found.counts.sum()
        apart = found.means - found.counts @ found.means / n  # [q,f]
        if self.task.n_classes > 2 and not self.task.is_ordered:
            between: Floats = found.counts @ apart**2
            return between
        place = np.arange(self.task.n_classes, dtype=np.float64)
        place -= found.counts @ place / n
        covariance: Floats = np.abs((found.counts * place) @ apart)
        return covariance

    def unasked(self, keep: int) -> NDArray[np.intp]:
        """Places of all columns: a first sum costs more than the columns that it would leave out."""
        del keep
        return np.arange(len(self.task.columns))
