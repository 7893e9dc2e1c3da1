"""The pooled rows of a report as the summary that goes with its release. Imports results."""

from __future__ import annotations

from server.report.results import Results, ValidationResult
from shared.contract.validation_summary import SummaryFigure, SummaryRow, ValidationSummary
from shared.sums.estimate import Estimate

_FIGURES = ("auc", "sensitivity", "specificity", "r2", "mae")


def summarise(results: Results) -> ValidationSummary:
    """What a run's report says of its release, of several hospitals together."""
    rows = [_row(results, row) for row in results.validation if row.is_pooled]
    return ValidationSummary(release_sha256=results.release_sha256, run=results.run, rows=tuple(rows))


def _row(results: Results, pooled: ValidationResult) -> SummaryRow:
    alike = [row for row in results.validation if row.kind == pooled.kind and not row.is_pooled]
    estimates: dict[str, Estimate] = {name: getattr(pooled.measures, name) for name in _FIGURES}
    return SummaryRow(
        kind=pooled.kind,
        n_sites=sum(row.status == "measured" and not row.is_offline for row in alike),
        release_class=pooled.release_class,
        epsilon=pooled.epsilon,
        figures={
            name: SummaryFigure(value=each.value, low=each.low, high=each.high)
            for name, each in estimates.items()
            if each.value is not None
        },
    )
