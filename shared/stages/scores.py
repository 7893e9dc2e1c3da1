"""What the last state of a training stage says of patients: outputs, label and fields of each exam.

Imports the model's scoring and the learners.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from shared.contract.plan import Plan
from shared.contract.protocol import Vector
from shared.contract.stages import GradientStage, LearnerStage, Stage
from shared.errors import PlanError
from shared.exam.schema import ClinicalField
from shared.learners.table import require_prediction
from shared.measures.exams import ScoredExams, exams_of
from shared.measures.scored import Scored
from shared.model.build import build_model
from shared.model.weights import flatten_weights
from shared.stages.gradient import GradientSum
from shared.stages.learner import LearnerSum
from shared.stages.stage_sum import StageState
from shared.train.patients import NO_EXAM, PatientBatch
from shared.train.update import Encode, each_exam, film_encoder, first_exams, score_exams

Floats = NDArray[np.float64]

# Decimals that float32 keeps of a standardised number, within 16 public SDs of the public mean.
_DIGITS = 5


class Scorer(Protocol):
    """Reads a training stage's last state."""

    state_kind: str
    state_largest: float
    length: int

    def start(self) -> StageState:
        """The state before any training."""
        ...

    def score(self, vector: Vector, patients: PatientBatch, *, places: int = 0) -> ScoredExams:
        """The exams of the patients with a label.

        Outputs are the predicted target in its unit, o = 1, or each class's probability; a label is the
        target in its unit, or the class index. With ``places`` the work is that of so many patients
        with all the exams that a plan takes.
        """
        ...

    def behind_films(self, vector: Vector) -> tuple[Encode, Scorer, Vector]:
        """What makes tokens of films, and the scorer and the state that read them.

        So that where one film changes, that film alone is encoded again.
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

    def score(self, vector: Vector, patients: PatientBatch, *, places: int = 0) -> ScoredExams:
        """As ``Scorer``, of each labelled exam that kept a film."""
        exams, patient = each_exam(patients)
        outputs, label = score_exams(
            self._settings,
            exams,
            vector,
            places=places * patients.target.shape[1],
            encoder_file=self._encoder_file,
        )
        fields = fields_of(exams, self._settings.cohort.fields)
        scored = Scored(outputs, label, fields, makers_of(exams))
        return exams_of(scored, patient, room=patients.target.shape[1])

    def behind_films(self, vector: Vector) -> tuple[Encode, Scorer, Vector]:
        """As ``Scorer``: the encoder that learnt, and the fusion on top of it."""
        encoder = self._settings.encoder
        if encoder.training == "frozen":
            return _as_they_are, self, vector
        encode = film_encoder(self._settings, vector, encoder_file=self._encoder_file)
        # a fusion's weights come last
        frozen = encoder.model_copy(update={"training": "frozen"})
        head = copy(self)
        head._settings = self._settings.model_copy(update={"encoder": frozen})
        model = build_model(head._settings, generator_seed=head._settings.seed)
        return encode, head, vector[len(vector) - flatten_weights(model).size :]


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

    def score(self, vector: Vector, patients: PatientBatch, *, places: int = 0) -> ScoredExams:
        """As ``Scorer``; all patients, each as one exam with the earliest labelled one's fields."""
        task = self._settings.task
        columns = self._sum.columns_of(patients, places=places)
        output = self._sum.predict(vector, columns, places=places)  # [n, o]
        label = columns.target  # [n]
        if task.kind == "regression":
            scale, shift = task.target_sd, task.target_mean
            output, label = shift + scale * output, shift + scale * label
        earliest = first_exams(patients)
        fields = fields_of(earliest, self._settings.cohort.fields)
        scored = Scored(output, label, fields, makers_of(earliest))
        return exams_of(scored, np.arange(len(label)))

    def behind_films(self, vector: Vector) -> tuple[Encode, Scorer, Vector]:
        """As ``Scorer``: films are columns already."""
        return _as_they_are, self, vector


def _as_they_are(patients: PatientBatch, *, places: int = 0) -> PatientBatch:
    del places
    return patients


def fields_of(exams: PatientBatch, fields: Sequence[ClinicalField]) -> Floats:
    """Clinical fields [e,k] of exams, NaN where missing.

    Numbers are in the schema's units again, categories by place.

    Args:
        exams: each as a patient with one exam.
        fields: the schema's.
    """
    values, is_there = exams.fields[:, 0].double().numpy(), exams.field_mask[:, 0].numpy()
    found = np.full(values.shape, np.nan)
    for column, field in enumerate(fields):
        value = values[:, column]
        if field.kind == "number":
            # A year came through float32: it is the year again, and stays on its edge.
            digits = _DIGITS - math.floor(math.log10(field.reference_sd))
            value = np.round(value * field.reference_sd + field.reference_mean, digits)
        found[:, column] = np.where(is_there[:, column], value, np.nan)
    return found


def makers_of(exams: PatientBatch) -> tuple[tuple[str, ...], ...]:
    """Who made the scanners of each exam's films, as their headers say, each once. As ``fields_of``."""
    numbers = torch.where(exams.film_exam != NO_EXAM, exams.film_maker, 0).tolist()
    return tuple(
        tuple(exams.makers[number - 1] for number in sorted(set(row) - {0})) for row in numbers
    )


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
