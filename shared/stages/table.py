"""Validation of a release on a group of patients: a noised table, or governed statistics.

A noised table is one bounded row of each patient, the mean over that patient's exams, added up. A
governed stage sends no table: it sends figures that the site computes of each patient's earliest exam,
since rules of disclosure count whole patients and a rank needs one score of each
(``shared.measure.governed.disclosure``). Imports scoring, table and statistics.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.contract.plan import Plan, RosterEntry
from shared.contract.protocol import Vector
from shared.contract.stages import TableStage
from shared.errors import WeightsError
from shared.measure.governed.called import statistics_of
from shared.measure.governed.disclosure import withhold
from shared.measure.governed.statistics import LARGEST, statistics_spec
from shared.measure.table.spec import sensitivity, table_spec
from shared.measure.table.sum import TableRows
from shared.measures.exams import MeanOverExams
from shared.measures.scored import Scored
from shared.privacy.noise import DrawNormals
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

Floats = NDArray[np.float64]


class TableSum:
    """A table stage of a plan, for ``kinds.sum_of``; its state is the last of the stage it reads."""

    def __init__(self, plan: Plan, stage: TableStage, encoder_file: Path | None) -> None:
        self._settings, self._stage = plan.settings, stage
        self.spec = table_spec(plan.settings, stage)
        self.statistics = statistics_spec(plan.settings, stage)
        self._is_governed = stage.release_class == "governed"
        self._sum = OneSum(MeanOverExams(TableRows(self.spec)))
        self._scored = scorer_of(plan, plan.read_by(stage), encoder_file)
        self.state_kind = self._scored.state_kind
        self.state_largest = self._scored.state_largest

    def start(self) -> StageState:
        """Where nothing was trained: the state that the stage it reads starts from."""
        return self._scored.start()

    @property
    def noise_sd(self) -> float:
        """Standard deviation of the noise in each cell; 0 in governed statistics."""
        return self._stage.noise_of(1) * sensitivity(self.spec)

    def state_length(self, round_number: int) -> int:
        """d, the last state of the stage that is measured."""
        return self._scored.length

    def bound(self, round_number: int) -> Bound:
        """A table; or statistics, of which those are withheld that imply too few patients."""
        if not self._is_governed:
            return Bound(length=self.spec.n_cells, kind="<f8")
        length = self.statistics.n_figures

        def show(exact: Vector, minimum_cell: int, before: Sequence[Vector]) -> Vector:
            require_alone([vector for vector in before if len(vector) != length])
            return withhold(
                exact.astype(np.float64),
                self.statistics,
                minimum_cell=minimum_cell,
                earlier=[vector.astype(np.float64) for vector in before],
            )

        return Bound(length=length, kind="<f8", suppress=show, may_withhold=True)

    def largest(self, round_number: int, *, declared_patients: int) -> float:
        """Capacity · the norm of a row, and the noise's radius; of statistics their public range."""
        if self._is_governed:
            return LARGEST * math.sqrt(self.statistics.n_figures)
        return largest_noised(
            bound=sensitivity(self.spec),
            noise_multiplier=self._stage.noise_of(round_number),
            length=self.spec.n_cells,
            declared=declared_patients,
        )

    def promised(self, round_number: int, *, declared_patients: int) -> PromisedNoise:
        """The noise of a table, block by block."""
        return noise_of_rows(
            bound=sensitivity(self.spec),
            noise_multiplier=self._stage.noise_of(round_number),
            parts=self.spec.parts,
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
        """The table, or the statistics, [m] of the release with state ``vector`` [d] on patients."""
        if not isinstance(patients, PatientBatch):
            raise WeightsError("wrong-patients", "a validation takes a batch of patients")
        places = places_of(self._settings, self._stage, declared_patients=declared_patients)
        scored = self._scored.score(vector, patients, places=places)
        if self._is_governed:
            return self.measured(scored.earliest())
        return total_with_noise(
            self._sum,
            self._sum.start(),
            scored,
            stage=self._stage,
            round_number=round_number,
            places=places,
            draw_normals=draw_normals,
        )

    def measured(self, scored: Scored) -> Vector:
        """Exact statistics [m], before anything is withheld."""
        rule = self.spec.rule
        return statistics_of(self.statistics, rule, outputs=scored.outputs, label=scored.label)

    def advance(
        self, state: StageState, totals: Sequence[Vector], *, sites: Sequence[RosterEntry]
    ) -> StageState:
        """Measuring a release changes nothing of it."""
        return StageState(round=state.round + 1, vector=state.vector, memory=state.memory)
