"""What a score is worth at each of its cuts: ROC points, likelihood ratios, the decision curve.

Everything is read from two histograms of patients, ill and well, over the same bins by rising
suspicion, with noise of one SD in every cell or with none. A patient is called at a cut when the score
lies in its bin or above, so a cut is the lower edge of a bin. Imports figures and intervals only.
Legend: b bins.

Source: Simel, Samsa & Matchar 1991 (J Clin Epidemiol 44:763) for likelihood ratios; Vickers & Elkin
2006 (Med Decis Making 26:565) for net benefit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from shared.errors import SettingsError
from shared.measures.figures import why_lacking
from shared.sums.contract import Floats
from shared.sums.estimate import NOT_APPLICABLE, TOO_NOISY, Estimate
from shared.sums.intervals import normal_quantile

_NOBODY = Estimate(status="measured", value=0.0, low=0.0, high=0.0)


@dataclass(frozen=True, kw_only=True)
class LikelihoodRatios:
    """How much more often the ill than the well are called, and are not called."""

    positive: Estimate
    negative: Estimate


@dataclass(frozen=True, kw_only=True)
class NetBenefit:
    """Net benefit per patient of treating whom the model calls at a threshold, all, or nobody.

    Attributes:
        threshold: probability from which on a patient is treated.
        model: whom the model calls.
        treat_all: everybody.
        treat_none: nobody.
    """

    threshold: float
    model: Estimate
    treat_all: Estimate
    treat_none: Estimate = _NOBODY


def why_either_lacks(positives: float, negatives: float, minimum_cell: int) -> Estimate | None:
    """Why two classes of these sizes give no figure, or None when they do."""
    lacking = (why_lacking(size, minimum_cell) for size in (positives, negatives))
    return next((each for each in lacking if each), None)


def check_probability_edges(edges: Floats) -> None:
    """Lets pass what can be the edges of bins of probabilities [b+1].

    Raises:
        SettingsError: they do not rise, or leave [0, 1].
    """
    if edges[0] < 0.0 or edges[-1] > 1.0 or (np.diff(edges) <= 0.0).any():
        raise SettingsError(
            "edges-no-probabilities",
            f"edges of probability bins must rise within 0 and 1, not {edges[0]:g} to {edges[-1]:g}",
            hint="choose low 0 and high 1 for a score that is a probability",
        )


def roc_points(positives: Floats, negatives: Floats, *, minimum_cell: int) -> Floats:
    """False-positive share and sensitivity at every cut, from calling nobody to calling everybody.

    Noise can make a count of patients fall where it must rise. For display the counts from the top bin
    down are replaced by the nearest ones that never fall (isotonic regression, least squares), then cut
    to the class's size; exact counts stay as they are. The AUC and its interval are never read from
    these points.

    Shapes: positives [b], negatives [b] -> [b+1, 2], or [0, 2] where a class is too small.
    """
    if why_either_lacks(float(positives.sum()), float(negatives.sum()), minimum_cell):
        return np.zeros((0, 2))
    return np.stack([_rising_shares(negatives), _rising_shares(positives)], axis=1)


def _rising_shares(counts: Floats) -> Floats:
    """Share of a class in the bins down to each edge, from 0 to 1. Shapes: [b] -> [b+1]."""
    from scipy.optimize import isotonic_regression

    reached = np.cumsum(counts[::-1])
    rising = np.asarray(isotonic_regression(reached).x)
    shares = np.clip(rising / reached[-1], 0.0, 1.0)
    return np.concatenate([[0.0], shares[:-1], [1.0]])


def cells_of_cut(
    positives: Floats, negatives: Floats, *, place: int, cell_sd: float
) -> tuple[Floats, Floats]:
    """Patients by truth (ill, well) and call (called, not called), and each cell's noise variance.

    Args:
        positives: the ill by rising suspicion.
        negatives: the well, likewise.
        place: the lowest bin that is called.
        cell_sd: of the noise in every bin, in patients; 0: exact.

    Shapes: [b], [b] -> [2, 2], [2, 2].
    """
    cells = [[float(each[place:].sum()), float(each[:place].sum())] for each in (positives, negatives)]
    variance = [[cell_sd**2 * (positives.size - place), cell_sd**2 * place]] * 2
    return np.array(cells), np.array(variance)


def likelihood_ratios(
    cells: Floats, variance: Floats, *, minimum_cell: int, above_noise: float = 1.0
) -> LikelihoodRatios:
    """Both ratios of a cut, with intervals on the log scale.

    A cell varies as a Poisson count does, which gives Simel's variance, and by its noise (delta
    method). A ratio of which one cell is empty has no logarithm and is not applicable; a cell that
    noise alone could have made is too noisy.

    Args:
        cells: by truth (ill, well) and call (called, not called).
        variance: of the noise in each.
        minimum_cell: fewest patients of a class from whom a figure is shown.
        above_noise: how many times what noise alone could have made a cell must be; above 1 where it
            is asked beforehand whether cells will be so.

    Shapes: cells [2, 2], variance [2, 2].
    """
    return LikelihoodRatios(
        positive=_ratio(cells, variance, minimum_cell, above_noise),
        negative=_ratio(cells[:, ::-1], variance[:, ::-1], minimum_cell, above_noise),
    )


def _ratio(cells: Floats, variance: Floats, minimum_cell: int, above_noise: float) -> Estimate:
    """Share of the first column among the ill over that among the well. Shapes: [2, 2], [2, 2]."""
    ill, well = (float(each) for each in cells.sum(axis=1))
    if lacking := why_either_lacks(ill, well, minimum_cell):
        return lacking
    z = normal_quantile(0.95)
    if (variance > 0).any() and (cells[:, 0] <= above_noise * z * np.sqrt(variance[:, 0])).any():
        return TOO_NOISY
    if (cells[:, 0] < 0.5).any():
        return NOT_APPLICABLE
    of_ill, of_well = (float(each) for each in cells[:, 0])
    log_ratio = math.log(of_ill / ill) - math.log(of_well / well)
    slope = np.array([[1 / of_ill - 1 / ill, -1 / ill], [1 / well - 1 / of_well, 1 / well]])
    spread = float((slope**2 * (np.maximum(cells, 0.0) + variance)).sum())
    low, value, high = (math.exp(log_ratio + side * z * math.sqrt(spread)) for side in (-1, 0, 1))
    return Estimate(status="measured", value=value, low=low, high=high)


def decision_curve(
    positives: Floats,
    negatives: Floats,
    edges: Floats,
    *,
    cell_sd: float,
    minimum_cell: int,
    above_noise: float = 1.0,
) -> tuple[NetBenefit, ...]:
    """Net benefit at every inner edge of bins of probabilities: TP/n − FP/n · t/(1 − t).

    Args:
        positives: the ill by rising probability.
        negatives: the well, likewise.
        edges: of the bins, probabilities; the first and the last are no thresholds.
        cell_sd: of the noise in every bin, in patients; 0: exact.
        minimum_cell: fewest patients of a class from whom a figure is shown.
        above_noise: how many times what noise alone could have made all patients must be.

    Shapes: positives [b], negatives [b], edges [b+1] -> [b−1].

    Raises:
        SettingsError: the edges are no probabilities.
    """
    check_probability_edges(edges)
    sizes = float(positives.sum()), float(negatives.sum())
    lacking = why_either_lacks(*sizes, minimum_cell)
    noise_sd = cell_sd * math.sqrt(2 * positives.size)
    is_noise = sum(sizes) <= above_noise * normal_quantile(0.95) * noise_sd

    def at(place: int, harm: float) -> Estimate:
        if lacking or is_noise:
            return lacking or TOO_NOISY
        return _net_benefit(positives, negatives, place=place, harm=harm, cell_sd=cell_sd)

    thresholds = [float(each) for each in edges[1:-1]]
    harms = [threshold / (1.0 - threshold) for threshold in thresholds]
    return tuple(
        NetBenefit(threshold=threshold, model=at(place, harm), treat_all=at(0, harm))
        for place, (threshold, harm) in enumerate(zip(thresholds, harms, strict=True), start=1)
    )


def _net_benefit(
    positives: Floats, negatives: Floats, *, place: int, harm: float, cell_sd: float
) -> Estimate:
    """Benefit of calling the bins from ``place`` up, a well patient who is called costing ``harm``.

    A mean over patients of 1, −harm or 0: its sampling variance is the multinomial's, its noise that of
    Σ (worth − mean) over cells, since noise moves the number of patients too. Half a patient stands
    in an empty cell, so that nothing is certain.
    """
    ill, well = (float(each[place:].sum()) for each in (positives, negatives))
    n = float(positives.sum() + negatives.sum())
    mean = (ill - harm * well) / n
    sampling = max(ill, 0.5) + harm**2 * max(well, 0.5) - n * mean**2
    worth = np.zeros((2, positives.size))
    worth[0, place:], worth[1, place:] = 1.0, -harm
    noise = cell_sd**2 * float(np.square(worth - mean).sum())
    margin = normal_quantile(0.95) * math.sqrt(max(sampling, 0.0) + noise) / n
    value = min(max(mean, -harm), 1.0)
    low, high = max(mean - margin, -harm), min(mean + margin, 1.0)
    return Estimate(status="measured", value=value, low=min(low, value), high=max(high, value))
