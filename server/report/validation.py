"""Reads the sites' validations out of a run folder: figures of each site, and of all pooled.

Noised tables and governed statistics give the same measures. Imports the run store and measure.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from server.report.answers import MEASURED, answers_to
from server.report.governed import pool_statistics, read_statistics
from server.report.governed import read_constant_r2 as read_governed_constant_r2
from server.report.pooling import PooledEffect, pool_aucs
from server.report.results import POOLED, ValidationKind, ValidationResult
from server.run.folder import RunStore
from shared.contract.plan import Plan
from shared.contract.stages import Purpose, TableStage, purpose_of
from shared.measure.governed.statistics import statistics_spec
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
    plan = store.plan
    shared: dict[str, object] = {"kind": kind_of(stage), "release_class": stage.release_class}
    rows, tables = [], []
    for answer in answers_to(store, stage):
        found = shared | {"site": answer.site, "status": answer.status, "code": answer.code}
        if answer.status == MEASURED:
            tables.append(answer.table)
            found |= _read(plan, stage, [answer.table])
        rows.append(ValidationResult.model_validate(found))
    if len(tables) > 1:
        pooled = shared | {"site": POOLED, "status": MEASURED} | _read(plan, stage, tables)
        rows.append(ValidationResult.model_validate(pooled))
    return rows


def _read(plan: Plan, stage: TableStage, tables: Sequence[np.ndarray]) -> dict[str, object]:
    """Figures of one site's answer, or of several pooled."""
    if stage.release_class == "governed":
        return _governed_figures(plan, stage, tables)
    spec = table_spec(plan.settings.task, stage)
    noise_sd = stage.noise_of(1) * sensitivity(spec)
    return _figures(plan, stage, spec, *pool_tables([(table, noise_sd) for table in tables]))


def _governed_figures(
    plan: Plan, stage: TableStage, vectors: Sequence[np.ndarray]
) -> dict[str, object]:
    task, promised = plan.settings.task, stage.sensitivity_target
    spec = statistics_spec(task, stage)
    found: dict[str, object] = {"epsilon": stage_epsilon(plan, stage), "untrained_r2": None}
    if len(vectors) > 1:
        return found | {"measures": pool_statistics(vectors, spec, sensitivity_target=promised)}
    [vector] = vectors
    if task.kind == "regression":
        found["untrained_r2"] = read_governed_constant_r2(vector, spec, constant=task.target_mean)
    return found | {"measures": read_statistics(vector, spec, sensitivity_target=promised)}


def _figures(
    plan: Plan, stage: TableStage, spec: TableSpec, table: np.ndarray, noise_sd: float
) -> dict[str, object]:
    return {
        "epsilon": stage_epsilon(plan, stage),
        "measures": read_table(
            table,
            spec,
            noise_sd=noise_sd,
            minimum_cell=stage.minimum_cell,
            sensitivity_target=stage.sensitivity_target,
        ),
        "untrained_r2": _untrained_r2(plan, stage, spec, table, noise_sd),
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
