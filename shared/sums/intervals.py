"""Intervals by inverting a test: all values of a parameter that the data do not contradict.

The statistic is linear in the released sums (``TP − θ·P``, ``SSE − q·SST``), so privacy noise simply
adds to its variance, nothing is divided by a noisy count, and an uninformative table gives a wide
interval rather than a wrong one. With no noise the interval of a proportion is Wilson's, that of an
AUC Newcombe's with the size of DeLong's. Deterministic. Imports nothing of the project.

Source: Fieller 1954 (J R Stat Soc B 16:175); Wilson 1927 (JASA 22:209); Newcombe 2006, method 5
(Stat Med 25:559); Hanley & McNeil 1982 (Radiology 143:29); DeLong et al. 1988 (Biometrics 44:837).
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
GRID_POINTS = 4001
# DeLong's variance over Hanley and McNeil's, as far as it is believed
SCALE_RANGE = (0.5, 1.5)


def normal_quantile(confidence: float) -> float:
    """z such that a standard normal lies within ±z with this confidence."""
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def expit(logit: float) -> float:
    """1/(1 + e^−logit), of a logit of any size: the exponential itself overflows below −709."""
    return 0.5 * (1 + math.tanh(0.5 * logit))


def accepted(
    grid: Floats, statistic: Floats, variance: Floats, *, point: float, confidence: float
) -> tuple[float, float]:
    """Smallest and largest parameter on ``grid`` that the test does not reject.

    Args:
        grid: rising candidate values of the parameter; an end between two of them is interpolated.
        statistic: value of the statistic under each candidate; its expectation is 0 at the truth.
        variance: variance of the statistic under each candidate.
        point: the point estimate, always inside the interval when it is on the grid's range.
        confidence: 0.95 for a 95 % interval.
    """
    excess = np.square(statistic) - normal_quantile(confidence) ** 2 * variance
    kept = np.flatnonzero(excess <= 0)
    inside = min(max(point, float(grid[0])), float(grid[-1]))
    if kept.size == 0:
        return inside, inside
    first, last = int(kept[0]), int(kept[-1])
    low = _crossing(grid, excess, first, max(first - 1, 0))
    high = _crossing(grid, excess, last, min(last + 1, grid.size - 1))
    return min(low, inside), max(high, inside)


def _crossing(grid: Floats, excess: Floats, kept: int, rejected: int) -> float:
    """Where between an accepted and a rejected candidate the excess is 0."""
    if kept == rejected:  # the end of the grid is accepted
        return float(grid[kept])
    share = excess[kept] / (excess[kept] - excess[rejected])
    return float(grid[kept] + share * (grid[rejected] - grid[kept]))


def share_interval(
    hits: float, misses: float, *, noise_variance: tuple[float, float], confidence: float
) -> tuple[float, float]:
    """Interval of hits/(hits + misses) for noisy counts.

    Args:
        hits: count, may be noisy and negative.
        misses: count, may be noisy and negative.
        noise_variance: variance of the privacy noise on hits and on misses.
        confidence: 0.95 for a 95 % interval.
    """
    total = hits + misses
    theta = np.linspace(0.0, 1.0, GRID_POINTS)
    noise = noise_variance[0] * (1 - theta) ** 2 + noise_variance[1] * theta**2
    sampling = max(total, 1.0) * theta * (1 - theta)
    return accepted(
        theta, hits - theta * total, sampling + noise, point=hits / total, confidence=confidence
    )


def fraction_interval(
    hits: float,
    total: float,
    *,
    noise_variance: tuple[float, float],
    covariance: float,
    confidence: float,
) -> tuple[float, float]:
    """Interval of hits/total for noisy counts whose noises may be of one source.

    Args:
        hits: count, may be noisy and negative.
        total: count, may be noisy.
        noise_variance: variance of the privacy noise on hits and on the total.
        covariance: of the two noises.
        confidence: 0.95 for a 95 % interval.
    """
    theta = np.linspace(0.0, 1.0, GRID_POINTS)
    noise = noise_variance[0] - 2 * theta * covariance + theta**2 * noise_variance[1]
    sampling = max(total, 1.0) * theta * (1 - theta)
    return accepted(
        theta, hits - theta * total, sampling + noise, point=hits / total, confidence=confidence
    )


def auc_interval(
    positives: Floats, negatives: Floats, *, cell_sd: tuple[float, float], confidence: float
) -> tuple[float, float]:
    """Interval of the AUC of two noisy histograms over the same bins, rising suspicion.

    The statistic is Σ pos_i·neg_j·(k_ij − θ), k = 1, ½, 0. Its noise variance is estimated without
    bias: the squares of noisy sums carry the noise's own once more per bin, which is taken off again.

    Args:
        positives: patients per bin, may be noisy.
        negatives: likewise.
        cell_sd: of the noise in a bin of positives, and in one of negatives.
        confidence: 0.95 for a 95 % interval.

    Shapes: positives [bins], negatives [bins].
    """
    n_bins = positives.size
    n_positive, n_negative = float(positives.sum()), float(negatives.sum())
    kernel = np.tril(np.ones((n_bins, n_bins)), -1) + 0.5 * np.eye(n_bins)
    theta = np.linspace(0.0, 1.0, GRID_POINTS)
    below = distance_squared(kernel @ negatives, n_negative * theta)  # [grid]
    above = distance_squared(positives @ kernel, n_positive * theta)
    spread = distance_squared(kernel.ravel(), theta)
    # the true variance is at least that of the product of the noises
    both = (cell_sd[0] * cell_sd[1]) ** 2 * spread
    noise = np.maximum(cell_sd[0] ** 2 * below + cell_sd[1] ** 2 * above - both, both)
    pairs = n_positive * n_negative
    point = float(positives @ kernel @ negatives) / pairs
    sampling = pairs**2 * auc_variance(theta, max(n_positive, 1.0), max(n_negative, 1.0))
    at_point = int(np.argmin(np.abs(theta - point)))
    if sampling[at_point] > 0:
        # Newcombe's shape, DeLong's size; where noise is most of the variance, so it is of DeLong's
        own = _delong_variance(positives, negatives, kernel, cell_sd=cell_sd) * pairs**2
        scale = min(max(own / sampling[at_point], SCALE_RANGE[0]), SCALE_RANGE[1])
        believed = sampling[at_point] / (sampling[at_point] + noise[at_point])
        sampling *= 1 + believed * (scale - 1)
    statistic = point * pairs - theta * pairs
    return accepted(theta, statistic, sampling + noise, point=point, confidence=confidence)


def _delong_variance(
    positives: Floats, negatives: Floats, kernel: Floats, *, cell_sd: tuple[float, float]
) -> float:
    """DeLong's variance of the AUC of two histograms, less what noise adds to it on average.

    Shapes: positives [bins], negatives [bins], kernel [bins, bins].
    """
    n_positive, n_negative = float(positives.sum()), float(negatives.sum())
    wins, losses = kernel @ negatives / n_negative, positives @ kernel / n_positive
    auc = float(positives @ wins) / n_positive
    from_noise = np.square(kernel - auc)
    of_positives = np.square(wins - auc) - (cell_sd[1] / n_negative) ** 2 * from_noise.sum(axis=1)
    of_negatives = np.square(losses - auc) - (cell_sd[0] / n_positive) ** 2 * from_noise.sum(axis=0)
    pairs = n_positive * max(n_positive - 1, 1.0), n_negative * max(n_negative - 1, 1.0)
    return float(positives @ of_positives / pairs[0] + negatives @ of_negatives / pairs[1])


def distance_squared(values: Floats, candidates: Floats) -> Floats:
    """Σ_i (values_i − candidate)² for each candidate. Shapes: [m], [grid] -> [grid]."""
    total: Floats = (
        float(values @ values)
        - 2 * candidates * float(values.sum())
        + values.size * np.square(candidates)
    )
    return total


def auc_variance(auc: Floats, n_positive: float, n_negative: float) -> Floats:
    """Hanley–McNeil variance of an AUC, with Newcombe's common (m + n)/2 − 1 (method 5)."""
    common = (n_positive + n_negative) / 2 - 1
    bracket = 1 + common * ((1 - auc) / (2 - auc) + auc / (1 + auc))
    return auc * (1 - auc) * bracket / (n_positive * n_negative)


def ratio_interval(
    numerator: float,
    denominator: float,
    *,
    numerator_variance: float,
    denominator_variance: float,
    covariance: float,
    bounds: tuple[float, float],
    confidence: float,
) -> tuple[float, float]:
    """Fieller's interval of numerator/denominator, cut to ``bounds``."""
    theta = np.linspace(bounds[0], bounds[1], GRID_POINTS)
    variance = numerator_variance - 2 * theta * covariance + theta**2 * denominator_variance
    return accepted(
        theta,
        numerator - theta * denominator,
        np.maximum(variance, 0.0),
        point=numerator / denominator,
        confidence=confidence,
    )
