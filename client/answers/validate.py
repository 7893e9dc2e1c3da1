"""A site's part of a validation: one bounded row per patient, summed, noised, through the gate.

Internal validation measures the held-out split, external everybody at a site that never trained,
prospective the cohort accrued under a lock. A description of the cohort measures no release and is
``client.answers.describe``. Imports gate, patients and measure.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from client.answers.describe import answer_describe
from client.answers.hello import approved_plan
from client.answers.table_reply import add_noise, empty_reply, measured_reply
from client.cohort.patients import SplitData, load_split
from client.cohort.split import Split
from client.cohort.tokens import encoder_file
from client.cohort.versions import prospective_name
from client.gate.gate import Gate, Released
from client.site.folder import Site
from shared.contract.plan import Plan
from shared.contract.protocol import EvaluateRequest, Vector, vector_sha256
from shared.contract.release import read_lock
from shared.contract.settings import positive_index
from shared.errors import IntakeError, PlanError, ProtocolError
from shared.measure.table.rows import TableSpec, contributions, sensitivity, sum_table, table_spec
from shared.train.update import require_length, score_patients

Floats = NDArray[np.float64]


def answer_evaluate(site: Site, gate: Gate, request: EvaluateRequest) -> Released:
    """Measure a release on this site's patients under the approved plan.

    Raises:
        PlanError: not approved, or this site's role does not fit the kind of validation.
        ProtocolError: an unknown kind, or weights that the lock does not name.
        PolicyError: the hospital's policy forbids it.
        PrivacyError: the split's budget is exhausted.
        WeightsError: weights of another length than the model's, or the encoder is not cached here.
    """
    plan = approved_plan(site, request.plan_sha256)
    repeated = gate.repeat(request)
    if repeated is not None:
        return repeated
    if request.kind == "description":
        return answer_describe(site, gate, plan, request)
    require_length(plan.settings, request.weights, encoder_file=encoder_file(site, plan))
    data = _patients(site, plan, request)
    if data is None:
        return _release_nothing(gate, plan, request, "not-applicable")
    needed = plan.settings.validation.prospective_patients
    if request.kind == "prospective" and len(data.arrays.patients) < needed:
        return _release_nothing(gate, plan, request, "waiting")
    gate.charge_validation(plan, request, members=data.arrays.patients)
    table = measure_table(plan, data, request.weights)
    noise = plan.predicted.validation_noise_multiplier
    if noise is not None:
        bound = sensitivity(table_spec(plan.settings))
        table = add_noise(table, sensitivity=bound, noise_multiplier=noise)
    return gate.release_table(measured_reply(request, plan, table), plan=plan, request=request)


def _release_nothing(
    gate: Gate, plan: Plan, request: EvaluateRequest, status: Literal["not-applicable", "waiting"]
) -> Released:
    return gate.release_table(empty_reply(request, plan, status), plan=plan, request=request)


def measure_table(plan: Plan, data: SplitData, weights: Vector) -> Floats:
    """The exact table [m] of a release on patients: one score each, of their earliest exam.

    Args:
        plan: names architecture, task and the table's edges.
        data: labelled patients.
        weights: trainable weights [p].
    """
    output, label = score_patients(plan.settings, data.batch, weights, encoder_file=data.encoder_file)
    return sum_table(table_rows(plan, table_spec(plan.settings), output, label))


def table_rows(plan: Plan, spec: TableSpec, output: Floats, target: Floats) -> Floats:
    """Bounded rows [n, m] from outputs in the target's unit (or probabilities) and labels [n]."""
    task = plan.settings.task
    if task.kind == "regression":
        return contributions(
            spec,
            score=output,
            is_positive=target <= float(task.endpoint_threshold or 0.0),
            target=target,
            prediction=output,
        )
    return contributions(spec, score=output, is_positive=target == positive_index(plan.settings))


def _patients(site: Site, plan: Plan, request: EvaluateRequest) -> SplitData | None:
    """The patients a kind of validation is about; None when nobody there has a label."""
    name, split = _source(site, plan, request)
    try:
        data = load_split(site, plan, name=name, split=split)
    except IntakeError as error:
        if request.kind == "prospective" and error.code == "intake.no-cohort":
            return None
        raise
    return data if len(data.arrays.patients) else None


def _source(site: Site, plan: Plan, request: EvaluateRequest) -> tuple[str, Split | None]:
    role, name = plan.entry(site.name).role, plan.settings.cohort.name
    if request.kind == "prospective":
        return prospective_name(name, _checked_lock(site, plan, request)), None
    wanted = "training" if request.kind == "internal" else "external"
    if role != wanted:
        raise PlanError(
            "wrong-role",
            f"{request.kind} validation needs a site of role {wanted}, {site.name} is {role}",
        )
    return name, "internal" if request.kind == "internal" else None


def _checked_lock(site: Site, plan: Plan, request: EvaluateRequest) -> str:
    path = site.folder / "locks" / f"{Path(request.lock_sha256).name}.json"
    if not request.lock_sha256 or not path.exists():
        raise PlanError(
            "no-lock",
            "prospective validation needs a lock that this site has accepted",
            hint="`osteofed-site accrue LOCK ARCHIVE` accepts a lock and takes in films since",
        )
    lock = read_lock(path, coordinator_key=site.coordinator_key)
    fits = (
        lock.sha256 == request.lock_sha256
        and lock.plan_sha256 == plan.sha256
        and lock.release_sha256 == request.release_sha256
        and lock.weights_sha256 == vector_sha256(request.weights)
    )
    if not fits:
        raise ProtocolError(
            "not-the-locked-release",
            "what is to be measured differs from what was locked",
            hint="a locked release cannot be exchanged; write a new lock and accrue again",
        )
    return lock.sha256
