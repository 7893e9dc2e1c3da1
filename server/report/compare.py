"""Two runs beside each other: the AUCs of their releases, kind by kind of validation.

The releases were measured apart, so nothing is known of one patient under both: the difference is that
of two independent figures. Of the same hospitals' patients it is too wide rather than too narrow, since
what they share goes into both. p-values of all kinds are adjusted together. Two readings of the same
patients are compared by ``measure=comparison``. Imports results and differences.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

from server.report.results import Results, ValidationKind, ValidationResult
from server.report.wording import write_figure
from shared.errors import RunError
from shared.measures.differences import adjust_by_holm, difference_of_aucs
from shared.sums.estimate import Estimate
from shared.sums.intervals import normal_quantile

COLUMNS = ("validation", "first AUC", "second AUC", "first − second", "p", "p, adjusted")


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One kind of validation; ``p_adjusted`` over all kinds (Holm)."""

    kind: ValidationKind
    first: Estimate
    second: Estimate
    difference: Estimate
    p: float | None
    p_adjusted: float | None


def compare_runs(first: Results, second: Results) -> tuple[Compared, ...]:
    """Each kind of validation that both runs show an AUC of, of all sites together.

    Raises:
        RunError: they measured one release, predict different things, or have no kind in common.
    """
    if first.release_sha256 == second.release_sha256:
        raise RunError(
            "same-release",
            f"runs {first.run} and {second.run} measured one release",
            hint="two measurements of one release are rows of its reports",
        )
    if first.task.endpoint_rule != second.task.endpoint_rule:
        raise RunError(
            "different-endpoints",
            f"run {first.run} predicts {first.task.endpoint_rule}, "
            f"run {second.run} {second.task.endpoint_rule}",
            hint="compare runs of one endpoint",
        )
    found = list(_differences(first, second))
    if not found:
        raise RunError(
            "nothing-to-compare",
            f"runs {first.run} and {second.run} show no AUC of the same kind of validation",
            hint="validate both: `osteofed-coordinator validate RUN internal`",
        )
    tested = [each.p for each in found if each.p is not None]
    adjusted = iter(adjust_by_holm(tested))
    return tuple(each if each.p is None else replace(each, p_adjusted=next(adjusted)) for each in found)


def rows_of(compared: Sequence[Compared]) -> list[tuple[str, ...]]:
    """Rows of ``COLUMNS``."""
    return [
        (
            each.kind,
            write_figure(each.first),
            write_figure(each.second),
            write_figure(each.difference),
            *("–" if p is None else f"{p:.3f}" for p in (each.p, each.p_adjusted)),
        )
        for each in compared
    ]


def facts_of(compared: Sequence[Compared]) -> list[dict[str, object]]:
    """The same for programs."""
    return [asdict(each) for each in compared]


def _differences(first: Results, second: Results) -> Iterator[Compared]:
    for kind in ("internal", "external", "prospective"):
        pair = [all_sites(results, kind) for results in (first, second)]
        aucs = [row.measures.auc for row in pair if row is not None and row.measures is not None]
        if len(aucs) < len(pair) or any(auc.value is None for auc in aucs):
            continue
        (value_a, variance_a), (value_b, variance_b) = (with_variance(auc) for auc in aucs)
        found = difference_of_aucs(value_a, variance_a, value_b, variance_b)
        yield Compared(
            kind=kind,
            first=aucs[0],
            second=aucs[1],
            difference=found.difference,
            p=found.p,
            p_adjusted=None,
        )


def all_sites(results: Results, kind: ValidationKind) -> ValidationResult | None:
    """The pooled row, or the only one."""
    rows = [row for row in results.validation if row.kind == kind]
    return next((row for row in rows if row.is_pooled), rows[0] if len(rows) == 1 else None)


def with_variance(auc: Estimate) -> tuple[float, float]:
    """An AUC and the variance that its interval stands for."""
    value, low, high = auc.value or 0.0, auc.low or 0.0, auc.high or 0.0
    # the wider side: the other one may end where an AUC does
    return value, (max(high - value, value - low) / normal_quantile(0.95)) ** 2


def shared_sites(first: Results, second: Results) -> tuple[str, ...]:
    """Hospitals in both runs: what their patients share makes an interval too wide."""
    return tuple(sorted({site.site for site in first.sites} & {site.site for site in second.sites}))
