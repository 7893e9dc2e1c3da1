"""The rows of a report that go with its release as a summary. Imports results."""

from __future__ import annotations

from server.report.answers import MEASURED
from server.report.results import Results, ValidationKind
from shared.contract.validation_summary import SummaryFigure, SummaryRow, ValidationSummary
from shared.sums.estimate import Estimate

_FIGURES = ("auc", "sensitivity", "specificity", "r2", "mae")


def summarise(results: Results) -> ValidationSummary:
    """What a run's report says of its release: by kind of validation, of all who measured it.

    Several hospitals are one pooled row. A single external one is a row that pools nothing; a hospital
    that trained has none of its own. Who measured offline, by another plan, is in no row.
    """
    kinds = dict.fromkeys(row.kind for row in results.validation)
    rows = [_row(results, kind) for kind in kinds]
    return ValidationSummary(
        release_sha256=results.release_sha256,
        run=results.run,
        rows=tuple(row for row in rows if row is not None),
    )


def _row(results: Results, kind: ValidationKind) -> SummaryRow | None:
    alike = [row for row in results.validation if row.kind == kind and not row.is_offline]
    sites = [row for row in alike if row.status == MEASURED and not row.is_pooled]
    shown = next((row for row in alike if row.is_pooled), None)
    if shown is None and len(sites) == 1 and kind == "external":
        [shown] = sites
    if shown is None:
        return None
    estimates: dict[str, Estimate] = {name: getattr(shown.measures, name) for name in _FIGURES}
    return SummaryRow(
        kind=kind,
        n_sites=len(sites),
        release_class=shown.release_class,
        epsilon=shown.epsilon,
        figures={
            name: SummaryFigure(value=each.value, low=each.low, high=each.high)
            for name, each in estimates.items()
            if each.value is not None
        },
    )
