"""A site's part of a round: check, charge, then touch patients, then let one bounded update leave.

The order is the protection: the charge is on disk before noise is drawn or a patient is loaded into
the model. Imports gate, patients and the training loop.
"""

from __future__ import annotations

from client.answers.hello import approved_plan
from client.cohort.patients import load_split
from client.cohort.tokens import encoder_file
from client.gate.gate import Gate, Released
from client.gate.register import keep_round, open_register
from client.site.folder import Site
from shared.contract.protocol import TrainReply, TrainRequest, vector_sha256
from shared.errors import PlanError
from shared.train.canaries import AuditRegister
from shared.train.public_batch import validate_settings_model
from shared.train.update import require_length, train_update


def answer_train(site: Site, gate: Gate, request: TrainRequest) -> Released:
    """Train one round under the approved plan.

    Raises:
        PlanError: not approved, other code, or this site does not train in it.
        PolicyError: the hospital's policy forbids it.
        PrivacyError: a budget is exhausted, or the round was charged for another request.
        IntakeError: there is no cohort, or exams without a film where the model reads films.
        WeightsError: weights of another length than the model's, or the encoder is not cached here.
    """
    plan = approved_plan(site, request.plan_sha256)
    repeated = gate.repeat(request)
    if repeated is not None:
        return repeated
    entry = plan.entry(site.name)
    if entry.role != "training":
        raise PlanError(
            "not-a-training-site",
            f"site {site.name} is on the roster as {entry.role}, not as training",
        )
    file = encoder_file(site, plan)
    require_length(plan.settings, request.weights, encoder_file=file)
    validate_settings_model(plan.settings, encoder_file=file)
    data = load_split(site, plan, name=plan.settings.cohort.name, split="train")
    record = open_register(site, plan)
    commitment = record.commitment if record else ""
    gate.charge_training(plan, request, members=data.arrays.patients, canaries_sha256=commitment)
    register = AuditRegister(record.coins) if record else None
    update = train_update(
        plan.settings,
        data.batch,
        request.weights,
        divisor=entry.declared_patients,
        register=register,
        encoder_file=file,
    )
    if record and register:
        keep_round(site, record, register, round_=request.round)
    reply = TrainReply(
        plan_sha256=plan.sha256,
        round=request.round,
        site=site.name,
        weights_sha256=vector_sha256(request.weights),
        update=update,
        ledger_head="",
    )
    return gate.release_update(reply, plan=plan, request=request)
