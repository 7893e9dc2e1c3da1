"""What a plan's stages cost a patient: computed by the coordinator, and again by every site.

Both must get the same; a site refuses a plan that says otherwise. A cost is that of one patient: all
stages that touch the same people, composed; splits of a cohort share nobody. Imports plan, stages and
the accountant.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from shared.contract.plan import PredictedCost, SplitCost
from shared.contract.stages import (
    GradientStage,
    PatientGroup,
    Purpose,
    Role,
    Stage,
    purpose_of,
)
from shared.privacy.accountant import accountant_name, epsilon_of
from shared.privacy.events import GaussianEvent, merge_events

ROLES: tuple[Role, ...] = ("training", "external")
NO_MECHANISM = "none: no formal privacy guarantee"
NOT_TRAINED = "none in training; Gaussian on each table"
_EXACT = "none in training; exact figures without a formal privacy guarantee"
_GAUSSIAN = "Gaussian on the sum of clipped patient gradients"
_GAUSSIAN_ROWS = "Gaussian on sums of one bounded row per patient"


def event_of(stage: Stage, round_number: int) -> GaussianEvent | None:
    """The event of one round of a stage; None when it promises nothing formal.

    Raises:
        PrivacyError: the stage's noise is too low to be accounted.
    """
    if stage.release_class != "dp":
        return None
    noise = stage.noise_of(round_number)
    if isinstance(stage, GradientStage):
        return GaussianEvent(
            noise_multiplier=noise, sample_rate=stage.sample_rate, steps=stage.local_steps
        )
    return GaussianEvent(noise_multiplier=noise)


def events_of(stage: Stage) -> tuple[GaussianEvent, ...] | None:
    """All events of a stage, merged; None when it promises nothing formal."""
    events = [event_of(stage, number) for number in range(1, stage.rounds + 1)]
    known = [event for event in events if event is not None]
    return merge_events(known) if len(known) == len(events) else None


def predict_cost(stages: Sequence[Stage], *, delta: float) -> PredictedCost:
    """What a run will cost a patient of each group that a stage asks.

    Args:
        stages: of a plan.
        delta: of every ε.

    Raises:
        PlanError: a stage measures a release on the patients who trained it.
        PrivacyError: a stage's noise is too low to be accounted.
    """
    purposes = {stage.name: purpose_of(stage) for stage in stages}
    by_purpose = {
        purpose: [stage for stage in stages if purposes[stage.name] == purpose]
        for purpose in set(purposes.values())
    }
    tables = [stage for stage in stages if purposes[stage.name] in _MEASURED]
    training = by_purpose.get("train", [])
    noised = [event for stage in stages for event in events_of(stage) or ()]
    return PredictedCost(
        mechanism=_describe_mechanism(training) if training else describe_measuring(stages),
        accountant=accountant_name(noised),
        delta=delta,
        splits=tuple(_split_costs(stages, delta=delta)),
        training_epsilon=_epsilon(training, delta=delta),
        validation_epsilon=_dearest(tables, delta=delta),
        description_epsilon=_epsilon(by_purpose.get("evaluate.description", []), delta=delta),
    )


_MEASURED: tuple[Purpose, ...] = ("evaluate.internal", "evaluate.external", "evaluate.prospective")


def touching(stages: Iterable[Stage], *, role: Role, patients: PatientGroup) -> list[Stage]:
    """The stages that touch patients of a group at sites of a role.

    A stage that asks everybody touches each split of the cohort. Who is accrued under a lock was in no
    version of the cohort, so that only stages that ask the accrued touch them.
    """
    return [
        stage
        for stage in stages
        if role in stage.roles and (stage.patients == patients or _is_for_all(stage, patients))
    ]


def _is_for_all(stage: Stage, patients: PatientGroup) -> bool:
    return stage.patients == "everybody" and patients in ("train", "internal")


def _split_costs(stages: Sequence[Stage], *, delta: float) -> Iterable[SplitCost]:
    for role in ROLES:
        groups = {stage.patients for stage in stages if role in stage.roles}
        for patients in sorted(groups):
            found = touching(stages, role=role, patients=patients)
            yield SplitCost(role=role, patients=patients, epsilon=_epsilon(found, delta=delta))


def noised_epsilon(stages: Iterable[Stage], *, delta: float) -> float:
    """ε of the noised ones among stages: what a cap can hold, whatever is exact beside them."""
    return _epsilon([stage for stage in stages if stage.release_class == "dp"], delta=delta) or 0.0


def _dearest(stages: Sequence[Stage], *, delta: float) -> float | None:
    """ε of the group of patients that pays most for stages; None where one of them is exact."""
    found = [split.epsilon for split in _split_costs(stages, delta=delta)]
    known = [epsilon for epsilon in found if epsilon is not None]
    return max(known, default=0.0) if len(known) == len(found) else None


def _epsilon(stages: Sequence[Stage], *, delta: float) -> float | None:
    events = [events_of(stage) for stage in stages]
    known = [event for each in events if each is not None for event in each]
    if any(each is None for each in events):
        return None
    return epsilon_of(merge_events(known), delta)


def describe_measuring(stages: Iterable[Stage]) -> str:
    """What is noised of stages that measure, at a site that takes no part in training."""
    classes = {stage.release_class for stage in stages}
    if "governed" not in classes:
        return NOT_TRAINED
    return f"{_EXACT}; Gaussian on each other table" if "dp" in classes else _EXACT


def _describe_mechanism(training: Sequence[Stage]) -> str:
    if any(stage.release_class != "dp" for stage in training):
        return NO_MECHANISM
    is_gradient = all(isinstance(stage, GradientStage) for stage in training)
    rates = {stage.sample_rate for stage in training if isinstance(stage, GradientStage)} - {1.0}
    sampled = [f", each patient in a step with chance {rate:g} (Poisson)" for rate in sorted(rates)]
    return (_GAUSSIAN if is_gradient else _GAUSSIAN_ROWS) + "".join(sampled)
