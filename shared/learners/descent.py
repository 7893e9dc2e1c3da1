"""Steps down the gradient, one sum each: what every learner by patients' gradients has in common.

A row is one patient's gradient, clipped, so that its norm is at most the clip norm, which a patient far
on the wrong side attains. A step goes rate · total / declared patients; the last state is the mean of
the states of the last half, which takes most of the last steps' noise. How far all steps together go
follows from ε by a public table: that, not their number, sets how much noise ends in the state.
Imports the contract and the lattice.

Source: Abadi et al. 2016 (arXiv 1607.00133), clipping by patient; Polyak and Juditsky 1992 (SIAM J
Control Optim 30:838), averaging.

Legend: n patients · f columns · q classes · d numbers of the state.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from pydantic import BaseModel, Field

from shared.learners.rows import Floats, weighted_sums
from shared.strict import FROZEN
from shared.sums.contract import State
from shared.sums.lattice import bound_rows

# A score beyond it is certain to 1e-13.
REACH = 30.0
_TAIL = "tail"


class RateRow(BaseModel):
    """One row of the public table: how far all steps together go at an ε.

    Attributes:
        up_to_epsilon: largest training ε that the row is for.
        rate_times_sums: learning rate times the number of sums.
    """

    model_config = FROZEN

    up_to_epsilon: float = Field(gt=0)
    rate_times_sums: float = Field(gt=0, le=1e5)


class Steps(Protocol):
    """What the settings of a learner by gradients have in common."""

    @property
    def sums(self) -> int:
        """Steps down the gradient, one sum each."""
        ...

    @property
    def clip_norm(self) -> float:
        """Largest L2 norm of one patient's gradient."""
        ...

    @property
    def schedule(self) -> tuple[RateRow, ...]:
        """Rows by rising ``up_to_epsilon``; the last is also for privacy off and above."""
        ...


@dataclass(frozen=True, kw_only=True)
class Descent:
    """How many steps, how long each is, and to what norm a patient's gradient is clipped."""

    sums: int
    clip_norm: float
    learning_rate: float

    @classmethod
    def of(cls, settings: Steps, *, epsilon: float | None) -> Descent:
        """The steps at a stage's ε: the first row that reaches it, or the last, as without privacy."""
        rows = settings.schedule
        reached = [row for row in rows if epsilon is not None and epsilon <= row.up_to_epsilon]
        rate = (reached[0] if reached else rows[-1]).rate_times_sums / settings.sums
        return cls(sums=settings.sums, clip_norm=settings.clip_norm, learning_rate=rate)

    def shares(self) -> tuple[float, ...]:
        """Equal."""
        return (1.0 / self.sums,) * self.sums

    def rows(self, gradients: Floats) -> Floats:
        """Gradients [n,d], clipped; zeros where one is not finite."""
        return bound_rows(gradients, bound=self.clip_norm)

    def step(
        self,
        state: State,
        total: Floats,
        *,
        n_declared: float,
        tidied: Callable[[Floats], Floats] | None = None,
    ) -> State:
        """One step; after the last, the mean of the last half of the states.

        Args:
            state: before it.
            total: [d].
            n_declared: patients, as the contract says.
            tidied: brings a vector back to what a state may be.
        """
        vector = state.vector - self.learning_rate / n_declared * total
        vector = tidied(vector) if tidied else vector
        done = state.sums_done + 1
        n_tail = math.ceil(self.sums / 2)
        tail = state.memory.get(_TAIL, np.zeros_like(vector))
        if done > self.sums - n_tail:
            tail = tail + vector
        if done == self.sums:
            return State(tail / n_tail, done)
        return State(vector, done, {_TAIL: tail})


def class_scores(values: Floats, vector: Floats, *, n_classes: int) -> Floats:
    """One linear score per class: values [n,f], vector [(1 + f)·q], offsets first -> [n,q]."""
    table = vector.reshape(1 + values.shape[1], n_classes)
    return within_reach(table[0] + weighted_sums(values, table[1:]))


def score_gradients(slopes: Floats, values: Floats) -> Floats:
    """Gradient by offsets and weights of scores whose slopes are [n,q]: [n, (1 + f)·q]."""
    with np.errstate(over="ignore", invalid="ignore"):
        products: Floats = (values[:, :, None] * slopes[:, None, :]).reshape(len(values), -1)
    return np.hstack([slopes, products])


def within_reach(scores: Floats) -> Floats:
    """Scores within ±30, whatever a state holds; NaN stays."""
    reached: Floats = np.clip(scores, -REACH, REACH)
    return reached
