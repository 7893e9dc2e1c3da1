"""Gaussian naive Bayes from one sum: counts, means and variances of every column in each class.

A row is class ⊗ (1, u, u² − 1) with u a column in public SDs; all but the count is scaled down jointly
to a public norm. Variances are pooled over the classes, which takes less budget than one for each.
Imports columns, the contract and the lattice.

Legend: n patients · f columns · q classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, Field

from shared.features.columns import Columns
from shared.learners.rows import (
    Floats,
    all_finite,
    by_class,
    kept_of,
    one_hot,
    softmax,
    standardised,
)
from shared.learners.task import TableTask, require_classes
from shared.strict import FROZEN
from shared.sums.contract import State
from shared.sums.lattice import bound_rows


class NaiveBayesSettings(BaseModel):
    """Settings of Gaussian naive Bayes with pooled variances; u is a column in public SDs, f the number
    of columns.

    Attributes:
        radius_per_column: R²/f, to which ‖(u, w·(u² − 1))‖² is clipped.
        square_weight: w.
        variance_floor: no variance is below this many public variances.
        temper: divides the columns' evidence, which is not independent, before it is added to the
            classes' log-frequencies.
    """

    model_config = FROZEN

    kind: Literal["naive_bayes"]
    radius_per_column: float = Field(default=0.2, gt=0, le=100)
    square_weight: float = Field(default=0.2, gt=0, le=10)
    variance_floor: float = Field(default=0.25, gt=0, le=1)
    temper: float = Field(default=4.0, ge=1, le=100)


@dataclass(frozen=True)
class NaiveBayes:
    """State after the sum [q + q·f + f]: log-frequencies, means and pooled variances."""

    task: TableTask
    settings: NaiveBayesSettings

    @classmethod
    def build(cls, settings: NaiveBayesSettings, task: TableTask) -> NaiveBayes:
        """The learner of a plan.

        Raises:
            SettingsError: the target is no class.
        """
        require_classes(task, kind=settings.kind)
        return cls(task, settings)

    @property
    def _radius(self) -> float:
        return math.sqrt(self.settings.radius_per_column * len(self.task.columns))

    def start(self) -> State:
        """Nothing: the row depends on no state."""
        return State(np.zeros(0))

    def shares(self) -> tuple[float, ...]:
        """One sum."""
        return (1.0,)

    def length(self, state: State) -> int:
        """q·(1 + 2f)."""
        del state
        return self.task.n_classes * (1 + 2 * len(self.task.columns))

    def bound(self, state: State) -> float:
        """√(1 + R²)."""
        del state
        return math.hypot(1.0, self._radius)

    def rows(self, state: State, patients: Columns) -> Floats:
        """class ⊗ (1, u, w·(u² − 1)), [n, q·(1 + 2f)]."""
        del state
        u = standardised(patients.columns, self.task.columns)
        moments = np.hstack([u, self.settings.square_weight * (u * u - 1.0)])
        hot = one_hot(patients.target, self.task.n_classes)
        shown = np.hstack([np.ones((len(u), 1)), bound_rows(moments, bound=self._radius)])
        return by_class(shown, hot, is_usable=all_finite(u))

    def advance(self, state: State, total: Floats, *, sd: float, n_declared: float) -> State:
        """Means shrunk towards the common one by what the noise puts into them; floored variances."""
        del n_declared
        q, f = self.task.n_classes, len(self.task.columns)
        table = total.reshape(q, 1 + 2 * f)
        # A class of which the noise leaves nothing is taken as large as the noise.
        count = np.maximum(table[:, 0], max(sd, 1.0))  # [q]
        sums, n = table[:, 1 : 1 + f], count.sum()
        common = sums.sum(axis=0) / n  # [f]
        square = 1.0 + table[:, 1 + f :].sum(axis=0) / self.settings.square_weight / n  # [f]
        apart = sums / count[:, None] - common  # [q,f]
        means = common + apart * kept_of(apart, sd / count)
        within = square - (count[:, None] * means**2).sum(axis=0) / n
        variance = np.maximum(within, self.settings.variance_floor)
        return State(np.concatenate([np.log(count / n), means.ravel(), variance]), state.sums_done + 1)

    def predict(self, state: State, patients: Columns) -> Floats:
        """Probability of each class [n,q]."""
        q, f = self.task.n_classes, len(self.task.columns)
        frequency, rest = state.vector[:q], state.vector[q:]
        means, variance = rest[: q * f].reshape(q, f), rest[q * f :]
        u = standardised(patients.columns, self.task.columns)
        evidence = np.stack([-0.5 * ((u - mean) ** 2 / variance).sum(axis=1) for mean in means], axis=1)
        return softmax(frequency + evidence / self.settings.temper)
