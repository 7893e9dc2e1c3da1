"""One AUC out of several sites' AUCs or tables: random effects on the logit scale.

REML between-site variance, Hartung–Knapp interval (never narrower than without the correction), and
a prediction interval: where the AUC of one further hospital would lie. Two hospitals say nothing about
a third: below three there is no mean. Imports the variance of an AUC only.

Source: Viechtbauer 2005 (J Educ Behav Stat 30:261) for REML; Hartung & Knapp 2001 (Stat Med 20:3875)
with the floor of Röver et al. 2015 (BMC Med Res Methodol 15:99); Higgins et al. 2009 (JRSS A 172:137)
for the prediction interval; Snell et al. 2018 (Stat Methods Med Res 27:3505) for the logit scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.sums.intervals import auc_variance

Floats = NDArray[np.float64]
LEAST_SITES = 3
_TURNS = 6


@dataclass(frozen=True, kw_only=True)
class PooledEffect:
    """A pooled effect.

    Attributes:
        value: the random-effects mean.
        low: of the 95 % interval; null below two sites.
        high: of the interval.
        prediction_low: of the 95 % prediction interval of another site; null below three sites.
        prediction_high: of the prediction interval.
        between_site_variance: of the effects beyond their own.
    """

    value: float
    low: float | None
    high: float | None
    prediction_low: float | None
    prediction_high: float | None
    between_site_variance: float


def pool_effects(effects: Floats, variances: Floats, *, confidence: float = 0.95) -> PooledEffect:
    """Random-effects mean of independent effects. Shapes: effects [s], variances [s] > 0, s ≥ 1."""
    from scipy.stats import t as student

    n_sites = effects.size
    between = between_site_variance(effects, variances)
    weight = 1 / (variances + between)
    mean = float((weight * effects).sum() / weight.sum())
    if n_sites < 2:
        return _without_interval(mean)
    scale = max(float((weight * (effects - mean) ** 2).sum()) / (n_sites - 1), 1.0)
    variance = scale / float(weight.sum())
    margin = float(student.ppf(0.5 + confidence / 2, n_sites - 1)) * math.sqrt(variance)
    reach = None
    if n_sites > 2:
        quantile = float(student.ppf(0.5 + confidence / 2, n_sites - 2))
        reach = quantile * math.sqrt(between + variance)
    return PooledEffect(
        value=mean,
        low=mean - margin,
        high=mean + margin,
        prediction_low=None if reach is None else mean - reach,
        prediction_high=None if reach is None else mean + reach,
        between_site_variance=between,
    )


def pool_exact_aucs(
    aucs: Floats, n_positive: Floats, n_negative: Floats, *, confidence: float = 0.95
) -> PooledEffect:
    """Random-effects AUC of sites' exact AUCs, in one stage.

    A site's AUC varies about the mean as its size lets the mean vary, whatever its own error says. So a
    perfect hospital, whose AUC of 1 has no logit and no error, is one like the others.

    Shapes: aucs [s], n_positive [s], n_negative [s].
    """
    pairs = n_positive * n_negative

    def deviations(theta: float) -> tuple[Floats, Floats]:
        return aucs - theta, _sampling(theta, n_positive, n_negative)

    return _in_turns(float(aucs @ pairs / pairs.sum()), deviations, confidence=confidence)


def _in_turns(
    theta: float, deviations: Callable[[float], tuple[Floats, Floats]], *, confidence: float
) -> PooledEffect:
    """The mean of sites of which each deviates from the mean itself, so both are found in turns.

    Args:
        theta: where to start.
        deviations: each site's AUC less a mean, and its variance were the mean true.
        confidence: of the interval.
    """
    theta = _inside(theta)
    for _ in range(_TURNS):
        unit = theta * (1.0 - theta)  # of an AUC on the logit scale
        deviation, variance = deviations(theta)
        effects = math.log(theta / (1.0 - theta)) + deviation / unit
        found = pool_effects(effects, variance / unit**2, confidence=confidence)
        theta = _inside(_expit(found.value))
    return _as_auc(found)


def _sampling(theta: float, n_positive: Floats, n_negative: Floats) -> Floats:
    """Variance of each site's AUC, were it a draw of this one. Shapes: [s], [s] -> [s]."""
    return np.array(
        [
            float(auc_variance(np.array(theta), ill, well))
            for ill, well in zip(n_positive, n_negative, strict=True)
        ]
    )


