"""Softmax regression by clipped gradients, one score per class: what one ordered score is held to.

No run can choose it; ordered classes have ``proportional_odds``. Imports columns, the contract and the
lattice.

Legend: n patients · f columns · q classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from shared.features.columns import Columns, clip_columns
from shared.learners.rows import Floats, by_class, one_hot, softmax, weighted_sums
from shared.learners.task import TableTask
from shared.sums.contract import State
from shared.sums.lattice import bound_rows


@dataclass(frozen=True)
class OneScorePerClass:
    """State [q·(1 + f)], offset and weights of each class; in the end the mean of the last half.

    Attributes:
        task: names columns and classes.
        sums: steps down the gradient.
        clip_norm: largest L2 norm of a patient's gradient.
        rate_times_sums: learning rate times the number of sums.
    """

    task: TableTask
    sums: int = 30
    clip_norm: float = 0.5
    rate_times_sums: float = 200.0

    def start(self) -> State:
        """All classes alike."""
        return State(np.zeros(self.task.n_classes * (1 + len(self.task.columns))))

    def shares(self) -> tuple[float, ...]:
        """Equal."""
        return (1.0 / self.sums,) * self.sums

    def length(self, state: State) -> int:
        """q·(1 + f)."""
        return len(state.vector)

    def bound(self, state: State) -> float:
        """The clip norm."""
        del state
        return self.clip_norm

    def rows(self, state: State, patients: Columns) -> Floats:
        """Clipped gradients of −log P(class): (P − one-hot) ⊗ (1, columns)."""
        shown = self._shown(patients)
        hot = one_hot(patients.target, self.task.n_classes)
        apart = softmax(self._scores(state, shown)) - hot
        is_usable = np.asarray(np.isfinite(shown).all(axis=1))
        gradients = by_class(shown, apart, is_usable=is_usable)
        return bound_rows(gradients, bound=self.clip_norm)

    def advance(self, state: State, total: Floats, *, sd: float, n_declared: float) -> State:
        """One step down the gradient."""
        del sd
        vector = state.vector - self.rate_times_sums / self.sums / n_declared * total
        done, n_tail = state.sums_done + 1, math.ceil(self.sums / 2)
        tail = state.memory.get("tail", np.zeros_like(vector))
        if done > self.sums - n_tail:
            tail = tail + vector
        return State(tail / n_tail, done) if done == self.sums else State(vector, done, {"tail": tail})

    def predict(self, state: State, patients: Columns) -> Floats:
        """Probability of each class [n,q]."""
        return softmax(self._scores(state, self._shown(patients)))

    def _shown(self, patients: Columns) -> Floats:
        """(1, columns) [n, 1 + f]."""
        values = clip_columns(patients.columns, self.task.columns)
        return np.hstack([np.ones((len(values), 1)), values])

    def _scores(self, state: State, shown: Floats) -> Floats:
        return weighted_sums(shown, state.vector.reshape(self.task.n_classes, -1).T)
