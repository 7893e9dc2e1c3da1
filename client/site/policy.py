"""The hospital's own policy: what may be asked of its patients, whatever a coordinator wants.

``policy.yaml`` lies in the site's folder, is written by the hospital and read afresh from there; no
message can change it. A plan is held against it as a whole and every violation is reported together.
Imports plan, settings' strictness, accountant and errors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, model_validator

from shared.contract.plan import Plan, SplitCost
from shared.contract.stages import (
    GradientStage,
    LearnerStage,
    Purpose,
    ReleaseStage,
    Role,
    Stage,
    TrainingStage,
    exact_conflicts,
    purpose_of,
)
from shared.errors import OsteoFedError, PlanError, PolicyError
from shared.machine.files import write_atomic
from shared.machine.yaml_file import YamlMistakesError, read_yaml
from shared.privacy.cost import noised_epsilon, predict_cost, touching
from shared.privacy.events import MINIMUM_NOISE_MULTIPLIER
from shared.privacy.filter import Allowance
from shared.strict import FROZEN

_TEMPLATE = """\
# What this hospital allows. Only a person here can change it; no coordinator can override it.
version: 1

# Caps on the privacy loss of each patient (epsilon at this delta), per run and for life.
epsilon_per_run: 3.0
epsilon_lifetime: 10.0
delta: 1.0e-5

# Least noise of a training step, as a multiple of what one patient can contribute. A table is one
# release: what bounds it is epsilon_per_run.
noise_multiplier_floor: 1.0

# No training on fewer patients; no validation, and no cell of a governed table, from fewer.
minimum_cohort_patients: 50
minimum_cell: 10

# What may be asked: train, evaluate.internal, evaluate.external, evaluate.prospective,
# evaluate.description (who the patients are, where an approved plan releases it).
allowed:
  - train
  - evaluate.internal
  - evaluate.external
  - evaluate.prospective
  - evaluate.description

# Which tasks may be trained and validated, by endpoint (for example osteoporosis); empty: any.
allowed_tasks: []

# Most invented patients (canaries) that an audited plan may add to a batch; they take memory. 0: none.
maximum_canaries: 5000

# How many different people must approve a plan or a sweep, each by name: 1 or 2.
approvals_needed: 1

# A plan must have a last day (`plan --valid-until`), at most so many days from today. null: any plan.
valid_until_within_days: null

# Seconds: answers that leave at multiples of less show how long the work here took. 0: any plan.
reply_quantum_floor_s: 0

# Training without noise gives no formal privacy guarantee.
allows_privacy_off: false

# Exact numbers (governed releases) need a person who answers for them: first and last name.
allows_governed: false
governed_approved_by: null

