"""Columns are chosen by a first sum, then a learner is trained on the ones that are kept.

The first sum has a public share of the budget, by ε; where the share is none, there is no first sum,
and which columns are kept is public: all, or those of the largest public SDs. How columns are scored is
one of ``univariate``, ``varclus`` and ``lasso``; as many are kept as the plan says, so that every sum's
length is public. What comes out is *columns kept*: with noise no method finds which columns a target
truly follows. Imports the scorings and the learners that may follow.

Legend: n patients · f columns · d numbers of the following learner's state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from shared.errors import SettingsError
from shared.features.columns import Columns
from shared.learners.following import Following, build_following
from shared.learners.lasso import Lasso, LassoSettings
from shared.learners.rows import Floats
from shared.learners.task import TableTask
from shared.learners.univariate import Univariate, UnivariateSettings
from shared.learners.varclus import Varclus, VarclusSettings
from shared.strict import FROZEN
from shared.sums.contract import Learner, State

Scoring = Annotated[UnivariateSettings | VarclusSettings | LassoSettings, Field(discriminator="kind")]
# Of a state's memory: the choice's noised total, and SD and declared patients, for its stability.
_TOTAL, _NOISE = "choice_total", "choice_noise"


class SelectionSettings(BaseModel):
    """Settings of a learner on chosen columns.

    Attributes:
        by: how columns are scored, with its share of the budget.
        keep: how many are kept.
        then: the learner that is trained on them, with its own settings.
    """

    model_config = FROZEN

    kind: Literal["selection"]
    by: Scoring
    keep: int = Field(default=20, ge=1, le=10_000)
    then: Following


class Scores(Protocol):
    """One bounded row per patient, and how its total scores columns."""

    @property
    def length(self) -> int:
        """m."""
        ...

    @property
    def bound(self) -> float:
        """Largest L2 norm of a row."""
        ...

    def rows(self, patients: Columns) -> Floats:
        """[n,m]."""
        ...

    def scores(self, total: Floats, *, sd: float, n_declared: float) -> Floats:
        """How much each column is worth keeping [f]; only their order counts."""
        ...

    def unasked(self, keep: int) -> NDArray[np.intp]:
        """Places of the columns that are kept where no sum is asked."""
        ...


@dataclass(frozen=True)
class Selection:
    """State [0] → [f + d]: scores of the columns, then the state of the learner on those kept.

    Where nothing is chosen, the state is the following learner's alone.
    """

    task: TableTask
    settings: SelectionSettings
    asked: Scores
    share: float

    @classmethod
    def build(cls, settings: SelectionSettings, task: TableTask) -> Selection:
        """The learner of a plan.

        Raises:
            SettingsError: the target does not suit it, or there are fewer columns than are kept.
        """
        if settings.keep > len(task.columns):
            raise SettingsError(
                "too-many-kept",
                f"learner.keep must be at most {len(task.columns)}, the number of columns, "
                f"not {settings.keep}",
                hint="keep fewer, or train on all columns: learner=" + settings.then.kind,
            )
        build_following(settings.then, task)
        asked = build_scores(settings.by, task)
        return cls(task, settings, asked, settings.by.share_at(task.epsilon))

    def start(self) -> State:
        """Nothing chosen yet; where nothing is to be chosen, what the following learner starts from."""
        return State(np.zeros(0)) if self.share else self._then(self._any).start()

    def shares(self) -> tuple[float, ...]:
        """The choice's, then the following learner's of what is left."""
        rest = tuple((1.0 - self.share) * each for each in self._then(self._any).shares())
        return (self.share, *rest) if self.share else rest

    def length(self, state: State) -> int:
        """Of the choice, then of the following learner."""
        if self._is_choosing(state):
            return self.asked.length
        kept, inner = self._split(state)
        return self._then(kept).length(inner)

    def bound(self, state: State) -> float:
        """Of the choice, then of the following learner."""
        if self._is_choosing(state):
            return self.asked.bound
        kept, inner = self._split(state)
        return self._then(kept).bound(inner)

    def rows(self, state: State, patients: Columns) -> Floats:
        """Of the choice, then of the following learner on the columns kept."""
        if self._is_choosing(state):
            return self.asked.rows(patients)
        kept, inner = self._split(state)
        return self._then(kept).rows(inner, _only(patients, kept))

    def advance(self, state: State, total: Floats, *, sd: float, n_declared: float) -> State:
        """The scores of all columns; then as the following learner does."""
        if self._is_choosing(state):
            scores = self.asked.scores(total, sd=sd, n_declared=n_declared)
            kept, _ = self._split(State(scores, 1))
            memory = {_TOTAL: total, _NOISE: np.array([sd, n_declared])}
            return State(np.concatenate([scores, self._then(kept).start().vector]), 1, memory)
        kept, inner = self._split(state)
        after = self._then(kept).advance(inner, total, sd=sd, n_declared=n_declared)
        scores = state.vector[: len(self.task.columns)] if self.share else np.zeros(0)
        own = {name: state.memory[name] for name in (_TOTAL, _NOISE) if name in state.memory}
        memory = {**after.memory, **own}
        return State(np.concatenate([scores, after.vector]), state.sums_done + 1, memory)

    def predict(self, state: State, patients: Columns) -> Floats:
        """As the following learner does, from the columns kept."""
        kept, inner = self._split(state)
        return self._then(kept).predict(inner, _only(patients, kept))

    def columns_kept(self, state: State) -> tuple[str, ...]:
        """Names of the columns that were kept, the highest score first."""
        return tuple(self.task.columns[place].name for place in self._split(state)[0])

    def choose_again(self, state: State, noise: Floats) -> Floats | None:
        """Scores [f] with so much more noise in the choice's total; None where no sum chose.

        Args:
            state: any after the choice, with its memory.
            noise: standard normals, as many as the choice's row has cells.
        """
        if _TOTAL not in state.memory:
            return None
        sd, n_declared = (float(value) for value in state.memory[_NOISE])
        total = state.memory[_TOTAL] + sd * noise
        return self.asked.scores(total, sd=math.sqrt(2.0) * sd, n_declared=n_declared)

    def _is_choosing(self, state: State) -> bool:
        return bool(self.share) and state.sums_done == 0

    @property
    def _any(self) -> NDArray[np.intp]:
        """As many columns as are kept, for what does not depend on which; without a choice, those."""
        keep = self.settings.keep
        return np.arange(keep) if self.share else self.asked.unasked(keep)

    def _split(self, state: State) -> tuple[NDArray[np.intp], State]:
        """Places of the columns kept, by falling score, and the following learner's state."""
        if not self.share:
            return self._any, state
        f = len(self.task.columns)
        # Ties, and what is no number in a state that nobody made, stand in the columns' order.
        scores = np.nan_to_num(state.vector[:f], nan=-np.inf)
        kept = np.argsort(-scores, kind="stable")[: self.settings.keep]
        return kept, State(state.vector[f:], state.sums_done - 1, state.memory)

    def _then(self, kept: NDArray[np.intp]) -> Learner[Columns]:
        columns = tuple(self.task.columns[place] for place in kept)
        return build_following(self.settings.then, replace(self.task, columns=columns))


def build_scores(settings: Scoring, task: TableTask) -> Scores:
    """How the columns of a task are scored.

    Raises:
        SettingsError: the target does not suit it.
    """
    if isinstance(settings, UnivariateSettings):
        return Univariate.build(settings, task)
    if isinstance(settings, LassoSettings):
        return Lasso.build(settings, task)
    return Varclus.build(settings, task)


def _only(patients: Columns, kept: NDArray[np.intp]) -> Columns:
    return Columns(np.ascontiguousarray(patients.columns[:, kept]), patients.target)
