"""What a plan's tables will say, before a patient pays for them. Imports plan and measure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TypeGuard

import numpy as np

from server.report.governed import pool_statistics, read_beside, read_statistics
from server.report.results import POOLED
from server.report.wording import digits_of, write_site
from shared.contract.plan import Plan, RosterEntry
from shared.contract.stages import MeasureStage, TableStage
from shared.errors import PolicyError
from shared.measure.governed.expected import expected_statistics
from shared.measure.governed.statistics import statistics_spec
from shared.measure.table.classes import expect_classes
from shared.measure.table.expected import Expected, expect, half_width
from shared.measure.table.planned import patients_asked
from shared.measure.table.spec import sensitivity, table_spec
from shared.measures.figures import shown_of
from shared.stages.measure import measure_of
from shared.sums.estimate import FIGURES, SUPPRESSED, TOO_NOISY, Estimate

_FIGURES_TITLE = "what will be seen: expected half-width of each 95 % interval"
_FIGURES = {
    "auc": "AUC ±",
    "sensitivity": "sensitivity ±",
    "specificity": "specificity ±",
    "r2": "R² ±",
    "mae": "MAE ±",
}
FIGURE_COLUMNS = ("stage", "site", "patients", *_FIGURES.values())
_FURTHER_TITLE = "expected half-width of everything else that is measured"
_UNSEEN_TITLE = "too noisy, or of too few patients, to be seen anywhere"
_TOO_FEW, _TOO_NOISY, _NOT_ASKED = "too few", "too noisy", "–"
_NO_INTERVAL = "shown"  # an exact figure, whose interval nobody computes


def expected_of(plan: Plan, stage: TableStage, sites: Sequence[RosterEntry]) -> Expected:
    """What the table of a stage will say, of one site or of several pooled; by declared sizes alone.

    Governed statistics are foreseen as the rules of disclosure would leave them.
    """
    if stage.release_class == "governed":
        return _expected_exact(plan, stage, sites)
    spec = table_spec(plan.settings, stage)
    return expect(
        spec,
        n_patients=sum(expected_patients(plan, stage, site) for site in sites),
        noise_sd=stage.noise_of(1) * sensitivity(spec) * math.sqrt(len(sites)),
        minimum_cell=stage.minimum_cell,
    )


def _expected_exact(plan: Plan, stage: TableStage, sites: Sequence[RosterEntry]) -> Expected:
    spec, vectors = statistics_spec(plan.settings, stage), _statistics(plan, stage, sites)
    found = (
        pool_statistics(vectors, spec, sensitivity_target=0.0)
        if len(vectors) > 1
        else read_statistics(vectors[0], spec, sensitivity_target=0.0)
    )
    half_widths = {name: half_width(getattr(found, name)) for name in FIGURES}
    return Expected(
        half_widths, frozenset(name for name, half in half_widths.items() if half is not None)
    )


def _statistics(plan: Plan, stage: TableStage, sites: Sequence[RosterEntry]) -> list[np.ndarray]:
    """Of each site the statistics that it will show."""
    return [
        expected_statistics(
            statistics_spec(plan.settings, stage),
            table_spec(plan.settings, stage),
            n_patients=expected_patients(plan, stage, site),
            minimum_cell=stage.minimum_cell,
        )
        for site in sites
    ]


def expected_patients(plan: Plan, stage: TableStage | MeasureStage, site: RosterEntry) -> float:
    """How many of a site's declared patients a stage asks."""
    return patients_asked(
        plan.settings.cohort.split,
        stage.patients,
        declared=site.declared_patients,
        minimum_patients=stage.minimum_patients,
    )


def expected_tables(plan: Plan) -> list[tuple[str, tuple[str, ...], Sequence[tuple[str, ...]]]]:
    """Title, head and rows of what a plan is expected to say, for people; none without rows.

    Further figures that nobody will see are named apart, a row per stage.
    """
    further = further_rows(plan)
    unseen = [row for row in further if set(row[2:]) <= {_TOO_FEW, _TOO_NOISY, _NOT_ASKED}]
    names = {stage: "; ".join(row[1] for row in unseen if row[0] == stage) for stage, *_ in unseen}
    tables: list[tuple[str, tuple[str, ...], Sequence[tuple[str, ...]]]] = [
        (_FIGURES_TITLE, FIGURE_COLUMNS, figure_rows(plan)),
        (_FURTHER_TITLE, further_columns(plan), [row for row in further if row not in unseen]),
        (_UNSEEN_TITLE, ("stage", "figures"), list(names.items())),
    ]
    return [table for table in tables if table[2]]


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
        is_seen = figure in expected.shown or (half is not None and not stage.noise_of(1))
        if plan.settings.task.kind == "classification" and figure in ("r2", "mae"):
            cells.append("–")
            continue
        cells.append(f"{half:.{digits}f}" if is_seen else _TOO_FEW if half is None else _TOO_NOISY)
    return (stage.name, write_site(name), f"{patients:.0f}", *cells)


