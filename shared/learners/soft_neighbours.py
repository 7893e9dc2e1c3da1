"""Soft neighbours from one sum: how near a patient is to each class, by random Fourier features.

Instead of stored patients, whom a prediction would show, each class holds the sum of its patients'
feature maps φ, with φ(x)·φ(z) ≈ exp(−‖x − z‖²/2h²): every patient is a neighbour, the near ones most.
A row is class ⊗ (a, φ) with ‖φ‖ = 1. Frequencies come from the plan's seed. Imports columns and the
contract.

Source: Rahimi and Recht 2007 (NeurIPS 20), cosine and sine pairs.

Legend: n patients · f columns · q classes · w frequencies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, Field

from shared.features.columns import Columns
from shared.learners.rows import Floats, all_finite, by_class, one_hot, standardised, weighted_sums
from shared.learners.task import TableTask, require_classes
from shared.strict import FROZEN
from shared.sums.contract import State


class SoftNeighboursSettings(BaseModel):
    """``width``: h over √(2f), the usual distance of two patients. ``count_weight`` is a.

    ``vote_floor``: fewer votes than so many noise SDs, shared out by the classes' sizes, count as that.
    """

    model_config = FROZEN

    kind: Literal["soft_neighbours"]
    frequencies: int = Field(default=256, ge=1, le=100_000)
    width: float = Field(default=0.4, gt=0, le=100)
    count_weight: float = Field(default=0.5, gt=0, le=10)
    vote_floor: float = Field(default=1.0, ge=0, le=100)


# Without noise, votes may still fall below zero, where features only resemble the kernel.
_SMALLEST_VOTE = 1e-3
_ONE_PATIENT = 1.0


@dataclass(frozen=True)
class SoftNeighbours:
    """State after the sum [q·(1 + 2w)]: each class's vote floor and summed features."""

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
        """√(1 + a²)."""
        del state
        return math.hypot(1.0, self.settings.count_weight)

    def rows(self, state: State, patients: Columns) -> Floats:
        """class ⊗ (a, φ), [n, q·(1 + 2w)]."""
        del state
        features = self._features(patients)
        count = np.full((len(features), 1), self.settings.count_weight)
        hot = one_hot(patients.target, self.task.n_classes)
        return by_class(np.hstack([count, features]), hot, is_usable=all_finite(features))

    def advance(self, state: State, total: Floats, *, sd: float, n_declared: float) -> State:
        """Counts, summed features, and the floor below which votes are noise."""
        del n_declared
        table = total.reshape(self.task.n_classes, -1)
        counts = np.maximum(table[:, 0] / self.settings.count_weight, _ONE_PATIENT)
        floor = max(self.settings.vote_floor * sd, _SMALLEST_VOTE)
        floors = floor * counts / counts.sum()  # [q]
        return State(np.hstack([floors[:, None], table[:, 1:]]).ravel(), state.sums_done + 1)

    def predict(self, state: State, patients: Columns) -> Floats:
        """Probability of each class [n,q]: its share of the votes."""
        table = state.vector.reshape(self.task.n_classes, -1)
        votes = np.maximum(weighted_sums(self._features(patients), table[:, 1:].T), table[:, 0])
        shares: Floats = votes / votes.sum(axis=1, keepdims=True)
        return shares

    def _features(self, patients: Columns) -> Floats:
        """φ [n,2w]: cosines and sines of random directions, of norm 1."""
        f, w = len(self.task.columns), self.settings.frequencies
        u = standardised(patients.columns, self.task.columns)
        # The stream of RandomState is the same in every version of numpy (NEP 19).
        drawn = np.random.RandomState([self.task.seed, f, w]).standard_normal((f, w))
        angles = weighted_sums(u, drawn / (self.settings.width * math.sqrt(2 * f)))
        return np.hstack([np.cos(angles), np.sin(angles)]) / math.sqrt(w)
