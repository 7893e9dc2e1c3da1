"""Differences between two readings of the same patients, with intervals: AUCs and shares.

Both statistics are functions of one joint count of patients over the bins of both readings, so that
what the readings have in common cancels. Privacy noise is added to the variance of the tested statistic
exactly as it enters it; nothing is divided by a noisy count. Without noise the interval of two AUCs is
DeLong's paired one on the binned scores, that of two shares Tango's. Deterministic. Imports intervals.
Legend: a, c bins of the first and of the second reading, by rising suspicion.

Source: DeLong et al. 1988 (Biometrics 44:837); Tango 1998 (Stat Med 17:891); Newcombe 1998, method 10
without its correlation (Stat Med 17:2635), where DeLong's variance is nought.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.sums.intervals import (
    GRID_POINTS,
    accepted,
    auc_interval,
    auc_variance,
    distance_squared,
    normal_quantile,
)

Floats = NDArray[np.float64]
# Variance of a difference over that of two independent readings, as far as a noisy one is believed.
PAIRED_RANGE = (0.1, 1.5)
_WORST_AUCS = (0.05, 0.95)  # beyond, Hanley and McNeil's variance is too near nought to lean on


@dataclass(frozen=True, kw_only=True)
class Difference:
    """First − second, and its interval, within [−1, 1]."""

    value: float
    low: float
    high: float


def auc_difference(
    positives: Floats, negatives: Floats, *, cell_sd: float, confidence: float
) -> Difference:
    """AUC of the first reading less that of the second.

    The statistic is Σ pos_i·neg_j·(d_ij − δ), where d is 1, ½ or 0 of the first reading less the same
    of the second. Its noise variance is estimated without bias, as in ``auc_interval``.

    Shapes: positives [a,c], negatives [a,c].
    """
    kernel = _difference_kernel(*positives.shape)  # [a·c, a·c]
    ill, well = positives.ravel(), negatives.ravel()
    n_ill, n_well = float(ill.sum()), float(well.sum())
    pairs = n_ill * n_well
    point = float(ill @ kernel @ well) / pairs
    own = _delong_variance(ill, well, kernel, cell_sd=cell_sd)
    if not cell_sd:
        if own <= 0:
            return _square_and_add(positives, negatives, point=point, confidence=confidence)
        margin = normal_quantile(confidence) * math.sqrt(own)
        return Difference(value=point, low=max(point - margin, -1.0), high=min(point + margin, 1.0))
    delta = np.linspace(-1.0, 1.0, GRID_POINTS)
    below = distance_squared(kernel @ well, n_well * delta)
    above = distance_squared(ill @ kernel, n_ill * delta)
    spread = distance_squared(kernel.ravel(), delta)
    # the true variance is at least that of the product of the noises
    noise = np.maximum(cell_sd**2 * (below + above) - cell_sd**4 * spread, cell_sd**4 * spread)
    apart = _variance_if_independent(positives, negatives)
    at_point = float(np.interp(point, delta, noise)) / pairs**2
    believed = apart / (apart + at_point)
    ratio = min(max(own / apart, PAIRED_RANGE[0]), PAIRED_RANGE[1])
    sampling = pairs**2 * apart * (1 + believed * (ratio - 1))
    low, high = accepted(
        delta, (point - delta) * pairs, sampling + noise, point=point, confidence=confidence
    )
    return Difference(value=min(max(point, -1.0), 1.0), low=low, high=high)


def share_difference(
    counts: tuple[float, float, float], *, noise_variance: tuple[float, float, float], confidence: float
) -> Difference:
    """Share of patients that the first reading hits less that of the second.

    Args:
        counts: patients hit by the first reading only, by the second only, and by both or neither; may
            be noisy and negative.
        noise_variance: variance of the privacy noise on each of the three.
        confidence: 0.95 for a 95 % interval.
    """
    first, second, rest = counts
    n = first + second + rest
    delta = np.linspace(-1.0, 1.0, GRID_POINTS)
    first_noise, second_noise, rest_noise = noise_variance
    noise = first_noise * (1 - delta) ** 2 + second_noise * (1 + delta) ** 2 + rest_noise * delta**2
    held = max(first, 0.0), max(second, 0.0)
    sampling = _tango_variance(*held, max(n, sum(held), 1.0), delta)
    point = (first - second) / n
    low, high = accepted(
        delta, first - second - delta * n, sampling + noise, point=point, confidence=confidence
    )
    return Difference(value=min(max(point, -1.0), 1.0), low=low, high=high)


def _difference_kernel(first: int, second: int) -> Floats:
    """What each pair of joint cells says for the first reading less for the second."""
    ranks = [np.tril(np.ones((n, n)), -1) + 0.5 * np.eye(n) for n in (first, second)]
    kernel: Floats = ranks[0][:, None, :, None] - ranks[1][None, :, None, :]
    return kernel.reshape(first * second, first * second)


def _delong_variance(ill: Floats, well: Floats, kernel: Floats, *, cell_sd: float) -> float:
    """DeLong's variance of the difference, less what noise adds to it on average."""
    n_ill, n_well = float(ill.sum()), float(well.sum())
    wins, losses = kernel @ well / n_well, ill @ kernel / n_ill
    point = float(ill @ wins) / n_ill
    from_noise = np.square(kernel - point)
    of_ill = np.square(wins - point) - (cell_sd / n_well) ** 2 * from_noise.sum(axis=1)
    of_well = np.square(losses - point) - (cell_sd / n_ill) ** 2 * from_noise.sum(axis=0)
    pairs = n_ill * max(n_ill - 1, 1.0), n_well * max(n_well - 1, 1.0)
    return float(ill @ of_ill / pairs[0] + well @ of_well / pairs[1])


