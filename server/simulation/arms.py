"""Arms of an experiment: a model of each hospital alone, of all data in one place, of the federation;
the federation without films, and without any patient.

An arm is trained in memory by the sums and steps of a real run, under a plan that is drafted for the
arm's own roster. Figures and simulations share it, so that one way of training is compared with
itself. Imports plan and training in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.encoders.file import encoder_file
from server.federation.compose import compose_settings
from server.federation.folder import Enrolled
from server.federation.plan import draft_plan
from shared.contract.plan import Plan
from shared.contract.protocol import Vector
from shared.contract.settings import Settings
from shared.contract.stages import LearnerStage
from shared.errors import RunError
from shared.measures.scored import Scored
from shared.train.patients import PatientBatch, join_patients

FEDERATED, POOLED = "federated", "pooled"
CLINICAL_ONLY, UNTRAINED = "clinical only", "untrained"
# What the schedule of a fusion says: that of another fusion is another.
_OF_SCHEDULE = ("rounds", "local_steps", "learning_rate", "fold", "local_tail")
_NO_KEY = "0" * 64
_NO_DAY = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Trained:
    """A release's weights [d], or a learner's state, and the plan that reads them.

    ``memory``: what else a learner kept of its sums, such as a choice's noised total; else none.
    """

    weights: Vector
    plan: Plan
    memory: Mapping[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Arm:
    """Who trains together: patients by site, and the size that each site declares."""

    patients: Mapping[str, PatientBatch]
    declared: Mapping[str, int]


def alone_name(site: str) -> str:
    """Name of the arm in which one hospital trains by itself."""
    return f"{site} alone"


def arms_of(patients: Mapping[str, PatientBatch], declared: Mapping[str, int]) -> dict[str, Arm]:
    """The arms of some training hospitals: federated, pooled, then each alone.

    Args:
        patients: training patients by site.
        declared: the size that each site declares; pooled, they are added.
    """
    everybody = join_patients(*(_in_memory(batch) for batch in patients.values()))
    return {
        FEDERATED: Arm(patients, declared),
        POOLED: Arm({POOLED: everybody}, {POOLED: sum(declared[site] for site in patients)}),
        **{
            alone_name(site): Arm({site: batch}, {site: declared[site]})
            for site, batch in patients.items()
        },
    }


def clinical_only(settings: Settings) -> Settings | None:
    """The same settings for clinical fields alone, by the schedule of their own head.

    Returns:
        None where these settings read no film either, or the cohort has no clinical field.
    """
    has_tokens = settings.encoder.name != "none" and settings.fusion.name != "clinical_only"
    if not settings.cohort.fields or not (has_tokens or settings.features.of_films):
        return None
    shipped = compose_settings(["encoder=none", "fusion=clinical_only"])
    federation = settings.federation.model_copy(update=dict.fromkeys(_OF_SCHEDULE))
    own = {name: getattr(shipped, name) for name in ("encoder", "fusion", "schedules", "features")}
    learner = settings.learner
    if learner.kind == "selection":
        learner = learner.then  # clinical fields are few: all are kept
    # an arm is scored, not measured further; a measure of films would not suit it
    update = {**own, "learner": learner, "federation": federation, "measures": {}}
    return settings.model_copy(update=update)


def plan_arm(settings: Settings, declared: Mapping[str, int], *, run: str) -> Plan:
    """The plan of these settings for training sites of these declared sizes; nobody signs it."""
    sites = [
        Enrolled(site=site, public_key=_NO_KEY, declared_patients=n, role="training", enrolled_utc="")
        for site, n in declared.items()
    ]
    return draft_plan(settings, sites, run=run, coordinator_key=_NO_KEY, now=_NO_DAY)


def train_arm(settings: Settings, arm: Arm, *, run: str) -> Trained:
    """Train an arm under the settings, noise included.

    Raises:
        RunError: the settings train nothing, or the encoder is not at hand.
    """
    from shared.stages.in_memory import finish_in_memory

    plan = plan_arm(settings, arm.declared, run=run)
    if plan.trained is None:
        raise RunError("no-training", f"the plan of run {run} trains nothing")
    file = encoder_file(plan.settings.encoder)
    patients = {site: _as_read(plan, batch) for site, batch in arm.patients.items()}
    state = finish_in_memory(plan, plan.trained, patients, encoder_file=file)
    return Trained(state.vector, plan, state.memory)


def train_further(release: Trained, settings: Settings, arm: Arm, *, run: str) -> Trained:
    """A release that one hospital trains further for itself: the same model, other weights.

    Its steps and noise are those of a hospital's local plan at the settings' ε, which a patient there
    pays for them alone.

    Raises:
        PlanError: the release was trained by no gradients.
        RunError: the arm is of several hospitals, or the settings of another model or of no price.
    """
    from shared.stages.in_memory import train_in_memory
    from shared.stages.local_plan import local_stage

    plan, epsilon = plan_arm(settings, arm.declared, run=run), settings.privacy.epsilon
    is_same = plan.layout_sha256 == release.plan.layout_sha256
    if len(arm.declared) != 1 or settings.privacy.mode == "off" or epsilon is None or not is_same:
        raise RunError(
            "cannot-go-on",
            "a release is trained further by one hospital, as the release's own model, at a price",
            hint="name one hospital, the release's settings, and privacy.epsilon",
        )
    stage = local_stage(
        release.plan,
        declared=plan.roster[0].declared_patients,
        epsilon=epsilon,
        n_parameters=release.weights.size,
    )
    file = encoder_file(plan.settings.encoder)
    patients = {site: _as_read(plan, batch) for site, batch in arm.patients.items()}
    weights = train_in_memory(plan, stage, patients, start=release.weights, encoder_file=file)
    return Trained(weights, plan)


def untrained(plan: Plan) -> Trained:
    """What a plan's training makes of nobody: a model's initial weights, a learner's state of no rows.

    Raises:
        RunError: the plan trains nothing.
    """
    from shared.stages.kinds import sum_of

    stage = plan.trained
    if stage is None:
        raise RunError("no-training", f"the plan of run {plan.run} trains nothing")
    asked = sum_of(plan, stage, encoder_file=encoder_file(plan.settings.encoder))
    state = asked.start()
    if isinstance(stage, LearnerStage):
        for number in range(1, stage.rounds + 1):
            nobody = np.zeros(asked.bound(number).length)
            state = asked.advance(state, [nobody], sites=plan.asked(stage))
    return Trained(state.vector, plan)


def score_arm(trained: Trained, patients: PatientBatch) -> Scored:
    """What an arm says of patients, each once, by the earliest labelled exam."""
    from shared.stages.scores import scorer_of

    plan = trained.plan
    scorer = scorer_of(plan, plan.trained, encoder_file(plan.settings.encoder))
    return scorer.score(trained.weights, _as_read(plan, patients)).earliest()


def _as_read(plan: Plan, batch: PatientBatch) -> PatientBatch:
    """Patients as a plan's model takes them: without their films where it reads none."""
    if plan.settings.reads_films:
        return batch
    nothing = batch.film_exam[:, :0]
    tokens = batch.target.new_zeros(len(batch), 0, 0, 0)
    return replace(
        batch,
        tokens=tokens,
        film_exam=nothing,
        film_maker=nothing,
        film_columns=nothing[..., None][..., :0].float(),
        films=None,
        makers=(),
    )


def _in_memory(batch: PatientBatch) -> PatientBatch:
    """The same patients with their films in memory: sites share no store of films."""
    return replace(batch.with_films(), makers=())
