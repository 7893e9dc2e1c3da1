"""Who the patients are: one bounded row of each labelled patient, of the earliest labelled exam.

Imports the description's rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.contract.decision import decision_of
from shared.contract.model_settings import follow_up_of
from shared.contract.plan import Plan, RosterEntry
from shared.contract.protocol import Vector
from shared.contract.stages import DescriptionStage
from shared.errors import WeightsError
from shared.measure.description.rows import (
    description_spec,
    sensitivity,
    withhold_small_groups,
)
from shared.measure.description.sum import DescribedPatients, DescriptionRows
from shared.privacy.noise import DrawNormals
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

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class FirstExams:
    """The earliest labelled exam of each patient.

    Shapes: fields [n,k], numbers standardised by the public reference, categories as index;
        field_mask [n,k], True = present; target [n] in its own unit, or the class index.
    """

    fields: Floats
    field_mask: Bools
    target: Floats

    def __len__(self) -> int:
        """Number of patients."""
        return len(self.target)


class DescriptionSum:
    """A description stage of a plan, for ``kinds.sum_of``; it has no state."""

    state_kind = "<f4"

    def __init__(self, plan: Plan, stage: DescriptionStage, _: Path | None) -> None:
        self._settings, self._stage = plan.settings, stage
        self.spec = description_spec(plan.settings, stage)
        self._sum = OneSum(DescriptionRows(self.spec))
        self.state_largest = 0.0

    def start(self) -> StageState:
        """Nothing."""
        return StageState(round=0, vector=np.zeros(0, dtype="<f4"))

    @property
    def noise_sd(self) -> float:
        """Standard deviation of the noise in each cell; 0 in a governed description."""
        return self._stage.noise_of(1) * sensitivity(self.spec)

    def state_length(self, round_number: int) -> int:
        """Nothing: a description measures no release."""
        return 0

    def bound(self, round_number: int) -> Bound:
        """The cells of a description; exact ones are withheld from too few patients."""

        def withhold(table: Vector, minimum_cell: int, before: Sequence[Vector]) -> Vector:
            require_alone(before)
            return withhold_small_groups(table.astype(np.float64), self.spec, minimum_cell=minimum_cell)

        return Bound(length=self.spec.n_cells, kind="<f8", suppress=withhold)

    def largest(self, round_number: int, *, declared_patients: int) -> float:
        """Capacity · the norm of a row, and the noise's radius."""
        return largest_noised(
            bound=sensitivity(self.spec),
            noise_multiplier=self._stage.noise_of(round_number),
            length=self.spec.n_cells,
            declared=declared_patients,
        )

    def promised(self, round_number: int, *, declared_patients: int) -> PromisedNoise:
        """The noise of one sum of rows."""
        return noise_of_rows(
            bound=sensitivity(self.spec),
            noise_multiplier=self._stage.noise_of(round_number),
            parts={"description": slice(0, self.spec.n_cells)},
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
        """The description [m] of patients."""
        if not isinstance(patients, FirstExams):
            raise WeightsError("wrong-patients", "a description takes the first exams of patients")
        return total_with_noise(
            self._sum,
            self._sum.start(),
            self.described(patients),
            stage=self._stage,
            round_number=round_number,
            places=places_of(self._settings, self._stage, declared_patients=declared_patients),
            draw_normals=draw_normals,
        )

    def described(self, patients: FirstExams) -> DescribedPatients:
        """Patients as a description takes them: each counts once."""
        is_positive = decision_of(self._settings).is_positive(patients.target)
        fields, mask, target = patients.fields, patients.field_mask, patients.target
        if follow_up_of(self._settings) is not None:  # the label is a category beside the fields
            fields = np.column_stack([fields, target])
            mask = np.column_stack([mask, np.isfinite(target)])
        return DescribedPatients(fields, mask, target, is_positive)

    def advance(
        self, state: StageState, totals: Sequence[Vector], *, sites: Sequence[RosterEntry]
    ) -> StageState:
        """A description is read, nothing follows from it."""
        return StageState(round=state.round + 1, vector=state.vector, memory=state.memory)