def _as_auc(pooled: PooledEffect) -> PooledEffect:
    """From the logit scale."""
    return PooledEffect(
        value=_expit(pooled.value),
        low=_maybe_expit(pooled.low),
        high=_maybe_expit(pooled.high),
        prediction_low=_maybe_expit(pooled.prediction_low),
        prediction_high=_maybe_expit(pooled.prediction_high),
        between_site_variance=pooled.between_site_variance,
    )


def pool_histograms(
    positives: Floats,
    negatives: Floats,
    *,
    cell_sd: tuple[float, float],
    confidence: float = 0.95,
) -> PooledEffect | None:
    """Random-effects AUC of sites' noisy score histograms, in one stage.

    A site's statistic is wins − θ·pairs, which is linear in what it released and never divided by a
    noisy count of positives; its sampling and noise variances follow from the pooled histogram and the
    site's size, not from its own noisy cells.

    Args:
        positives: of each site, by rising suspicion.
        negatives: likewise.
        cell_sd: of the noise in a bin of positives, and in one of negatives, in patients; 0: exact.
        confidence: of the interval.

    Shapes: positives [s, bins], negatives [s, bins].

    Returns:
        None of fewer than three sites, or where the noise left no positives or no negatives.
    """
    n_sites, n_bins = positives.shape
    n_positive, n_negative = float(positives.sum()), float(negatives.sum())
    if n_sites < LEAST_SITES or min(n_positive, n_negative) < 1.0:
        return None
    kernel = np.tril(np.ones((n_bins, n_bins)), -1) + 0.5 * np.eye(n_bins)
    ill, well = positives.sum(axis=0) / n_positive, negatives.sum(axis=0) / n_negative  # shapes
    sizes = np.maximum(positives.sum(axis=1) + negatives.sum(axis=1), 2.0)  # [s]
    of_ill = sizes * n_positive / (n_positive + n_negative)
    of_well = sizes - of_ill
    wins = np.einsum("sb,bc,sc->s", positives, kernel, negatives)
    pairs = positives.sum(axis=1) * negatives.sum(axis=1)

    def deviations(theta: float) -> tuple[Floats, Floats]:
        noise = (
            cell_sd[0] ** 2 * ((kernel @ well - theta) ** 2).sum() * of_well**2
            + cell_sd[1] ** 2 * ((ill @ kernel - theta) ** 2).sum() * of_ill**2
            + (cell_sd[0] * cell_sd[1]) ** 2 * float(((kernel - theta) ** 2).sum())
        )
        sampling = _sampling(theta, of_ill, of_well)
        variance = sampling + noise / (of_ill * of_well) ** 2
        return (wins - theta * pairs) / (of_ill * of_well), variance

    return _in_turns(float(ill @ kernel @ well), deviations, confidence=confidence)


def _inside(auc: float) -> float:
    return min(max(auc, 0.02), 0.98)


def between_site_variance(effects: Floats, variances: Floats) -> float:
    """REML variance between sites: the restricted likelihood's maximum, 0 or above."""
    if effects.size < 2:
        return 0.0
    from scipy.optimize import brentq, minimize_scalar

    def deviance(between: float) -> float:
        weight = 1 / (variances + between)
        mean = (weight * effects).sum() / weight.sum()
        fit = (weight * (effects - mean) ** 2).sum()
        return float(fit - np.log(weight).sum() + math.log(weight.sum()))

    def slope(between: float) -> float:
        """Twice the restricted log-likelihood's derivative."""
        weight = 1 / (variances + between)
        mean = (weight * effects).sum() / weight.sum()
        fit = (weight**2 * (effects - mean) ** 2).sum()
        return float(fit - weight.sum() + (weight**2).sum() / weight.sum())

    ceiling = 10 * float(effects.var(ddof=1)) + 1e-12
    found = minimize_scalar(deviance, bounds=(0.0, ceiling), method="bounded", options={"xatol": 1e-10})
    best = float(found.x)
    if deviance(best) >= deviance(0.0):
        return 0.0
    # Values near the maximum are equal to rounding; its slope is not.
    low, high = 0.999 * best, 1.001 * best
    if slope(low) > 0.0 > slope(high):
        best = float(brentq(slope, low, high, xtol=1e-16))
    return best


def _without_interval(mean: float) -> PooledEffect:
    return PooledEffect(
        value=mean,
        low=None,
        high=None,
        prediction_low=None,
        prediction_high=None,
        between_site_variance=0.0,
    )


def _expit(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def _maybe_expit(value: float | None) -> float | None:
    return None if value is None else _expit(value)
