"""The regression half of a table's reading: R², MAE, RMSE and Bland–Altman out of noisy moments.

No figure is left out for what noise made of it: that would show those that noise has flattered. What
is worth showing is decided beforehand (``expected``). A figure stays in its range; a denominator is at
least one SD of its noise, and where noise alone could have made it the interval is the whole range.
Imports the table, estimates and intervals only. How often the intervals hold: docs/coverage.md.

Source: Fieller 1954 (J R Stat Soc B 16:175) for R²; Bland & Altman 1986 (Lancet 327:307), whose SD
is part of its limits: delta method.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shared.measure.table.cells import count_patients
from shared.measure.table.spec import MOMENT_WEIGHTS, TableSpec
from shared.measure.table.spread import (
    Errors,
    error_kurtosis,
    error_target_covariance,
    squares_covariance,
    target_square_variance,
)
from shared.sums.estimate import NOT_APPLICABLE, SUPPRESSED, Estimate, within
from shared.sums.intervals import GRID_POINTS, accepted, normal_quantile, ratio_interval

Floats = NDArray[np.float64]
# R² has no lower end; estimates and intervals are reported within this range
R2_RANGE = (-1.0, 1.0)
LIMIT = 1.96  # SDs between the bias and a limit of agreement
TINY = 1e-9  # a variance of errors on the scaled axis that counts as none
FEWEST = 2.0  # patients of whom a spread can be said


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Noisy sums over patients on the scaled axes u and v, and the noise SD of each."""

    count: float
    u: float
    u2: float
    v: float
    abs_v: float
    v2: float
    uv: float
    sd_count: float
    sd_u: float
    sd_u2: float
    sd_v: float
    sd_abs_v: float
    sd_v2: float
    sd_uv: float


def read_moments(table: Floats, spec: TableSpec, *, noise_sd: float) -> Moments:
    """The sums of a table [m] that has moments."""
    cells = table[spec.parts["moments"]]
    weights = {name: spec.blocks.moments * weight for name, weight in MOMENT_WEIGHTS.items()}
    sums = {
        name: float(cell) / weight for cell, (name, weight) in zip(cells, weights.items(), strict=True)
    }
    sds = {name: noise_sd / weight for name, weight in weights.items()}
    count, sd_count = count_patients(table, spec, noise_sd=noise_sd)

    def half_sum(name: str) -> float:  # Σx from Σ(2x − 1) and the count
        return (sums[name] + count) / 2

    def half_sd(name: str) -> float:
        return math.hypot(sds[name], sd_count) / 2

    return Moments(
        count=count,
        u=sums["target"],
        u2=half_sum("target_squared"),
        v=sums["error"],
        abs_v=half_sum("error_absolute"),
        v2=half_sum("error_squared"),
        uv=sums["target_error"],
        sd_count=sd_count,
        sd_u=sds["target"],
        sd_u2=half_sd("target_squared"),
        sd_v=sds["error"],
        sd_abs_v=half_sd("error_absolute"),
        sd_v2=half_sd("error_squared"),
        sd_uv=sds["target_error"],
    )


def read_regression(
    table: Floats, spec: TableSpec, *, noise_sd: float, confidence: float
) -> dict[str, Estimate]:
    """R², MAE, RMSE, bias and limits of agreement by name; not applicable without moments."""
    names = ("r2", "mae", "rmse", "bias", "limit_low", "limit_high")
    if not spec.has_moments:
        return dict.fromkeys(names, NOT_APPLICABLE)
    sums = read_moments(table, spec, noise_sd=noise_sd)
    if sums.count < FEWEST and not noise_sd:
        return dict.fromkeys(names, SUPPRESSED)
    sums = replace(sums, count=max(sums.count, FEWEST))
    errors = _errors(sums)
    return {
        "r2": _r2(sums, errors, spec, confidence=confidence),
        **_agreement(sums, errors, spec, confidence=confidence),
    }


def _errors(sums: Moments) -> Errors:
    """Distribution of v; its variance, which enters variances only, is at least the noise of Σv²/n."""
    n = sums.count
    mean = min(max(sums.v / n, -1.0), 1.0)
    variance = max(_variance(sums), min(sums.sd_v2 / n, 1.0), TINY)
    kurtosis = error_kurtosis(mean, sums.abs_v / n, variance, noise_sd=sums.sd_abs_v / n)
    return Errors(mean=mean, variance=variance, kurtosis=kurtosis)


def _variance(sums: Moments) -> float:
    """Of v, below 0 where noise has made it so; without the noise's own square in that of the mean."""
    return sums.v2 / sums.count - (sums.v**2 - sums.sd_v**2) / sums.count**2


def target_spread(sums: Moments) -> tuple[float, float]:
    """Σ(u − mean)², and the variance of its noise."""
    # E[(Σu + noise)²] carries one noise variance too much
    spread = sums.u2 - (sums.u**2 - sums.sd_u**2) / sums.count
    # dSST = du2 − 2·mean·du + mean²·dcount, and u2 holds half the count's noise
    own, mean_u = sums.sd_u2**2 - sums.sd_count**2 / 4, _mean_u(sums)
    of_count = (0.5 + mean_u**2) * sums.sd_count
    return spread, own + (2 * mean_u * sums.sd_u) ** 2 + of_count**2


def _mean_u(sums: Moments) -> float:
    return min(max(sums.u / sums.count, -1.0), 1.0)


