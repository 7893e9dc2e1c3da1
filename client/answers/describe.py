"""A site's description of its cohort: who the labelled patients are, summed, noised, through the gate.

Touches every labelled patient of the cohort, whatever split, and is charged to all of them; reads the
clinical table only, no film and no weights. Imports gate, patients, measure and the training noise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from client.answers.table_reply import add_noise, empty_reply, measured_reply
from client.cohort.assemble import ExamArrays, assemble
from client.cohort.versions import current_cohort
from client.gate.gate import Gate, Released
from client.site.folder import Site
from shared.contract.plan import Plan
from shared.contract.protocol import EvaluateRequest
from shared.contract.settings import Settings, positive_index
from shared.measure.description.rows import contributions, description_spec, sensitivity
from shared.measure.table.rows import sum_table

Floats = NDArray[np.float64]


def answer_describe(site: Site, gate: Gate, plan: Plan, request: EvaluateRequest) -> Released:
    """Describe this site's patients under the approved plan.

    Raises:
        PlanError: the plan releases no description.
        PolicyError: the hospital's policy forbids it.
        PrivacyError: the budget of one of the patients is exhausted.
        ProtocolError: the request names weights, a release or a lock.
    """
    settings = plan.settings
    spec = description_spec(settings)
    cohort = current_cohort(site, settings.cohort.name)
    arrays = assemble(cohort, None, schema=settings.cohort, task=settings.task)
    if not arrays.patients:
        return gate.release_table(
            empty_reply(request, plan, "not-applicable"), plan=plan, request=request
        )
    gate.charge_validation(plan, request, members=arrays.patients)
    table = describe_patients(settings, arrays)
    noise = plan.predicted.description_noise_multiplier
    if noise is not None:
        table = add_noise(table, sensitivity=sensitivity(spec), noise_multiplier=noise)
    return gate.release_table(measured_reply(request, plan, table), plan=plan, request=request)


def describe_patients(settings: Settings, arrays: ExamArrays) -> Floats:
    """The exact table [m] of patients: each counts once, with the earliest labelled exam.

    Args:
        settings: name the task and what is released.
        arrays: exams by patient and rising day.
    """
    labelled = np.flatnonzero(arrays.exam_mask)
    _, first = np.unique(arrays.patient_index[labelled], return_index=True)
    exams = labelled[first]
    target, task = arrays.target[exams], settings.task
    rows = contributions(
        description_spec(settings),
        fields=arrays.fields[exams].astype(np.float64),
        field_mask=arrays.field_mask[exams],
        target=target,
        is_positive=target <= float(task.endpoint_threshold or 0.0)
        if task.kind == "regression"
        else target == positive_index(settings),
    )
    return sum_table(rows)
