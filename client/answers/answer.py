"""A site's answer to a request for a sum, on one page.

Approved plan → stage → state → patients → charge → total with noise → release. The order is the
protection, and the gate keeps it: what is prepared here draws nothing, and the charge is on disk before
noise is drawn or a patient meets the state. Imports gate,
cohort and the kinds of stages.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from client.answers.asked import find_patients
from client.gate.gate import Gate, Prepared, Released
from client.gate.ledger import Charge
from client.gate.register import keep_round, open_register
from client.site.approved import Approved, approved_plan
from client.site.folder import Site
from shared.contract.plan import Plan
from shared.contract.protocol import (
    SumReply,
    SumRequest,
    Vector,
    Wire,
    request_sha256,
    vector_sha256,
)
from shared.contract.stages import GradientStage, Stage, TrainingStage, purpose_of
from shared.errors import PlanError, ProtocolError
from shared.privacy.cost import event_of
from shared.privacy.noise import NoiseStream
from shared.stages.kinds import sum_of
from shared.stages.stage_sum import StageSum, require_state
from shared.train.canaries import AuditRegister


def answer_sum(site: Site, gate: Gate, request: SumRequest) -> Released:
    """Answer one round of one stage under the approved plan that a request names.

    Raises:
        PlanError: not approved, or other code.
        OsteoFedError: as ``answer_approved``.
    """
    return answer_approved(approved_plan(site, request.plan_sha256), gate, request)


def answer_approved(approved: Approved, gate: Gate, request: SumRequest) -> Released:
    """Answer one round of one stage under an approved plan.

    Raises:
        PlanError: no such stage, one that does not ask this site, or one whose weights stay here.
        PolicyError: the hospital's policy forbids it.
        PrivacyError: a budget is exhausted, or the round was charged for another request.
        IntakeError: there is no cohort, or exams without a film where the model reads films.
        ProtocolError: the round or the state is not of the plan.
        WeightsError: the encoder is not cached here.
        LedgerError: the ledger is behind, or the reply that was charged for is lost.
        OSError: the disk failed.
    """
    stage = asked_stage(approved.site, approved, request)
    if approved.plan.is_local and isinstance(stage, TrainingStage):
        raise PlanError("stays-here", f"stage {stage.name} trains weights that stay at this hospital")
    return gate.answer(
        request,
        partial(prepare, approved, stage, request),
        purpose=purpose_of(stage),
        coordinator_key=approved.plan.coordinator_key,
    )


def keep_approved(approved: Approved, gate: Gate, request: SumRequest) -> Wire:
    """Train as a local plan says: charged and noised as any training, but nothing of it leaves.

    Returns:
        The total as it is kept here, or the refusal that is its answer.

    Raises:
        OsteoFedError: as ``answer_approved``.
    """
    stage = asked_stage(approved.site, approved, request)
    return gate.keep(request, partial(prepare, approved, stage, request))


def prepare(approved: Approved, stage: Stage, request: SumRequest) -> SumReply | Prepared:
    """What a request asks of whom, found before anybody is charged or anything is drawn.

    Returns:
        What the gate charges for, and how the total is then made; or an empty reply, where there is
        nothing to measure.

    Raises:
        OsteoFedError: as ``answer_approved``.
    """
    # The sum that both sides know, and the public state that it is asked at.
    site, plan = approved.site, approved.plan
    approved.require_sound_model()
    asked = sum_of(plan, stage, encoder_file=approved.encoder_file)
    require_state(asked, request.vector, round_number=request.round)
    require_start(request, plan, stage, asked)
    # Whose rows are added, and the coins of an audit's canaries.
    found = find_patients(site, plan, stage, request)
    if found.status != "measured":
        return reply_to(request, stage, found.status, np.zeros(0))
    has_audit = isinstance(stage, GradientStage) and stage.canaries > 0
    record = open_register(site, plan) if has_audit else None

    def reply() -> SumReply:
        """The total, with its noise; the gate calls it once the charge is on disk."""
        register = AuditRegister(record.coins) if record else None
        total = asked.answer(
            request.vector,
            found.patients,
            round_number=request.round,
            declared_patients=approved.entry.declared_patients,
            draw_normals=NoiseStream(),
            register=register,
        )
        if record and register:
            keep_round(site, record, register, round_=request.round)
        return reply_to(request, stage, "measured", total)

    commitment = record.commitment if record else ""
    return Prepared(
        charge=charge_for(approved, stage, request, canaries_sha256=commitment),
        members=found.members,
        bound=asked.bound(request.round),
        reply=reply,
    )


def asked_stage(site: Site, approved: Approved, request: SumRequest) -> Stage:
    """The stage that a request names, if it asks this site for this round.

    Raises:
        PlanError: the plan has no such stage, or it asks sites of another role.
        ProtocolError: the plan has no such round.
    """
    plan = approved.plan
    stage = plan.stage(request.stage)
    if approved.entry.role not in stage.roles:
        raise PlanError(
            "wrong-role",
            f"stage {stage.name} asks sites of role {' or '.join(stage.roles)}, "
            f"{site.name} is {approved.entry.role}",
        )
    if not 1 <= request.round <= stage.rounds:
        raise ProtocolError("no-such-round", f"round must be 1 to {stage.rounds}, not {request.round}")
    return stage


def require_start(request: SumRequest, plan: Plan, stage: Stage, asked: StageSum) -> None:
    """Refuse a first round of training that does not start where the plan says.

    Raises:
        ProtocolError: it starts from another state.
    """
    if request.round > 1 or not isinstance(stage, TrainingStage):
        return
    is_trained = plan.trained is not None and stage.name == plan.trained.name
    start = plan.initial_weights_sha256 if is_trained else vector_sha256(asked.start().vector)
    if vector_sha256(request.vector) != start:
        raise ProtocolError(
            "wrong-initial-weights",
            "round 1 must start from the weights that the plan names",
            hint="the coordinator must send the plan's initial weights",
        )


def charge_for(
    approved: Approved, stage: Stage, request: SumRequest, *, canaries_sha256: str
) -> Charge:
    """What a round of a stage is about to do, as the ledger writes it."""
    is_governed = stage.release_class == "governed"
    return Charge(
        charge_class=stage.release_class,
        event=event_of(stage, request.round),
        purpose=purpose_of(stage),
        plan_sha256=approved.plan.sha256,
        run=approved.plan.run,
        stage=stage.name,
        stage_kind=stage.kind,
        round=request.round,
        request_sha256=request_sha256(request),
        approved_by=approved.governed_by if is_governed else "",
        canaries_sha256=canaries_sha256,
    )


def reply_to(request: SumRequest, stage: Stage, status: str, total: Vector) -> SumReply:
    """The reply with a total [m]; the gate fills in site, ledger head and signature."""
    return SumReply(
        plan_sha256=request.plan_sha256,
        stage=request.stage,
        round=request.round,
        site="",
        status=status,
        release_class=stage.release_class,
        vector_sha256=vector_sha256(request.vector),
        release_sha256=request.release_sha256,
        total=total,
        ledger_head="",
    )
