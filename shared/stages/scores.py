"""What the last state of a training stage says of patients: outputs and one label each.

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
from shared.errors import PlanError, ProtocolError
from shared.exam.schema import ClinicalField
from shared.learners.table import require_prediction
from shared.stages.gradient import GradientSum
from shared.stages.learner import LearnerSum
from shared.stages.stage_sum import StageState
from shared.train.patients import PatientBatch
from shared.train.update import first_exams, score_patients

Floats = NDArray[np.float64]


class Scorer(Protocol):
    """Reads a training stage's last state."""

    state_kind: str
    state_largest: float
    length: int

    def start(self) -> StageState:
        """The state before any training."""
        ...

    def score(self, vector: Vector, patients: PatientBatch) -> tuple[Floats, Floats]:
        """Outputs [n,o] and labels [n] of the patients with a label.

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

    def score(self, vector: Vector, patients: PatientBatch) -> tuple[Floats, Floats]:
        """As ``Scorer``, of each patient's earliest labelled exam."""
        return score_patients(self._settings, patients, vector, encoder_file=self._encoder_file)


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

    def score(self, vector: Vector, patients: PatientBatch) -> tuple[Floats, Floats]:
        """As ``Scorer``."""
        task = self._settings.task
        columns = self._sum.columns_of(patients)
        output = self._sum.predict(vector, columns)  # [n, o]
        if task.kind == "regression":
            scale, shift = task.target_sd, task.target_mean
            return shift + scale * output, shift + scale * columns.target
        return output, columns.target


def fields_of(patients: PatientBatch, fields: Sequence[ClinicalField], *, n: int) -> Floats:
    """Clinical fields [n,k] of the earliest labelled exam of each scored patient, NaN where missing.

    Numbers are in the schema's units again, categories by place.

    Args:
        patients: those whom a scorer was given.
        fields: the schema's.
        n: how many patients the scorer scored: all, or those that keep a labelled exam.

    Raises:
        ProtocolError: it is neither.
    """
    is_labelled = patients.exam_mask.any(dim=1)
    if n != len(patients):
        patients, is_labelled = patients.select(is_labelled.nonzero()[:, 0]), is_labelled[is_labelled]
    if n != len(patients):
        raise ProtocolError("wrong-fields", f"{n} scores do not go with {len(patients)} patients")
    exams = first_exams(patients)
    values = exams.fields[:, 0].double().numpy()
    is_there = exams.field_mask[:, 0].numpy() & is_labelled.numpy()[:, None]
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
