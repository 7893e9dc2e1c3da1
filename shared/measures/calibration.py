"""Whether a prediction means what it says: probabilities against shares, numbers against targets.

Probabilities are read from two histograms, ill and well, over bins of probability; a bin stands for
its middle, so wide bins blur what lies within them (a rare disease wants narrow ones). Numbers are read
from sums over patients. Sums may carry noise: a coefficient solves an equation that is linear in them,
and noise enters its variance beside sampling (sandwich). Imports curves, figures and intervals only.
Legend: b bins · k coefficients.

Source: Cox 1958 (Biometrika 45:562) for recalibration; Van Calster et al. 2016 (J Clin Epidemiol
74:167) for intercept and slope; Naeini, Cooper & Hauskrecht 2015 (AAAI 29:2901) for the expected
calibration error; Huber 1967 (Proc Fifth Berkeley Symp 1:221) for the sandwich.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass

import numpy as np

from shared.measures.curves import check_probability_edges, why_either_lacks
from shared.measures.figures import why_lacking
from shared.sums.contract import Floats
from shared.sums.estimate import NOT_APPLICABLE, SUPPRESSED, TOO_NOISY, Estimate
from shared.sums.intervals import normal_quantile, share_interval

_TURNS, _LONGEST_STEP, _LAST_STEP = 50, 1.0, 1e-11
# Bins of a calibration error, and how much of it may be chance: of 200 patients in 64 bins it was .14.
_ERROR_BINS, _MOST_BY_CHANCE = 10, 0.05
# Of the largest: an information or a variance as small as this is rounding.
_ROUNDING = 1e-10


@dataclass(frozen=True, kw_only=True)
class CalibrationPoint:
    """One bin of a stated probability.

    Attributes:
        predicted: the bin's middle.
        observed: share of the ill among its patients.
    """

    predicted: float
    observed: Estimate


@dataclass(frozen=True, kw_only=True)
class Recalibration:
    """What must be done to predictions: 0 and 1 where nothing.

    ``intercept``: of probabilities on the logit scale with the slope held at 1 (calibration in the
    large; above 0: risks are too low), of numbers that of the fitted line, in the target's unit.
    ``slope``: below 1 predictions are too extreme.
    """

    intercept: Estimate
    slope: Estimate


@dataclass(frozen=True, kw_only=True)
class PairSums:
    """Sums over patients of y, the target less a public centre, and e = prediction − target.

    In the target's unit; the order of fields is the order of noise covariances.
    """

    n: float
    y: float
    e: float
    y_squared: float
    e_squared: float
    product: float


def calibration_curve(
    positives: Floats,
    negatives: Floats,
    edges: Floats,
    *,
    cell_sd: float,
    minimum_cell: int,
    above_noise: float = 1.0,
) -> tuple[CalibrationPoint, ...]:
    """Observed share of each bin with its interval, where its patients are enough and not only noise.

    ``above_noise``: as of ``recalibrate``.

    Shapes: positives [b], negatives [b], edges [b+1] -> [b].
    """
    observed = (
        _observed(float(ill), float(well), cell_sd, minimum_cell, above_noise)
        for ill, well in zip(positives, negatives, strict=True)
    )
    return tuple(
        CalibrationPoint(predicted=float(middle), observed=share)
        for middle, share in zip(_middles(edges), observed, strict=True)
    )


def _observed(
    ill: float, well: float, cell_sd: float, minimum_cell: int, above_noise: float
) -> Estimate:
    if cell_sd and ill + well <= above_noise * normal_quantile(0.95) * cell_sd * math.sqrt(2):
        return TOO_NOISY
    if lacking := why_lacking(ill + well, minimum_cell):
        return lacking
    noise = (cell_sd**2, cell_sd**2)
    low, high = share_interval(ill, well, noise_variance=noise, confidence=0.95)
    return Estimate(status="measured", value=min(max(ill / (ill + well), 0.0), 1.0), low=low, high=high)


def recalibrate(
    positives: Floats,
    negatives: Floats,
    edges: Floats,
    *,
    cell_sd: float,
    minimum_cell: int,
    above_noise: float = 1.0,
) -> Recalibration:
    """Intercept and slope of a logistic regression of the disease on the logit of the bin's middle.

    Where no coefficients are found (one bin holds everybody; the bins tell ill from well without
    error) exact counts give none. Noisy ones are then too noisy, as they are where noise alone could
    have made the information that a coefficient rests on; ``above_noise`` times it, where that is asked
    beforehand.

    Shapes: positives [b], negatives [b], edges [b+1].
    """
    middles = _middles(edges)
    if lacking := why_either_lacks(float(positives.sum()), float(negatives.sum()), minimum_cell):
        return Recalibration(intercept=lacking, slope=lacking)
    logit = np.log(middles / (1.0 - middles))
    ones, none = np.ones_like(logit), np.zeros_like(logit)
    counts = (positives, negatives, cell_sd, above_noise)
    shift = _fit(np.stack([ones], axis=1), logit, *counts)
    line = _fit(np.stack([logit, ones], axis=1), none, *counts)
    return Recalibration(intercept=shift, slope=line)


def _fit(
    design: Floats, offset: Floats, ill: Floats, well: Floats, cell_sd: float, above_noise: float
) -> Estimate:
    """The first coefficient of a logistic regression of counts, by Newton's method.

    Its score Σ x·(ill·(1 − p) − well·p) is linear in the counts, so noise leaves its expectation 0 and
    adds cell_sd²·Σ x·xᵀ·((1 − p)² + p²) to its variance.

    Shapes: design [b, k], offset [b], ill [b], well [b].
    """
    none = TOO_NOISY if cell_sd else NOT_APPLICABLE
    found = np.zeros(design.shape[1])
    for _ in range(_TURNS):
        p = 0.5 * (1.0 + np.tanh(0.5 * (offset + design @ found)))  # no logit is too large for it
        weight = p * (1.0 - p)
        information = (design.T * ((ill + well) * weight)) @ design  # [k, k]
        values, axes = np.linalg.eigh(information)
        if values[0] <= _ROUNDING * max(values[-1], 1.0):
            return none
        step = np.linalg.solve(information, design.T @ (ill * (1.0 - p) - well * p))
        longest = float(np.abs(step).max())
        if longest <= _LAST_STEP * (1.0 + float(np.abs(found).max())):
            break
        found = found + step * min(1.0, _LONGEST_STEP / longest)
    else:
        return none
    along = weight * np.square(design @ axes[:, 0])
    noise_sd = cell_sd * math.sqrt(2 * float(along @ along))
    if values[0] <= above_noise * normal_quantile(0.95) * noise_sd:
        return none
    noise = (design.T * (cell_sd**2 * ((1.0 - p) ** 2 + p**2))) @ design
    bread = np.linalg.inv(information)
    margin = normal_quantile(0.95) * math.sqrt(float((bread @ (information + noise) @ bread)[0, 0]))
    return _around(float(found[0]), margin)


def expected_calibration_error(
    positives: Floats,
    negatives: Floats,
    edges: Floats,
    *,
    cell_sd: float,
    minimum_cell: int,
    above_noise: float = 1.0,
) -> Estimate:
    """Mean over patients of |observed share − mean stated probability| in ten bins of probability.

    Neighbours are joined to ten bins; a patient states the middle of the narrow one. Chance and noise
    lift the figure, the more so the more bins. The interval knows: with d a bin's difference and δ its
    error, sign(d)·δ ≤ |d + δ| − |d| ≤ |δ|, so its high end is the figure and a normal margin, and its
    low end has the mean of Σ|δ| taken off besides. It holds the truth more often than it says. Where
    that mean is above .05 the figure would be mostly chance: exact counts are then suppressed, and
    noisy ones, of which that is asked beforehand, too noisy. ``above_noise``: as of ``recalibrate``.

    Shapes: positives [b], negatives [b], edges [b+1].
    """
    middles = _middles(edges)
    if lacking := why_either_lacks(float(positives.sum()), float(negatives.sum()), minimum_cell):
        return lacking
    n, z = float(positives.sum() + negatives.sum()), normal_quantile(0.95)
    sd_n = cell_sd * math.sqrt(2 * positives.size)
    if n <= above_noise * z * sd_n:
        return TOO_NOISY
    _, first = np.unique(np.arange(middles.size) * _ERROR_BINS // middles.size, return_index=True)
    apart = np.add.reduceat(positives * (1.0 - middles) - negatives * middles, first)  # [10]
    value = float(np.abs(apart).sum()) / n
    ill, well = np.maximum(positives, 0.0), np.maximum(negatives, 0.0)
    of_bin = (ill + cell_sd**2) * (1.0 - middles) ** 2 + (well + cell_sd**2) * middles**2  # [b]
    variance = np.add.reduceat(of_bin, first)  # [10]
    normal = z * math.sqrt(float(variance.sum()) + (value * sd_n) ** 2) / n
    lifted = math.sqrt(2.0 / math.pi) * float(np.sqrt(variance).sum()) / n
    if lifted > _MOST_BY_CHANCE and (not cell_sd or above_noise > 1.0):
        return TOO_NOISY if cell_sd else SUPPRESSED
    low, high = max(value - lifted - normal, 0.0), min(value + normal, 1.0)
    return Estimate(status="measured", value=min(value, 1.0), low=low, high=high)


def calibrate_regression(
    sums: PairSums, noise: Floats, *, centre: float, minimum_cell: int, above_noise: float = 1.0
) -> Recalibration:
    """Intercept and slope of the least-squares line of the target on the prediction.

    Sampling as ordinary least squares has it (errors about the line of one size, Student's t), noise
    by the delta method on the normal equations. Not applicable where predictions do not vary, too
    noisy where noise alone could have made their variation.

    Args:
        sums: of the patients.
        noise: covariance of the sums' noise; zeros: exact.
        centre: what was taken off every target before it was added up.
        minimum_cell: fewest patients from whom a figure is shown.
        above_noise: how many times what noise alone could make the predictions must vary.

    Shapes: noise [6, 6], in the order of ``PairSums``.
    """
    from scipy.stats import t as student

    if lacking := why_lacking(sums.n, max(minimum_cell, 3)):
        return Recalibration(intercept=lacking, slope=lacking)
    n, y, e, y_squared, e_squared, product = astuple(sums)
    f, f_squared, f_y = y + e, y_squared + 2 * product + e_squared, y_squared + product
    spread = f_squared - f**2 / n
    moves = np.array([(f / n) ** 2, -2 * f / n, -2 * f / n, 1.0, 1.0, 2.0])  # of the spread by the sums
    if spread <= above_noise * normal_quantile(0.95) * math.sqrt(float(moves @ noise @ moves)):
        none = TOO_NOISY if noise.any() else NOT_APPLICABLE
        return Recalibration(intercept=none, slope=none)
    if spread <= _ROUNDING * f_squared:
        return Recalibration(intercept=NOT_APPLICABLE, slope=NOT_APPLICABLE)
    b = (f_y - f * y / n) / spread
    a = (y - b * f) / n
    rest = y_squared - y**2 / n - b * (f_y - f * y / n)
    bread = np.linalg.inv(np.array([[n, f], [f, f_squared]]))
    # Normal equations Σ(y − a − b·f) and Σ f·(y − a − b·f), by the six sums: [2, 6]
    by_sums = np.array([[-a, 1 - b, -b, 0, 0, 0], [0, -a, -a, 1 - b, -b, 1 - 2 * b]])
    covariance = max(rest, 0.0) / (n - 2) * bread + bread @ by_sums @ noise @ by_sums.T @ bread
    back = np.array([1.0, -centre])  # the line's value where the prediction is 0, not the centre
    quantile = float(student.ppf(0.975, n - 2))
    return Recalibration(
        intercept=_around(a + centre * (1 - b), quantile * math.sqrt(float(back @ covariance @ back))),
        slope=_around(b, quantile * math.sqrt(float(covariance[1, 1]))),
    )


def _middles(edges: Floats) -> Floats:
    """Middles of bins of probability. Shapes: [b+1] -> [b]."""
    check_probability_edges(edges)
    middles: Floats = (edges[:-1] + edges[1:]) / 2.0
    return middles


def _around(value: float, margin: float) -> Estimate:
    return Estimate(status="measured", value=value, low=value - margin, high=value + margin)
