"""Reads measures, each with its interval, out of a table: pure post-processing, deterministic.

Noisy counts are **never clipped at 0** before a point estimate: noise has mean 0, so the sums stay
unbiased, while clipping adds mass to empty bins and pulls an AUC towards 0.5. Counts below the
minimum cell, and ratios whose denominator the noise could have made, are ``suppressed``: a value of
its own, never 0. A cohort without positives (or without negatives) has no AUC: ``not-applicable``.
Intervals hold sampling and privacy noise together. Imports the table and the intervals only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shared.errors import ProtocolError
from shared.measure.intervals import (
    auc_interval,
    normal_quantile,
    ratio_interval,
    share_interval,
)
from shared.measure.table import HISTOGRAM_WEIGHT, MOMENT_WEIGHTS, TableSpec

Floats = NDArray[np.float64]
Status = Literal["measured", "suppressed", "not-applicable"]
# R² has no lower end; estimates and intervals are reported within this range
R2_RANGE = (-1.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure with its interval, or the reason why there is none (then all three are None)."""

    status: Status
    value: float | None = None
    low: float | None = None
    high: float | None = None


SUPPRESSED = Estimate(status="suppressed")
NOT_APPLICABLE = Estimate(status="not-applicable")


@dataclass(frozen=True, kw_only=True)
class Measures:
    """All that a table says. Errors are prediction − target, in the target's unit.

    ``bias`` and the limits of agreement are Bland–Altman's (mean error ± 1.96 SD); ``promise`` is
    whether the operating point's sensitivity reaches the plan's target: ``kept`` when the whole
    interval does, ``broken`` when none of it does.
    """

    n_patients: Estimate
    n_positive: Estimate
    auc: Estimate
    sensitivity: Estimate
    specificity: Estimate
    r2: Estimate
    mae: Estimate
    rmse: Estimate
    bias: Estimate
    limit_low: Estimate
    limit_high: Estimate
    promise: Literal["kept", "broken", "undecided", "not-applicable"]


@dataclass(frozen=True, kw_only=True)
class _Moments:
    """Noisy sums over patients on the scaled axes u and v, and the noise SD of each."""

    count: float
    u: float
    u2: float
    v: float
    abs_v: float
    v2: float
    sd_count: float
    sd_u: float
    sd_u2: float
    sd_v: float
    sd_abs_v: float
    sd_v2: float


def read_table(
    table: Floats,
    spec: TableSpec,
    *,
    noise_sd: float,
    minimum_cell: int,
    sensitivity_target: float,
    confidence: float = 0.95,
) -> Measures:
    """Measures of one site's table, or of pooled tables.

    Args:
        table: summed rows [n_cells], with noise of ``noise_sd`` in every cell.
        spec: meaning of the cells.
        noise_sd: 0 in a governed release: then intervals hold sampling alone.
        minimum_cell: patients (and, for what needs them, positives or negatives) below which a
            figure is suppressed.
        sensitivity_target: sensitivity promised at the operating point.
        confidence: of the intervals.

    Raises:
        ProtocolError: the table does not fit the spec or is not finite.
    """
    if table.shape != (spec.n_cells,) or not np.isfinite(table).all():
        raise ProtocolError(
            "table-shape", f"a table must be {spec.n_cells} finite cells, not {table.shape}"
        )
    weight = HISTOGRAM_WEIGHT[spec.has_moments]
    cell_sd = noise_sd / weight
    positives = table[: spec.bins] / weight
    negatives = table[spec.bins : 2 * spec.bins] / weight
    n_patients, sd_patients = _count(table, spec, noise_sd=noise_sd)
    n_positive, sd_positive = float(positives.sum()), cell_sd * math.sqrt(spec.bins)
    z = normal_quantile(confidence)
    is_enough = n_patients >= minimum_cell
    found = {
        "sensitivity": _sensitivity(
            positives, spec, cell_sd=cell_sd, minimum_cell=minimum_cell, confidence=confidence
        ),
        "specificity": _specificity(
            negatives, spec, cell_sd=cell_sd, minimum_cell=minimum_cell, confidence=confidence
        ),
        "auc": _auc(
            positives,
            negatives,
            spec,
            cell_sd=cell_sd,
            minimum_cell=minimum_cell,
            confidence=confidence,
        ),
        **_regression(table, spec, noise_sd=noise_sd, confidence=confidence),
    }
    if not is_enough:
        found = {
            name: estimate if estimate == NOT_APPLICABLE else SUPPRESSED
            for name, estimate in found.items()
        }
    return Measures(
        n_patients=_counted(n_patients, z * sd_patients) if is_enough else SUPPRESSED,
        n_positive=_counted(n_positive, z * sd_positive)
        if is_enough and n_positive >= minimum_cell
        else SUPPRESSED,
        promise=_promise(found["sensitivity"], sensitivity_target),
        **found,
    )


