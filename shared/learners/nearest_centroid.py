"""Nearest centroid from one sum: a patient belongs to the class whose mean lies nearest.

Means are those of ``class_sums``, drawn towards the common mean by what the noise puts into them; all
classes count alike, however frequent they are. Imports columns and the sums by class.

Source: Tibshirani et al. 2002 (PNAS 99:6567), with James and Stein's shrinkage in place of thresholds.

Legend: n patients · f columns · q classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, Field

from shared.features.columns import Columns
from shared.learners.class_sums import ClassSums
from shared.learners.rows import Floats, kept_of, softmax
from shared.learners.task import TableTask, require_classes
from shared.strict import FROZEN
from shared.sums.contract import State


class NearestCentroidSettings(BaseModel):
    """Settings of nearest centroids; distances are those of z, f is the number of columns.

    Attributes:
        radius_per_column: R²/f, to which a patient's squared distance from the public centre is
            clipped.
        count_weight: a/R, with a a patient's weight in the count of the class.
        temper: divides half the squared distances, before they are read as logarithms of odds.
    """

    model_config = FROZEN

    kind: Literal["nearest_centroid"]
    radius_per_column: float = Field(default=0.4, gt=0, le=100)
    count_weight: float = Field(default=0.5, gt=0, le=10)
    temper: float = Field(default=4.0, gt=0, le=1e4)


@dataclass(frozen=True)
class NearestCentroid:
    """State after the sum [q·f]: each class's mean z."""

    task: TableTask
    asked: ClassSums
    temper: float

    @classmethod
    def build(cls, settings: NearestCentroidSettings, task: TableTask) -> NearestCentroid:
        """The learner of a plan.

        Raises:
            SettingsError: the target is no class.
        """
        require_classes(task, kind=settings.kind)
        radius = math.sqrt(settings.radius_per_column * len(task.columns))
        asked = ClassSums(
            columns=task.columns,
            n_classes=task.n_classes,
            radius=radius,
            count_weight=settings.count_weight * radius,
        )
        return cls(task, asked, settings.temper)

    def start(self) -> State:
        """Nothing: the row depends on no state."""
        return State(np.zeros(0))

    def shares(self) -> tuple[float, ...]:
        """One sum."""
        return (1.0,)

    def length(self, state: State) -> int:
        """q·(1 + f)."""
        del state
        return self.asked.length

    def bound(self, state: State) -> float:
        """√(a² + R²)."""
        del state
        return self.asked.bound

    def rows(self, state: State, patients: Columns) -> Floats:
        """class ⊗ (a, z), [n, q·(1 + f)]."""
        del state
        return self.asked.rows(patients)

    def advance(self, state: State, total: Floats, *, sd: float, n_declared: float) -> State:
        """Means, drawn towards the common one by what the noise puts into them."""
        del n_declared
        found = self.asked.read(total, sd=sd)
        common = found.counts @ found.means / found.counts.sum()
        apart = found.means - common
        means = common + apart * kept_of(apart, found.noise_sd)
        return State(means.ravel(), state.sums_done + 1)

    def predict(self, state: State, patients: Columns) -> Floats:
        """Probability of each class [n,q]."""
        z = self.asked.scaled(patients)
        means = state.vector.reshape(self.task.n_classes, -1)
        squared = np.stack([((z - mean) ** 2).sum(axis=1) for mean in means], axis=1)
        return softmax(-0.5 * squared / self.temper)
