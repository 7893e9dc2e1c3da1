"""Reads a run folder into ``Results``: what the report, the tables and ``report.json`` are made of.

Works from what the coordinator holds: plan, committed rounds, replies, tables of validations, and
the ledger exports that sites handed over. Imports the run store, measure and report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from server.report.description import DESCRIPTION, collect_descriptions
from server.report.results import (
    POOLED,
    MissingUpdate,
    PrivacyResult,
    Results,
    RoundResult,
    SiteResult,
    Task,
    ValidationKind,
    ValidationResult,
)
from server.run.folder import RoundState, RunStore
from shared.contract.plan import Plan, RosterEntry
from shared.contract.release import read_lock, read_release
from shared.measure.pooling import PooledEffect, pool_aucs
from shared.measure.table.reading import Estimate, Measures, read_constant_r2, read_table
from shared.measure.table.rows import TableSpec, pool_tables, sensitivity, table_spec
from shared.privacy.cost import run_epsilon, total_steps
from shared.privacy.ledger_export import LedgerExport, read_exports

KINDS: tuple[ValidationKind, ...] = ("internal", "external", "prospective")
_NORMAL_95 = 1.959964
_LIMITS = (
    "Each site's ε covers its own cohort. For a person treated at several sites they add up.",
    "The sites' pseudonyms differ, so a person known to two hospitals is counted at both.",
    "Site names, roles, declared sizes and who took part in which round are visible to the "
    "coordinator and carry no privacy guarantee.",
)


def collect_results(
    store: RunStore, *, ledgers: Sequence[Path] = (), is_synthetic: bool = False
) -> Results:
    """Everything a finished run has to say.

    Args:
        store: a run with a release.
        ledgers: ledger exports that sites handed over, checked against the roster's keys; lifetime
            figures come from them.
        is_synthetic: whether every patient was generated.

    Raises:
        WeightsError: there is no release yet.
        LedgerError: an export is damaged, not signed by its site, or of a site not on the roster.
    """
    plan = store.plan
    release = read_release(store.release_folder, coordinator_key=plan.coordinator_key)
    exports = read_exports(
        list(ledgers), trusted_keys={entry.site: entry.public_key for entry in plan.roster}
    )
    states = [store.committed(number) for number in range(1, store.last_committed().round + 1)]
    started, times = store.times()
    finished = max([started, *times.values()])
    validation = [row for kind in KINDS for row in _validate(store, kind)]
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
        n_trainable=release.weights.size,
        sites=tuple(_site(store, entry, states, release.weights.nbytes) for entry in plan.roster),
        rounds=tuple(_rounds(plan, states, started, times)),
        privacy=tuple(_privacy(plan, entry, exports.get(entry.site)) for entry in plan.roster),
        validation=tuple(validation),
        description=collect_descriptions(store),
        site_auc=_site_auc(validation),
        is_synthetic=is_synthetic,
        limits=_LIMITS,
    )


def _task(plan: Plan) -> Task:
    task = plan.settings.task
    target = _target_name(plan)
    rule = (
        f"{target} ≤ {task.endpoint_threshold:g} {task.target_unit}"
        if task.kind == "regression"
        else f"class {task.positive_class}"
    )
    return Task(
        kind=task.kind,
        target=target,
        target_unit=task.target_unit,
        endpoint=task.endpoint,
        endpoint_rule=rule,
        operating_point=table_spec(plan.settings).threshold,
        sensitivity_target=plan.settings.validation.sensitivity_target,
    )


def _target_name(plan: Plan) -> str:
    """What was predicted, in a reader's words."""
    label = plan.settings.cohort.label
    words = f"{label.skeletal_site} BMD" if label.kind == "bmd" else label.column
    return words.replace("_", " ")


def _site(
    store: RunStore, entry: RosterEntry, states: Sequence[RoundState], weights_bytes: int
) -> SiteResult:
    n_rounds = sum(entry.site in {part.site for part in state.contributions} for state in states)
    tables = [_cells(store, kind, entry.site) for kind in KINDS]
    described = _cells(store, DESCRIPTION, entry.site)
    encoder = store.encoder_file.stat().st_size if store.plan.encoder_sha256 else 0
    n_tables = sum(table.size > 0 for table in tables)
    return SiteResult(
        site=entry.site,
        role=entry.role,
        is_required=entry.is_required,
        declared_patients=entry.declared_patients,
        weight=entry.weight,
        rounds_took_part=n_rounds,
        bytes_sent=n_rounds * weights_bytes + sum(table.nbytes for table in (*tables, described)),
        bytes_received=encoder + (n_rounds + n_tables) * weights_bytes,
    )


def _cells(store: RunStore, kind: str, site: str) -> np.ndarray:
    """The table a site released; empty when it released none."""
    result = store.evaluations(kind).get(site, {})
    return np.asarray(result.get("table", []), dtype=np.float64)


