"""What a plan's tables will say, before a patient pays for them. Imports plan and measure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from server.report.results import POOLED
from server.report.wording import write_site
from shared.contract.plan import Plan, RosterEntry
from shared.contract.stages import MeasureStage, TableStage
from shared.measure.table.expected import Expected, expect
from shared.measure.table.planned import patients_asked
from shared.measure.table.spec import sensitivity, table_spec

FIGURES_TITLE = "what will be seen: expected half-width of each 95 % interval"
_FIGURES = {
    "auc": "AUC ±",
    "sensitivity": "sensitivity ±",
    "specificity": "specificity ±",
    "r2": "R² ±",
    "mae": "MAE ±",
}
FIGURE_COLUMNS = ("stage", "site", "patients", *_FIGURES.values())


def expected_of(plan: Plan, stage: TableStage, sites: Sequence[RosterEntry]) -> Expected:
    """What the table of a stage will say, of one site or of several pooled; by declared sizes alone."""
    spec = table_spec(plan.settings, stage)
    return expect(
        spec,
        n_patients=sum(expected_patients(plan, stage, site) for site in sites),
        noise_sd=stage.noise_of(1) * sensitivity(spec) * math.sqrt(len(sites)),
        minimum_cell=stage.minimum_cell,
    )


def expected_patients(plan: Plan, stage: TableStage | MeasureStage, site: RosterEntry) -> float:
    """How many of a site's declared patients a stage asks."""
    return patients_asked(
        plan.settings.cohort.split,
        stage.patients,
        declared=site.declared_patients,
        minimum_patients=stage.minimum_patients,
    )


def figure_rows(plan: Plan) -> list[tuple[str, ...]]:
    """A row of ``FIGURE_COLUMNS`` per table and site, and one of all pooled."""
    rows = []
    for stage in plan.tables:
        sites = plan.asked(stage)
        rows += [_figure_row(plan, stage, [site], site.site) for site in sites]
        if len(sites) > 1:
            rows.append(_figure_row(plan, stage, sites, POOLED))
    return rows


def _figure_row(
    plan: Plan, stage: TableStage, sites: Sequence[RosterEntry], name: str
) -> tuple[str, ...]:
    expected = expected_of(plan, stage, sites)
    patients = sum(expected_patients(plan, stage, site) for site in sites)
    cells = []
    for figure in _FIGURES:
        half = expected.half_widths[figure]
        digits = 3 if figure == "mae" else 2
        is_shown = figure in expected.shown or (half is not None and not stage.noise_of(1))
        cells.append(f"{half:.{digits}f}" if is_shown else "too few" if half is None else "too noisy")
    return (stage.name, write_site(name), f"{patients:.0f}", *cells)