def further_columns(plan: Plan) -> tuple[str, ...]:
    """Head of ``further_rows``: a column per hospital, and one of all pooled."""
    return ("stage", "figure ±", *(entry.site for entry in plan.roster), write_site(POOLED))


def further_rows(plan: Plan) -> list[tuple[str, ...]]:
    """A row per figure that ``figure_rows`` has not, of each table and each further measure."""
    stages: list[TableStage | MeasureStage] = [*plan.tables, *plan.measures]
    return [row for stage in stages for row in _further_rows(plan, stage)]


def _further_rows(plan: Plan, stage: TableStage | MeasureStage) -> list[tuple[str, ...]]:
    asked = {entry.site: (entry,) for entry in plan.asked(stage)}
    is_pooled = len(asked) > 1 and not _is_exact_table(stage)
    together = {POOLED: plan.asked(stage)} if is_pooled else {}
    expected = {name: _further_of(plan, stage, sites) for name, sites in {**asked, **together}.items()}
    figures = next(iter(expected.values()), {})
    columns = [*(entry.site for entry in plan.roster), POOLED]
    return [
        (stage.name, figure, *(_further_cell(figure, expected.get(each), stage) for each in columns))
        for figure in figures
    ]


def _further_of(
    plan: Plan, stage: TableStage | MeasureStage, sites: Sequence[RosterEntry]
) -> Mapping[str, Estimate]:
    if _is_exact_table(stage):
        [vector] = _statistics(plan, stage, sites)
        return read_beside(vector, statistics_spec(plan.settings, stage))
    if isinstance(stage, MeasureStage) and not stage.noise_of(1):
        return _exact_measure(plan, stage, sites)
    n = sum(expected_patients(plan, stage, site) for site in sites)
    noise, minimum_cell = stage.noise_of(1) * math.sqrt(len(sites)), stage.minimum_cell
    if isinstance(stage, MeasureStage):
        measure = measure_of(plan.settings, stage)
        return measure.expect(n, sd=noise * measure.norm, minimum_cell=minimum_cell)
    spec = table_spec(plan.settings, stage)
    noise_sd = noise * sensitivity(spec)
    return expect_classes(spec, noise_sd=noise_sd, minimum_cell=minimum_cell, n_expected=n)


def _is_exact_table(stage: TableStage | MeasureStage) -> TypeGuard[TableStage]:
    return isinstance(stage, TableStage) and stage.release_class == "governed"


def _exact_measure(
    plan: Plan, stage: MeasureStage, sites: Sequence[RosterEntry]
) -> Mapping[str, Estimate]:
    """Figures of the sites whose gates would let an exact total of whole patients out."""
    measure, totals = measure_of(plan.settings, stage), []
    for site in sites:
        whole = np.rint(measure.expected(expected_patients(plan, stage, site)))
        with suppress(PolicyError):
            totals.append(measure.suppress(whole, stage.minimum_cell))
    n = sum(expected_patients(plan, stage, site) for site in sites)
    if len(totals) < min(len(sites), 2):
        return dict.fromkeys(measure.expect(n, sd=0.0, minimum_cell=stage.minimum_cell), SUPPRESSED)
    return measure.read(np.sum(totals, axis=0), sd=0.0, minimum_cell=stage.minimum_cell, n_expected=n)


def _further_cell(
    figure: str, expected: Mapping[str, Estimate] | None, stage: TableStage | MeasureStage
) -> str:
    if expected is None:
        return _NOT_ASKED
    half = half_width(expected[figure])
    if half is None and expected[figure].value is not None:
        return _NO_INTERVAL
    if half is None:
        return _TOO_NOISY if expected[figure].status == TOO_NOISY.status else _TOO_FEW
    is_seen = not stage.noise_of(1) or figure in shown_of(expected)
    return f"{half:.{digits_of(figure)}f}" if is_seen else _TOO_NOISY
