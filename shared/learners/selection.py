"""Columns are chosen by a first sum, then a learner is trained on the ones that are kept.

The first sum has a public share of the budget, by ε; where the share is none there is no first sum:
what is public chooses (clusters of public films), or all columns are kept. How columns are scored is
one of ``univariate`` and ``varclus``; as many are kept as the plan says, so that the length of every
sum is public. The choice is among all columns, or among those of films while clinical ones are all
kept. What comes out is *columns kept*: with noise no method finds which columns a target truly follows.
Imports the scorings and the learners that may follow.

Legend: n patients · f columns that are chosen from · d numbers of the following learner's state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, SerializerFunctionWrapHandler, model_serializer

from shared.errors import SettingsError
from shared.features.columns import Column, Columns
from shared.learners.lda import Lda, LdaSettings
from shared.learners.logistic import Logistic, LogisticSettings
from shared.learners.mlp import Mlp, MlpSettings
from shared.learners.proportional_odds import ProportionalOdds, ProportionalOddsSettings
from shared.learners.rows import Floats
from shared.learners.task import TableTask
from shared.learners.univariate import Univariate, UnivariateSettings
from shared.learners.varclus import Varclus, VarclusSettings
from shared.strict import FROZEN
from shared.sums.contract import Learner, State

Following = Annotated[
    LdaSettings | LogisticSettings | MlpSettings | ProportionalOddsSettings,
    Field(discriminator="kind"),
]
Scoring = Annotated[UnivariateSettings | VarclusSettings, Field(discriminator="kind")]


class SelectionSettings(BaseModel):
    """Settings of a learner on chosen columns.

    Attributes:
        by: how columns are scored, with its share of the budget.
        among: which columns are chosen from; others are all kept.
        keep: how many of those are kept.
        then: the learner that is trained on them, with its own settings.
    """

    model_config = FROZEN

    kind: Literal["selection"]
    by: Scoring
    among: Literal["all", "films"] = "all"
    keep: int = Field(default=20, ge=1, le=10_000)
    then: Following

    @model_serializer(mode="wrap")
    def _without_what_is_usual(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        # a plan of before, when all columns were chosen from, keeps its hash
        return {k: value for k, value in write(self).items() if k != "among" or self.among != "all"}


class Scores(Protocol):
    """One bounded row per patient, and how its total scores columns."""

    @property
    def known(self) -> Floats | None:
        """Scores [f] that are public before any sum; None where there are none."""
        ...

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


@dataclass(frozen=True)
class Selection:
    """State [0] → [f + d]: scores of the columns, then the state of the learner on those kept.

    Where no sum chooses, the state is the following learner's alone.
    """

    task: TableTask
    settings: SelectionSettings
    asked: Scores
    share: float
    places: tuple[int, ...]

    @classmethod
    def build(cls, settings: SelectionSettings, task: TableTask) -> Selection:
        """The learner of a plan.

        Raises:
            SettingsError: the target does not suit it, or there are fewer columns than are kept.
        """
        places = tuple(
            place
            for place, column in enumerate(task.columns)
            if settings.among == "all" or column.source != "clinical"
        )
        if settings.keep > len(places):
            raise SettingsError(
                "too-many-kept",
                f"learner.keep must be at most {len(places)}, the number of columns, "
                f"not {settings.keep}",
                hint="keep fewer, or train on all columns: learner=" + settings.then.kind,
            )
        by, chosen_from = settings.by, replace(task, columns=_at(task.columns, places))
        asked = (
            Univariate.build(by, chosen_from)
            if isinstance(by, UnivariateSettings)
            else Varclus.build(by, chosen_from)
        )
        _following(settings.then, task)
        return cls(task, settings, asked, by.share_at(task.epsilon), places)

    def start(self) -> State:
        """Nothing chosen yet; where no sum chooses, what the following learner starts from."""
        return State(np.zeros(0)) if self.share else self._then(self._unasked).start()

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
            return self.asked.rows(_only(patients, np.asarray(self.places, dtype=np.intp)))
        kept, inner = self._split(state)
        return self._then(kept).rows(inner, _only(patients, kept))

    def advance(self, state: State, total: Floats, *, sd: float, n_declared: float) -> State:
        """The scores of all columns; then as the following learner does."""
        if self._is_choosing(state):
            scores = self.asked.scores(total, sd=sd, n_declared=n_declared)
            first = self._then(self._kept(scores)).start()
            return State(np.concatenate([scores, first.vector]), 1)
        kept, inner = self._split(state)
        after = self._then(kept).advance(inner, total, sd=sd, n_declared=n_declared)
        scores = state.vector[: len(self.places)] if self.share else np.zeros(0)
        return State(np.concatenate([scores, after.vector]), state.sums_done + 1, after.memory)

    def predict(self, state: State, patients: Columns) -> Floats:
        """As the following learner does, from the columns kept."""
        kept, inner = self._split(state)
        return self._then(kept).predict(inner, _only(patients, kept))

    def columns_kept(self, state: State) -> tuple[str, ...]:
        """Names of the columns that were kept: the highest score first, then those not chosen from."""
        return tuple(self.task.columns[place].name for place in self._split(state)[0])

    def is_public_choice(self, state: State) -> bool:
        """Whether no sum has chosen: none was asked, or its noise was too loud to say anything.

        Scores of a sum that was heard are above 0 somewhere.
        """
        return not self.share or not bool((state.vector[: len(self.places)] > 0).any())

    def _is_choosing(self, state: State) -> bool:
        return bool(self.share) and state.sums_done == 0

    @property
    def _unasked(self) -> NDArray[np.intp]:
        """Places of the columns that are kept where no sum chooses."""
        known = self.asked.known
        return np.arange(len(self.task.columns)) if known is None else self._kept(known)

    @property
    def _any(self) -> NDArray[np.intp]:
        """As many columns as are kept: what does not depend on which."""
        return self._kept(np.zeros(len(self.places))) if self.share else self._unasked

    def _kept(self, scores: Floats) -> NDArray[np.intp]:
        """Places of the columns kept: by falling score, then all that are not chosen from."""
        # Ties, and what is no number in a state that nobody made, stand in the columns' order.
        scores = np.nan_to_num(scores, nan=-np.inf)
        best = np.argsort(-scores, kind="stable")[: self.settings.keep]
        others = sorted(set(range(len(self.task.columns))) - set(self.places))
        return np.asarray([*(self.places[place] for place in best), *others], dtype=np.intp)

    def _split(self, state: State) -> tuple[NDArray[np.intp], State]:
        """Places of the columns kept, and the following learner's state."""
        if not self.share:
            return self._unasked, state
        f = len(self.places)
        inner = State(state.vector[f:], state.sums_done - 1, state.memory)
        return self._kept(state.vector[:f]), inner

    def _then(self, kept: NDArray[np.intp]) -> Learner[Columns]:
        columns = _at(self.task.columns, kept.tolist())
        return _following(self.settings.then, replace(self.task, columns=columns))


def _following(settings: Following, task: TableTask) -> Learner[Columns]:
    if isinstance(settings, LdaSettings):
        return Lda.build(settings, task)
    if isinstance(settings, LogisticSettings):
        return Logistic.build(settings, task)
    if isinstance(settings, MlpSettings):
        return Mlp.build(settings, task)
    return ProportionalOdds.build(settings, task)


def _at(columns: Sequence[Column], places: Sequence[int]) -> tuple[Column, ...]:
    return tuple(columns[place] for place in places)


def _only(patients: Columns, kept: NDArray[np.intp]) -> Columns:
    return Columns(np.ascontiguousarray(patients.columns[:, kept]), patients.target)
