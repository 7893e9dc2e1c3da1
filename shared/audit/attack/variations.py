"""A plan's training, and how an attack varies it: with everybody in every step, without noise.

Imports plan and stages.
"""

from __future__ import annotations

from shared.contract.plan import Plan
from shared.contract.stages import GradientStage, TrainingStage
from shared.errors import AuditError

_OPEN = {"release_class": "off", "noise_multipliers": (0.0,)}


def training_of(plan: Plan) -> TrainingStage:
    """The stage that trains the release.

    Raises:
        AuditError: the plan only measures.
    """
    if plan.trained is None:
        raise AuditError(
            "trains-nothing",
            f"the plan of run {plan.run} trains nothing that could be attacked",
            hint="attack the plan that trained the release",
        )
    return plan.trained


def without_privacy(stage: TrainingStage) -> TrainingStage:
    """The same training without noise; patient gradients are not clipped either."""
    if isinstance(stage, GradientStage):
        return stage.model_copy(update=_OPEN | {"sample_rate": 1.0, "canaries": 0})
    return stage.model_copy(update=_OPEN)


def in_every_step(stage: GradientStage) -> GradientStage:
    """The same training, sampled or not, as a patient meets it who is drawn for every step."""
    return stage.model_copy(update={"sample_rate": 1.0})
