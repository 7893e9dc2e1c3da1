"""The rows of a report that go with its release as a summary. Imports results."""

from __future__ import annotations

from server.report.answers import MEASURED
from server.report.results import POOLED, Results, ValidationKind
from server.report.wording import KIND_MEANING, concordance_rows
from shared.contract.validation_summary import SummaryFigure, SummaryRow, ValidationSummary
from shared.measures.counts import SUPPORT
from shared.sums.estimate import Estimate

_FIGURES = ("auc", "sensitivity", "specificity", "r2", "mae")


def summarise(results: Results) -> ValidationSummary:
    """What a run's report says of its release: by kind of validation, of all who measured it.

    Several hospitals are one pooled row. A single external one is a row that pools nothing; a hospital
    that trained has none of its own. Who measured offline, by another plan, is in no row.
    """
    kinds = dict.fromkeys(row.kind for row in results.validation)
    rows = [*(_row(results, kind) for kind in kinds), *_followed_rows(results)]
    return ValidationSummary(
        release_sha256=results.release_sha256,
        run=results.run,
        rows=tuple(row for row in rows if row is not None),
    )


def _followed_rows(results: Results) -> list[SummaryRow]:
    """Of a time to event, whose validations are measures: the rows that a report heads with."""
    found = []
    for stage, row in concordance_rows(results):
        alike = [each for each in results.further if each.stage == stage and each.site != POOLED]
        n_sites = sum(each.status == MEASURED for each in alike)
        kind = next((kind for kind in KIND_MEANING if stage.endswith(f"_{kind}")), None)
        if kind is None or (row.site != POOLED and (n_sites > 1 or kind != "external")):
            continue
        shown = {name: each for name, each in (row.figures or {}).items() if each.value is not None}
        figures = {
            name: SummaryFigure(value=float(each.value or 0.0), low=each.low, high=each.high)
            for name, each in shown.items()
            if not name.startswith(SUPPORT)
        }
        words = {"kind": kind, "n_sites": n_sites, "release_class": row.release_class}
        found.append(SummaryRow.model_validate({**words, "epsilon": row.epsilon, "figures": figures}))
    return found


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
