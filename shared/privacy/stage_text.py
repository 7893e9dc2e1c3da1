"""A plan's stages and prices as rows of text, the same where it is written and where it is approved.

Imports plan, cost and the words of an ε.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from shared.contract.plan import Plan, PredictedCost
from shared.contract.stages import GradientStage, Purpose, Role, Stage, purpose_of
from shared.privacy.accountant import NO_ACCOUNTANT, epsilon_of
from shared.privacy.cost import events_of, touching
from shared.privacy.statement_text import write_epsilon

STAGE_COLUMNS = ("stage", "asks", "patients", "rounds × sums", "noise", "class", "of the stage alone")
GROUP_COLUMNS = ("site", "patients", "pay for", "all together")
_WORDS: dict[Purpose, str] = {
    "train": "training",
    "evaluate.internal": "internal validation",
    "evaluate.external": "external validation",
    "evaluate.prospective": "prospective validation",
    "evaluate.description": "description",
}


def purposes_of(stages: Iterable[Stage]) -> str:
    """What stages do with patients, in words, each once."""
    return " and ".join(dict.fromkeys(_WORDS[purpose_of(stage)] for stage in stages))


def stage_rows(plan: Plan) -> list[tuple[str, ...]]:
    """A row of ``STAGE_COLUMNS`` per stage, in the plan's order."""
    return [
        (
            stage.name,
            " and ".join(stage.roles),
            stage.patients,
            f"{stage.rounds} × {_sums_a_round(stage)}",
            _write_noise(stage),
            stage.release_class,
            write_epsilon(stage_epsilon(plan, stage)),
        )
        for stage in plan.stages
    ]


def group_rows(plan: Plan) -> list[tuple[str, ...]]:
    """A row of ``GROUP_COLUMNS`` per group of patients that the plan asks, at sites of each role."""
    roles = {entry.role for entry in plan.roster}
    return price_rows(plan.predicted, plan.stages, roles=roles)


def price_rows(
    predicted: PredictedCost, stages: Sequence[Stage], *, roles: Collection[Role]
) -> list[tuple[str, ...]]:
    """A row of ``GROUP_COLUMNS`` per group of patients that stages ask, at sites of these roles."""
    return [
        (
            split.role,
            split.patients,
            purposes_of(touching(stages, role=split.role, patients=split.patients)),
            write_epsilon(split.epsilon),
        )
        for split in predicted.splits
        if split.role in roles
    ]


def stage_epsilon(plan: Plan, stage: Stage) -> float | None:
    """ε of one stage alone at the plan's δ; None when it promises nothing formal."""
    events = events_of(stage)
    return None if events is None else epsilon_of(events, plan.settings.delta)


def qualifier_facts(plan: Plan) -> dict[str, str]:
    """What every ε of a plan stands beside; of one that noises nothing, which has no ε, less."""
    predicted = plan.predicted
    found = {"mechanism": predicted.mechanism}
    if predicted.accountant == NO_ACCOUNTANT:
        return found
    return found | {
        "accountant": predicted.accountant,
        "unit, adjacency, delta": f"{predicted.unit}, {predicted.adjacency}, {predicted.delta:g}",
    }


def _sums_a_round(stage: Stage) -> int:
    return stage.local_steps if isinstance(stage, GradientStage) else 1


def _write_noise(stage: Stage) -> str:
    low, high = min(stage.noise_multipliers), max(stage.noise_multipliers)
    if not high:
        return "none"
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"
