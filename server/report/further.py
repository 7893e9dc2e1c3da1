"""Reads further measures of a release out of a run folder: the figures of each site, and of all pooled.

Imports the run store, the measures and scores.
"""

from __future__ import annotations

from server.report.answers import MEASURED, answers_to
from server.report.expected import expected_patients
from server.report.results import POOLED, FurtherResult
from server.run.folder import RunStore
from shared.contract.stages import MeasureStage
from shared.measure.table.rows import pool_tables
from shared.privacy.stage_text import stage_epsilon
from shared.stages.measure import MeasureSum


def collect_further(store: RunStore) -> tuple[FurtherResult, ...]:
    """A row per site that was asked, and one of all pooled, of each measure in the plan's order."""
    return tuple(row for stage in store.plan.measures for row in _measured(store, stage))


def _measured(store: RunStore, stage: MeasureStage) -> list[FurtherResult]:
    answers = answers_to(store, stage)
    if not answers:
        return []
    file = store.encoder_file if store.plan.encoder_sha256 else None
    asked = MeasureSum(store.plan, stage, file)
    epsilon = stage_epsilon(store.plan, stage)
    tables = [(each.table, asked.noise_sd) for each in answers if each.status == MEASURED]
    named = [(each.site, each.status, each.code) for each in answers]
    declared = {
        site.site: expected_patients(store.plan, stage, site) for site in store.plan.asked(stage)
    }
    declared[POOLED] = sum(declared[each.site] for each in answers if each.status == MEASURED)
    read = iter(tables)
    found = [next(read) if status == MEASURED else None for _, status, _ in named]
    if len(tables) > 1:
        named.append((POOLED, MEASURED, ""))
        found.append(pool_tables(tables))
    return [
        FurtherResult.model_validate(
            {
                "stage": stage.name,
                "site": site,
                "status": status,
                "code": code,
                "release_class": stage.release_class,
                "epsilon": epsilon if status == MEASURED else None,
                "figures": None
                if held is None
                else asked.measure.read(
                    held[0],
                    sd=held[1],
                    minimum_cell=stage.minimum_cell,
                    n_expected=declared[site],
                ),
            }
        )
        for (site, status, code), held in zip(named, found, strict=True)
    ]
