"""Reads the sites' descriptions of their cohorts out of a run folder, each alone and all pooled.

Needs no release: who the patients are may be asked before anybody trains. Imports the run store and
measure.
"""

from __future__ import annotations

import numpy as np

from server.report.results import POOLED, DescriptionResult
from server.run.folder import RunStore
from shared.contract.plan import Plan
from shared.measure.description.reading import read_description
from shared.measure.description.rows import DescriptionSpec, description_spec, sensitivity
from shared.measure.table.rows import pool_tables

DESCRIPTION = "description"


def collect_descriptions(store: RunStore) -> tuple[DescriptionResult, ...]:
    """A row per site that was asked, and one of all pooled; empty when nobody was."""
    evaluations = store.evaluations(DESCRIPTION)
    if not evaluations:
        return ()
    plan, spec = store.plan, description_spec(store.plan.settings)
    rows, tables = [], []
    for site, result in evaluations.items():
        if "refused" in result:
            rows.append(_row(plan, site, status="missing", code=str(result["refused"])))
        elif result["status"] != "measured":
            rows.append(_row(plan, site, status=str(result["status"])))
        else:
            table = np.asarray(result["table"], dtype=np.float64)
            tables.append((table, _noise_sd(plan, spec)))
            rows.append(_measured(plan, spec, site, *tables[-1]))
    if len(tables) > 1:
        rows.append(_measured(plan, spec, POOLED, *pool_tables(tables)))
    return tuple(rows)


def _noise_sd(plan: Plan, spec: DescriptionSpec) -> float:
    noise = plan.predicted.description_noise_multiplier
    return 0.0 if noise is None else noise * sensitivity(spec)


def _row(plan: Plan, site: str, *, status: str, code: str = "") -> DescriptionResult:
    release_class = plan.settings.validation.release_class
    return DescriptionResult.model_validate(
        {"site": site, "status": status, "code": code, "release_class": release_class}
    )


def _measured(
    plan: Plan, spec: DescriptionSpec, site: str, table: np.ndarray, noise_sd: float
) -> DescriptionResult:
    return DescriptionResult(
        site=site,
        status="measured",
        release_class=plan.settings.validation.release_class,
        epsilon=plan.predicted.description_epsilon,
        description=read_description(
            table, spec, noise_sd=noise_sd, minimum_cell=plan.settings.validation.minimum_cell
        ),
    )
