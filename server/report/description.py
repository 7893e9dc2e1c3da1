"""Reads the sites' descriptions of their cohorts out of a run folder, each alone and all pooled.

Needs no release: who the patients are may be asked before anybody trains. Imports the run store and
measure.
"""

from __future__ import annotations

import numpy as np

from server.report.answers import MEASURED, answers_to
from server.report.results import POOLED, DescriptionResult
from server.run.folder import RunStore
from shared.contract.stages import DescriptionStage
from shared.measure.description.reading import read_description
from shared.measure.description.rows import DescriptionSpec
from shared.measure.table.rows import pool_tables
from shared.privacy.stage_text import stage_epsilon
from shared.stages.description import DescriptionSum


def collect_descriptions(store: RunStore) -> tuple[DescriptionResult, ...]:
    """A row per site that was asked, and one of all pooled; empty when nobody was."""
    stages = [stage for stage in store.plan.stages if isinstance(stage, DescriptionStage)]
    return tuple(row for stage in stages for row in _describe(store, stage))


def _describe(store: RunStore, stage: DescriptionStage) -> list[DescriptionResult]:
    asked = DescriptionSum(store.plan, stage, None)
    epsilon = stage_epsilon(store.plan, stage)
    rows, tables = [], []
    for answer in answers_to(store, stage):
        if answer.status == MEASURED:
            tables.append((answer.table, asked.noise_sd))
            rows.append(_measured(stage, asked.spec, answer.site, *tables[-1], epsilon=epsilon))
        else:
            rows.append(
                DescriptionResult.model_validate(
                    {
                        "site": answer.site,
                        "status": answer.status,
                        "code": answer.code,
                        "release_class": stage.release_class,
                    }
                )
            )
    if len(tables) > 1:
        rows.append(_measured(stage, asked.spec, POOLED, *pool_tables(tables), epsilon=epsilon))
    return rows


def _measured(
    stage: DescriptionStage,
    spec: DescriptionSpec,
    site: str,
    table: np.ndarray,
    noise_sd: float,
    *,
    epsilon: float | None,
) -> DescriptionResult:
    return DescriptionResult.model_validate(
        {
            "site": site,
            "status": MEASURED,
            "release_class": stage.release_class,
            "epsilon": epsilon,
            "description": read_description(
                table, spec, noise_sd=noise_sd, minimum_cell=stage.minimum_cell
            ),
        }
    )
