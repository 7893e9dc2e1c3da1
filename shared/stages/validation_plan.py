"""The plan that measures a release on hospitals that need not have trained it: no stage trains.

Its stages are those by which the release's own plan measures other hospitals and later patients, with
the same edges, so that figures can be compared; price and number of bins may be others. The coordinator
writes one for enrolled sites, a hospital writes one for itself where nobody is connected, and whoever
is told of one can write it again and compare. Imports the contract, the accountant and the bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from shared.contract.decision import decision_of
from shared.contract.plan import MeasuredRelease, Plan, RosterEntry
from shared.contract.release import Release
from shared.contract.stages import (
    DescriptionStage,
    ReleaseStage,
    Role,
    Stage,
    TableStage,
    TrainingStage,
)
from shared.errors import PlanError
from shared.measure.table.planned import bins_of, patients_asked
from shared.privacy.accountant import calibrate
from shared.privacy.cost import predict_cost
from shared.signing.code_hash import installed_code_hash


def validation_plan(
    release: Release,
    roster: Sequence[RosterEntry],
    *,
    run: str,
    coordinator_key: str,
    written_utc: str,
    epsilon: float | None = None,
    is_one_table: bool = False,
    valid_until: date | None = None,
) -> Plan:
    """The plan that measures a release at the roster's sites; their roles are those of ``role_in``.

    Args:
        release: a verified release.
        roster: the sites that are asked.
        run: name of the validation.
        coordinator_key: public key of who signs the plan.
        written_utc: when it was written.
        epsilon: what each table costs a patient; None: what it costs in the release's own plan.
        is_one_table: ask for the table of whole cohorts and nothing else.
        valid_until: the last day on which sites may approve it and answer; None: any day.

    Raises:
        PlanError: no stage is left, the release was trained by nothing, or its tables are exact and an
            ε is asked.
    """
    own, trained = release.plan, release.plan.trained
    if trained is None:
        raise PlanError("reads-no-training", f"the plan of run {own.run} trains nothing")
    stages = tuple(
        _priced(own, _for_others(stage), roster, epsilon)
        for stage in own.stages
        if _can_be_asked(stage, roster) and not (is_one_table and not _is_of_cohort(stage))
    )
    if not stages:
        raise PlanError(
            "nobody-to-measure",
            f"no table of run {own.run} asks any of {[entry.site for entry in roster]}",
            hint="enrol a hospital that did not train this release",
        )
    return Plan(
        run=run,
        written_utc=written_utc,
        settings=own.settings,
        stages=stages,
        roster=tuple(roster),
        coordinator_key=coordinator_key,
        code_sha256=installed_code_hash(),
        encoder_sha256=own.encoder_sha256,
        initial_weights_sha256="",
        layout_sha256=own.layout_sha256,
        predicted=predict_cost(stages, delta=own.settings.delta),
        release=MeasuredRelease(
            run=release.record.run,
            plan_sha256=own.sha256,
            release_sha256=release.sha256,
            weights_sha256=release.record.weights_sha256,
            trained=trained,
        ),
        valid_until=valid_until,
    )


def role_in(plan: Plan, site: str, public_key: str) -> Role:
    """A site's part in a release: ``training`` if it trained it, under this name or this key."""
    has_trained = any(
        entry.role == "training" and (entry.site == site or entry.public_key == public_key)
        for entry in plan.roster
    )
    return "training" if has_trained else "external"


def _can_be_asked(stage: Stage, roster: Sequence[RosterEntry]) -> bool:
    """Whether a stage measures others than who trained, and anybody of the roster."""
    if isinstance(stage, TrainingStage) or stage.patients == "internal":
        return False
    roles = _for_others(stage).roles
    return any(entry.role in roles for entry in roster)


def _is_of_cohort(stage: Stage) -> bool:
    return isinstance(stage, TableStage) and stage.patients == "everybody"


def _for_others(stage: Stage) -> Stage:
    """A description of those who trained was given in their own run."""
    if isinstance(stage, DescriptionStage):
        return stage.model_copy(update={"roles": ("external",)})
    return stage


def _priced(plan: Plan, stage: Stage, roster: Sequence[RosterEntry], epsilon: float | None) -> Stage:
    """A stage at its new price, a table in the bins that suit it there."""
    if epsilon is not None:
        if stage.release_class != "dp":
            raise PlanError(
                "exact-has-no-epsilon",
                f"stage {stage.name} of run {plan.run} gives exact numbers, which no epsilon prices",
                hint="leave --epsilon out; a person at each hospital answers for exact numbers",
            )
        if isinstance(stage, ReleaseStage):
            noise = calibrate(epsilon, plan.settings.delta)
            stage = stage.model_copy(update={"noise_multipliers": (noise,)})
    if not isinstance(stage, TableStage):
        return stage
    sizes = [
        patients_asked(
            plan.settings.cohort.split,
            stage.patients,
            declared=entry.declared_patients,
            minimum_patients=stage.minimum_patients,
        )
        for entry in roster
        if entry.role in stage.roles
    ]
    n_classes = len(decision_of(plan.settings).classes)
    bins = bins_of(sizes, stage.noise_of(1), stage.blocks, stage.ranking, n_classes=n_classes)
    return stage.model_copy(update={"bins": bins})
