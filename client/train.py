"""A site's part of a round: check, charge, then touch patients, then let one bounded update leave.

The order is the protection: the charge is on disk before noise is drawn or a patient is loaded into
the model. Imports gate, patients and the training loop.
"""

from __future__ import annotations

from client.gate import Gate, Released
from client.hello import approved_plan
from client.patients import load_split
from client.site import Site
from shared.errors import PlanError
from shared.plan import Plan
from shared.protocol import TrainReply, TrainRequest, Vector, vector_sha256
from shared.train.patients import PatientBatch


def answer_train(site: Site, gate: Gate, request: TrainRequest) -> Released:
    """Train one round under the approved plan.

    Raises:
        PlanError: not approved, other code, or this site does not train in it.
        PolicyError: the hospital's policy forbids it.
        PrivacyError: a budget is exhausted, or the round was charged for another request.
    """
    repeated = gate.repeat(request)
    if repeated is not None:
        return repeated
    plan = approved_plan(site, request.plan_sha256)
    entry = plan.entry(site.name)
    if entry.role != "training":
        raise PlanError(
            "not-a-training-site",
            f"site {site.name} is on the roster as {entry.role}, not as training",
        )
    data = load_split(site, plan, name=plan.settings.cohort.name, split="train")
    gate.charge_training(plan, request, members=data.arrays.patients)
    update = train_update(plan, data.batch, request.weights, divisor=entry.declared_patients)
    reply = TrainReply(
        plan_sha256=plan.sha256,
        round=request.round,
        site=site.name,
        weights_sha256=vector_sha256(request.weights),
        update=update,
        ledger_head="",
    )
    return gate.release_update(reply, plan=plan, request=request)


def train_update(plan: Plan, batch: PatientBatch, weights: Vector, *, divisor: int) -> Vector:
    """The bounded update [p] of one round from ``weights`` [p] on every patient of ``batch``.

    Args:
        plan: its settings are resolved: noise multiplier, learning rate, steps, bound.
        batch: the whole training split.
        weights: the round's starting weights.
        divisor: B, the size that the site declared publicly.
    """
    from shared.model.build import build_model
    from shared.model.weights import load_flat
    from shared.train.device import choose_device
    from shared.train.loop import train_round
    from shared.train.loss import make_patient_loss
    from shared.train.noise import NoiseStream

    settings = plan.settings
    privacy, federation = settings.privacy, settings.federation
    device = choose_device(settings.device)
    model = build_model(settings, generator_seed=settings.seed)
    load_flat(model, weights)
    return train_round(
        model.to(device),
        batch.to(device),
        loss=make_patient_loss(settings.task),
        steps=int(federation.local_steps or 0),
        learning_rate=float(federation.learning_rate or 0.0),
        clip_norm=privacy.clip_norm if privacy.mode == "patient_dp" else None,
        noise_multiplier=float(privacy.noise_multiplier or 0.0),
        divisor=divisor,
        update_norm_max=float(privacy.update_norm_max or 0.0),
        proximal_mu=settings.strategy.proximal_mu if settings.strategy.name == "fedprox" else 0.0,
        draw_normals=NoiseStream(),
    )
