"""A run's results as plain rows, for a table in a terminal. Imports results and wording only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from server.report.patients import characteristics, described
from server.report.results import DescriptionResult, FurtherResult, Results, ValidationResult
from server.report.wording import (
    digits_of,
    write_epsilon,
    write_figure,
    write_price,
    write_qualifiers,
    write_row,
    write_site,
    write_status,
    write_value,
)

PRIVACY = "Privacy"


@dataclass(frozen=True, kw_only=True)
class TerminalTable:
    """A title, column heads and rows of text."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def table_for_terminal(results: Results) -> list[TerminalTable]:
    """Validation, further measures and privacy of a run, and who the patients are where it is known."""
    # a time to event is validated by a measure, and has no table
    tables = [_validation(results)] if results.task.kind != "survival" else []
    tables += [*_further(results), _privacy(results)]
    return [*tables, table_of_patients(results.description)] if results.description else tables


def table_of_patients(results: Sequence[DescriptionResult]) -> TerminalTable:
    """A row per characteristic and a column per site, pooled first; then who gave none, and why."""
    columns = described(results)
    rows = [
        (row.name, *(f"{cell.text} ({cell.small})" if cell.small else cell.text for cell in row.cells))
        for row in characteristics(results)
    ]
    if columns:
        rows.append(("release", *(write_price(column) for column in columns)))
    blanks = ("–",) * (len(columns) - 1)
    without = [row for row in results if row.description is None]
    return TerminalTable(
        title="Who the patients are",
        columns=("", *(write_site(column.site) for column in columns)) if columns else ("site", "why"),
        rows=(*rows, *((row.site, write_status(row), *blanks) for row in without)),
    )


def _validation(results: Results) -> TerminalTable:
    is_regression = results.task.kind == "regression"
    unit = f" [{results.task.target_unit}]" if results.task.target_unit else ""
    columns = ("validation", "site", "patients", "AUC", "sensitivity", "specificity")
    return TerminalTable(
        title=f"{results.task.endpoint}: {results.task.endpoint_rule}",
        columns=(*columns, "R²", f"MAE{unit}", "release") if is_regression else (*columns, "release"),
        rows=tuple(_validation_row(row, is_regression) for row in results.validation),
    )


def _further(results: Results) -> list[TerminalTable]:
    """A table per further measure: a row per figure, a column per site."""
    return [
        TerminalTable(
            title=stage,
            columns=("", *(write_site(row.site) for row in rows)),
            rows=(
                *((name, *(_further_cell(row, name) for row in rows)) for name in names),
                ("release", *(write_price(row) if row.figures else write_status(row) for row in rows)),
                *(
                    (("in words", *(row.remark for row in rows)),)
                    if any(r.remark for r in rows)
                    else ()
                ),
            ),
        )
        for stage, names, rows in further_tables(results)
    ]


def further_tables(
    results: Results,
) -> list[tuple[str, tuple[str, ...], tuple[FurtherResult, ...]]]:
    """Each further measure: its stage, the names of its figures, its rows."""
    stages = dict.fromkeys(row.stage for row in results.further)
    tables = []
    for stage in stages:
        rows = tuple(row for row in results.further if row.stage == stage)
        names = dict.fromkeys(name for row in rows for name in row.figures or {})
        tables.append((stage, tuple(names), rows))
    return tables


def _further_cell(row: FurtherResult, name: str) -> str:
    return "–" if row.figures is None else write_figure(row.figures[name], digits=digits_of(name))


def _validation_row(row: ValidationResult, is_regression: bool) -> tuple[str, ...]:
    measures = row.measures
    if measures is None:
        blanks = ("–",) * (6 if is_regression else 4)
        return (row.kind, write_site(row.site), write_status(row), *blanks)
    figures = [measures.auc, measures.sensitivity, measures.specificity]
    if is_regression:
        figures.append(measures.r2)
    cells = [write_figure(figure) for figure in figures]
    if is_regression:
        cells.append(write_figure(measures.mae, digits=3))
    patients = write_value(measures.n_patients, digits=0)
    site = f"{row.site} (offline)" if row.is_offline else write_row(row)
    return (row.kind, site, patients, *cells, write_price(row))


def _privacy(results: Results) -> TerminalTable:
    columns = ("run ε", "lifetime ε", "cap", "left")
    last = "holds for" if results.is_noised else "mechanism"
    return TerminalTable(
        title=PRIVACY,
        columns=("site", "training", *(columns if results.is_noised else ()), last),
        rows=tuple(
            (
                row.site,
                row.statement,
                *(
                    write_epsilon(value)
                    for value in (
                        row.run_epsilon,
                        row.lifetime_epsilon,
                        row.cap_epsilon,
                        row.left_epsilon,
                    )
                    if results.is_noised
                ),
                write_qualifiers(row),
            )
            for row in results.privacy
        ),
    )
