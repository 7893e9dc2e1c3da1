"""Linear discriminants from one sum: class means, and where ε allows it the scatter within classes.

Read from class sums, a row is that of ``class_sums``, class ⊗ (a, z), and the scatter within
classes is taken as public: every column alike. Read from the matrix, it also holds b
times the upper triangle of z·zᵀ, off the diagonal times √2, and the scatter is read from its total. The
plan's ε chooses, never a patient, and the plan's numbers of a sum tell which was chosen.

Bound: ‖class ⊗ (a, z)‖² = a² + ‖z‖² and the triangle's norm is ‖z‖², so a row has at most
√(a² + R² + b²R⁴), which every patient attains whose columns reach R.
Imports columns, the sums by class and the readings of moments.

Source: Hastie, Tibshirani, Friedman 2009, eq. 4.10.

Legend: n patients · f columns · q classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from shared.features.columns import Columns
from shared.learners.class_sums import ClassSums
from shared.learners.moments import Moments, discriminants
from shared.learners.rows import Floats, one_hot, softmax, weighted_sums
from shared.learners.task import TableTask, require_classes
from shared.strict import FROZEN
from shared.sums.contract import State

Indices = NDArray[np.intp]
LdaReading = Literal["class_sums", "matrix"]


class LdaSettings(BaseModel):
    """Settings of linear discriminants; z is as in ``class_sums``, f the number of columns.

    Attributes:
        reading: from the sums by class alone, or also from the matrix; null: by ε, which a plan writes
            down.
        matrix_from_epsilon: smallest ε at which the scatter is asked for, where ``reading`` is null.
        radius_per_column: R²/f, to which ‖z‖² is clipped.
        count_weight: a/R, with a a patient's weight in the count of the class.
        matrix_weight: b·R, the weight of the triangle beside the sums by class.
        penalty: added to the scatter's diagonal as so many patients, or the noise's share where more.
        noise_share: share of the noise's norm that is added to the diagonal at least.
    """

    model_config = FROZEN

    kind: Literal["lda"]
    reading: LdaReading | None = None
    matrix_from_epsilon: float = Field(default=2.0, gt=0)
    radius_per_column: float = Field(default=0.4, gt=0, le=100)
    count_weight: float = Field(default=0.5, gt=0, le=10)
    matrix_weight: float = Field(default=0.5, gt=0, le=10)
    penalty: float = Field(default=30.0, ge=0, le=1e6)
    noise_share: float = Field(default=0.6, ge=0.3, le=100)

    def reading_at(self, epsilon: float | None) -> LdaReading:
        """How it is read at a stage's ε; None: without privacy."""
        if self.reading is not None:
            return self.reading
        is_loud = epsilon is not None and epsilon < self.matrix_from_epsilon
        return "class_sums" if is_loud else "matrix"


@dataclass(frozen=True)
class Lda:
    """State after the sum [q + f·q]: each class's offset, then its weights on z."""

    task: TableTask
    settings: LdaSettings

    @classmethod
    def build(cls, settings: LdaSettings, task: TableTask) -> Lda:
        """The learner of a plan.

        Raises:
            SettingsError: the target is no class.
        """
        require_classes(task, kind=settings.kind)
        return cls(task, settings)

    @property
    def asks_matrix(self) -> bool:
        """Whether the scatter within classes is asked for at the plan's ε."""
        return self.settings.reading_at(self.task.epsilon) == "matrix"

    def start(self) -> State:
        """Nothing: the row depends on no state."""
        return State(np.zeros(0))

    def shares(self) -> tuple[float, ...]:
        """One sum."""
        return (1.0,)

    def length(self, state: State) -> int:
        """q·(1 + f), and f(f + 1)/2 for the matrix."""
        del state
        f = len(self.task.columns)
        return self._by_class.length + (f * (f + 1) // 2 if self.asks_matrix else 0)

    def bound(self, state: State) -> float:
        """√(a² + R²), or √(a² + R² + b²R⁴) with the matrix."""
        del state
        matrix = self._matrix_weight * self._by_class.radius**2 if self.asks_matrix else 0.0
        return math.hypot(self._by_class.bound, matrix)

    def rows(self, state: State, patients: Columns) -> Floats:
        """class ⊗ (a, z), and b·z·zᵀ where it is asked for."""
        del state
        sums = self._by_class.rows(patients)
        if not self.asks_matrix:
            return sums
        z = self._by_class.bounded(patients)
        z = np.where(np.isfinite(one_hot(patients.target, self.task.n_classes)[:, :1]), z, 0.0)
        first, second, scale = self._triangle
        products = np.take(z, first, axis=1) * np.take(z, second, axis=1) * scale
        return np.hstack([sums, np.where(np.isfinite(products), products, 0.0)])

    def advance(self, state: State, total: Floats, *, sd: float, n_declared: float) -> State:
        """Offsets and weights that discriminants of the moments have."""
        del n_declared
        moments = self._moments(total, sd)
        penalty = max(self._public_variance * self.settings.penalty, self._noise_of(moments))
        found = discriminants(moments, penalty=penalty)
        return State(np.concatenate([found.offset, found.weights.ravel()]), state.sums_done + 1)

    def predict(self, state: State, patients: Columns) -> Floats:
        """Probability of each class [n,q]."""
        q = self.task.n_classes
        weights = state.vector[q:].reshape(-1, q)
        return softmax(state.vector[:q] + weighted_sums(self._by_class.bounded(patients), weights))

    @cached_property
    def _by_class(self) -> ClassSums:
        radius = math.sqrt(self.settings.radius_per_column * len(self.task.columns))
        return ClassSums(
            columns=self.task.columns,
            n_classes=self.task.n_classes,
            radius=radius,
            count_weight=self.settings.count_weight * radius,
        )

    @property
    def _matrix_weight(self) -> float:
        return self.settings.matrix_weight / self._by_class.radius

    @property
    def _public_variance(self) -> float:
        """Of a column within a class: that of usual patients, scaled down to R."""
        return min(self.settings.radius_per_column, 1.0)

    @cached_property
    def _triangle(self) -> tuple[Indices, Indices, Floats]:
        """Row, column and factor of each cell of the matrix's upper triangle."""
        first, second = np.triu_indices(len(self.task.columns))
        factor = np.where(first == second, 1.0, math.sqrt(2.0))
        return first, second, self._matrix_weight * factor

    def _noise_of(self, moments: Moments) -> float:
        return self.settings.noise_share * moments.noise_norm

    def _moments(self, total: Floats, sd: float) -> Moments:
        """Moments of (z, one-hot class), their scatter public or from the matrix."""
        f, q = len(self.task.columns), self.task.n_classes
        found = self._by_class.read(total[: self._by_class.length], sd=sd)
        n = found.counts.sum()
        common = found.counts @ found.means / n
        apart = found.counts[:, None] * (found.means - common)  # [q,f]
        if self.asks_matrix:
            first, second, scale = self._triangle
            columns = np.zeros((f, f))
            columns[first, second] = total[self._by_class.length :] / scale
            columns[second, first] = columns[first, second]
            columns -= n * np.outer(common, common)
        else:
            between = apart.T @ (found.means - common)
            columns = n * self._public_variance * np.eye(f) + between
        product_sd = sd / (self._matrix_weight * math.sqrt(2.0)) if self.asks_matrix else 0.0
        return Moments(
            n=float(n),
            mean=np.concatenate([common, found.counts / n]),
            scatter=np.block([[columns, apart.T], [apart, np.zeros((q, q))]]),
            n_columns=f,
            column_sd=product_sd,
            target_sd=sd,
        )
