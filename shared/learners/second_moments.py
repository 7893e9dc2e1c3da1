"""Second moments of all columns and the target, centred: what closed-form heads are read from.

Sum 1, with a small share of the budget, is the mean of columns and target; sum 2 the matrix of their
products about it, with a constant: the upper triangle of v·vᵀ, off the diagonal times √2, so that a
row's norm is ‖v‖². Ridge, LASSO, linear discriminants and components are read from the same matrix
(``shared.learners.moments``), which the last state keeps.
Imports columns, the contract, the lattice and the readings.

Source: Dwork, Talwar, Thakurta, Zhang 2014 (AnalyzeGauss).

Legend: n patients · f columns · o targets (1 number, or one per class) · d = f + o · r outputs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from shared.errors import SettingsError
from shared.features.columns import REACH_SD, Columns, clip_columns
from shared.learners.moments import (
    Linear,
    Moments,
    components,
    discriminants,
    lasso,
    noise_penalty,
    ridge,
)
from shared.learners.rows import Floats, one_hot, softmax, weighted_sums
from shared.learners.task import TableTask
from shared.strict import FROZEN
from shared.sums.contract import State
from shared.sums.lattice import bound_rows

Indices = NDArray[np.intp]
ReadAs = Literal["ridge", "lasso", "discriminants", "components"]


class SecondMomentsSettings(BaseModel):
    """Settings of the matrix of all columns and the target, and of what is read from it; f is the
    number of columns.

    Attributes:
        read_as: what predicts; the matrix is the same for all.
        centring_share: share of the budget that goes to the means.
        radius_squared: columns and target about their means are scaled down to ‖·‖² ≤ this many times
            the columns' summed public variances.
        number_weight: weight of a target that is a number.
        class_weight: weight of a target of classes.
        penalty: added to the diagonal, or the noise's share where that is more.
        noise_share: share of the noise's norm that is added to the diagonal at least.
        lasso_multiple: c of the LASSO's penalty c·SD·√(2 ln f).
        n_components: directions kept where components are read.
    """

    model_config = FROZEN

    kind: Literal["second_moments"]
    read_as: ReadAs = "ridge"
    centring_share: float = Field(default=0.1, gt=0, lt=1)
    radius_squared: float = Field(default=0.65, gt=0, le=100)
    number_weight: float = Field(default=1.0, gt=0, le=100)
    class_weight: float = Field(default=3.0, gt=0, le=100)
    penalty: float = Field(default=30.0, ge=0, le=1e6)
    noise_share: float = Field(default=0.6, ge=0.3, le=100)
    lasso_multiple: float = Field(default=0.2, gt=0, le=100)
    n_components: int = Field(default=15, ge=1, le=1000)


@dataclass(frozen=True)
class SecondMoments:
    """State [0] → [d], the means → [r + f·r], offset and weights of a linear reading."""

    task: TableTask
    settings: SecondMomentsSettings

    @classmethod
    def build(cls, settings: SecondMomentsSettings, task: TableTask) -> SecondMoments:
        """The learner of a plan.

        Raises:
            SettingsError: the reading does not suit the target, or there are fewer columns than
                components.
        """
        needs_classes = {"ridge": False, "lasso": False, "discriminants": True}.get(settings.read_as)
        if needs_classes is not None and needs_classes != bool(task.n_classes):
            wanted, given = ("classes", "a number") if needs_classes else ("a number", "classes")
            raise SettingsError(
                "wrong-reading",
                f"second_moments read as {settings.read_as} needs a target of {wanted}, not {given}",
                hint="read a number as ridge or lasso, classes as discriminants",
            )
        if settings.read_as == "components" and settings.n_components > len(task.columns):
            raise SettingsError(
                "too-many-components",
                f"n_components must be at most {len(task.columns)}, the number of columns, "
                f"not {settings.n_components}",
            )
        return cls(task, settings)

    def start(self) -> State:
        """Nothing: the means' rows depend on no state."""
        return State(np.zeros(0))

    def shares(self) -> tuple[float, ...]:
        """The means' small share, and the matrix's."""
        return (self.settings.centring_share, 1.0 - self.settings.centring_share)

    def length(self, state: State) -> int:
        """d means, or (d + 1)(d + 2)/2 products."""
        d = self._n_variables
        return d if state.sums_done == 0 else (d + 1) * (d + 2) // 2

    def bound(self, state: State) -> float:
        """R of the means' rows; 1 + R² of the matrix's."""
        return self._radius if state.sums_done == 0 else 1.0 + self._radius**2

    def rows(self, state: State, patients: Columns) -> Floats:
        """Columns and target, then the triangle of (1, columns and target about the means)."""
        joined = self._joined(patients)
        if state.sums_done == 0:
            return bound_rows(joined, bound=self._radius)
        with np.errstate(over="ignore", invalid="ignore"):
            apart = joined - state.vector
            usable = np.isfinite((apart / self._radius).sum(axis=1, keepdims=True))
        v = np.hstack([usable.astype(np.float64), bound_rows(apart, bound=self._radius)])
        first, second, scale = self._triangle
        products: Floats = np.take(v, first, axis=1) * np.take(v, second, axis=1) * scale
        return products

    def advance(self, state: State, total: Floats, *, sd: float, n_declared: float) -> State:
        """The means by the declared number of patients; then the matrix, and what is read from it."""
        if state.sums_done == 0:
            low, high = self._ranges
            return State(np.clip(total / n_declared, low, high), 1)
        moments = self._moments(state.vector, total, sd, n_declared)
        read = self._read(moments)
        memory = {
            "n": np.array([moments.n]),
            "mean": moments.mean,
            "scatter": moments.scatter,
            "noise": np.array([moments.column_sd, moments.target_sd]),
        }
        return State(np.concatenate([read.offset, read.weights.ravel()]), 2, memory)

    def predict(self, state: State, patients: Columns) -> Floats:
        """A number [n,1], P(class) [n,q], or components [n,r]."""
        f = len(self.task.columns)
        r = len(state.vector) // (1 + f)
        offset, weights = state.vector[:r], state.vector[r:].reshape(f, r)
        output = offset + weighted_sums(clip_columns(patients.columns, self.task.columns), weights)
        return softmax(output) if self.settings.read_as == "discriminants" else output

    def moments_of(self, state: State) -> Moments:
        """The moments that the last state keeps, for other readings without another sum."""
        column_sd, target_sd = state.memory["noise"]
        return Moments(
            n=float(state.memory["n"][0]),
            mean=state.memory["mean"],
            scatter=state.memory["scatter"],
            n_columns=len(self.task.columns),
            column_sd=float(column_sd),
            target_sd=float(target_sd),
        )

    @property
    def _n_variables(self) -> int:
        return len(self.task.columns) + (self.task.n_classes or 1)

    @property
    def _target_weight(self) -> float:
        return self.settings.class_weight if self.task.n_classes else self.settings.number_weight

    @property
    def _radius(self) -> float:
        variances = math.fsum(column.spread**2 for column in self.task.columns)
        return math.sqrt(self.settings.radius_squared * variances + self._target_weight**2)

    @cached_property
    def _triangle(self) -> tuple[Indices, Indices, Floats]:
        """Row, column and factor of each cell of the matrix's upper triangle, the constant first."""
        first, second = np.triu_indices(self._n_variables + 1)
        return first, second, np.where(first == second, 1.0, math.sqrt(2.0))

    @cached_property
    def _ranges(self) -> tuple[Floats, Floats]:
        """Public range of each column and each weighted target, [d] and [d]."""
        o, weight = self.task.n_classes or 1, self._target_weight
        lowest, highest = (
            (0.0, weight) if self.task.n_classes else (-REACH_SD * weight, REACH_SD * weight)
        )
        low = [*(column.low for column in self.task.columns), *[lowest] * o]
        high = [*(column.high for column in self.task.columns), *[highest] * o]
        return np.array(low), np.array(high)

    def _joined(self, patients: Columns) -> Floats:
        """Columns and weighted targets within their public ranges [n,d]; NaN stays."""
        n_classes = self.task.n_classes
        target = one_hot(patients.target, n_classes) if n_classes else patients.target[:, None]
        low, high = self._ranges
        joined = np.hstack([patients.columns, self._target_weight * target])
        bounded: Floats = np.clip(joined, low, high)
        return bounded

    def _moments(self, centre: Floats, total: Floats, sd: float, n_declared: float) -> Moments:
        first, second, scale = self._triangle
        matrix = np.zeros((len(centre) + 1, len(centre) + 1))
        matrix[first, second] = total / scale
        matrix[second, first] = matrix[first, second]
        # Noise may leave nothing of the count; the declared number says what it cannot be far from.
        n = float(matrix[0, 0])
        if sd > 0:
            n = min(max(n, n_declared / 2), n_declared * 2)
        # No mean lies beyond its column's public range, whatever noise says.
        low, high = self._ranges
        sums = np.clip(matrix[0, 1:], max(n, 1.0) * (low - centre), max(n, 1.0) * (high - centre))
        unit = np.ones(len(centre))
        unit[len(self.task.columns) :] = self._target_weight
        scatter = matrix[1:, 1:] - np.outer(sums, sums) / max(n, 1.0)
        product_sd = sd / math.sqrt(2.0)
        return Moments(
            n=max(n, 1.0),
            mean=(centre + sums / max(n, 1.0)) / unit,
            scatter=scatter / np.outer(unit, unit),
            n_columns=len(self.task.columns),
            column_sd=product_sd,
            target_sd=product_sd / self._target_weight,
        )

    def _read(self, moments: Moments) -> Linear:
        settings = self.settings
        penalty = max(settings.penalty, settings.noise_share * moments.noise_norm)
        if settings.read_as == "ridge":
            return ridge(moments, penalty=penalty)
        if settings.read_as == "lasso":
            threshold = noise_penalty(moments, multiple=settings.lasso_multiple)
            return lasso(moments, penalty=threshold, ridge_penalty=penalty)
        if settings.read_as == "discriminants":
            return discriminants(moments, penalty=penalty)
        return components(moments, n_components=settings.n_components)
