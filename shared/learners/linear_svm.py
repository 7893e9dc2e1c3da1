"""A linear support vector machine of several classes, by Crammer and Singer: one joint margin.

The loss of a patient of class y is max over the classes of (1 − [j = y] + score_j − score_y), smoothed
to τ·log Σ exp(·/τ), which differs from it by τ·log q at most; so its slope by the scores is softmax((s
+ 1 − y)/τ) − y. A row is that slope ⊗ (1, x), clipped. One against the rest is not offered: its score
of a middle class ranks nothing. Imports columns and the descent.

The norm is ‖slope‖·√(1 + ‖x‖²), so any clip norm below √2 is attained by a patient on the wrong side.

Source: Crammer and Singer 2001 (J Mach Learn Res 2:265).

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


class LinearSvmSettings(BaseModel):
    """Settings of the linear support vector machine.

    Attributes:
        sums: steps down the gradient, one sum each.
        clip_norm: largest L2 norm of one patient's gradient.
        smoothing: τ, in scores; the margin is 1.
        schedule: rows by rising ``up_to_epsilon``; the last is also for privacy off and above.
    """

    model_config = FROZEN

    kind: Literal["linear_svm"]
    sums: int = Field(default=30, ge=1, le=1000)
    clip_norm: float = Field(default=0.5, gt=0, le=1e6)
    smoothing: float = Field(default=0.5, ge=1e-3, le=10)
    schedule: tuple[RateRow, ...] = Field(min_length=1)


@dataclass(frozen=True)
class LinearSvm:
    """State [(1 + f)·q]: each class's offset, then its weights."""

    task: TableTask
    descent: Descent
    smoothing: float

    @classmethod
    def build(cls, settings: LinearSvmSettings, task: TableTask) -> LinearSvm:
        """The learner of a plan.

        Raises:
            SettingsError: the target is no class.
        """
        require_classes(task, kind=settings.kind)
        return cls(task, Descent.of(settings, epsilon=task.epsilon), settings.smoothing)

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
        hot = one_hot(patients.target, self.task.n_classes)
        beyond = class_scores(values, state.vector, n_classes=self.task.n_classes) + 1.0 - hot
        slopes = softmax(beyond / self.smoothing) - hot
        return self.descent.rows(score_gradients(slopes, values))

    def advance(self, state: State, total: Floats, *, sd: float, n_declared: float) -> State:
        """One step down the gradient; after the last, the mean of the last half of the states."""
        del sd
        return self.descent.step(state, total, n_declared=n_declared)

    def predict(self, state: State, patients: Columns) -> Floats:
        """Each class's weight in the smoothed maximum [n,q]: ordered as scores, not calibrated."""
        values = clip_columns(patients.columns, self.task.columns)
        scores = class_scores(values, state.vector, n_classes=self.task.n_classes)
        return softmax(scores / self.smoothing)
