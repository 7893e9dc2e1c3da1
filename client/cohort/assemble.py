"""Flat arrays of a split, one row per exam: what a batch of patients is built from.

Numbers are standardised with the schema's public reference, never with the cohort's own. Imports
errors, settings and cohort.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from client.cohort.folder import Cohort, Exam
from client.site.linkage import PatientKey
from shared.contract.model_settings import TaskSettings
from shared.errors import IntakeError
from shared.exam.schema import CohortSchema, Split, schema_differences
from shared.exam.standardise import standardise

# What can be predicted of a label.
_TASK_OF = {
    "bmd": "classification or regression",
    "class": "classification",
    "number": "regression",
    "time_to_event": "survival",
}


@dataclass(frozen=True, kw_only=True)
class ExamArrays:
    """Exams of some patients as arrays, in the order of ``exams``.

    Shapes:
        fields [n_exams, k] float32: (x − mean)/sd, or the category's index; 0 where missing.
        field_mask [n_exams, k] bool, True = present.
        target [n_exams] float64: the label in its own unit, or the class index; NaN = unlabelled.
        exam_mask [n_exams] bool, True = labelled.
        patient_index [n_exams] int64 into ``patients``.
        exam_films: per exam its rows in ``Cohort.images``.
    """

    patients: tuple[PatientKey, ...]
    exams: tuple[Exam, ...]
    fields: NDArray[np.float32]
    field_mask: NDArray[np.bool_]
    target: NDArray[np.float64]
    exam_mask: NDArray[np.bool_]
    patient_index: NDArray[np.int64]
    exam_films: tuple[tuple[int, ...], ...]


def assemble(
    cohort: Cohort,
    split: Split | None,
    *,
    schema: CohortSchema,
    task: TaskSettings,
    keeps_unlabelled: bool = False,
) -> ExamArrays:
    """Exams of a split as arrays; patients in alphabetical order, exams by rising day.

    Args:
        cohort: an opened cohort.
        split: one split, or None for all.
        schema: the plan's schema, which must be the cohort's.
        task: what is predicted.
        keeps_unlabelled: whether patients without any label are kept, with NaN targets.

    Raises:
        IntakeError: the cohort was frozen under another schema, or the task does not suit its label.
    """
    if cohort.schema != schema:
        raise IntakeError(
            "other-schema",
            f"cohort {cohort.name} v{cohort.version} was frozen under another schema than the plan's; "
            f"they differ in {', '.join(schema_differences(cohort.schema, schema))}",
            hint="ingest again under the plan's schema: `osteofed-site ingest --schema PLAN.json`",
        )
    chosen = [exam for exam in cohort.exams if split is None or exam.split == split]
    targets = {exam.exam: _target(exam, schema, task) for exam in chosen}
    labelled = {exam.patient for exam in chosen if not np.isnan(targets[exam.exam])}
    exams = tuple(exam for exam in chosen if keeps_unlabelled or exam.patient in labelled)
    patients = tuple(sorted({exam.patient for exam in exams}))
    place = {patient: index for index, patient in enumerate(patients)}
    target = np.array([targets[exam.exam] for exam in exams], dtype=np.float64)
    fields, field_mask = standardise([exam.values for exam in exams], schema)
    return ExamArrays(
        patients=patients,
        exams=exams,
        fields=fields,
        field_mask=field_mask,
        target=target,
        exam_mask=~np.isnan(target),
        patient_index=np.array([place[exam.patient] for exam in exams], dtype=np.int64),
        exam_films=tuple(tuple(film.image for film in exam.films) for exam in exams),
    )


def _target(exam: Exam, schema: CohortSchema, task: TaskSettings) -> float:
    label = exam.label
    if label is None:
        return np.nan
    if task.kind == "regression":
        if label.number is None:
            raise IntakeError(
                "wrong-label",
                f"regression needs a label of kind bmd or number, not {schema.label.kind}",
                hint=f"choose a {_TASK_OF[schema.label.kind]} task",
            )
        return label.number
    is_followed = schema.label.kind == "time_to_event"
    suits = is_followed == (task.kind == "survival")
    if schema.label.kind == "number" or label.class_name is None or not suits:
        needed = "time_to_event" if task.kind == "survival" else "bmd or class"
        raise IntakeError(
            "wrong-label",
            f"{task.kind} needs a label of kind {needed}, not {schema.label.kind}",
            hint=f"choose a {_TASK_OF[schema.label.kind]} task",
        )
    return float(schema.label.classes.index(label.class_name))
