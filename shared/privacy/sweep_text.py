"""A sweep's arms and its price as rows of text, the same where it is written and where it is approved.

Imports the sweep and the words of a plan's prices.
"""

from __future__ import annotations

from shared.contract.plan import Plan
from shared.contract.sweep import SignedSweep
from shared.privacy.stage_text import GROUP_COLUMNS, group_rows, price_rows
from shared.privacy.statement_text import write_epsilon

ARM_COLUMNS = ("arm", "encoder", "its weights", "head", "training alone", "run", "plan")
PAID_COLUMNS = (*GROUP_COLUMNS[:-1], "one arm", "all arms together")
PAID = "what a patient pays"


def arm_rows(signed: SignedSweep) -> list[tuple[str, ...]]:
    """A row of ``ARM_COLUMNS`` per arm, in the order in which they are played."""
    return [
        (
            arm.name,
            plan.settings.encoder.name,
            plan.settings.encoder.training,
            _head(plan),
            write_epsilon(plan.predicted.training_epsilon),
            arm.run,
            arm.plan_sha256[:12],
        )
        for arm, plan in signed.arms
    ]


def paid_rows(signed: SignedSweep) -> list[tuple[str, ...]]:
    """A row of ``PAID_COLUMNS`` per group of patients: of the dearest arm, and of all of them."""
    first = signed.plans[0]
    stages = [stage for plan in signed.plans for stage in plan.stages]
    whole = price_rows(signed.sweep.predicted, stages, roles={entry.role for entry in first.roster})
    alone = [{row[:2]: row[-1] for row in group_rows(plan)} for plan in signed.plans]
    return [
        (*row[:-1], max((arm.get(row[:2], "") for arm in alone), key=_size), row[-1]) for row in whole
    ]


def _size(epsilon: str) -> tuple[int, str]:
    return len(epsilon.partition(".")[0]), epsilon


def _head(plan: Plan) -> str:
    """What learns above the encoder: a learner of tables, or a fusion by gradients."""
    trained = plan.trained
    if trained is not None and trained.kind == "learner":
        return trained.learner.kind
    return plan.settings.fusion.name