def read_constant_r2(
    table: Floats, spec: TableSpec, *, constant: float, noise_sd: float, minimum_cell: int
) -> Estimate:
    """R² of predicting one public number for everybody: what no training at all would give.

    −n·(mean − constant)²/SST, so 0 at best; a point without interval.

    Args:
        table: as in ``read_table``.
        spec: meaning of the cells.
        constant: in the target's unit, a public reference mean.
        noise_sd: SD of the noise in every cell.
        minimum_cell: patients below which it is suppressed.
    """
    if not spec.has_moments:
        return NOT_APPLICABLE
    sums = _read_moments(table, spec, noise_sd=noise_sd)
    if sums.count < max(minimum_cell, 2):
        return SUPPRESSED
    centre, half = (spec.target_low + spec.target_high) / 2, (spec.target_high - spec.target_low) / 2
    mean_square = (sums.u**2 - sums.sd_u**2) / sums.count**2  # without the noise's own square
    spread = sums.u2 - mean_square * sums.count
    if spread <= 1e-12 * sums.count:
        return SUPPRESSED if noise_sd else NOT_APPLICABLE
    guess = (constant - centre) / half
    gap = mean_square - 2 * guess * sums.u / sums.count + guess**2
    return Estimate(status="measured", value=-sums.count * max(gap, 0.0) / spread)


def _count(table: Floats, spec: TableSpec, *, noise_sd: float) -> tuple[float, float]:
    """Patients and noise SD: histogram total and count cell, weighted by their precision."""
    weight = HISTOGRAM_WEIGHT[spec.has_moments]
    total, precision = float(table[: 2 * spec.bins].sum()) / weight, weight**2 / (2 * spec.bins)
    if not spec.has_moments:
        return total, noise_sd / math.sqrt(precision)
    own = MOMENT_WEIGHTS["count"]
    count = float(table[2 * spec.bins]) / own
    both = precision + own**2
    return (total * precision + count * own**2) / both, noise_sd / math.sqrt(both)


def _counted(count: float, margin: float) -> Estimate:
    return Estimate(status="measured", value=count, low=max(count - margin, 0.0), high=count + margin)


def _lacking(count: float, minimum_cell: int) -> Estimate | None:
    """Why a class of this (noisy) size gives no figure, or None when it does."""
    # a noisy count under one half is the best available statement that the class is empty
    if count < 0.5:
        return NOT_APPLICABLE
    return SUPPRESSED if count < minimum_cell else None


def _called_positive(cells: Floats, spec: TableSpec) -> tuple[float, float]:
    """Patients at or beyond the operating point, and the others."""
    below, above = float(cells[: spec.bins_below].sum()), float(cells[spec.bins_below :].sum())
    return (below, above) if spec.positive_is_low else (above, below)


def _sensitivity(
    positives: Floats, spec: TableSpec, *, cell_sd: float, minimum_cell: int, confidence: float
) -> Estimate:
    hits, misses = _called_positive(positives, spec)
    called_bins, other_bins = _called_positive(np.ones(spec.bins), spec)
    noise = (cell_sd**2 * called_bins, cell_sd**2 * other_bins)
    return _share(hits, misses, noise=noise, minimum_cell=minimum_cell, confidence=confidence)


