"""A learner of tables as a stage: its sums asked of sites, its state advanced with the noised totals.

Imports the learners, columns and totals.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.contract.model_settings import ModelSettings, follow_up_of
from shared.contract.plan import Plan, RosterEntry
from shared.contract.protocol import Vector
from shared.contract.stages import LearnerStage
from shared.errors import PlanError, WeightsError
from shared.features.columns import Columns, make_columns, name_columns
from shared.learners.table import build_learner
from shared.learners.task import TableTask
from shared.privacy.noise import DrawNormals
from shared.stages.stage_sum import (
    Bound,
    PromisedNoise,
    StageState,
    largest_noised,
    noise_of_rows,
    places_of,
    total_with_noise,
)
from shared.sums.contract import Floats, State
from shared.sums.total import CHUNK
from shared.train.canaries import AuditRegister
from shared.train.patients import PatientBatch, make_batches


class LearnerSum:
    """A learner stage of a plan, for ``kinds.sum_of``.

    Args:
        plan: names the columns, the target and the seed.
        stage: one of its stages.

    Raises:
        SettingsError: the learner does not suit the target.
        PlanError: the stage's rounds are not the learner's sums, or its films are not encoded.
    """

    state_kind = "<f8"

    def __init__(self, plan: Plan, stage: LearnerStage, _: Path | None) -> None:
        self._settings, self._stage = plan.settings, stage
        self.state_largest = plan.settings.caps.state_max
        self._learner = build_learner(stage.learner, table_task(plan.settings, stage.epsilon))
        if len(self._learner.shares()) != stage.rounds:
            raise PlanError(
                "wrong-rounds",
                f"stage {stage.name} has {stage.rounds} rounds, its learner "
                f"{len(self._learner.shares())} sums",
                hint="write the plan again with the release of OsteoFed that is installed here",
            )

    def start(self) -> StageState:
        """The learner's first state."""
        return StageState(round=0, vector=self._learner.start().vector)

    def state_length(self, round_number: int) -> int:
        """d, of the state that a round starts from; of round T + 1, the last state."""
        return len(self._shapes[round_number - 1].vector)

    def bound(self, round_number: int) -> Bound:
        """A noised total of the round's sum."""
        return Bound(length=self._learner.length(self._shapes[round_number - 1]), kind="<f8")

    def largest(self, round_number: int, *, declared_patients: int) -> float:
        """Capacity · the bound of a row, and the noise's radius."""
        state = self._shapes[round_number - 1]
        return largest_noised(
            bound=self._learner.bound(state),
            noise_multiplier=self._stage.noise_of(round_number),
            length=self._learner.length(state),
            declared=declared_patients,
        )

    def promised(self, round_number: int, *, declared_patients: int) -> PromisedNoise:
        """The noise of one sum of rows."""
        state = self._shapes[round_number - 1]
        return noise_of_rows(
            bound=self._learner.bound(state),
            noise_multiplier=self._stage.noise_of(round_number),
            parts={"sums": slice(0, self._learner.length(state))},
        )

    def answer(
        self,
        vector: Vector,
        patients: object,
        *,
        round_number: int,
        declared_patients: int,
        draw_normals: DrawNormals,
        register: AuditRegister | None = None,
    ) -> Vector:
        """The total [m] of the round's sum over patients, on its lattice with noise, or exact."""
        if not isinstance(patients, PatientBatch):
            raise WeightsError("wrong-patients", "a learner takes a batch of patients")
        places = places_of(self._settings, self._stage, declared_patients=declared_patients)
        return total_with_noise(
            self._learner,
            self._state(vector, round_number),
            self.columns_of(patients, places=places),
            stage=self._stage,
            round_number=round_number,
            places=places,
            draw_normals=draw_normals,
        )

    def advance(
        self, state: StageState, totals: Sequence[Vector], *, sites: Sequence[RosterEntry]
    ) -> StageState:
        """The learner's next state from the totals of the sites present, in roster order."""
        number = state.round + 1
        before = self._state(state.vector, number, memory=state.memory)
        total = np.zeros(self._learner.length(before))
        for each in totals:
            total += each
        noise_multiplier = self._stage.noise_of(number)
        after = self._learner.advance(
            before,
            total,
            sd=noise_multiplier * self._learner.bound(before) * math.sqrt(len(totals)),
            n_declared=float(sum(entry.declared_patients for entry in sites)),
        )
        return StageState(round=number, vector=after.vector, memory=after.memory)

    def predict(self, vector: Vector, columns: Columns, *, places: int = 0) -> Floats:
        """Outputs [n, o] of the last state: a number in standard units, or a probability per class.

        Made in chunks of one shape, as many as ``places`` need at least, as are ``columns_of``.
        """
        state, n = self._state(vector, self._stage.rounds + 1), len(columns)
        made = []
        for start in range(0, max(n, places, 1), CHUNK):
            held = columns.select(range(start, min(start + CHUNK, n)))
            made.append(self._learner.predict(state, held.filled(CHUNK)))
        return np.concatenate(made)[:n]

    def columns_of(self, patients: PatientBatch, *, places: int = 0) -> Columns:
        """The patients as the learner takes them; for as many as ``places`` there is work at least."""
        n = len(patients)
        made = [
            make_columns(
                part.filled(CHUNK),
                self._settings.cohort.fields,
                is_class=self._settings.task.kind != "regression",
                channels=_channels(self._settings),
                layout=self._settings.features.layout,
            )
            for part in make_batches(patients, CHUNK, places=max(places, 1))
        ]
        return Columns(
            np.concatenate([each.columns for each in made])[:n],
            np.concatenate([each.target for each in made])[:n],
        )

    def _state(
        self, vector: Vector, round_number: int, *, memory: Mapping[str, NDArray[Any]] | None = None
    ) -> State:
        return State(np.asarray(vector, dtype=np.float64), round_number - 1, memory or {})

    @cached_property
    def _shapes(self) -> list[State]:
        """States of every round as totals of zeros make them: their lengths are those of any run."""
        states = [self._learner.start()]
        for number in range(1, self._stage.rounds + 1):
            total = np.zeros(self._learner.length(states[-1]))
            sd = self._stage.noise_of(number) * self._learner.bound(states[-1])
            states.append(self._learner.advance(states[-1], total, sd=sd, n_declared=1.0))
        return states


def table_task(settings: ModelSettings, epsilon: float) -> TableTask:
    """A plan's facts for a learner of tables.

    Args:
        settings: name columns, target and seed.
        epsilon: what the stage promises; 0 without privacy.
    """
    label, is_class = settings.cohort.label, settings.task.kind == "classification"
    return TableTask(
        columns=name_columns(
            settings.cohort.fields, channels=_channels(settings), layout=settings.features.layout
        ),
        n_classes=len(label.classes) if is_class and label.kind != "number" else 0,
        is_ordered=label.kind != "number" and label.is_ordered,
        seed=settings.seed,
        follow_up=follow_up_of(settings),
        epsilon=epsilon or None,
    )


def _channels(settings: ModelSettings) -> int:
    """Channels of an image token beside the clinical columns; 0 leaves the image out."""
    return 0 if settings.fusion.name == "clinical_only" else settings.encoder.token_channels
