"""One AUC out of several sites' AUCs or tables: random effects on the logit scale.

REML between-site variance, Hartung–Knapp interval (never narrower than without the correction), and
a prediction interval: where the AUC of one further hospital would lie, over all between-site variances
that the sites do not contradict, since one estimate of it from few sites is often far too small. Two
hospitals say nothing about a third: below three there is no mean. Imports the variance of an AUC only.

Source: Viechtbauer 2005 (J Educ Behav Stat 30:261) for REML; Hartung & Knapp 2001 (Stat Med 20:3875)
with the floor of Röver et al. 2015 (BMC Med Res Methodol 15:99); Nagashima, Noma & Furukawa 2019 (Stat
Methods Med Res 28:1689) for a prediction over the confidence distribution of the between-site variance,
which is that of the Q-profile, Viechtbauer 2007 (Stat Med 26:37); Snell et al. 2018 (Stat Methods Med
Res 27:3505) for the logit scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.sums.intervals import auc_variance, expit

Floats = NDArray[np.float64]
LEAST_SITES = 3
_TURNS = 5
_QUANTILES = 99  # of the confidence distribution of the between-site variance
_HALVINGS = 60


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
    between, weight, mean = _weighed(effects, variances)
    if n_sites < 2:
        return _without_interval(mean)
    scale = max(float((weight * (effects - mean) ** 2).sum()) / (n_sites - 1), 1.0)
    variance = scale / float(weight.sum())
    margin = float(student.ppf(0.5 + confidence / 2, n_sites - 1)) * math.sqrt(variance)
    low, high = mean - margin, mean + margin
    reach: tuple[float | None, float | None] = (None, None)
    if n_sites >= LEAST_SITES:
        # a further site is known no better than the mean, whose floor makes it wide where sites are few
        ends = predict_effect(effects, variances, confidence=confidence)
        reach = min(low, ends[0]), max(high, ends[1])
    return PooledEffect(
        value=mean,
        low=low,
        high=high,
        prediction_low=reach[0],
        prediction_high=reach[1],
        between_site_variance=between,
    )


def _weighed(effects: Floats, variances: Floats) -> tuple[float, Floats, float]:
    """Variance between sites, the sites' weights [s] under it, and the mean."""
    between = between_site_variance(effects, variances)
    weight = 1 / (variances + between)
    return between, weight, float((weight * effects).sum() / weight.sum())


def predict_effect(
    effects: Floats, variances: Floats, *, confidence: float = 0.95
) -> tuple[float, float]:
    """Where the effect of one further site would lie.

    Were τ² the variance between sites, Q(τ²) = Σ w·(effect − mean)², w = 1/(variance + τ²), would be χ²
    with s − 1 degrees of freedom, and it falls with τ²: each quantile of χ² gives a τ² (0 where Q never
    reaches it), and each τ² a normal effect about its own mean. The ends are those of their mixture.

    Shapes: effects [s], variances [s] > 0, s ≥ 3.
    """
    from scipy.stats import chi2, norm

    n_sites = effects.size
    wanted = chi2.ppf((np.arange(_QUANTILES) + 0.5) / _QUANTILES, n_sites - 1)  # [q]

    def weighted(between: Floats) -> tuple[Floats, Floats, Floats]:
        weight = 1 / (variances + between[:, None])  # [q,s]
        total = weight.sum(axis=1)
        mean = weight @ effects / total
        return mean, total, (weight * (effects - mean[:, None]) ** 2).sum(axis=1)

    most = float(((effects - effects.mean()) ** 2).sum()) / float(wanted[0])
    between = _halved(lambda each: weighted(each)[2] > wanted, np.zeros(_QUANTILES), most)
    mean, total, _ = weighted(between)
    sd = np.sqrt(between + 1 / total)

    def end(share: float) -> float:
        low, high = np.array([(mean - 12 * sd).min()]), float((mean + 12 * sd).max())
        held = _halved(lambda x: norm.cdf((x[:, None] - mean) / sd).mean(axis=1) < share, low, high)
        return float(held[0])

    return end(0.5 - confidence / 2), end(0.5 + confidence / 2)


def _halved(is_below: Callable[[Floats], NDArray[np.bool_]], low: Floats, most: float) -> Floats:
    """Where something stops to be below, from ``low`` [q] to ``most``; ``low`` where it never is."""
    high = np.full_like(low, most)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        below = is_below(middle)
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return low


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

    def on_logit_scale(theta: float) -> tuple[Floats, Floats]:
        unit = theta * (1.0 - theta)  # of an AUC on the logit scale
        deviation, variance = deviations(theta)
        return math.log(theta / (1.0 - theta)) + deviation / unit, variance / unit**2

    theta = _inside(theta)
    for _ in range(_TURNS):
        *_, mean = _weighed(*on_logit_scale(theta))
        theta = _inside(expit(mean))
    return _as_auc(pool_effects(*on_logit_scale(theta), confidence=confidence))


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
        value=expit(pooled.value),
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


def _maybe_expit(value: float | None) -> float | None:
    return None if value is None else expit(value)