def _specificity(
    negatives: Floats, spec: TableSpec, *, cell_sd: float, minimum_cell: int, confidence: float
) -> Estimate:
    misses, hits = _called_positive(negatives, spec)
    called_bins, other_bins = _called_positive(np.ones(spec.bins), spec)
    noise = (cell_sd**2 * other_bins, cell_sd**2 * called_bins)
    return _share(hits, misses, noise=noise, minimum_cell=minimum_cell, confidence=confidence)


def _share(
    hits: float,
    misses: float,
    *,
    noise: tuple[float, float],
    minimum_cell: int,
    confidence: float,
) -> Estimate:
    lacking = _lacking(hits + misses, minimum_cell)
    if lacking:
        return lacking
    low, high = share_interval(hits, misses, noise_variance=noise, confidence=confidence)
    return _within(hits / (hits + misses), low, high, bounds=(0.0, 1.0))


def _auc(
    positives: Floats,
    negatives: Floats,
    spec: TableSpec,
    *,
    cell_sd: float,
    minimum_cell: int,
    confidence: float,
) -> Estimate:
    """Area under the curve of two histograms; patients of one bin count as ties (½)."""
    if spec.positive_is_low:
        positives, negatives = positives[::-1], negatives[::-1]
    n_positive, n_negative = float(positives.sum()), float(negatives.sum())
    reasons = [_lacking(n, minimum_cell) for n in (n_positive, n_negative)]
    if any(reasons):
        return NOT_APPLICABLE if NOT_APPLICABLE in reasons else SUPPRESSED
    wins = float(positives @ (np.cumsum(negatives) - negatives / 2))
    low, high = auc_interval(positives, negatives, cell_sd=cell_sd, confidence=confidence)
    return _within(wins / (n_positive * n_negative), low, high, bounds=(0.0, 1.0))


def _within(value: float, low: float, high: float, *, bounds: tuple[float, float]) -> Estimate:
    value = min(max(value, bounds[0]), bounds[1])
    return Estimate(status="measured", value=value, low=low, high=high)


def _promise(
    sensitivity: Estimate, target: float
) -> Literal["kept", "broken", "undecided", "not-applicable"]:
    if sensitivity.low is None or sensitivity.high is None:
        return "not-applicable"
    if sensitivity.low >= target:
        return "kept"
    return "broken" if sensitivity.high < target else "undecided"


def _read_moments(table: Floats, spec: TableSpec, *, noise_sd: float) -> _Moments:
    cells = table[2 * spec.bins :]
    sums = {
        name: float(cell) / weight
        for cell, (name, weight) in zip(cells, MOMENT_WEIGHTS.items(), strict=True)
    }
    sds = {name: noise_sd / weight for name, weight in MOMENT_WEIGHTS.items()}
    count, sd_count = _count(table, spec, noise_sd=noise_sd)

    def half_sum(name: str) -> float:  # Σx from Σ(2x − 1) and the count
        return (sums[name] + count) / 2

    def half_sd(name: str) -> float:
        return math.hypot(sds[name], sd_count) / 2

    return _Moments(
        count=count,
        u=sums["target"],
        u2=half_sum("target_squared"),
        v=sums["error"],
        abs_v=half_sum("error_absolute"),
        v2=half_sum("error_squared"),
        sd_count=sd_count,
        sd_u=sds["target"],
        sd_u2=half_sd("target_squared"),
        sd_v=sds["error"],
        sd_abs_v=half_sd("error_absolute"),
        sd_v2=half_sd("error_squared"),
    )


def _regression(
    table: Floats, spec: TableSpec, *, noise_sd: float, confidence: float
) -> dict[str, Estimate]:
    names = ("r2", "mae", "rmse", "bias", "limit_low", "limit_high")
    if not spec.has_moments:
        return dict.fromkeys(names, NOT_APPLICABLE)
    sums = _read_moments(table, spec, noise_sd=noise_sd)
    if sums.count < 2:
        return dict.fromkeys(names, SUPPRESSED)
    return {
        "r2": _r2(sums, spec, confidence=confidence),
        **_agreement(sums, spec, confidence=confidence),
    }


