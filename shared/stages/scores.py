"""What the last state of a training stage says of patients: outputs, label and fields of each exam.

Imports the model's scoring and the learners.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shared.contract.plan import Plan
from shared.contract.protocol import Vector
from shared.contract.stages import GradientStage, LearnerStage, Stage
from shared.errors import PlanError
from shared.exam.schema import ClinicalField
from shared.learners.table import require_prediction
from shared.measures.exams import ScoredExams, exams_of
from shared.measures.scored import Scored
from shared.stages.gradient import GradientSum
from shared.stages.learner import LearnerSum
from shared.stages.stage_sum import StageState
from shared.train.patients import PatientBatch
from shared.train.update import each_exam, first_exams, score_exams

Floats = NDArray[np.float64]


class Scorer(Protocol):
    """Reads a training stage's last state."""

    state_kind: str
    state_largest: float
    length: int

    def start(self) -> StageState:
        """The state before any training."""
        ...

    def score(self, vector: Vector, patients: PatientBatch) -> ScoredExams:
        """The exams of the patients with a label.

        Outputs are the predicted target in its unit, o = 1, or each class's probability; a label is the
        target in its unit, or the class index.
        """
        ...


class GradientScorer:
    """Scores by the model with trained weights."""

    state_kind = "<f4"

    def __init__(self, plan: Plan, stage: GradientStage, encoder_file: Path | None) -> None:
        self._settings, self._encoder_file = plan.settings, encoder_file
        self._sum = GradientSum(plan, stage, encoder_file)
        self.state_largest = self._sum.state_largest
        self.length = self._sum.state_length(1)

    def start(self) -> StageState:
        """The model's initial weights."""
        return self._sum.start()

    def score(self, vector: Vector, patients: PatientBatch) -> ScoredExams:
        """As ``Scorer``, of each labelled exam that kept a film."""
        exams, patient = each_exam(patients)
        outputs, label = score_exams(self._settings, exams, vector, encoder_file=self._encoder_file)
        fields = _fields_of(exams, self._settings.cohort.fields)
        return exams_of(Scored(outputs, label, fields), patient)


class LearnerScorer:
    """Scores by a learner of tables, on each patient's mean over labelled exams."""

    state_kind = "<f8"

    def __init__(self, plan: Plan, stage: LearnerStage, encoder_file: Path | None) -> None:
        require_prediction(stage.learner)
        self._settings = plan.settings
        self._sum = LearnerSum(plan, stage, encoder_file)
        self.state_largest = self._sum.state_largest
        self.length = self._sum.state_length(stage.rounds + 1)

    def start(self) -> StageState:
        """The learner's first state."""
        return self._sum.start()

    def score(self, vector: Vector, patients: PatientBatch) -> ScoredExams:
        """As ``Scorer``; all patients, each as one exam with the earliest labelled one's fields."""
        task = self._settings.task
        columns = self._sum.columns_of(patients)
        output, label = self._sum.predict(vector, columns), columns.target  # [n, o], [n]
        if task.kind == "regression":
            scale, shift = task.target_sd, task.target_mean
            output, label = shift + scale * output, shift + scale * label
        fields = _fields_of(first_exams(patients), self._settings.cohort.fields)
        return exams_of(Scored(output, label, fields), np.arange(len(label)))


def _fields_of(exams: PatientBatch, fields: Sequence[ClinicalField]) -> Floats:
    """Clinical fields [e,k] of exams, NaN where missing: numbers in the schema's units, else places."""
    values, is_there = exams.fields[:, 0].double().numpy(), exams.field_mask[:, 0].numpy()
    scale = [1.0 if field.kind == "category" else field.reference_sd for field in fields]
    shift = [0.0 if field.kind == "category" else field.reference_mean for field in fields]
    return np.where(is_there, values * scale + shift, np.nan)


def scorer_of(plan: Plan, stage: Stage | None, encoder_file: Path | None) -> Scorer:
    """The scorer of a training stage.

    Raises:
        PlanError: the stage trains nothing.
        SettingsError: what it trains predicts nothing.
    """
    if isinstance(stage, GradientStage):
        return GradientScorer(plan, stage, encoder_file)
    if isinstance(stage, LearnerStage):
        return LearnerScorer(plan, stage, encoder_file)
    raise PlanError(
        "reads-no-training",
        f"a table must read a stage that trains, not {stage.name if stage else 'none'}",
        hint="name the gradient or learner stage of the plan in `reads`",
    )
