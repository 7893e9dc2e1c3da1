"""A measure as a stage: one sum over the patients that a training stage's last state has scored.

Imports the measures, scores and totals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from shared.contract.decision import decision_of
from shared.contract.model_settings import ModelSettings, follow_up_of
from shared.contract.plan import Plan, RosterEntry
from shared.contract.protocol import Vector
from shared.contract.settings import PlanSettings
from shared.contract.stages import MeasureStage
from shared.errors import WeightsError
from shared.measures.exams import MeanOverExams, ScoredExams
from shared.measures.scored import Measure, MeasureTask, ReadsBone, ReplacesFields
from shared.measures.table import build_measure
from shared.privacy.noise import DrawNormals
from shared.stages.donors import with_donors
from shared.stages.explained import ExplainedPatients, score_hidden, score_maps
from shared.stages.scores import scorer_of
from shared.stages.stage_sum import (
    Bound,
    PromisedNoise,
    StageState,
    largest_noised,
    noise_of_rows,
    places_of,
    require_alone,
    total_with_noise,
)
from shared.sums.one_sum import OneSum
from shared.train.canaries import AuditRegister
from shared.train.patients import PatientBatch


def measure_of(settings: PlanSettings, stage: MeasureStage) -> Measure:
    """The measure that a stage names, of the plan's task and clinical fields.

    Raises:
        SettingsError: it does not suit them.
    """
    return build_measure(stage.measure, measure_task(settings))


def measure_task(settings: ModelSettings, *, setting: str = "measure") -> MeasureTask:
    """A plan's facts for a measure; ``setting`` as of ``MeasureTask``."""
    return MeasureTask(
        decision_of(settings),
        settings.cohort.fields,
        setting,
        follow_up_of(settings),
        looks_at_films=settings.looks_at_films,
        has_places=settings.map_grid > 0,
    )


def both_weights(local: Vector, released: Vector) -> Vector:
    """The state [2d] of a measure in a local plan."""
    both: Vector = np.concatenate([local, released])
    return both


def released_weights(plan: Plan, vector: Vector) -> Vector:
    """What of a measure's state [d], in a local plan [2d], is the release that the plan names."""
    released: Vector = vector[vector.size // 2 :] if plan.is_local else vector
    return released


class MeasureSum:
    """A measure stage of a plan, for ``kinds.sum_of``; its state is the last of the stage it reads.

    In a local plan [2d]: the site's own weights, then those of the release that they went on from.
    """

    def __init__(self, plan: Plan, stage: MeasureStage, encoder_file: Path | None) -> None:
        self._settings, self._stage = plan.settings, stage
        self.measure = measure_of(plan.settings, stage)
        self._scored = scorer_of(plan, plan.read_by(stage), encoder_file)
        self.state_kind = self._scored.state_kind
        self.state_largest = self._scored.state_largest
        self._sum = OneSum(MeanOverExams(self.measure))
        self._length, self._bound = self.measure.n_cells, self.measure.norm
        self._is_local = plan.is_local

    @property
    def noise_sd(self) -> float:
        """Standard deviation of the noise in each cell; 0 in a governed release."""
        return self._stage.noise_of(1) * self._bound

    def start(self) -> StageState:
        """Where nothing was trained: the state that the stage it reads starts from."""
        start = self._scored.start()
        return (
            replace(start, vector=both_weights(start.vector, start.vector)) if self._is_local else start
        )

    def state_length(self, round_number: int) -> int:
        """d, the last state of the stage that is measured; in a local plan 2d."""
        return self._scored.length * (1 + self._is_local)

    def bound(self, round_number: int) -> Bound:
        """The measure's cells; exact ones as it suppresses them, and where none were shown before."""

        def suppress(total: Vector, minimum_cell: int, before: Sequence[Vector]) -> Vector:
            require_alone(before)
            return self.measure.suppress(total.astype(np.float64), minimum_cell)

        return Bound(length=self._length, kind="<f8", suppress=suppress)

    def largest(self, round_number: int, *, declared_patients: int) -> float:
        """Capacity · the norm of a row, and the noise's radius."""
        return largest_noised(
            bound=self._bound,
            noise_multiplier=self._stage.noise_of(round_number),
            length=self._length,
            declared=declared_patients,
        )

    def promised(self, round_number: int, *, declared_patients: int) -> PromisedNoise:
        """The noise of one sum of rows."""
        return noise_of_rows(
            bound=self._bound,
            noise_multiplier=self._stage.noise_of(round_number),
            parts={"measure": slice(0, self._length)},
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
        """The measure's total [m] over patients, each scored by the state ``vector`` [d]."""
        places = places_of(self._settings, self._stage, declared_patients=declared_patients)
        return total_with_noise(
            self._sum,
            self._sum.start(),
            self._score(vector, patients, places),
            stage=self._stage,
            round_number=round_number,
            places=places,
            draw_normals=draw_normals,
        )

    def _score(self, vector: Vector, patients: object, places: int) -> ScoredExams:
        """The exams as the state reads them, and as the measure asks besides.

        Raises:
            WeightsError: patients are not in the form that the measure reads.
        """
        measure = self.measure
        if isinstance(measure, ReadsBone) and isinstance(patients, ExplainedPatients):
            if measure.reads_bone == "hidden":
                return score_hidden(self._scored, vector, patients, places=places)
            rule = decision_of(self._settings)
            cells = self._settings.features.cells
            return score_maps(self._scored, vector, patients, rule, places=places, cells=cells)
        if isinstance(measure, ReadsBone) or not isinstance(patients, PatientBatch):
            raise WeightsError(
                "wrong-patients",
                "a measure takes a batch of patients, one of bone with masks beside it",
            )
        both = vector
        vector = vector[: self._scored.length]
        scored = self._scored.score(vector, patients, places=places)
        if not isinstance(measure, ReplacesFields):
            return scored
        fields = self._settings.cohort.fields
        outputs = [
            self._scored.score(
                vector, with_donors(patients, place, fields[place]), places=places
            ).exams.outputs
            for place in measure.replaced_fields
        ]
        if self._is_local:
            released = both[self._scored.length :]
            outputs.append(self._scored.score(released, patients, places=places).exams.outputs)
        return replace(scored, exams=replace(scored.exams, replaced=np.stack(outputs, axis=1)))

    def advance(
        self, state: StageState, totals: Sequence[Vector], *, sites: Sequence[RosterEntry]
    ) -> StageState:
        """Measuring a release changes nothing of it."""
        return StageState(round=state.round + 1, vector=state.vector, memory=state.memory)
