"""Reads a run folder into ``Results``: what the report, the tables and ``report.json`` are made of.

Works from what the coordinator holds: plan, committed rounds, replies, and the ledger exports that
sites handed over. Imports the run store and the parts of the report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from server.report.curves import collect_curves
from server.report.description import collect_descriptions
from server.report.further import collect_further
from server.report.kept import kept_by_rule
from server.report.results import (
    MeasuredRun,
    MissingUpdate,
    PrivacyResult,
    Results,
    RoundResult,
    Side,
    SiteResult,
    Task,
)
from server.report.training import training_of
from server.report.validation import collect_validations, pool_site_aucs
from server.run.amendments import dropped_sites
from server.run.external import read_externals
from server.run.folder import RunStore
from server.run.release import held_release
from server.run.stage_folder import RoundState, StageFolder
from shared.contract.decision import decision_of
from shared.contract.model_settings import follow_up_of
from shared.contract.plan import Plan, RosterEntry
from shared.contract.release import read_lock
from shared.contract.stages import Stage
from shared.measure.table.spec import table_spec
from shared.privacy.accountant import NO_ACCOUNTANT
from shared.privacy.cost import describe_measuring
from shared.privacy.ledger_export import LedgerExport, read_exports
from shared.stages.external_file import ExternalFile

_LIMIT_OF_EPSILON = (
    "Each site's ε covers its own cohort. For a person treated at several sites they add up."
)
_LIMITS = (
    "The sites' pseudonyms differ, so a person known to two hospitals is counted at both.",
    "Site names, roles, declared sizes and who took part in which round are visible to the "
    "coordinator and carry no privacy guarantee.",
)


def collect_results(store: RunStore, *, ledgers: Sequence[Path] = ()) -> Results:
    """Everything a finished run has to say.

    Args:
        store: a run with a release.
        ledgers: ledger exports that sites handed over, checked against the roster's keys; lifetime
            figures come from them.

    Raises:
        WeightsError: there is no release yet.
        LedgerError: an export is damaged, not signed by its site, or of a site not on the roster.
    """
    plan = store.plan
    release = held_release(store)
    exports = read_exports(
        list(ledgers), trusted_keys={entry.site: entry.public_key for entry in plan.roster}
    )
    training = store.training if plan.trained is not None else None
    states = [] if training is None else _committed(training)
    started, times = store.times()
    finished = max([started, *times.values()])
    validation = collect_validations(store)
    site_auc, without = pool_site_aucs(store)
    offline = _offline_only(store)
    is_exact = plan.predicted.accountant == NO_ACCOUNTANT
    kept = kept_by_rule(store)
    lock = (
        read_lock(store.lock_file, coordinator_key=plan.coordinator_key)
        if store.lock_file.exists()
        else None
    )
    return Results(
        run=plan.run,
        experiment=plan.settings.experiment,
        task=_task(plan),
        started_utc=started.isoformat(),
        finished_utc=finished.isoformat(),
        duration_s=(finished - started).total_seconds(),
        plan_sha256=plan.sha256,
        code_sha256=plan.code_sha256,
        release_sha256=release.sha256,
        lock_sha256=lock.sha256 if lock else None,
        training=None if training is None else training_of(training.stage, _lengths(training)),
        measured=plan.release
        and MeasuredRun(run=plan.release.run, plan_sha256=plan.release.plan_sha256),
        sites=(
            *(
                _site(store, entry, states, release.weights.nbytes, kept.get(entry.site))
                for entry in plan.roster
            ),
            *(_offline_site(file) for file in offline),
        ),
        rounds=()
        if training is None
        else tuple(_rounds(plan, training.stage, states[1:], started, times)),
        privacy=(
            *(_privacy(plan, entry, exports.get(entry.site)) for entry in plan.roster),
            *(_privacy(file.plan, file.entry, None) for file in offline),
        ),
        validation=validation,
        further=collect_further(store),
        curves=collect_curves(store),
        description=collect_descriptions(store),
        site_auc=site_auc,
        site_auc_without=without,
        is_synthetic=plan.settings.is_synthetic,
        is_simulated=plan.settings.is_simulated,
        limits=(*_dropped(store), *(() if is_exact else (_LIMIT_OF_EPSILON,)), *_LIMITS),
    )


def _dropped(store: RunStore) -> list[str]:
    """A line for each site that a person has dropped from the run."""
    return [
        f"{site} was dropped from this run on {each.dropped_utc.date()} by a signed amendment, with "
        f"the reason: {each.reason}"
        for site, each in dropped_sites(store).items()
    ]


def _committed(training: StageFolder) -> list[RoundState]:
    """The states of a training, from the one that it starts from to the last committed."""
    reached = training.last_committed().round
    return [training.committed(number) for number in range(reached + 1)]


def _task(plan: Plan) -> Task:
    task = plan.settings.task
    target, unit = _target_name(plan), ""
    side: Side = "≤" if decision_of(plan.settings).is_low_positive else "≥"
    rule = f"class {task.positive_class}" if task.kind == "classification" else ""
    if task.kind == "survival":
        followed = follow_up_of(plan.settings)
        rule = f"within {followed.horizon:g} {followed.unit}" if followed else ""
    if task.kind == "regression":
        unit = task.target_unit
        rule = f"{target} {side} {task.endpoint_threshold:g} {unit}"
    return Task(
        kind=task.kind,
        target=target,
        target_unit=unit,
        endpoint=task.endpoint,
        endpoint_rule=rule,
        side=side,
        operating_point=task.operating_point,
        sensitivity_target=max((table.sensitivity_target for table in plan.tables), default=0.0),
        is_graded=any(
            not table_spec(plan.settings, table).states_probability
            for table in plan.tables
            if task.kind == "classification" and table.release_class == "dp"
        ),
    )


def _target_name(plan: Plan) -> str:
    """What was predicted, in a reader's words."""
    label = plan.settings.cohort.label
    words = f"{label.skeletal_site} BMD" if label.kind == "bmd" else label.column
    return words.replace("_", " ")


