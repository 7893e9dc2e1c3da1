"""Columns scored by where they enter the path of a LASSO that is read from one matrix.

The sum is the matrix of products: the upper triangle of v·vᵀ with v = (1, z, w·t), off the diagonal
times √2; z are the columns about their public centres in public SDs, scaled down to R, t is the class's
place between −1 and 1. Its norm is ‖v‖² = 1 + ‖z‖² + w²t², at most 1 + R² + w², which a patient of the
first or last class attains whose columns reach R. The whole path is post-processing of the noised
matrix. The penalty λ, which a score of 1 stands for, follows from the noise and the number of columns,
never from a validation on patients. Imports the readings of a matrix.

Source: Tibshirani 1996 (J R Stat Soc B 58:267); λ is Donoho and Johnstone's universal threshold
(``moments.noise_penalty``).

Legend: n patients · f columns · p penalties.
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
from shared.learners.moments import Moments, lasso_path, noise_penalty
from shared.learners.rows import Floats, all_finite, standardised
from shared.learners.task import TableTask, require_order
from shared.learners.univariate import ShareRow, share_at
from shared.strict import FROZEN
from shared.sums.lattice import bound_rows

Indices = NDArray[np.intp]
# Penalties of a path, in equal ratios from the largest that keeps a column to this share of it.
_STEPS, _LAST = 30, 0.02


class LassoSettings(BaseModel):
    """Settings of scores by a LASSO's path; f is the number of columns.

    Attributes:
        shares: rows by rising ``up_to_epsilon``; beyond the last all columns are kept.
        radius_per_column: R²/f, to which a patient's squared distance from the public centre is
            clipped.
        place_weight: w of the class's place.
        multiple: c of λ = c·SD·√(2 ln f).
        noise_share: share of the noise's norm that is added to the columns' diagonal.
    """

    model_config = FROZEN

    kind: Literal["lasso"]
    shares: tuple[ShareRow, ...] = Field(min_length=1)
    radius_per_column: float = Field(default=0.5, gt=0, le=100)
    place_weight: float = Field(default=2.0, gt=0, le=100)
    multiple: float = Field(default=1.0, gt=0, le=100)
    noise_share: float = Field(default=0.6, ge=0.3, le=100)

    def share_at(self, epsilon: float | None) -> float:
        """What the choice takes of the budget."""
        return share_at(self.shares, epsilon)


@dataclass(frozen=True)
class Lasso:
    """Scores [f] from one matrix: the largest penalty that keeps a column, over λ; 0: none does."""

    task: TableTask
    settings: LassoSettings

    @classmethod
    def build(cls, settings: LassoSettings, task: TableTask) -> Lasso:
        """The scores of a task.

        Raises:
            SettingsError: the target is no class, or its classes have no order.
        """
        require_order(task, kind="selection by lasso")
        return cls(task, settings)

    @property
    def known(self) -> None:
        """No scores are known before the sum."""
        return

    @property
    def length(self) -> int:
        """(f + 2)(f + 3)/2."""
        f = len(self.task.columns)
        return (f + 2) * (f + 3) // 2

    @property
    def bound(self) -> float:
        """1 + R² + w²."""
        return 1.0 + self._radius**2 + self.settings.place_weight**2

    def rows(self, patients: Columns) -> Floats:
        """The triangle of (1, z, w·t)(1, z, w·t)ᵀ."""
        last, w = self.task.n_classes - 1, self.settings.place_weight
        is_class = np.isin(patients.target, np.arange(last + 1))
        t = 2.0 * np.where(is_class, patients.target, 0.0) / last - 1.0
        z = standardised(patients.columns, self.task.columns)
        usable = (is_class & all_finite(z))[:, None]
        z = bound_rows(z, bound=self._radius)
        v = np.where(usable, np.hstack([np.ones((len(z), 1)), z, w * t[:, None]]), 0.0)
        first, second, scale = self._triangle
        products: Floats = np.take(v, first, axis=1) * np.take(v, second, axis=1) * scale
        return products

    def scores(self, total: Floats, *, sd: float, n_declared: float) -> Floats:
        """The largest penalty of the path that keeps each column, over λ [f]."""
        moments = self._moments(total, sd=sd, n_declared=n_declared)
        largest = float(np.abs(moments.with_targets[:, 0]).max())
        if largest == 0.0:
            return np.zeros(moments.n_columns)
        # a column enters below the largest penalty, not at it
        penalties = largest * np.geomspace(1.0 - 1e-9, _LAST, _STEPS)
        ridge = self.settings.noise_share * moments.noise_norm
        weights = lasso_path(moments, penalties.tolist(), ridge_penalty=ridge)  # [p,f]
        entered = np.where(weights != 0.0, penalties[:, None], 0.0).max(axis=0)
        scores: Floats = entered / noise_penalty(moments, multiple=self.settings.multiple)
        return scores

    def unasked(self, keep: int) -> Indices:
        """Places of all columns, as univariate scores keep them."""
        del keep
        return np.arange(len(self.task.columns))

    @property
    def _radius(self) -> float:
        return math.sqrt(self.settings.radius_per_column * len(self.task.columns))

    @cached_property
    def _triangle(self) -> tuple[Indices, Indices, Floats]:
        """Row, column and factor of each cell of the matrix's upper triangle, the constant first."""
        first, second = np.triu_indices(len(self.task.columns) + 2)
        return first, second, np.where(first == second, 1.0, math.sqrt(2.0))

    def _moments(self, total: Floats, *, sd: float, n_declared: float) -> Moments:
        """Columns and place about their means; the place in units of its own, not of w."""
        f, w = len(self.task.columns), self.settings.place_weight
        first, second, scale = self._triangle
        matrix = np.zeros((f + 2, f + 2))
        matrix[first, second] = total / scale
        matrix[second, first] = matrix[first, second]
        # The declared number stands in where noise leaves too little of the count.
        n = float(min(max(matrix[0, 0], n_declared / 2), n_declared * 2) if sd else matrix[0, 0])
        n = max(n, 1.0)
        sums, unit = matrix[0, 1:], np.append(np.ones(f), w)
        scatter = (matrix[1:, 1:] - np.outer(sums, sums) / n) / np.outer(unit, unit)
        noise = sd / math.sqrt(2.0)
        return Moments(
            n=n,
            mean=sums / n / unit,
            scatter=scatter,
            n_columns=f,
            column_sd=noise,
            target_sd=noise / w,
        )
