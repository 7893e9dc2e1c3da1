"""A network with one hidden layer: tanh units, one score per class, softmax.

A row is one patient's gradient of −log P(class) by all weights, clipped; each sum is one step
(``descent``). First weights into the hidden layer come from the plan's seed, those out of it are zero,
so that before any sum all classes are alike. The gradient by the offsets of the scores alone has the
norm ‖p − y‖, so any clip norm below √2 is attained by a patient whom the state calls certainly wrong.
Imports columns and the descent.

Source: Hastie, Tibshirani, Friedman 2009, section 11.4 (back-propagation).

Legend: n patients · f columns · h hidden units · q classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, Field

from shared.features.columns import Columns, clip_columns
from shared.learners.descent import (
    Descent,
    RateRow,
    class_scores,
    score_gradients,
    within_reach,
)
from shared.learners.rows import Floats, one_hot, softmax, weighted_sums
from shared.learners.task import TableTask, require_classes
from shared.strict import FROZEN
from shared.sums.contract import State


class MlpSettings(BaseModel):
    """Settings of a network with one hidden layer.

    Attributes:
        hidden: units of the hidden layer.
        sums: steps down the gradient, one sum each.
        clip_norm: largest L2 norm of one patient's gradient.
        schedule: rows by rising ``up_to_epsilon``; the last is also for privacy off and above.
    """

    model_config = FROZEN

    kind: Literal["mlp"]
    hidden: int = Field(default=16, ge=1, le=1000)
    sums: int = Field(default=20, ge=1, le=1000)
    clip_norm: float = Field(default=0.5, gt=0, le=1e6)
    schedule: tuple[RateRow, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Mlp:
    """State [(1 + f)·h + (1 + h)·q]: offsets and weights of the hidden units, then of the scores."""

    task: TableTask
    descent: Descent
    hidden: int

    @classmethod
    def build(cls, settings: MlpSettings, task: TableTask) -> Mlp:
        """The learner of a plan.

        Raises:
            SettingsError: the target is no class.
        """
        require_classes(task, kind=settings.kind)
        return cls(task, Descent.of(settings, epsilon=task.epsilon), settings.hidden)

    def start(self) -> State:
        """Drawn weights into the hidden layer, so that a usual patient's sums have SD 1; else zeros."""
        f, h, q = len(self.task.columns), self.hidden, self.task.n_classes
        usual = math.sqrt(math.fsum(column.spread**2 for column in self.task.columns))
        # The stream of RandomState is the same in every version of numpy (NEP 19).
        drawn = np.random.RandomState([self.task.seed, f, h]).standard_normal(f * h) / usual
        return State(np.concatenate([np.zeros(h), drawn, np.zeros((1 + h) * q)]))

    def shares(self) -> tuple[float, ...]:
        """Equal."""
        return self.descent.shares()

    def length(self, state: State) -> int:
        """As many as weights."""
        return len(state.vector)

    def bound(self, state: State) -> float:
        """The clip norm."""
        del state
        return self.descent.clip_norm

    def rows(self, state: State, patients: Columns) -> Floats:
        """Clipped gradients [n, (1 + f)·h + (1 + h)·q]."""
        values = clip_columns(patients.columns, self.task.columns)
        raised, scores = self._forward(state, values)
        slopes = softmax(scores) - one_hot(patients.target, self.task.n_classes)  # [n,q]
        outwards = self._split(state)[1].reshape(1 + self.hidden, -1)[1:]  # [h,q]
        with np.errstate(over="ignore", invalid="ignore"):
            into = weighted_sums(slopes, outwards.T) * (1.0 - raised * raised)  # [n,h]
        gradients = [score_gradients(into, values), score_gradients(slopes, raised)]
        return self.descent.rows(np.hstack(gradients))

    def advance(self, state: State, total: Floats, *, sd: float, n_declared: float) -> State:
        """One step down the gradient; after the last, the mean of the last half of the states."""
        del sd
        return self.descent.step(state, total, n_declared=n_declared)

    def predict(self, state: State, patients: Columns) -> Floats:
        """Probability of each class [n,q]."""
        values = clip_columns(patients.columns, self.task.columns)
        return softmax(self._forward(state, values)[1])

    def _forward(self, state: State, values: Floats) -> tuple[Floats, Floats]:
        """What the hidden units say [n,h], and the scores [n,q]."""
        inwards, outwards = self._split(state)
        raised = np.tanh(class_scores(values, inwards, n_classes=self.hidden))
        return raised, within_reach(class_scores(raised, outwards, n_classes=self.task.n_classes))

    def _split(self, state: State) -> tuple[Floats, Floats]:
        n_inwards = (1 + len(self.task.columns)) * self.hidden
        return state.vector[:n_inwards], state.vector[n_inwards:]
