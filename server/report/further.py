"""Reads what else is measured of a release: of each class by its tables, and by further measures.

A row of figures for each site that was asked, and one of all pooled. Imports the run store, the
measures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from server.report.answers import MEASURED, answers_to
from server.report.expected import expected_patients
from server.report.governed import read_beside
from server.report.results import POOLED, FurtherResult
from server.run.external import read_comparisons
from server.run.folder import RunStore
from shared.contract.stages import MeasureStage, TableStage
from shared.measure.governed.statistics import statistics_spec
from shared.measure.table.classes import read_classes
from shared.measure.table.rows import pool_tables
from shared.measure.table.spec import sensitivity, table_spec
from shared.privacy.stage_text import stage_epsilon
from shared.privacy.statement_text import write_epsilon
from shared.stages.external_file import ExternalFile
from shared.stages.local_plan import read_comparison, verdict_of
from shared.stages.measure import measure_of
from shared.sums.estimate import Estimate

# Figures of a total, its noise SD and how many patients are expected in it.
_Read = Callable[[np.ndarray, float, float], Mapping[str, Estimate]]


def collect_further(store: RunStore) -> tuple[FurtherResult, ...]:
    """Rows of what else each validation says, then of each measure, in the plan's order.

    Then one of each hospital that trained the release further by its own plan.
    """
    plan = store.plan
    rows = [row for stage in plan.tables for row in _rows(store, stage, *_of_table(store, stage))]
    rows += [row for stage in plan.measures for row in _rows(store, stage, *_of_measure(store, stage))]
    return (*rows, *(_compared(file) for file in read_comparisons(store)))


def _compared(file: ExternalFile) -> FurtherResult:
    """The release with a hospital's local training and without, at what it cost there."""
    plan, stage = file.plan, file.stage
    figures = read_comparison(plan, file.reply.total)
    price = write_epsilon(plan.predicted.training_epsilon)
    return FurtherResult(
        stage=stage.name,
        site=file.entry.site,
        status=MEASURED,
        release_class="dp",
        epsilon=stage_epsilon(plan, stage),
        figures=dict(figures),
        remark=f"{verdict_of(figures)}; it cost each training patient there {price}, besides what the "
        "run cost",
    )


def _of_table(store: RunStore, stage: TableStage) -> tuple[_Read, float]:
    if stage.release_class == "governed":
        statistics = statistics_spec(store.plan.settings, stage)
        return lambda vector, *_: read_beside(vector, statistics), 0.0
    spec = table_spec(store.plan.settings, stage)

    def read(total: np.ndarray, sd: float, n_expected: float) -> Mapping[str, Estimate]:
        return read_classes(
            total, spec, noise_sd=sd, minimum_cell=stage.minimum_cell, n_expected=n_expected
        )

    return read, stage.noise_of(1) * sensitivity(spec)


def _of_measure(store: RunStore, stage: MeasureStage) -> tuple[_Read, float]:
    measure = measure_of(store.plan.settings, stage)

    def read(total: np.ndarray, sd: float, n_expected: float) -> Mapping[str, Estimate]:
        return measure.read(total, sd=sd, minimum_cell=stage.minimum_cell, n_expected=n_expected)

    return read, stage.noise_of(1) * measure.norm


def _rows(
    store: RunStore, stage: TableStage | MeasureStage, read: _Read, noise_sd: float
) -> list[FurtherResult]:
    answers = answers_to(store, stage)
    if not answers:
        return []
    epsilon = stage_epsilon(store.plan, stage)
    declared = {
        site.site: expected_patients(store.plan, stage, site) for site in store.plan.asked(stage)
    }
    measured = [each for each in answers if each.status == MEASURED]
    declared[POOLED] = sum(declared[each.site] for each in measured)
    found = [
        (each.site, each.status, each.code, (each.table, noise_sd) if each.status == MEASURED else None)
        for each in answers
    ]
    # statistics of several sites are no sums
    if len(measured) > 1 and not (isinstance(stage, TableStage) and not stage.noise_of(1)):
        pooled = pool_tables([(each.table, noise_sd) for each in measured])
        found.append((POOLED, MEASURED, "", pooled))
    return [
        FurtherResult.model_validate(
            {
                "stage": stage.name,
                "site": site,
                "status": status,
                "code": code,
                "release_class": stage.release_class,
                "epsilon": epsilon if status == MEASURED else None,
                "figures": None if held is None else dict(read(*held, declared[site])),
            }
        )
        for site, status, code, held in found
    ]
