"""Multinomial logistic regression: one linear score per class, softmax.

A row is one patient's gradient (p − y) ⊗ (1, x) of −log P(class), clipped; each sum is one step
(``descent``). Its norm is ‖p − y‖·√(1 + ‖x‖²), so any clip norm below √2 is attained by a patient whom
the state calls certainly wrong. For classes without an order; ordered ones take one score and cuts
(``proportional_odds``), which needs less of the budget. Imports columns and the descent.

Source: Hastie, Tibshirani, Friedman 2009, section 4.4.

Legend: n patients · f columns · q classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, Field

from shared.features.columns import Columns, clip_columns
from shared.learners.descent import Descent, RateRow, class_scores, score_gradients
from shared.learners.rows import Floats, one_hot, softmax
from shared.learners.task import TableTask, require_classes
from shared.strict import FROZEN
from shared.sums.contract import State


class LogisticSettings(BaseModel):
    """Settings of multinomial logistic regression.

    Attributes:
        sums: steps down the gradient, one sum each.
        clip_norm: largest L2 norm of one patient's gradient.
        schedule: rows by rising ``up_to_epsilon``; the last is also for privacy off and above.
    """

    model_config = FROZEN

    kind: Literal["logistic"]
    sums: int = Field(default=30, ge=1, le=1000)
    clip_norm: float = Field(default=0.5, gt=0, le=1e6)
    schedule: tuple[RateRow, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Logistic:
    """State [(1 + f)·q]: each class's offset, then its weights."""

    task: TableTask
    descent: Descent

    @classmethod
    def build(cls, settings: LogisticSettings, task: TableTask) -> Logistic:
        """The learner of a plan.

        Raises:
            SettingsError: the target is no class.
        """
        require_classes(task, kind=settings.kind)
        return cls(task, Descent.of(settings, epsilon=task.epsilon))

    def start(self) -> State:
        """All classes alike."""
        return State(np.zeros((1 + len(self.task.columns)) * self.task.n_classes))

    def shares(self) -> tuple[float, ...]:
        """Equal."""
        return self.descent.shares()

    def length(self, state: State) -> int:
        """(1 + f)·q."""
        return len(state.vector)

    def bound(self, state: State) -> float:
        """The clip norm."""
        del state
        return self.descent.clip_norm

    def rows(self, state: State, patients: Columns) -> Floats:
        """Clipped gradients [n, (1 + f)·q]."""
        values = clip_columns(patients.columns, self.task.columns)
        slopes = self._shares_of(state, values) - one_hot(patients.target, self.task.n_classes)
        return self.descent.rows(score_gradients(slopes, values))

    def advance(self, state: State, total: Floats, *, sd: float, n_declared: float) -> State:
        """One step down the gradient; after the last, the mean of the last half of the states."""
        del sd
        return self.descent.step(state, total, n_declared=n_declared)

    def predict(self, state: State, patients: Columns) -> Floats:
        """Probability of each class [n,q]."""
        return self._shares_of(state, clip_columns(patients.columns, self.task.columns))

    def _shares_of(self, state: State, values: Floats) -> Floats:
        return softmax(class_scores(values, state.vector, n_classes=self.task.n_classes))
