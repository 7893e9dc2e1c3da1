"""Soft neighbours from one sum: how alike a patient is to each class, by random Fourier features.

Instead of stored patients, whom a prediction would show, each class holds the sum of its patients'
feature maps φ, with φ(x)·φ(z) ≈ exp(−‖x − z‖²/2h²): every patient is a neighbour, the near ones most.
A row is class ⊗ (a, ψ), with ψ = φ less its public mean, scaled down to a public norm: what everybody
has in common needs no budget. Frequencies come from the plan's seed.
Imports columns, the contract and the lattice.

Source: Rahimi and Recht 2007 (NeurIPS 20), cosine and sine pairs; Yu et al. 2016 (arXiv 1610.09072) for
orthogonal directions, which make the choice of the seed matter less.

Legend: n patients · f columns · q classes · w frequencies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from pydantic import BaseModel, Field

from shared.features.columns import Columns, clip_columns
from shared.learners.rows import Floats, all_finite, by_class, one_hot, softmax, weighted_sums
from shared.learners.task import TableTask, require_classes
from shared.strict import FROZEN
from shared.sums.contract import State
from shared.sums.lattice import bound_rows


class SoftNeighboursSettings(BaseModel):
    """Settings of random Fourier features by class; ψ is a patient's features less their public mean, h
    the kernel's width.

    Attributes:
        frequencies: how many, a cosine and a sine each.
        width: h over the usual distance of two patients, √(2·Σ spread²).
        radius: the norm R of ψ over its usual one.
        count_weight: a/R, with a a patient's weight in the count of the class.
        sharpness: by how much a likeness raises the logarithm of a class's odds.
    """

    model_config = FROZEN

    kind: Literal["soft_neighbours"]
    frequencies: int = Field(default=256, ge=1, le=100_000)
    width: float = Field(default=0.8, gt=0, le=100)
    radius: float = Field(default=0.7, gt=0, le=10)
    count_weight: float = Field(default=0.5, gt=0, le=10)
    sharpness: float = Field(default=30.0, gt=0, le=1e4)


# A class counts for no fewer patients, whatever the noise leaves of it.
_FEWEST = 1.0


@dataclass(frozen=True)
class SoftNeighbours:
    """State after the sum [q·(1 + 2w)]: each class's log-frequency and mean ψ."""

    task: TableTask
    settings: SoftNeighboursSettings

    @classmethod
    def build(cls, settings: SoftNeighboursSettings, task: TableTask) -> SoftNeighbours:
        """The learner of a plan.

        Raises:
            SettingsError: the target is no class.
        """
        require_classes(task, kind=settings.kind)
        return cls(task, settings)

    def start(self) -> State:
        """Nothing: the row depends on no state."""
        return State(np.zeros(0))

    def shares(self) -> tuple[float, ...]:
        """One sum."""
        return (1.0,)

    def length(self, state: State) -> int:
        """q·(1 + 2w)."""
        del state
        return self.task.n_classes * (1 + 2 * self.settings.frequencies)

    def bound(self, state: State) -> float:
        """√(a² + R²)."""
        del state
        return self._radius * math.hypot(1.0, self.settings.count_weight)

    def rows(self, state: State, patients: Columns) -> Floats:
        """class ⊗ (a, ψ), [n, q·(1 + 2w)]."""
        del state
        features = self._features(patients)
        count = np.full((len(features), 1), self._count_weight)
        apart = bound_rows(features - self._public_mean, bound=self._radius)
        hot = one_hot(patients.target, self.task.n_classes)
        return by_class(np.hstack([count, apart]), hot, is_usable=all_finite(features))

    def advance(self, state: State, total: Floats, *, sd: float, n_declared: float) -> State:
        """Means by class; one that is smaller than its count's noise is taken as large as that."""
        del n_declared
        table = total.reshape(self.task.n_classes, -1)
        counts = np.maximum(table[:, :1], max(sd, _FEWEST * self._count_weight)) / self._count_weight
        frequencies = np.log(counts / counts.sum())
        return State(np.hstack([frequencies, table[:, 1:] / counts]).ravel(), state.sums_done + 1)

    def predict(self, state: State, patients: Columns) -> Floats:
        """Probability of each class [n,q]: its frequency, raised by the mean likeness to it.

        φ(x)·(mean φ of a class) is φ(x)·(mean ψ) but for what is equal in all classes.
        """
        table = state.vector.reshape(self.task.n_classes, -1)
        likeness = weighted_sums(self._features(patients), table[:, 1:].T)
        return softmax(table[:, 0] + self.settings.sharpness * likeness)

    @property
    def _radius(self) -> float:
        usual = 1.0 - float(self._public_mean @ self._public_mean)
        return self.settings.radius * math.sqrt(usual)

    @property
    def _count_weight(self) -> float:
        return self._radius * self.settings.count_weight

    @cached_property
    def _directions(self) -> Floats:
        """Frequencies [f,w] of the kernel: normal in length, orthogonal within each block of f."""
        f, w = len(self.task.columns), self.settings.frequencies
        # The stream of RandomState is the same in every version of numpy (NEP 19).
        draw = np.random.RandomState([self.task.seed, f, w])
        blocks = []
        for _ in range(-(-w // f)):
            drawn = draw.standard_normal((f, f))
            orthogonal, _ = np.linalg.qr(drawn)
            blocks.append(orthogonal * np.sqrt((drawn**2).sum(axis=0)))
        usual = math.sqrt(2.0 * math.fsum(column.spread**2 for column in self.task.columns))
        directions: Floats = np.hstack(blocks)[:, :w] / (self.settings.width * usual)
        return directions

    @cached_property
    def _public_mean(self) -> Floats:
        """Mean φ [2w] of columns that are normal about their centres with their public SDs."""
        w = self.settings.frequencies
        spread = np.array([column.spread for column in self.task.columns])[:, None]
        cosines = np.exp(-0.5 * ((self._directions * spread) ** 2).sum(axis=0))
        return np.concatenate([cosines, np.zeros(w)]) / math.sqrt(w)

    def _features(self, patients: Columns) -> Floats:
        """φ [n,2w]: cosines and sines in random directions, of norm 1."""
        centre = np.array([column.centre for column in self.task.columns])
        values = clip_columns(patients.columns, self.task.columns) - centre
        angles = weighted_sums(values, self._directions)
        both: Floats = np.hstack([np.cos(angles), np.sin(angles)])
        return both / math.sqrt(self.settings.frequencies)
