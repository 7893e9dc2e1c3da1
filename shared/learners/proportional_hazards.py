"""Time to event by hazards of public intervals: one offset per interval, one score for all of them.

In interval j the log odds of cause c against nothing are offset_jc + score_c. A row is one patient's
gradient of the negative log-likelihood, clipped; each sum is one step (``descent``). Unlike Cox's
partial likelihood, no patient is a part of another's term. Imports columns and the descent.

Source: Cox 1972 (J R Stat Soc B 34:187), section 6, the logistic model of discrete times; Tutz & Schmid
2016 (Modeling Discrete Time-to-Event Data, ch. 8) for competing causes.

Legend: n patients · f columns · k intervals · r causes · q classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, Field

from shared.exam.time_to_event import TimeToEventLabel
from shared.features.columns import Columns, clip_columns
from shared.learners.descent import Descent, RateRow, within_reach
from shared.learners.rows import Floats, one_hot, weighted_sums
from shared.learners.task import TableTask, require_follow_up
from shared.strict import FROZEN
from shared.sums.contract import State


class ProportionalHazardsSettings(BaseModel):
    """Settings of hazards that one score per cause raises in every interval alike.

    Attributes:
        sums: steps down the gradient, one sum each.
        clip_norm: largest L2 norm of one patient's gradient.
        schedule: rows by rising ``up_to_epsilon``; the last is also for privacy off and above.
    """

    model_config = FROZEN

    kind: Literal["proportional_hazards"]
    sums: int = Field(default=10, ge=1, le=1000)
    clip_norm: float = Field(default=2.0, gt=0, le=1e6)
    schedule: tuple[RateRow, ...] = Field(min_length=1)


@dataclass(frozen=True)
class ProportionalHazards:
    """State [(f + k)·r]: each column's weight by cause, then each interval's offset by cause."""

    task: TableTask
    label: TimeToEventLabel
    descent: Descent

    @classmethod
    def build(cls, settings: ProportionalHazardsSettings, task: TableTask) -> ProportionalHazards:
        """The learner of a plan.

        Raises:
            SettingsError: the target is no time to event.
        """
        label = require_follow_up(task, kind=settings.kind)
        return cls(task, label, Descent.of(settings, epsilon=task.epsilon))

    def start(self) -> State:
        """No weights, and in every interval the hazard of the label's public risk."""
        f, k, r = self._sizes
        return State(np.concatenate([np.zeros(f * r), np.full(k * r, self.label.start_logit())]))

    def shares(self) -> tuple[float, ...]:
        """Equal."""
        return self.descent.shares()

    def length(self, state: State) -> int:
        """Weights and offsets."""
        return len(state.vector)

    def bound(self, state: State) -> float:
        """The clip norm."""
        del state
        return self.descent.clip_norm

    def rows(self, state: State, patients: Columns) -> Floats:
        """Clipped gradients [n, (f + k)·r].

        By the logit of interval j and cause c: at risk there times its probability, less whether it
        came there.
        """
        values = clip_columns(patients.columns, self.task.columns)
        hot = one_hot(patients.target, len(self.label.classes))  # [n,q], NaN where it is no class
        seen = self._exposed(hot)  # [n,k,1+r]
        at_risk = seen.sum(axis=2)  # [n,k]
        by_logit = at_risk[:, :, None] * self._chances(state, values)[:, :, 1:] - seen[:, :, 1:]
        n, (_, k, r) = len(values), self._sizes
        by_score = sum((by_logit[:, interval] for interval in range(k)), np.zeros((n, r)))
        with np.errstate(over="ignore", invalid="ignore"):
            by_weight = values[:, :, None] * by_score[:, None, :]  # [n,f,r]
        return self.descent.rows(np.hstack([by_weight.reshape(n, -1), by_logit.reshape(n, -1)]))

    def advance(self, state: State, total: Floats, *, sd: float, n_declared: float) -> State:
        """One step down the gradient; after the last, the mean of the last half of the states."""
        del sd
        return self.descent.step(state, total, n_declared=n_declared)

    def predict(self, state: State, patients: Columns) -> Floats:
        """Likelihood of each class [n, q]."""
        logs = np.log(self._chances(state, clip_columns(patients.columns, self.task.columns)))
        exposures = self.label.exposures().reshape(len(self.label.classes), -1)  # [q, k·(1+r)]
        likelihood: Floats = np.exp(weighted_sums(logs.reshape(len(logs), -1), exposures.T))
        return likelihood

    @property
    def _sizes(self) -> tuple[int, int, int]:
        return len(self.task.columns), self.label.n_intervals, len(self.label.causes)

    def _exposed(self, hot: Floats) -> Floats:
        """The exposures of each patient's class [n, k, 1 + r]; NaN without one."""
        _, k, r = self._sizes
        flat = self.label.exposures().reshape(hot.shape[1], -1)
        return weighted_sums(hot, flat).reshape(len(hot), k, 1 + r)

    def _chances(self, state: State, values: Floats) -> Floats:
        """Of nothing and of each cause in every interval [n, k, 1 + r]."""
        f, k, r = self._sizes
        weights, offsets = state.vector[: f * r].reshape(f, r), state.vector[f * r :].reshape(k, r)
        with np.errstate(over="ignore", invalid="ignore"):
            logits = weighted_sums(values, weights)[:, None, :] + offsets  # [n,k,r]
        odds = np.exp(within_reach(logits))
        # one cause after the other: no order of summation depends on how many patients there are
        total = 1.0 + sum((odds[:, :, cause] for cause in range(r)), np.zeros(logits.shape[:2]))
        chances: Floats = np.concatenate([np.ones((len(values), k, 1)), odds], axis=2)
        return chances / total[:, :, None]
