"""Reads measures, each with its interval, out of a table: pure post-processing, deterministic.

Noisy counts are **never clipped at 0** before a point estimate: noise has mean 0, so the sums stay
unbiased, while clipping adds mass to empty bins and pulls an AUC towards 0.5. Counts below the
minimum cell are ``suppressed``: a value of its own, never 0. A cohort without positives (or without
negatives) has no AUC: ``not-applicable``. Intervals hold sampling and privacy noise together. Imports
the rest of the package only.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from shared.errors import ProtocolError
from shared.measure.table.cells import (
    by_suspicion,
    count_classes,
    count_patients,
    endpoint_calls,
    histogram_sds,
    score_histograms,
)
from shared.measure.table.moments import read_regression
from shared.measure.table.spec import TableSpec
from shared.measures.counts import add_up, counted
from shared.measures.figures import auc_of, share_of
from shared.sums.estimate import (
    NOT_APPLICABLE,
    SUPPRESSED,
    TOO_NOISY,
    Estimate,
    Measures,
    promise_of,
)
from shared.sums.intervals import normal_quantile

Floats = NDArray[np.float64]
__all__ = ["Estimate", "Measures", "read_table"]


def read_table(
    table: Floats,
    spec: TableSpec,
    *,
    noise_sd: float,
    minimum_cell: int,
    sensitivity_target: float,
    shown: Collection[str] | None = None,
    confidence: float = 0.95,
) -> Measures:
    """Measures of one site's table, or of pooled tables.

    For display a mean absolute error is at most the root of the mean square, as it is of any patients,
    where both are shown; noise moves their sums apart. Counts are displayed whole and add up, over the
    classes, to the patients; what is counted stays what was counted.

    Args:
        table: summed rows [n_cells], with noise of ``noise_sd`` in every cell.
        spec: meaning of the cells.
        noise_sd: 0 in a governed release: then intervals hold sampling alone.
        minimum_cell: patients (and, for what needs them, positives or negatives) below which a
            figure is suppressed. Where ``shown`` decides, no noisy count does.
        sensitivity_target: sensitivity promised at the operating point; 0: none was.
        shown: the figures that the noise leaves worth showing, as ``expected`` finds them before any
            table is there; the others are ``too-noisy``. None: every figure.
        confidence: of the intervals.

    Raises:
        ProtocolError: the table does not fit the spec or is not finite.
    """
    if table.shape != (spec.n_cells,) or not np.isfinite(table).all():
        raise ProtocolError(
            "table-shape", f"a table must be {spec.n_cells} finite cells, not {table.shape}"
        )
    positives, negatives = score_histograms(table, spec)
    sds = histogram_sds(spec, noise_sd=noise_sd)
    n_patients, sd_patients = count_patients(table, spec, noise_sd=noise_sd)
    of_class, sd_class = count_classes(table, spec, noise_sd=noise_sd)
    z = normal_quantile(confidence)
    by_plan = shown is not None and noise_sd > 0
    if by_plan:
        minimum_cell = 0
    is_enough = by_plan or n_patients >= minimum_cell
    found = {
        **_called_rightly(
            table, spec, noise_sd=noise_sd, minimum_cell=minimum_cell, confidence=confidence
        ),
        "auc": auc_of(
            by_suspicion(positives, spec),
            by_suspicion(negatives, spec),
            sds,
            minimum_cell,
            confidence=confidence,
        ),
        **read_regression(table, spec, noise_sd=noise_sd, confidence=confidence),
    }
    if not is_enough:
        found = {
            name: estimate if estimate == NOT_APPLICABLE else SUPPRESSED
            for name, estimate in found.items()
        }
    if shown is not None and noise_sd:
        found = {name: _worth_showing(name, estimate, shown) for name, estimate in found.items()}
    found["mae"] = _at_most(found["mae"], found["rmse"])
    return Measures(
        n_patients=counted(n_patients, z * sd_patients, displayed=max(round(n_patients), 0))
        if is_enough
        else SUPPRESSED,
        n_positive=counted(
            float(of_class[0]), z * sd_class, displayed=float(add_up(of_class, n_patients)[0])
        )
        if by_plan or (is_enough and of_class[0] >= minimum_cell)
        else SUPPRESSED,
        promise=promise_of(found["sensitivity"], sensitivity_target),
        **found,
    )


def _worth_showing(name: str, estimate: Estimate, shown: Collection[str]) -> Estimate:
    """A noisy figure if it was expected to say something; what the task has not stays not applicable.

    Noise that swallows a whole class leaves no figure of it, and says nothing about the class.
    """
    if estimate == NOT_APPLICABLE and name not in ("auc", "sensitivity", "specificity"):
        return estimate
    return estimate if name in shown and estimate.value is not None else TOO_NOISY


def _at_most(estimate: Estimate, other: Estimate) -> Estimate:
    """An estimate, no larger than another; where either has no value as it is."""
    if estimate.value is None or estimate.low is None or other.value is None:
        return estimate
    value = min(estimate.value, other.value)
    return replace(estimate, value=value, low=min(estimate.low, value))


def _called_rightly(
    table: Floats, spec: TableSpec, *, noise_sd: float, minimum_cell: int, confidence: float
) -> dict[str, Estimate]:
    """Sensitivity and specificity of the endpoint's call."""
    calls = endpoint_calls(table, spec, noise_sd=noise_sd)
    if calls is None:
        return dict.fromkeys(("sensitivity", "specificity"), NOT_APPLICABLE)
    cells, variance = calls
    found = {}
    for row, name in enumerate(("sensitivity", "specificity")):
        hit, of = np.zeros((2, 2), dtype=bool), np.zeros((2, 2), dtype=bool)
        hit[row, row], of[row] = True, True
        found[name] = share_of(cells, variance, hit, of, minimum_cell, confidence=confidence)
    return found