def _variance_if_independent(positives: Floats, negatives: Floats) -> float:
    """Hanley and McNeil's variances of both AUCs, added."""
    sizes = max(float(positives.sum()), 1.0), max(float(negatives.sum()), 1.0)
    found = 0.0
    for axis in (1, 0):
        ill, well = positives.sum(axis=axis), negatives.sum(axis=axis)
        wins = float(ill @ (np.cumsum(well) - well / 2)) / (float(ill.sum()) * float(well.sum()))
        auc = np.array(min(max(wins, _WORST_AUCS[0]), _WORST_AUCS[1]))
        found += float(auc_variance(auc, *sizes))
    return found


def _square_and_add(
    positives: Floats, negatives: Floats, *, point: float, confidence: float
) -> Difference:
    """From the interval of each AUC, where both are perfect or all patients are read alike."""
    margins = []
    for axis in (1, 0):
        ill, well = positives.sum(axis=axis), negatives.sum(axis=axis)
        auc = float(ill @ (np.cumsum(well) - well / 2)) / (float(ill.sum()) * float(well.sum()))
        low, high = auc_interval(ill, well, cell_sd=(0.0, 0.0), confidence=confidence)
        margins.append((auc - low, high - auc))
    (down, up), (other_down, other_up) = margins
    return Difference(
        value=point,
        low=max(point - math.hypot(down, other_up), -1.0),
        high=min(point + math.hypot(up, other_down), 1.0),
    )


def _tango_variance(first: float, second: float, n: float, delta: Floats) -> Floats:
    """n·(p12 + p21 − δ²) with the likeliest p21 under p12 − p21 = δ."""
    linear = (2 * n - first + second) * delta - first - second
    root = np.sqrt(np.maximum(linear**2 + 8 * n * second * delta * (1 - delta), 0.0))
    only_second = np.maximum((root - linear) / (4 * n), np.maximum(-delta, 0.0))
    variance: Floats = n * (2 * only_second + delta * (1 - delta))
    return np.maximum(variance, 0.0)
