"""What a coordinator sees of a plan before anything runs. Imports the plan and the results' words."""

from __future__ import annotations

from server.report.results import NO_GUARANTEE
from shared.contract.plan import Plan
from shared.contract.stages import DescriptionStage, exact_conflicts
from shared.learners.table import describe_learner
from shared.privacy.stage_text import qualifier_facts

_EXACT = "governed: exact numbers, no formal privacy guarantee"


def plan_facts(plan: Plan) -> dict[str, object]:
    """A plan in a few lines; its stages and prices are tables (``shared.privacy.stage_text``)."""
    settings = plan.settings
    return {
        "run": plan.run,
        "plan": plan.sha256,
        "short code, to tell the hospitals": plan.short_code,
        "valid until": plan.valid_until,
        "code": plan.code_sha256,
        "experiment": settings.experiment,
        "patients": _whose_patients(plan),
        "model": f"{settings.encoder.name} + {settings.fusion.name}",
        **_training_facts(plan),
        **qualifier_facts(plan),
        **_price_facts(plan),
        "would stop it": "\n".join(_conflicts(plan)) or "nothing",
    }


def _conflicts(plan: Plan) -> tuple[str, ...]:
    """What the gate of every site would refuse, whatever its policy says."""
    roles = dict.fromkeys(entry.role for entry in plan.roster)
    found = [
        each
        for role in roles
        for each in exact_conflicts(stage for stage in plan.stages if role in stage.roles)
    ]
    return tuple(dict.fromkeys(found))


def _whose_patients(plan: Plan) -> str:
    words = "synthetic" if plan.settings.is_synthetic else "of hospitals"
    return f"{words}, simulated on one machine" if plan.settings.is_simulated else words


def _training_facts(plan: Plan) -> dict[str, object]:
    stage = plan.trained
    if plan.release is not None:
        return {"measures": f"release {plan.release.release_sha256} of run {plan.release.run}"}
    if stage is None:
        return {}
    if stage.kind == "learner":
        return {"learner": describe_learner(stage.learner), "sums": stage.rounds}
    return {
        "rounds × steps": f"{stage.rounds} × {stage.local_steps} = {stage.total_steps} steps",
        "folded at": stage.fold,
        "learning rate": stage.learning_rate,
        "clip norm": stage.clip_norm,
        "noise multiplier": stage.noise_multiplier,
        "largest update": stage.update_norm_max,
    }


def _price_facts(plan: Plan) -> dict[str, object]:
    """ε of each purpose alone, where the plan has it."""
    predicted, facts = plan.predicted, dict[str, object]()
    if plan.trained is not None:
        epsilon = predicted.training_epsilon
        facts["epsilon, training patient"] = NO_GUARANTEE if epsilon is None else epsilon
    if plan.tables:
        epsilon = predicted.validation_epsilon
        facts["epsilon, validation patient"] = _EXACT if epsilon is None else epsilon
    described = any(isinstance(stage, DescriptionStage) for stage in plan.stages)
    epsilon = predicted.description_epsilon
    facts["epsilon, description"] = (
        "none is released" if not described else _EXACT if epsilon is None else epsilon
    )
    return facts
