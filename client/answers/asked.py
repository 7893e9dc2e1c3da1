"""Whose rows a stage adds at this site, and the patients in the form that its sum reads.

A stage that measures names the release, a prospective one also the lock that this site accepted; a
description names neither. Who came after a lock is asked about from a public day on, whatever their
number: were it counted, a coordinator that asks every day would learn when the n-th of them came.
Imports cohort and the kinds' forms of patients.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Literal

import numpy as np

from client.cohort.assemble import ExamArrays, assemble
from client.cohort.explained import explain_split
from client.cohort.folder import latest_version
from client.cohort.patients import SplitData, load_nobody, load_split
from client.cohort.versions import current_cohort, prospective_name
from client.gate.ledger import require_acceptance
from client.site.declared import require_places
from client.site.folder import Site
from client.site.linkage import PatientKey
from shared.contract.plan import Plan
from shared.contract.protocol import SumRequest, vector_sha256
from shared.contract.release import Lock, read_lock
from shared.contract.stages import (
    DescriptionStage,
    MeasureStage,
    PatientGroup,
    ReleaseStage,
    Stage,
)
from shared.errors import ProtocolError
from shared.exam.schema import Split
from shared.measures.scored import ReadsBone
from shared.stages.description import FirstExams
from shared.stages.measure import measure_of, released_weights

Status = Literal["measured", "not-applicable", "waiting"]
_SHA256 = re.compile("[0-9a-f]{64}")
_SPLITS: dict[PatientGroup, Split | None] = {
    "train": "train",
    "internal": "internal",
    "everybody": None,
    "accrued": None,
}


@dataclass(frozen=True)
class AskedPatients:
    """The patients of a stage, in the form that its sum reads, or why there is nothing to add."""

    status: Status
    members: Collection[PatientKey] = ()
    patients: object = None


def find_patients(site: Site, plan: Plan, stage: Stage, request: SumRequest) -> AskedPatients:
    """The labelled patients of this site that a stage asks about.

    Raises:
        IntakeError: there is no cohort, it does not fit the plan, or the group has more patients than
            the site's declared size has places for.
        PlanError: a lock is named that this site has not accepted.
        ProtocolError: the request names a release or a lock that the stage does not take.
        WeightsError: the encoder is not cached here, or the films were preprocessed otherwise.
    """
    require_named_release(plan, stage, request)
    if isinstance(stage, DescriptionStage):
        cohort = current_cohort(site, plan.settings.cohort.name)
        arrays = assemble(cohort, None, schema=plan.settings.cohort, task=plan.settings.task)
        _require_places(site, plan, stage, arrays)
        return _found(arrays, first_exams_of(arrays))
    if isinstance(stage, ReleaseStage) and stage.patients == "accrued":
        return _find_accrued(site, plan, stage, accepted_lock(site, plan, request))
    data = load_split(site, plan, name=plan.settings.cohort.name, split=_SPLITS[stage.patients])
    _require_places(site, plan, stage, data.arrays)
    if not isinstance(stage, ReleaseStage):
        return AskedPatients("measured", data.arrays.patients, data.batch)
    return _found(data.arrays, _as_read(site, plan, stage, data))


def _find_accrued(site: Site, plan: Plan, stage: ReleaseStage, lock: Lock) -> AskedPatients:
    """Who came after a lock, from its day on: few, and nobody, are answered as many are."""
    accepted = require_acceptance(site, lock.sha256)
    if site.clock().astimezone(UTC).date() < lock.answered_from(accepted.utc):
        return AskedPatients("waiting")
    name = prospective_name(plan.settings.cohort.name, lock.sha256)
    if latest_version(site.cohorts, name):
        data = load_split(site, plan, name=name, split=None)
    else:
        data = load_nobody(site, plan, name=name)
    _require_places(site, plan, stage, data.arrays)
    return AskedPatients("measured", data.arrays.patients, _as_read(site, plan, stage, data))


def _require_places(site: Site, plan: Plan, stage: Stage, arrays: ExamArrays) -> None:
    require_places(
        {stage.patients: len(arrays.patients)},
        plan.settings.cohort.split,
        declared_patients=plan.entry(site.name).declared_patients,
    )


def _as_read(site: Site, plan: Plan, stage: ReleaseStage, data: SplitData) -> object:
    """A split in the form that a stage reads: with its masks where the measure is of bone."""
    measure = measure_of(plan.settings, stage) if isinstance(stage, MeasureStage) else None
    if isinstance(measure, ReadsBone):
        return explain_split(site, plan, data, reads=measure.reads_bone)
    return data.batch


def _found(arrays: ExamArrays, patients: object) -> AskedPatients:
    if not arrays.patients:
        return AskedPatients("not-applicable")
    return AskedPatients("measured", arrays.patients, patients)


def first_exams_of(arrays: ExamArrays) -> FirstExams:
    """The earliest labelled exam of each patient.

    Args:
        arrays: exams by patient and rising day.
    """
    labelled = np.flatnonzero(arrays.exam_mask)
    _, first = np.unique(arrays.patient_index[labelled], return_index=True)
    exams = labelled[first]
    return FirstExams(
        fields=arrays.fields[exams].astype(np.float64),
        field_mask=arrays.field_mask[exams],
        target=arrays.target[exams],
    )


def require_named_release(plan: Plan, stage: Stage, request: SumRequest) -> None:
    """Refuse a request that names a release where there is none, none, or another than the plan's.

    Raises:
        ProtocolError: release, its weights or lock do not go with plan and stage.
    """
    if not isinstance(stage, ReleaseStage):
        if request.release_sha256 or request.lock_sha256:
            raise ProtocolError(
                "unwanted-release", f"stage {stage.name} measures no release and takes no lock"
            )
    elif not _SHA256.fullmatch(request.release_sha256):
        raise ProtocolError("no-such-release", "a release is named by 64 hexadecimal digits")
    elif request.lock_sha256 and stage.patients != "accrued":
        raise ProtocolError("unwanted-release", f"stage {stage.name} takes no lock")
    elif plan.release is not None:
        named = plan.release.release_sha256, plan.release.weights_sha256
        if named != (request.release_sha256, vector_sha256(released_weights(plan, request.vector))):
            raise ProtocolError(
                "wrong-release", "what is to be measured is not the release that the plan names"
            )


def accepted_lock(site: Site, plan: Plan, request: SumRequest) -> Lock:
    """The lock that a prospective request names.

    Raises:
        PlanError: nobody at this site has accepted it.
        ProtocolError: what is to be measured is not what was locked.
    """
    require_acceptance(site, request.lock_sha256)
    path = site.folder / "locks" / f"{Path(request.lock_sha256).name}.json"
    lock = read_lock(path, coordinator_key=site.coordinator_key)
    fits = (
        lock.sha256 == request.lock_sha256
        and lock.plan_sha256 == plan.sha256
        and lock.release_sha256 == request.release_sha256
        and lock.weights_sha256 == vector_sha256(request.vector)
    )
    if not fits:
        raise ProtocolError(
            "not-the-locked-release",
            "what is to be measured differs from what was locked",
            hint="a locked release cannot be exchanged; write a new lock and accrue again",
        )
    return lock