def _rounds(
    plan: Plan, states: Sequence[RoundState], started: datetime, times: Mapping[int, datetime]
) -> list[RoundResult]:
    asked = tuple(entry.site for entry in plan.sites("training"))
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
    predicted, privacy = plan.predicted, plan.settings.privacy
    trains = entry.role == "training"
    of_run = run_epsilon(plan.settings, predicted, trains=trains)
    is_bounded = of_run is not None
    account = ledger.account if ledger else None
    return PrivacyResult(
        site=entry.site,
        mode="patient_dp" if is_bounded else "off",
        mechanism=predicted.mechanism
        if trains
        else "none in training; Gaussian on the validation table",
        accountant=predicted.accountant,
        delta=privacy.delta,
        training_epsilon=(predicted.training_epsilon or 0.0 if trains else 0.0) if is_bounded else None,
        run_epsilon=of_run,
        lifetime_epsilon=account.epsilon_spent if account and is_bounded else None,
        cap_epsilon=account.epsilon_cap if account else None,
        left_epsilon=account.epsilon_left if account and is_bounded else None,
    )


def _validate(store: RunStore, kind: ValidationKind) -> list[ValidationResult]:
    plan, spec = store.plan, table_spec(store.plan.settings)
    evaluations = store.evaluations(kind)
    rows, tables = [], []
    for site, result in evaluations.items():
        if "refused" in result:
            rows.append(_row(plan, kind, site, status="missing", code=str(result["refused"])))
        elif result["status"] != "measured":
            rows.append(_row(plan, kind, site, status=str(result["status"])))
        else:
            table = np.asarray(result["table"], dtype=np.float64)
            noise_sd = _noise_sd(plan, spec)
            tables.append((table, noise_sd))
            rows.append(_measured(plan, kind, site, table, noise_sd))
    if len(tables) > 1:
        pooled, noise_sd = pool_tables(tables)
        rows.append(_measured(plan, kind, POOLED, pooled, noise_sd))
    return rows


def _noise_sd(plan: Plan, spec: TableSpec) -> float:
    noise = plan.predicted.validation_noise_multiplier
    return 0.0 if noise is None else noise * sensitivity(spec)


def _row(
    plan: Plan, kind: ValidationKind, site: str, *, status: str, code: str = ""
) -> ValidationResult:
    return ValidationResult.model_validate(
        {
            "kind": kind,
            "site": site,
            "status": status,
            "code": code,
            "release_class": plan.settings.validation.release_class,
        }
    )


def _measured(
    plan: Plan, kind: ValidationKind, site: str, table: np.ndarray, noise_sd: float
) -> ValidationResult:
    validation, spec = plan.settings.validation, table_spec(plan.settings)
    measures = read_table(
        table,
        spec,
        noise_sd=noise_sd,
        minimum_cell=validation.minimum_cell,
        sensitivity_target=validation.sensitivity_target,
    )
    return ValidationResult(
        kind=kind,
        site=site,
        status="measured",
        release_class=validation.release_class,
        epsilon=plan.predicted.validation_epsilon,
        measures=measures,
        untrained_r2=_untrained_r2(plan, spec, table, noise_sd),
    )


def _untrained_r2(plan: Plan, spec: TableSpec, table: np.ndarray, noise_sd: float) -> Estimate | None:
    """R² of the head as it starts: it predicts the public mean for everybody."""
    if not spec.has_moments:
        return None
    return read_constant_r2(
        table,
        spec,
        constant=plan.settings.task.target_mean,
        noise_sd=noise_sd,
        minimum_cell=plan.settings.validation.minimum_cell,
    )


def _site_auc(validation: Sequence[ValidationResult]) -> PooledEffect | None:
    """Random-effects AUC over the sites' internal validations that gave one."""
    found = [
        row.measures.auc
        for row in validation
        if row.kind == "internal" and not row.is_pooled and isinstance(row.measures, Measures)
    ]
    usable = [auc for auc in found if auc.value is not None and auc.low is not None]
    inside = [auc for auc in usable if 0 < float(auc.value or 0) < 1]
    if len(inside) < 2:
        return None
    variances = [((float(a.high or 0) - float(a.low or 0)) / 2 / _NORMAL_95) ** 2 for a in inside]
    return pool_aucs([float(a.value or 0) for a in inside], variances)


def plan_facts(plan: Plan) -> dict[str, object]:
    """What a coordinator sees of a plan before anything runs."""
    settings, predicted = plan.settings, plan.predicted
    federation, privacy = settings.federation, settings.privacy
    return {
        "run": plan.run,
        "plan": plan.sha256,
        "code": plan.code_sha256,
        "experiment": settings.experiment,
        "model": f"{settings.encoder.name} + {settings.fusion.name}",
        "rounds × steps": f"{federation.rounds} × {federation.local_steps} = "
        f"{total_steps(federation)} steps",
        "learning rate": federation.learning_rate,
        "clip norm": privacy.clip_norm,
        "noise multiplier": privacy.noise_multiplier,
        "largest update": privacy.update_norm_max,
        "mechanism": predicted.mechanism,
        "accountant": predicted.accountant,
        "unit, adjacency, delta": f"{predicted.unit}, {predicted.adjacency}, {predicted.delta:g}",
        "epsilon, training patient": predicted.training_epsilon
        if predicted.training_epsilon is not None
        else "no formal privacy guarantee",
        "epsilon, validation patient": predicted.validation_epsilon
        if predicted.validation_epsilon is not None
        else "governed: exact numbers, no formal privacy guarantee",
        "epsilon, description": _described_at(plan),
    }


def _described_at(plan: Plan) -> float | str:
    """What a description costs every labelled patient, besides training or validation."""
    if plan.settings.validation.description_epsilon is None:
        return "none is released"
    if plan.predicted.description_epsilon is None:
        return "governed: exact numbers, no formal privacy guarantee"
    return plan.predicted.description_epsilon
