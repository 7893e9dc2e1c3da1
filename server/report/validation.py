"""Reads the sites' validation tables out of a run folder: figures of each site, and of all pooled.

Imports the run store and measure.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from server.report.answers import MEASURED, answers_to
from server.report.expected import expected_of
from server.report.pooling import PooledEffect, pool_aucs
from server.report.results import POOLED, ValidationKind, ValidationResult
from server.run.folder import RunStore
from shared.contract.plan import Plan, RosterEntry
from shared.contract.stages import Purpose, TableStage, purpose_of
from shared.measure.table.reading import read_constant_r2, read_table
from shared.measure.table.rows import TableSpec, pool_tables, sensitivity, table_spec
from shared.privacy.stage_text import stage_epsilon
from shared.sums.estimate import Estimate, Measures

_NORMAL_95 = 1.959964
_KINDS: dict[Purpose, ValidationKind] = {
    "evaluate.internal": "internal",
    "evaluate.external": "external",
    "evaluate.prospective": "prospective",
}


def kind_of(stage: TableStage) -> ValidationKind:
    """Which validation a stage is, whatever it is called."""
    return _KINDS[purpose_of(stage)]


def collect_validations(store: RunStore) -> tuple[ValidationResult, ...]:
    """Of each stage that measures the release, a row per site that was asked, and one of all pooled."""
    return tuple(row for stage in store.plan.tables for row in _validate(store, stage))


def pool_site_aucs(validation: Sequence[ValidationResult]) -> PooledEffect | None:
    """Random-effects AUC over the sites' internal validations that gave one; None of fewer than two."""
    found = [
        row.measures.auc
        for row in validation
        if row.kind == "internal" and not row.is_pooled and isinstance(row.measures, Measures)
    ]
    bounds = [
        (auc.value, auc.low, auc.high)
        for auc in found
        if auc.value is not None and auc.low is not None and auc.high is not None and 0 < auc.value < 1
    ]
    if len(bounds) < 2:
        return None
    variances = [((high - low) / 2 / _NORMAL_95) ** 2 for _, low, high in bounds]
    return pool_aucs([value for value, _, _ in bounds], variances)


def _validate(store: RunStore, stage: TableStage) -> list[ValidationResult]:
    plan, spec = store.plan, table_spec(store.plan.settings.task, stage)
    noise_sd = stage.noise_of(1) * sensitivity(spec)
    shared: dict[str, object] = {"kind": kind_of(stage), "release_class": stage.release_class}
    rows, tables, tables_of = [], [], list[RosterEntry]()
    for answer in answers_to(store, stage):
        found = shared | {"site": answer.site, "status": answer.status, "code": answer.code}
        if answer.status == MEASURED:
            tables.append((answer.table, noise_sd))
            tables_of.append(plan.entry(answer.site))
            found |= _figures(plan, stage, spec, answer.table, noise_sd, tables_of[-1:])
        rows.append(ValidationResult.model_validate(found))
    if len(tables) > 1:
        figures = _figures(plan, stage, spec, *pool_tables(tables), tables_of)
        pooled = shared | {"site": POOLED, "status": MEASURED} | figures
        rows.append(ValidationResult.model_validate(pooled))
    return rows


def _figures(
    plan: Plan,
    stage: TableStage,
    spec: TableSpec,
    table: np.ndarray,
    noise_sd: float,
    sites: Sequence[RosterEntry],
) -> dict[str, object]:
    shown = expected_of(plan, stage, sites).shown
    return {
        "epsilon": stage_epsilon(plan, stage),
        "measures": read_table(
            table,
            spec,
            noise_sd=noise_sd,
            minimum_cell=stage.minimum_cell,
            sensitivity_target=stage.sensitivity_target,
            shown=shown,
        ),
        "untrained_r2": _untrained_r2(plan, stage, spec, table, noise_sd) if "r2" in shown else None,
    }


def _untrained_r2(
    plan: Plan, stage: TableStage, spec: TableSpec, table: np.ndarray, noise_sd: float
) -> Estimate | None:
    """R² of the head as it starts: it predicts the public mean for everybody."""
    task = plan.settings.task
    if task.kind == "classification" or not spec.has_moments:
        return None
    return read_constant_r2(
        table,
        spec,
        constant=task.target_mean,
        noise_sd=noise_sd,
        minimum_cell=stage.minimum_cell,
    )