# Most governed releases of one split (internal, external, prospective), over all plans. Two of them
# can be subtracted: further ones are statistics of the same patients, shown where they differ by enough
# of them. A table of groups, errors or a comparison is released exactly only if nothing else was.
governed_releases_per_split: 1
"""


class PolicySettings(BaseModel):
    """One hospital's policy. What widens it must be said: left out, no canaries and any task.

    Plans are allowed one by one, by approval of their hash; releases by the classes that ``allows_*``
    names, one per plan and purpose.

    Attributes:
        version: of this file's format.
        epsilon_per_run: most that one run, or a sweep of several, may cost a patient, at ``delta``.
        epsilon_lifetime: most that all runs together may cost a patient, at ``delta``.
        delta: δ of both caps; a plan's δ may not be above it.
        noise_multiplier_floor: least noise of a training sum, as a multiple of what one patient can
            contribute.
        minimum_cohort_patients: no training on fewer patients.
        minimum_cell: no validation of fewer patients, and no cell of a governed release.
        allowed: what may be asked of patients here.
        allowed_tasks: endpoints that may be trained and validated, for example osteoporosis; empty:
            any.
        maximum_canaries: most invented patients that an audited plan may add to a batch.
        approvals_needed: how many different people must say yes to a plan.
        valid_until_within_days: a plan must have a last day, at most so many days ahead; null: it need
            not.
        reply_quantum_floor_s: least seconds in multiples of which a plan's answers may leave.
        allows_privacy_off: whether training without noise is allowed; it gives no formal guarantee.
        allows_governed: whether exact numbers may leave under the rules of a governed release.
        governed_approved_by: first and last name of the person who answers for governed releases.
        governed_releases_per_split: most governed releases of one split, over all plans; two of them
            can be subtracted.
    """

    model_config = FROZEN

    version: Literal[1]
    epsilon_per_run: float = Field(gt=0, le=50)
    epsilon_lifetime: float = Field(gt=0, le=200)
    delta: float = Field(gt=0, lt=0.01)
    noise_multiplier_floor: float = Field(ge=MINIMUM_NOISE_MULTIPLIER)
    minimum_cohort_patients: int = Field(ge=1)
    minimum_cell: int = Field(ge=1)
    allowed: tuple[Purpose, ...]
    allowed_tasks: tuple[str, ...] = ()
    maximum_canaries: int = Field(default=0, ge=0)
    approvals_needed: int = Field(default=1, ge=1, le=2)
    valid_until_within_days: int | None = Field(default=None, ge=0, le=3660)
    reply_quantum_floor_s: float = Field(default=0.0, ge=0, le=86_400)
    allows_privacy_off: bool
    allows_governed: bool
    governed_approved_by: str | None
    governed_releases_per_split: int = Field(default=1, ge=1, le=100)

    @model_validator(mode="after")
    def _governed_is_answered_for(self) -> PolicySettings:
        if self.allows_governed and len((self.governed_approved_by or "").split()) < 2:
            raise ValueError("governed_approved_by must be a first and last name, not empty")
        return self

    def latest_end(self, today: date) -> date | None:
        """The latest last day that a plan may have; None: a plan needs none."""
        days = self.valid_until_within_days
        return None if days is None else today + timedelta(days=days)

    @property
    def allowance(self) -> Allowance:
        """The caps that the ledger enforces."""
        return Allowance(
            epsilon_lifetime=self.epsilon_lifetime,
            epsilon_per_run=self.epsilon_per_run,
            delta=self.delta,
        )


def write_policy_template(path: Path) -> None:
    """Write a cautious policy with comments, for the hospital to edit.

    Raises:
        PolicyError: the file exists; a policy is never overwritten.
    """
    if path.exists():
        raise PolicyError(
            "exists",
            f"{path.name} exists and is not overwritten",
            hint="edit it, or move it away first",
        )
    write_atomic(path, _TEMPLATE.encode())


def read_policy(path: Path) -> PolicySettings:
    """Read and validate ``policy.yaml``.

    Raises:
        PolicyError: missing, not YAML, or any field unknown, missing or out of range.
    """
    try:
        return read_yaml(path, PolicySettings, whole="policy")
    except YamlMistakesError as error:
        raise PolicyError(
            "invalid",
            f"{path.name} is not valid:\n{error}",
            hint="compare it with the template that `osteofed-site init` writes into another, new "
            "folder, or restore it from backup; without a policy nothing is allowed",
        ) from None


def check_plan(policy: PolicySettings, plan: Plan, *, site: str, now: datetime) -> tuple[str, ...]:
    """Everything in a plan that the policy forbids; empty when it may run.

    Costs are computed here from the stages' noise, never taken from what the plan says they are, and
    its last day is held against the hospital's own clock.
    """
    role = plan.entry(site).role
    asked = [stage for stage in plan.stages if role in stage.roles]
    problems = [*_purpose_problems(policy, asked, role), *_task_problems(policy, plan)]
    problems += _end_problems(policy, plan, now)
    if plan.settings.delta > policy.delta:
        problems.append(f"delta {plan.settings.delta:g} is above this hospital's {policy.delta:g}")
    quantum, floor = plan.settings.patience.reply_quantum_s, policy.reply_quantum_floor_s
    if quantum < floor:
        problems.append(
            f"answers leave in multiples of {quantum:g} s, below this hospital's floor of {floor:g} s"
        )
    for stage in asked:
        problems += [*_class_problems(policy, stage), *_stage_problems(policy, plan, stage)]
    problems += [*exact_conflicts(asked), *_prediction_problems(plan)]
    problems += check_total(policy, plan.stages, role=role)
    return tuple(dict.fromkeys(problems))  # stages may share a fault


def require_plan(policy: PolicySettings, plan: Plan, *, site: str, now: datetime) -> None:
    """Refuse a plan that the policy forbids.

    Raises:
        PolicyError: with every violation.
    """
    problems = check_plan(policy, plan, site=site, now=now)
    if problems:
        raise PolicyError(
            "plan-forbidden",
            "this hospital's policy forbids the plan:\n"
            + "\n".join(f"  {problem}" for problem in problems),
            hint="ask the coordinator for another plan, or change policy.yaml deliberately",
        )


def _purpose_problems(policy: PolicySettings, asked: Sequence[Stage], role: str) -> list[str]:
    """A plan may run where some of its tables are forbidden, not where its main part or all is."""
    needed: Purpose = "train" if role == "training" else "evaluate.external"
    try:
        purposes = {purpose_of(stage) for stage in asked}
    except PlanError as error:
        return [error.fact]
    if needed in purposes and needed not in policy.allowed:
        return [f"{needed} is not allowed here"]
    if purposes and not purposes & set(policy.allowed):
        return [f"{' and '.join(sorted(purposes))} is not allowed here"]
    return []


def _task_problems(policy: PolicySettings, plan: Plan) -> list[str]:
    endpoint = plan.settings.task.endpoint
    if policy.allowed_tasks and endpoint not in policy.allowed_tasks:
        return [f"task {endpoint} is none of {list(policy.allowed_tasks)}, which are allowed here"]
    return []


def _end_problems(policy: PolicySettings, plan: Plan, now: datetime) -> list[str]:
    latest = policy.latest_end(now.astimezone(UTC).date())
    if latest is None or (plan.valid_until is not None and plan.valid_until <= latest):
        return []
    days, end = policy.valid_until_within_days, plan.valid_until
    found = "has no last day" if end is None else f"is valid until {end.isoformat()}"
    return [f"the plan {found}; this hospital asks for one by {latest.isoformat()}, {days} days ahead"]


def _class_problems(policy: PolicySettings, stage: Stage) -> list[str]:
    """Whether a stage may let numbers of its class leave, and with enough noise."""
    if stage.release_class == "governed" and not policy.allows_governed:
        return ["governed releases (exact numbers) are not allowed here"]
    if stage.release_class == "off" and not policy.allows_privacy_off:
        return ["privacy is off, which gives no formal guarantee"]
    if stage.release_class == "dp" and isinstance(stage, TrainingStage):
        noise, floor = min(stage.noise_multipliers), policy.noise_multiplier_floor
        if noise < floor:
            return [f"noise multiplier {noise:g} is below the floor of {floor:g}"]
    return []


def check_total(policy: PolicySettings, stages: Sequence[Stage], *, role: Role) -> list[str]:
    """What stages ask too much of together, of one plan or of all plans of a sweep."""
    asked = [stage for stage in stages if role in stage.roles]
    return [*_repeated_problems(policy, asked), *_cost_problems(policy, stages, role)]


def _repeated_problems(policy: PolicySettings, asked: Sequence[Stage]) -> list[str]:
    """Splits of which stages alone ask for more governed releases than a split may have."""
    groups = [
        stage.patients
        for stage in asked
        if stage.release_class == "governed" and isinstance(stage, ReleaseStage)
    ]
    most = policy.governed_releases_per_split
    return [
        f"{groups.count(group)} governed releases of {group} patients are more than the {most} that "
        "governed_releases_per_split allows here"
        for group in dict.fromkeys(groups)
        if groups.count(group) > most
    ]


def _stage_problems(policy: PolicySettings, plan: Plan, stage: Stage) -> list[str]:
    """What a kind of stage may not ask."""
    if isinstance(stage, GradientStage):
        return _training_problems(policy, plan, stage)
    if isinstance(stage, LearnerStage):
        return _learner_problems(plan, stage)
    problems = []
    if stage.release_class == "governed" and stage.minimum_cell < policy.minimum_cell:
        problems.append(
            f"minimum cell {stage.minimum_cell} is below this hospital's {policy.minimum_cell}"
        )
    is_late = isinstance(stage, ReleaseStage) and stage.patients == "accrued"
    fewest = stage.minimum_patients if isinstance(stage, ReleaseStage) else policy.minimum_cell
    if is_late and fewest < policy.minimum_cell:
        problems.append(
            f"prospective_patients {fewest} is below this hospital's minimum cell of "
            f"{policy.minimum_cell}"
        )
    return problems


def _training_problems(policy: PolicySettings, plan: Plan, stage: GradientStage) -> list[str]:
    problems = []
    if stage.canaries > policy.maximum_canaries:
        problems.append(
            f"{stage.canaries} canaries are more than the {policy.maximum_canaries} allowed here"
        )
    longest = _longest_update(plan, stage)
    if stage.update_norm_max > longest:
        problems.append(
            f"update_norm_max {stage.update_norm_max:g} bounds nothing: no update of this plan "
            f"can be longer than {longest:.3g}"
        )
    return problems


def _learner_problems(plan: Plan, stage: LearnerStage) -> list[str]:
    """A learner chooses its public schedule by the ε that it states: no less than its noise gives."""
    epsilon = noised_epsilon([stage], delta=plan.settings.delta)
    if epsilon <= stage.epsilon + 1e-9:
        return []
    return [f"{stage.name} states epsilon {stage.epsilon:g}, its noise gives {epsilon:.3f}"]


def _longest_update(plan: Plan, stage: GradientStage) -> float:
    """More than the norm of any honest update: every patient at the clip norm, noise on 1e8 weights.

    A step moves the weights by learning rate/B times a sum that is at most n·C without its noise, which
    is about noise multiplier·C·√p long; n/B is at most 10 where sizes are declared in buckets.
    """
    if not stage.is_private:
        return math.inf  # unclipped gradients have no bound
    smallest = min(entry.declared_patients for entry in plan.roster)
    expected = stage.sample_rate * smallest
    per_step = stage.clip_norm * (10 + 2 * stage.noise_multiplier * 1e4 / expected)
    return stage.local_steps * stage.learning_rate * per_step


def _cost_problems(policy: PolicySettings, stages: Sequence[Stage], role: Role) -> list[str]:
    """Groups of patients for whom the stages that touch them, together, cost more than a run may."""
    try:
        cost = predict_cost(stages, delta=policy.delta)
    except OsteoFedError as error:
        return [error.fact]
    problems = []
    for split in cost.splits:
        found = touching(stages, role=split.role, patients=split.patients)
        epsilon = noised_epsilon(found, delta=policy.delta)
        if split.role == role and epsilon > policy.epsilon_per_run:
            problems.append(
                f"{_group_words(stages, split)} costs epsilon {epsilon:.3f} at delta {policy.delta:g}, "
                f"above the cap of {policy.epsilon_per_run:g} per run"
            )
    return problems


def _group_words(stages: Sequence[Stage], split: SplitCost) -> str:
    """The stages that one group of patients pays for, by their purposes."""
    found = touching(stages, role=split.role, patients=split.patients)
    words = dict.fromkeys(_WORDS[purpose_of(stage)] for stage in found)
    return " with ".join(words)


_WORDS: dict[Purpose, str] = {
    "train": "training",
    "evaluate.internal": "validation",
    "evaluate.external": "validation",
    "evaluate.prospective": "validation",
    "evaluate.description": "the description",
}


def _prediction_problems(plan: Plan) -> list[str]:
    """What a person reads before approving must be what the stages give, to the last digit."""
    try:
        true = predict_cost(plan.stages, delta=plan.settings.delta)
    except OsteoFedError as error:
        return [error.fact]
    if plan.predicted == true:
        return []
    return [
        "the plan does not state its true cost: training epsilon "
        f"{_shown(true.training_epsilon)}, validation epsilon {_shown(true.validation_epsilon)}, "
        f"description epsilon {_shown(true.description_epsilon)}, "
        f"delta {true.delta:g}, {true.mechanism}, {true.accountant}"
    ]


def _shown(epsilon: float | None) -> str:
    return "none" if epsilon is None else f"{epsilon:.3f}"