def _r2(sums: Moments, errors: Errors, spec: TableSpec, *, confidence: float) -> Estimate:
    """1 − SSE/SST with Fieller's interval; sampling variances and covariance as in ``spread``."""
    half = (spec.target_high - spec.target_low) / 2
    mean_u = _mean_u(sums)
    spread, noise = target_spread(sums)
    if spread <= 1e-12 * sums.count and not noise:
        return NOT_APPLICABLE
    could_be_noise = spread < normal_quantile(confidence) * math.sqrt(noise)
    spread = max(spread, math.sqrt(noise))
    to_u = (spec.error_high / half) ** 2  # v² in units of u²
    shared = to_u * 0.5 * (0.5 + mean_u**2) * sums.sd_count**2
    error = sums.v2 * to_u
    if could_be_noise:  # Fieller's interval of such a ratio has no end
        return within(1 - error / spread, *R2_RANGE, bounds=R2_RANGE)
    target_variance = spread / sums.count
    errors = errors.scaled(math.sqrt(to_u))
    to_cross = spec.error_high / half  # u·v in units of u²
    together = error_target_covariance(
        sums.uv / sums.count * to_cross - mean_u * errors.mean,
        error_variance=errors.variance,
        target_variance=target_variance,
        noise_sd=sums.sd_uv / sums.count * to_cross,
    )
    sampled_target = target_square_variance(target_variance, errors, together)
    low, high = ratio_interval(
        error,
        spread,
        numerator_variance=(to_u * sums.sd_v2) ** 2 + errors.square_variance * sums.count,
        denominator_variance=noise + sampled_target * sums.count,
        covariance=shared + squares_covariance(errors, together) * sums.count,
        bounds=(1 - R2_RANGE[1], 1 - R2_RANGE[0]),
        confidence=confidence,
    )
    return within(1 - error / spread, 1 - high, 1 - low, bounds=R2_RANGE)


def _agreement(
    sums: Moments, errors: Errors, spec: TableSpec, *, confidence: float
) -> dict[str, Estimate]:
    """MAE, RMSE and Bland–Altman bias and limits.

    The limits m₁ ± 1.96·s with s² = m₂ − m₁² move by (1 ∓ 1.96·m₁/s)·dm₁ ± 1.96/(2s)·dm₂: their
    variance is that of this sum, sampling and noise each with its covariance of m₁ and m₂.
    """
    n, unit, z = sums.count, spec.error_high, normal_quantile(confidence)
    # Student's t has variance (n − 1)/(n − 3), which makes σ²/(n − 1), σ² by n, to σ²/(n − 3)
    n_sampled = max(n - 3, 1.0)
    bias = errors.mean
    mean_abs, mean_square = (min(max(each / n, 0.0), 1.0) for each in (sums.abs_v, sums.v2))
    # d(Σx/n) = (own noise − (mean − ½)·dn)/n: Σ|v| and Σv² hold half the count's noise
    own_square = sums.sd_v2**2 - sums.sd_count**2 / 4
    own_abs = sums.sd_abs_v**2 - sums.sd_count**2 / 4

    def noise_of(by_bias: float, by_square: float) -> float:
        """Noise variance of by_bias·m₁ + by_square·m₂."""
        by_count = by_square * (0.5 - mean_square) - by_bias * bias
        own = (by_bias * sums.sd_v) ** 2 + by_square**2 * own_square
        return (own + (by_count * sums.sd_count) ** 2) / n**2

    def sampling_of(by_bias: float, by_square: float) -> float:
        """Sampling variance of the same."""
        squares = by_bias**2 * errors.variance + by_square**2 * errors.square_variance
        return (squares + 2 * by_bias * by_square * errors.covariance) / n_sampled

    def around(value: float, variance: float, least: float, most: float) -> Estimate:
        margin = z * math.sqrt(variance)
        return Estimate(
            status="measured",
            value=value * unit,
            low=max(value - margin, least) * unit,
            high=min(value + margin, most) * unit,
        )

    def limit(sign: float) -> Estimate:
        sd = math.sqrt(errors.variance)
        spread = math.sqrt(min(max(_variance(sums), 0.0), 1.0))
        by_bias, by_square = 1 - sign * LIMIT * bias / sd, sign * LIMIT / (2 * sd)
        variance = noise_of(by_bias, by_square) + sampling_of(by_bias, by_square)
        return around(bias + sign * LIMIT * spread, variance, -1.0 - LIMIT, 1.0 + LIMIT)

    var_abs = (own_abs + ((0.5 - mean_abs) * sums.sd_count) ** 2) / n**2
    var_abs += max(mean_square - mean_abs**2, 0.0) / n_sampled
    return {
        "mae": around(mean_abs, var_abs, 0.0, 1.0),
        "rmse": _rmse(mean_square, errors, noise_of(0.0, 1.0), n, unit=unit, confidence=confidence),
        "bias": around(bias, noise_of(1.0, 0.0) + sampling_of(1.0, 0.0), -1.0, 1.0),
        "limit_low": limit(-1.0),
        "limit_high": limit(1.0),
    }


def _rmse(
    mean_square: float, errors: Errors, noise: float, n: float, *, unit: float, confidence: float
) -> Estimate:
    """√m₂ and all values that a test of m₂ does not reject, its variance as if each were true."""
    root = np.linspace(0.0, 1.0, GRID_POINTS)
    variance = np.maximum(root**2 - errors.mean**2, 0.0)
    sampling = (errors.kurtosis - 1) * variance**2 + 4 * errors.mean**2 * variance
    point = math.sqrt(mean_square)
    low, high = accepted(
        root, mean_square - root**2, noise + sampling / n, point=point, confidence=confidence
    )
    return Estimate(status="measured", value=point * unit, low=low * unit, high=high * unit)