def _site(
    store: RunStore,
    entry: RosterEntry,
    states: Sequence[RoundState],
    release_bytes: int,
    kept: float | None,
) -> SiteResult:
    # The states that a site was sent: those before the rounds to which it contributed.
    read = [
        before.vector.nbytes
        for before, after in pairwise(states)
        if entry.site in {part.site for part in after.contributions}
    ]
    encoders = sum(path.stat().st_size for path in store.encoders.values())
    sent = {stage.name: _bytes_sent(store, stage, entry.site) for stage in store.plan.stages}
    n_measured = sum(sent[stage.name] > 0 for stage in (*store.plan.tables, *store.plan.measures))
    return SiteResult(
        site=entry.site,
        role=entry.role,
        is_required=entry.is_required,
        declared_patients=entry.declared_patients,
        weight=entry.weight,
        rounds_took_part=len(read),
        bytes_sent=sum(sent.values()),
        bytes_received=encoders + sum(read) + n_measured * release_bytes,
        kept=kept,
    )


def _offline_only(store: RunStore) -> list[ExternalFile]:
    """Files of hospitals that are not on the roster besides."""
    enrolled = {entry.site for entry in store.plan.roster}
    return [file for file in read_externals(store) if file.entry.site not in enrolled]


def _offline_site(file: ExternalFile) -> SiteResult:
    """A hospital that had a part in nothing but its own file."""
    return SiteResult(
        site=file.entry.site,
        role="external",
        is_required=False,
        declared_patients=file.entry.declared_patients,
        weight=0.0,
        rounds_took_part=0,
        bytes_sent=file.reply.total.nbytes,
        bytes_received=0,
        is_offline=True,
    )


def _lengths(training: StageFolder) -> list[int]:
    """Numbers of a site's total in each round that anybody answered."""
    journal = training.journal(0)
    rounds = [journal.read(number).accepted for number in range(1, training.stage.rounds + 1)]
    return [next(iter(totals.values())).reply.total.size for totals in rounds if totals]


def _bytes_sent(store: RunStore, stage: Stage, site: str) -> int:
    """Bytes of the totals of a site that counted."""
    journal = store.stage(stage.name).journal(0)
    rounds = [journal.read(number).accepted for number in range(1, stage.rounds + 1)]
    return sum(accepted[site].reply.total.nbytes for accepted in rounds if site in accepted)


def _rounds(
    plan: Plan,
    stage: Stage,
    states: Sequence[RoundState],
    started: datetime,
    times: Mapping[int, datetime],
) -> list[RoundResult]:
    asked = tuple(entry.site for entry in plan.asked(stage))
    rounds, before = [], started
    for state in states:
        took_part = tuple(part.site for part in state.contributions)
        now = times.get(state.round, before)
        rounds.append(
            RoundResult(
                round=state.round,
                asked=asked,
                took_part=took_part,
                missing=tuple(
                    MissingUpdate(site=site, round=state.round, code=code)
                    for site, code in state.missing.items()
                ),
                weight_share=sum(plan.entry(site).weight for site in took_part),
                duration_s=(now - before).total_seconds(),
            )
        )
        before = now
    return rounds


def _privacy(plan: Plan, entry: RosterEntry, ledger: LedgerExport | None) -> PrivacyResult:
    """What this run promised a patient there, and what the site's ledger says about a lifetime."""
    predicted, stage = plan.predicted, plan.trained
    trains = stage is not None and entry.role in stage.roles
    training_epsilon = predicted.training_epsilon if trains else 0.0
    run_epsilon = predicted.dearest(entry.role)
    is_bounded = (training_epsilon if trains else run_epsilon) is not None
    # of a run that trained without noise, exact figures alone leave a site nothing that was promised
    is_off = training_epsilon is None or (predicted.training_epsilon is None and run_epsilon is None)
    account = ledger.account if ledger else None
    return PrivacyResult(
        site=entry.site,
        mode="off" if is_off else "patient_dp",
        mechanism=predicted.mechanism
        if trains
        else describe_measuring(stage for stage in plan.stages if entry.role in stage.roles),
        accountant=predicted.accountant,
        delta=predicted.delta,
        training_epsilon=None if is_off else training_epsilon,
        run_epsilon=run_epsilon,
        lifetime_epsilon=account.epsilon_spent if account and is_bounded else None,
        cap_epsilon=account.epsilon_cap if account else None,
        left_epsilon=account.epsilon_left if account and is_bounded else None,
    )
