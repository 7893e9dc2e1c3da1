"""Ordered classes by one score and ordered cuts: P(class ≤ k) = sigmoid(cut_k − score).

A row is one patient's gradient of the negative log-likelihood, clipped; each sum is one step
(``descent``). One score needs less budget than one per class, and ranks a middle class, which linear
one-against-the-rest scores cannot. Imports columns and the descent.

Source: McCullagh 1980 (J R Stat Soc B 42:109), the proportional-odds model.

Legend: n patients · f columns · q classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, Field

from shared.features.columns import Columns, clip_columns
from shared.learners.descent import REACH, Descent, RateRow
from shared.learners.rows import Floats, weighted_sums
from shared.learners.task import TableTask, require_order
from shared.strict import FROZEN
from shared.sums.contract import State

# Cuts stay this far apart, so that no class vanishes; they begin at equal shares of the classes.
_GAP = 0.1


class ProportionalOddsSettings(BaseModel):
    """Settings of one score with ordered cuts.

    Attributes:
        sums: steps down the gradient, one sum each.
        clip_norm: largest L2 norm of one patient's gradient.
        schedule: rows by rising ``up_to_epsilon``; the last is also for privacy off and above.
    """

    model_config = FROZEN

    kind: Literal["proportional_odds"]
    sums: int = Field(default=10, ge=1, le=1000)
    clip_norm: float = Field(default=0.5, gt=0, le=1e6)
    schedule: tuple[RateRow, ...] = Field(min_length=1)


@dataclass(frozen=True)
class ProportionalOdds:
    """State [f + q − 1]: the score's weights, then the cuts."""

    task: TableTask
    descent: Descent

    @classmethod
    def build(cls, settings: ProportionalOddsSettings, task: TableTask) -> ProportionalOdds:
        """The learner of a plan.

        Raises:
            SettingsError: the target is no class, or its classes have no order.
        """
        require_order(task, kind=settings.kind)
        return cls(task, Descent.of(settings, epsilon=task.epsilon))

    def start(self) -> State:
        """No weights, and cuts at which all classes are equally frequent."""
        shares = np.arange(1, self.task.n_classes) / self.task.n_classes
        return State(np.concatenate([np.zeros(len(self.task.columns)), np.log(shares / (1 - shares))]))

    def shares(self) -> tuple[float, ...]:
        """Equal."""
        return self.descent.shares()

    def length(self, state: State) -> int:
        """Weights and cuts."""
        return len(state.vector)

    def bound(self, state: State) -> float:
        """The clip norm."""
        del state
        return self.descent.clip_norm

    def rows(self, state: State, patients: Columns) -> Floats:
        """Clipped gradients [n, f + q − 1]."""
        values = clip_columns(patients.columns, self.task.columns)
        weights, cuts = self._split(state)
        score = np.clip(weighted_sums(values, weights[:, None])[:, 0], -REACH, REACH)
        by_score, by_cut = _slopes(score, np.clip(cuts, -REACH, REACH), patients.target)
        return self.descent.rows(np.hstack([by_score[:, None] * values, by_cut]))

    def advance(self, state: State, total: Floats, *, sd: float, n_declared: float) -> State:
        """One step down the gradient; after the last, the mean of the last half of the states."""
        del sd
        n_cuts = self.task.n_classes - 1

        def in_order(vector: Floats) -> Floats:
            return np.concatenate([vector[:-n_cuts], _apart(vector[-n_cuts:])])

        return self.descent.step(state, total, n_declared=n_declared, tidied=in_order)

    def predict(self, state: State, patients: Columns) -> Floats:
        """Probability of each class [n, q]."""
        weights, cuts = self._split(state)
        score = weighted_sums(clip_columns(patients.columns, self.task.columns), weights[:, None])
        below = 1.0 / (1.0 + np.exp(np.clip(score - cuts, -REACH, REACH)))  # [n, q − 1]
        edges = np.hstack([np.zeros((len(below), 1)), below, np.ones((len(below), 1))])
        shares: Floats = np.diff(edges, axis=1)
        return shares

    def _split(self, state: State) -> tuple[Floats, Floats]:
        f = len(self.task.columns)
        return state.vector[:f], state.vector[f:]


def _slopes(score: Floats, cuts: Floats, target: Floats) -> tuple[Floats, Floats]:
    """Derivatives of the negative log-likelihood: by the score [n], by each cut [n, q − 1].

    With the class between cuts b < a, p = sigmoid(a − s) − sigmoid(b − s), and
    d(−log p)/ds = 1 − sigmoid(a − s) − sigmoid(b − s). NaN where the target is no class.
    """
    n_classes = len(cuts) + 1
    is_class = (target >= 0) & (target < n_classes) & (target == np.floor(target))
    index = np.where(is_class, target, 0.0).astype(np.intp)
    edges = np.concatenate([[-np.inf], cuts, [np.inf]])
    above, below = edges[index + 1] - score, edges[index] - score
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        by_score = 1.0 - _sigmoid(above) - _sigmoid(below)
        # sigmoid'(a)/p = exp(log sigmoid(−a) − log sigmoid(−b)) / (1 − e^(b−a)), and alike for b.
        gap = -np.expm1(below - above)
        by_above = -np.exp(np.logaddexp(0.0, below) - np.logaddexp(0.0, above)) / gap
        by_below = np.exp(np.logaddexp(0.0, -above) - np.logaddexp(0.0, -below)) / gap
    by_cut = np.zeros((len(score), len(cuts)))
    for cut in range(len(cuts)):
        by_cut[:, cut] = np.where(index == cut, by_above, 0.0) + np.where(
            index == cut + 1, by_below, 0.0
        )
    by_score[~is_class] = np.nan
    return by_score, by_cut


def _sigmoid(x: Floats) -> Floats:
    # exp of −inf is 0 and of +inf is inf, so both ends are exact.
    risen: Floats = 1.0 / (1.0 + np.exp(-x))
    return risen


def _apart(cuts: Floats) -> Floats:
    """Cuts in rising order, at least a gap apart."""
    ordered = np.sort(cuts)
    steps = np.arange(len(ordered)) * _GAP
    apart: Floats = np.maximum.accumulate(ordered - steps) + steps
    return apart