def _r2(sums: _Moments, spec: TableSpec, *, confidence: float) -> Estimate:
    """1 − SSE/SST with Fieller's interval; sampling variance as for normal target and error.

    With independent noise and error, var SSE = 2nσ_e⁴ and var SST = 2nσ_y⁴; a model that shrinks to
    the mean makes them positively dependent, which only narrows the truth: the interval is wide
    rather than short.
    """
    half = (spec.target_high - spec.target_low) / 2
    mean_u = min(max(sums.u / sums.count, -1.0), 1.0)
    # E[(Σu + noise)²] carries one noise variance too much
    spread = sums.u2 - (sums.u**2 - sums.sd_u**2) / sums.count
    # dSST = du2 − 2·mean·du + mean²·dcount, and u2 holds half the count's noise
    noise_own = sums.sd_u2**2 - sums.sd_count**2 / 4
    slope_count = 0.5 + mean_u**2
    noise = noise_own + (2 * mean_u * sums.sd_u) ** 2 + (slope_count * sums.sd_count) ** 2
    if spread <= 1e-12 * max(sums.count, 1.0):
        return SUPPRESSED if noise else NOT_APPLICABLE
    if spread < normal_quantile(confidence) * math.sqrt(noise):
        return SUPPRESSED  # noise alone could have made the denominator
    to_u = (spec.error_high / half) ** 2  # v² in units of u²
    shared = to_u * 0.5 * slope_count * sums.sd_count**2
    error = sums.v2 * to_u
    low, high = ratio_interval(
        error,
        spread,
        numerator_variance=(to_u * sums.sd_v2) ** 2 + 2 * error**2 / sums.count,
        denominator_variance=noise + 2 * spread**2 / sums.count,
        covariance=shared,
        bounds=(1 - R2_RANGE[1], 1 - R2_RANGE[0]),
        confidence=confidence,
    )
    return _within(1 - error / spread, 1 - high, 1 - low, bounds=R2_RANGE)


def _agreement(sums: _Moments, spec: TableSpec, *, confidence: float) -> dict[str, Estimate]:
    """MAE, RMSE and Bland–Altman bias and limits with delta-method intervals."""
    n, unit, z = sums.count, spec.error_high, normal_quantile(confidence)
    bias, mean_abs, mean_square = sums.v / n, sums.abs_v / n, sums.v2 / n
    variance = mean_square - bias**2
    if mean_square < 0 or variance < 0 or mean_abs < 0:
        return dict.fromkeys(("mae", "rmse", "bias", "limit_low", "limit_high"), SUPPRESSED)
    # d(Σx/n) = (dΣx − mean·dn)/n; Σ|v| and Σv² hold half the count's noise
    halved = sums.sd_count**2 / 4
    var_bias = (sums.sd_v**2 + (bias * sums.sd_count) ** 2) / n**2 + variance / n
    var_abs = (sums.sd_abs_v**2 - halved + ((0.5 - mean_abs) * sums.sd_count) ** 2) / n**2 + max(
        mean_square - mean_abs**2, 0.0
    ) / n
    var_square = (
        sums.sd_v2**2 - halved + ((0.5 - mean_square) * sums.sd_count) ** 2
    ) / n**2 + 2 * mean_square**2 / n

    def around(value: float, var: float, floor: float = -math.inf) -> Estimate:
        margin = z * math.sqrt(var)
        return Estimate(
            status="measured",
            value=value * unit,
            low=max(value - margin, floor) * unit,
            high=(value + margin) * unit,
        )

    sd = math.sqrt(variance)
    # var of bias ± 1.96·sd with var(sd) ≈ var(mean square)/(4·variance); Bland & Altman 1986
    var_limit = var_bias + 1.96**2 * var_square / (4 * max(variance, 1e-9))
    margin = z * math.sqrt(var_square)
    return {
        "mae": around(mean_abs, var_abs, floor=0.0),
        "rmse": Estimate(
            status="measured",
            value=math.sqrt(mean_square) * unit,
            low=math.sqrt(max(mean_square - margin, 0.0)) * unit,
            high=math.sqrt(mean_square + margin) * unit,
        ),
        "bias": around(bias, var_bias),
        "limit_low": around(bias - 1.96 * sd, var_limit),
        "limit_high": around(bias + 1.96 * sd, var_limit),
    }
