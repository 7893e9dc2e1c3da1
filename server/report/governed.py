"""Reads hospitals' governed statistics: figures of one site with their intervals, and of all pooled.

Exact figures: intervals hold sampling alone. Pooled is what is exact to pool: counts, shares, errors
and R², each weighted by the patients behind it, as if all were one cohort; their intervals are of
these hospitals' patients and say nothing of a further hospital. An AUC is not exact to pool: it is a
random-effects mean, on the logit scale, of three hospitals or more, a perfect one among them. Not
pooled: a share that any hospital withheld (withheld are the best and the worst, so the mean of the
others is biased), calibration, Brier score. Imports the statistics, intervals and pooling of effects.

Source: Wilson 1927 (JASA 22:209) for shares; ``exact_auc_interval`` for the AUC; standard
errors of R², RMSE and limits are the sites' (influence functions); ``server.report.pooling``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from server.report.pooling import LEAST_SITES, PooledEffect, pool_exact_aucs
from shared.measure.exact.discrimination import exact_auc_interval
from shared.measure.governed.statistics import (
    LIMIT_SD,
    Floats,
    StatisticsSpec,
    share_of,
    size_of,
)
from shared.sums.estimate import NOT_APPLICABLE, SUPPRESSED, Estimate, Measures, promise_of
from shared.sums.intervals import normal_quantile, share_interval

Named = dict[str, float]


def read_statistics(
    vector: Floats, spec: StatisticsSpec, *, sensitivity_target: float, confidence: float = 0.95
) -> Measures:
    """Measures of one site's governed statistics; what it withheld is suppressed. Shapes: vector [m].

    Raises:
        ProtocolError: the vector is of another length.
    """
    found = spec.named(vector)
    return _measures(found, _auc(found, confidence), spec, sensitivity_target, confidence)


def read_beside(vector: Floats, spec: StatisticsSpec) -> dict[str, Estimate]:
    """What a site computed beside the main figures, suppressed where it was withheld. Shapes: [m].

    Slope, intercept and Brier score, without an interval; of each class beside the endpoint how many
    are of it and which share is called rightly.
    """
    words = {
        "slope": "calibration slope",
        "intercept": "calibration intercept",
        "brier": "Brier",
        "target_mean": "mean of the target",
        "target_sd": "SD of the target",
    }
    found = spec.named(vector)
    plain = words | {size_of(name): size_of(name) for name in spec.others}
    figures = {
        plain[name]: SUPPRESSED if math.isnan(value) else Estimate(status="measured", value=value)
        for name, value in found.items()
        if name in plain
    }
    return figures | {
        share_of(name): _share(found, share_of(name), found[size_of(name)], 0.95)
        for name in spec.others
    }


def pool_statistics(
    vectors: Sequence[Floats],
    spec: StatisticsSpec,
    *,
    sensitivity_target: float,
    confidence: float = 0.95,
) -> Measures:
    """Measures of several sites' governed statistics, see the module. Shapes: each [m].

    Raises:
        ProtocolError: a vector is of another length.
    """
    sites = [spec.named(vector) for vector in vectors]
    sites = [found for found in sites if found["n"] > 0]
    if not sites:
        sites = [dict.fromkeys(spec.figures, math.nan)]
    return _measures(
        _pooled(sites, spec), _pooled_auc(sites, confidence), spec, sensitivity_target, confidence
    )


def read_constant_r2(
    vector: Floats, spec: StatisticsSpec, *, constant: float, confidence: float = 0.95
) -> Estimate:
    """R² of predicting one public number for everybody: −((mean − constant)/SD)² of the target."""
    found = spec.named(vector)
    if not spec.is_regression:
        return NOT_APPLICABLE
    if not (found["n"] > 0 and found["target_sd"] > 0 and math.isfinite(found["target_mean"])):
        return SUPPRESSED
    distance = abs(found["target_mean"] - constant) / found["target_sd"]
    margin = normal_quantile(confidence) * math.sqrt((1 + distance**2 / 2) / found["n"])
    nearest = max(distance - margin, 0.0)
    return _measured(-(distance**2), -((distance + margin) ** 2), -(nearest**2))


def _measures(
    found: Named,
    auc: Estimate,
    spec: StatisticsSpec,
    sensitivity_target: float,
    confidence: float,
) -> Measures:
    sensitivity = _share(found, "sensitivity", found["n_positive"], confidence)
    specificity = _share(found, "specificity", found["n"] - found["n_positive"], confidence)
    errors = dict.fromkeys(("r2", "mae", "rmse", "bias", "limit_low", "limit_high"), NOT_APPLICABLE)
    if spec.is_regression:
        errors = _errors(found, normal_quantile(confidence))
    return Measures(
        n_patients=_count(found["n"]),
        n_positive=_count(found["n_positive"]),
        auc=auc,
        sensitivity=sensitivity,
        specificity=specificity,
        promise=promise_of(sensitivity, sensitivity_target),
        **errors,
    )


def _errors(found: Named, z: float) -> dict[str, Estimate]:
    """R², MAE, RMSE on the log scale, which keeps them on their side of 0; the others symmetric."""
    n, spread = found["n"], found["error_sd"]
    bias_margin = z * spread / math.sqrt(n) if n > 0 else math.nan
    of_absolute = max(found["rmse"] ** 2 - found["mae"] ** 2, 0.0)
    mae_se = math.sqrt(of_absolute / n) if n > 0 and math.isfinite(of_absolute) else math.nan
    unexplained = _positive(1 - found["r2"], z * found["r2_se"])
    r2 = SUPPRESSED
    if unexplained.value is not None and unexplained.low is not None and unexplained.high is not None:
        r2 = _measured(1 - unexplained.value, 1 - unexplained.high, 1 - unexplained.low)
    low, high = found["bias"] - LIMIT_SD * spread, found["bias"] + LIMIT_SD * spread
    return {
        "r2": r2,
        "mae": _positive(found["mae"], z * mae_se),
        "rmse": _positive(found["rmse"], z * found["rmse_se"]),
        "bias": _symmetric(found["bias"], bias_margin),
        "limit_low": _symmetric(low, z * found["limit_low_se"]),
        "limit_high": _symmetric(high, z * found["limit_high_se"]),
    }


def _measured(value: float, low: float, high: float) -> Estimate:
    if not all(math.isfinite(number) for number in (value, low, high)):
        return SUPPRESSED
    return Estimate(status="measured", value=value, low=low, high=high)


def _symmetric(value: float, margin: float) -> Estimate:
    return _measured(value, value - margin, value + margin)


def _positive(value: float, margin: float) -> Estimate:
    """A figure above 0, its interval on the log scale."""
    if not value > 0:
        return _symmetric(value, margin)
    factor = math.exp(min(margin / value, 700.0))
    return _measured(value, value / factor, value * factor)


def _count(count: float) -> Estimate:
    return _measured(count, count, count)


def _share(found: Named, name: str, size: float, confidence: float) -> Estimate:
    share = found[name]
    if not (math.isfinite(share) and size > 0):
        return SUPPRESSED
    hits = share * size
    low, high = share_interval(hits, size - hits, noise_variance=(0.0, 0.0), confidence=confidence)
    return _measured(share, low, high)


def _auc(found: Named, confidence: float) -> Estimate:
    if not _has_auc(found):
        return SUPPRESSED
    low, high = exact_auc_interval(
        found["auc"],
        found["auc_se"] ** 2,
        n_positive=found["n_positive"],
        n_negative=found["n"] - found["n_positive"],
        confidence=confidence,
    )
    return _measured(found["auc"], low, high)


def pool_auc(
    vectors: Sequence[Floats], spec: StatisticsSpec, *, confidence: float = 0.95
) -> PooledEffect | None:
    """Random-effects AUC of the sites that show one; None of fewer than three. Shapes: each [m]."""
    return _pooled_effect([spec.named(vector) for vector in vectors], confidence)


def _pooled_effect(sites: Sequence[Named], confidence: float) -> PooledEffect | None:
    known = [found for found in sites if _has_auc(found)]
    if len(known) < LEAST_SITES:
        return None
    auc, n_positive, n = (
        np.array([found[name] for found in known]) for name in ("auc", "n_positive", "n")
    )
    return pool_exact_aucs(auc, n_positive, n - n_positive, confidence=confidence)


def _has_auc(found: Named) -> bool:
    sizes = found["n_positive"], found["n"] - found["n_positive"]
    return math.isfinite(found["auc"]) and math.isfinite(found["auc_se"]) and min(sizes) > 0


def _pooled_auc(sites: Sequence[Named], confidence: float) -> Estimate:
    pooled = _pooled_effect(sites, confidence)
    if pooled is None or pooled.low is None or pooled.high is None:
        return SUPPRESSED
    return _measured(pooled.value, pooled.low, pooled.high)


def _pooled(sites: Sequence[Named], spec: StatisticsSpec) -> Named:
    """Figures as of one cohort of all patients; NaN where a site's part of one is withheld."""

    def of(name: str) -> Floats:
        return np.array([found[name] for found in sites])

    n, n_positive = of("n"), of("n_positive")
    pooled = dict.fromkeys(spec.figures, math.nan)
    pooled |= {"n": float(n.sum()), "n_positive": float(n_positive.sum())}
    for name, size in (("sensitivity", n_positive), ("specificity", n - n_positive)):
        pooled[name] = float((of(name) * size).sum() / size.sum()) if size.sum() > 0 else math.nan
    if not spec.is_regression:
        return pooled
    weight = n / n.sum()

    def spread(mean: Floats, sd: Floats, *, lost: int) -> tuple[float, float]:
        """Mean and SD of all patients, of SDs with divisor n − lost."""
        middle = float(weight @ mean)
        squares = (n - lost) * sd**2 + n * (mean - middle) ** 2
        return middle, math.sqrt(float(squares.sum() / (n.sum() - lost)))

    def error_of(errors: Floats) -> float:
        return math.sqrt(float(((weight * errors) ** 2).sum()))

    pooled["mae"] = float(weight @ of("mae"))
    pooled["rmse"] = math.sqrt(float(weight @ of("rmse") ** 2))
    pooled["bias"], pooled["error_sd"] = spread(of("bias"), of("error_sd"), lost=1)
    pooled["target_mean"], pooled["target_sd"] = spread(of("target_mean"), of("target_sd"), lost=0)
    if pooled["rmse"] > 0:
        pooled["rmse_se"] = error_of(of("rmse") * of("rmse_se")) / pooled["rmse"]
    if pooled["target_sd"] > 0:
        variance = pooled["target_sd"] ** 2
        pooled["r2"] = 1 - pooled["rmse"] ** 2 / variance
        # each hospital's share of the variance is taken as known
        pooled["r2_se"] = error_of(of("r2_se") * of("target_sd") ** 2 / variance)
    for name in ("limit_low_se", "limit_high_se"):
        pooled[name] = error_of(of(name))
    return pooled
