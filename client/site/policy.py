"""The hospital's own policy: what may be asked of its patients, whatever a coordinator wants.

``policy.yaml`` lies in the site's folder, is written by the hospital and read afresh from there; no
message can change it. A plan is held against it as a whole and every violation is reported together.
Imports plan, settings' strictness, accountant and errors.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from shared.contract.plan import Plan
from shared.errors import OsteoFedError, PolicyError, PrivacyError
from shared.machine.files import write_atomic
from shared.measure.description.rows import description_spec
from shared.privacy.accountant import epsilon_of
from shared.privacy.cost import predict_cost
from shared.privacy.events import MINIMUM_NOISE_MULTIPLIER, GaussianEvent
from shared.privacy.filter import Allowance
from shared.strict import FROZEN, list_mistakes

Purpose = Literal[
    "train",
    "evaluate.internal",
    "evaluate.external",
    "evaluate.prospective",
    "evaluate.description",
]

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

# Training without noise gives no formal privacy guarantee.
allows_privacy_off: false

# Exact numbers (governed releases) need a person who answers for them: first and last name.
allows_governed: false
governed_approved_by: null
"""


class PolicySettings(BaseModel):
    """One hospital's policy. What widens it must be said: left out, no canaries and any task.

    Plans are allowed one by one, by approval of their hash; releases by the classes that ``allows_*``
    names, one per plan and purpose.
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
    allows_privacy_off: bool
    allows_governed: bool
    governed_approved_by: str | None

    @model_validator(mode="after")
    def _governed_is_answered_for(self) -> PolicySettings:
        if self.allows_governed and len((self.governed_approved_by or "").split()) < 2:
            raise ValueError("governed_approved_by must be a first and last name, not empty")
        return self

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
        return PolicySettings.model_validate(yaml.safe_load(path.read_bytes()))
    except ValidationError as error:
        raise PolicyError(
            "invalid",
            f"{path.name} is not valid:\n" + "\n".join(list_mistakes(error, whole="policy")),
            hint="compare it with the template that `osteofed-site init` writes into a new folder",
        ) from None
    except (OSError, yaml.YAMLError) as error:
        raise PolicyError(
            "unreadable",
            f"{path.name} cannot be read: {type(error).__name__}",
            hint="restore it from backup, or copy the template that `osteofed-site init` writes into "
            "another, new folder and fill it in again; without a policy nothing is allowed",
        ) from None


def check_plan(policy: PolicySettings, plan: Plan, *, site: str) -> tuple[str, ...]:
    """Everything in a plan that the policy forbids; empty when it may run.

    Costs are computed here from the plan's noise, never taken from what the plan says they are.
    """
    role = plan.entry(site).role
    problems = [*_purpose_problems(policy, role), *_task_problems(policy, plan)]
    if plan.settings.validation.prospective_patients < policy.minimum_cell:
        problems.append(
            f"prospective_patients {plan.settings.validation.prospective_patients} is below this "
            f"hospital's minimum cell of {policy.minimum_cell}"
        )
    if plan.settings.privacy.delta > policy.delta:
        problems.append(
            f"delta {plan.settings.privacy.delta:g} is above this hospital's {policy.delta:g}"
        )
    if role == "training":
        problems += _training_problems(policy, plan)
    problems += [*_validation_problems(policy, plan), *_description_problems(policy, plan, role)]
    return (*problems, *_prediction_problems(plan))


def require_plan(policy: PolicySettings, plan: Plan, *, site: str) -> None:
    """Refuse a plan that the policy forbids.

    Raises:
        PolicyError: with every violation.
    """
    problems = check_plan(policy, plan, site=site)
    if problems:
        raise PolicyError(
            "plan-forbidden",
            "this hospital's policy forbids the plan:\n"
            + "\n".join(f"  {problem}" for problem in problems),
            hint="ask the coordinator for another plan, or change policy.yaml deliberately",
        )


def training_event(plan: Plan, *, steps: int) -> GaussianEvent | None:
    """The event of ``steps`` training steps under a plan; None when the plan promises nothing.

    Raises:
        PrivacyError: the plan's noise is missing or too low to be accounted.
    """
    privacy = plan.settings.privacy
    if privacy.mode == "off":
        return None
    return GaussianEvent(
        noise_multiplier=privacy.noise_multiplier or 0.0, sample_rate=privacy.sample_rate, steps=steps
    )


def validation_event(plan: Plan) -> GaussianEvent | None:
    """The event of one validation table under a plan; None for a governed release.

    Raises:
        PrivacyError: the plan's noise is missing or too low to be accounted.
    """
    if plan.settings.validation.release_class == "governed":
        return None
    return GaussianEvent(noise_multiplier=plan.predicted.validation_noise_multiplier or 0.0)


def table_event(plan: Plan, purpose: Purpose) -> GaussianEvent | None:
    """The event of the table that a purpose is about, validation or description; else as those.

    Raises:
        PlanError: a description that the plan does not release.
    """
    if purpose != "evaluate.description":
        return validation_event(plan)
    description_spec(plan.settings)
    return description_event(plan)


def description_event(plan: Plan) -> GaussianEvent | None:
    """The event of a description under a plan; None for a governed one, or where there is none.

    Raises:
        PrivacyError: the plan's noise is missing or too low to be accounted.
    """
    validation = plan.settings.validation
    if validation.description_epsilon is None or validation.release_class == "governed":
        return None
    return GaussianEvent(noise_multiplier=plan.predicted.description_noise_multiplier or 0.0)


def _purpose_problems(policy: PolicySettings, role: str) -> list[str]:
    needed: Purpose = "train" if role == "training" else "evaluate.external"
    return [] if needed in policy.allowed else [f"{needed} is not allowed here"]


def _task_problems(policy: PolicySettings, plan: Plan) -> list[str]:
    endpoint = plan.settings.task.endpoint
    if policy.allowed_tasks and endpoint not in policy.allowed_tasks:
        return [f"task {endpoint} is none of {list(policy.allowed_tasks)}, which are allowed here"]
    return []


def _training_problems(policy: PolicySettings, plan: Plan) -> list[str]:
    privacy, federation = plan.settings.privacy, plan.settings.federation
    problems = []
    if not federation.rounds or not federation.local_steps or not federation.learning_rate:
        problems.append("rounds, local_steps and learning_rate must be numbers")
    if privacy.canaries > policy.maximum_canaries:
        problems.append(
            f"{privacy.canaries} canaries are more than the {policy.maximum_canaries} allowed here"
        )
    if privacy.update_norm_max is None:
        problems.append("update_norm_max must be a number")
    bound = _longest_update(plan)
    if (privacy.update_norm_max or 0.0) > bound:
        problems.append(
            f"update_norm_max {privacy.update_norm_max:g} bounds nothing: no update of this plan "
            f"can be longer than {bound:.3g}"
        )
    if privacy.mode == "off":
        if not policy.allows_privacy_off:
            problems.append("privacy is off, which gives no formal guarantee")
        return problems
    noise = privacy.noise_multiplier or 0.0
    if noise < policy.noise_multiplier_floor:
        problems.append(
            f"noise multiplier {noise:g} is below the floor of {policy.noise_multiplier_floor:g}"
        )
    steps = (federation.rounds or 0) * (federation.local_steps or 0)
    if steps:
        problems += _cost_problems(policy, plan, steps)
    return problems


def _longest_update(plan: Plan) -> float:
    """More than the norm of any honest update: every patient at the clip norm, noise on 1e8 weights.

    A step moves the weights by learning rate/B times a sum that is at most n·C without its noise, which
    is about noise multiplier·C·√p long; n/B is at most 10 where sizes are declared in buckets.
    """
    privacy, federation = plan.settings.privacy, plan.settings.federation
    if privacy.mode == "off":
        return math.inf  # unclipped gradients have no bound
    smallest = min(entry.declared_patients for entry in plan.roster)
    expected = privacy.sample_rate * smallest
    per_step = privacy.clip_norm * (10 + 2 * (privacy.noise_multiplier or 0.0) * 1e4 / expected)
    return (federation.local_steps or 0) * (federation.learning_rate or 0.0) * per_step


def _cost_problems(policy: PolicySettings, plan: Plan, steps: int) -> list[str]:
    try:
        event = training_event(plan, steps=steps)
    except PrivacyError as error:
        return [error.fact]
    if event is None:
        return []
    problems = []
    cost = epsilon_of([event], policy.delta)
    if cost > policy.epsilon_per_run:
        problems.append(
            f"training costs epsilon {cost:.3f} at delta {policy.delta:g}, "
            f"above the cap of {policy.epsilon_per_run:g} per run"
        )
    return problems


def _validation_problems(policy: PolicySettings, plan: Plan) -> list[str]:
    validation = plan.settings.validation
    if validation.release_class == "governed":
        problems = []
        if not policy.allows_governed:
            problems.append("governed releases (exact numbers) are not allowed here")
        if validation.minimum_cell < policy.minimum_cell:
            problems.append(
                f"minimum cell {validation.minimum_cell} is below this hospital's {policy.minimum_cell}"
            )
        return problems
    try:
        event = validation_event(plan)
    except PrivacyError as error:
        return [f"validation: {error.fact}"]
    cost = epsilon_of([event], policy.delta) if event else 0.0
    if cost > policy.epsilon_per_run:
        return [
            f"validation costs epsilon {cost:.3f} at delta {policy.delta:g}, "
            f"above the cap of {policy.epsilon_per_run:g} per run"
        ]
    return []


def _description_problems(policy: PolicySettings, plan: Plan, role: str) -> list[str]:
    """A description is paid for by patients who pay for training, or for a validation, too."""
    try:
        event = description_event(plan)
        if event is None:
            return []
        besides = {"a validation": validation_event(plan)}
        federation = plan.settings.federation
        steps = (federation.rounds or 0) * (federation.local_steps or 0)
        if role == "training" and steps:
            besides["training"] = training_event(plan, steps=steps)
        costs = {
            what: epsilon_of([event, *([other] if other else [])], policy.delta)
            for what, other in besides.items()
        }
    except PrivacyError as error:
        return [f"description: {error.fact}"]
    return [
        f"{what} with the description costs epsilon {cost:.3f} at delta {policy.delta:g}, "
        f"above the cap of {policy.epsilon_per_run:g} per run"
        for what, cost in costs.items()
        if cost > policy.epsilon_per_run
    ]


def _prediction_problems(plan: Plan) -> list[str]:
    """What a person reads before approving must be what the settings give, to the last digit."""
    try:
        true = predict_cost(plan.settings)
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
