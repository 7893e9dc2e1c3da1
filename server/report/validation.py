"""Reads the sites' validations out of a run folder: figures of each site, and of all pooled.

Noised tables and governed statistics give the same measures. Imports the run store and measure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from server.report.answers import MEASURED, answers_to
from server.report.expected import expected_of, expected_patients
from server.report.governed import pool_auc, pool_statistics, read_constant_r2, read_statistics
from server.report.pooling import LEAST_SITES, PooledEffect, pool_histograms
from server.report.results import POOLED, ValidationKind, ValidationResult
from server.run.external import read_externals
from server.run.folder import RunStore
from shared.contract.plan import Plan, RosterEntry
from shared.contract.stages import Purpose, TableStage, purpose_of
from shared.measure.governed.statistics import statistics_spec
from shared.measure.table.cells import by_suspicion, histogram_sds, score_histograms
from shared.measure.table.expected import WIDEST, expected_table
from shared.measure.table.reading import read_table
from shared.measure.table.rows import pool_tables
from shared.measure.table.spec import TableSpec, sensitivity, table_spec
from shared.privacy.stage_text import stage_epsilon
from shared.stages.external_file import ExternalFile

_KINDS: dict[Purpose, ValidationKind] = {
    "evaluate.internal": "internal",
    "evaluate.external": "external",
    "evaluate.prospective": "prospective",
}


def kind_of(stage: TableStage) -> ValidationKind:
    """Which validation a stage is, whatever it is called."""
    return _KINDS[purpose_of(stage)]


def collect_validations(store: RunStore) -> tuple[ValidationResult, ...]:
    """Of each stage that measures the release, a row per site that was asked, and one of all pooled.

    Then a row of each hospital that measured it offline, by its own plan and at its own price.
    """
    asked = [row for stage in store.plan.tables for row in _validate(store, stage)]
    return (*asked, *(_read_offline(file) for file in read_externals(store)))


def _read_offline(file: ExternalFile) -> ValidationResult:
    [stage] = file.plan.tables
    total = np.array(file.reply.total, dtype=np.float64)
    found = {
        "kind": kind_of(stage),
        "site": file.entry.site,
        "status": MEASURED,
        "release_class": stage.release_class,
        "is_offline": True,
    }
    figures = _read(file.plan, stage, [total], [file.entry])
    return ValidationResult.model_validate(found | figures)


def pool_site_aucs(store: RunStore) -> tuple[PooledEffect | None, dict[str, PooledEffect]]:
    """Random-effects AUC over the sites' internal tables, and the same without each site in turn.

    Each of them is shown or not by itself: None, or left out, where its sites are too few or noise was
    expected to leave nothing of it.
    """
    stage = next((stage for stage in store.plan.tables if kind_of(stage) == "internal"), None)
    if stage is None:
        return None, {}
    tables = {a.site: a.table for a in answers_to(store, stage) if a.status == MEASURED}
    without = {left: _mean_of_sites(store.plan, stage, tables, without=left) for left in tables}
    shown = {site: each for site, each in without.items() if each is not None}
    return _mean_of_sites(store.plan, stage, tables), shown


def _mean_of_sites(
    plan: Plan, stage: TableStage, tables: Mapping[str, np.ndarray], *, without: str = ""
) -> PooledEffect | None:
    """The random-effects AUC of these sites but one; None where noise was expected to leave nothing."""
    kept = {site: table for site, table in tables.items() if site != without}
    if stage.noise_of(1) and not _is_worth_showing(plan, stage, [plan.entry(site) for site in kept]):
        return None
    return _pool_aucs(plan, stage, list(kept.values()))


def _is_worth_showing(plan: Plan, stage: TableStage, sites: Sequence[RosterEntry]) -> bool:
    """Whether the mean of sites of these declared sizes was expected to say something."""
    if "auc" not in expected_of(plan, stage, sites).shown:
        return False
    spec = table_spec(plan.settings, stage)
    likely = [expected_table(spec, n_patients=expected_patients(plan, stage, site)) for site in sites]
    found = _pool_aucs(plan, stage, likely)
    if found is None:
        return True  # there are too few sites for a mean, and for what it would say
    if found.low is None or found.high is None:
        return False
    return max(found.high - found.value, found.value - found.low) <= WIDEST["auc"]


def _pool_aucs(plan: Plan, stage: TableStage, tables: Sequence[np.ndarray]) -> PooledEffect | None:
    if len(tables) < LEAST_SITES:
        return None
    if stage.release_class == "governed":
        return pool_auc(tables, statistics_spec(plan.settings, stage))
    spec = table_spec(plan.settings, stage)
    sds = histogram_sds(spec, noise_sd=stage.noise_of(1) * sensitivity(spec))
    found = [score_histograms(table, spec) for table in tables]
    ill, well = (np.stack([by_suspicion(each[k], spec) for each in found]) for k in (0, 1))
    return pool_histograms(ill, well, cell_sd=sds)


def _validate(store: RunStore, stage: TableStage) -> list[ValidationResult]:
    plan = store.plan
    shared: dict[str, object] = {"kind": kind_of(stage), "release_class": stage.release_class}
    rows, tables, sites = [], [], list[RosterEntry]()
    for answer in answers_to(store, stage):
        found = shared | {"site": answer.site, "status": answer.status, "code": answer.code}
        if answer.status == MEASURED:
            tables.append(answer.table)
            sites.append(plan.entry(answer.site))
            found |= _read(plan, stage, [answer.table], sites[-1:])
        rows.append(ValidationResult.model_validate(found))
    if len(tables) > 1:
        figures = _read(plan, stage, tables, sites)
        pooled = shared | {"site": POOLED, "status": MEASURED} | figures
        rows.append(ValidationResult.model_validate(pooled))
    return rows


def _read(
    plan: Plan, stage: TableStage, tables: Sequence[np.ndarray], sites: Sequence[RosterEntry]
) -> dict[str, object]:
    """Figures of one site's answer, or of several pooled."""
    if stage.release_class == "governed":
        return _governed_figures(plan, stage, tables)
    spec = table_spec(plan.settings, stage)
    noise_sd = stage.noise_of(1) * sensitivity(spec)
    return _figures(plan, stage, spec, *pool_tables([(table, noise_sd) for table in tables]), sites)


def _governed_figures(
    plan: Plan, stage: TableStage, vectors: Sequence[np.ndarray]
) -> dict[str, object]:
    task, promised = plan.settings.task, stage.sensitivity_target
    spec = statistics_spec(plan.settings, stage)
    found: dict[str, object] = {"epsilon": stage_epsilon(plan, stage)}
    if len(vectors) > 1:
        return found | {"measures": pool_statistics(vectors, spec, sensitivity_target=promised)}
    [vector] = vectors
    if task.kind == "regression":
        found["untrained_r2"] = read_constant_r2(vector, spec, constant=task.target_mean)
    return found | {"measures": read_statistics(vector, spec, sensitivity_target=promised)}


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
    }
