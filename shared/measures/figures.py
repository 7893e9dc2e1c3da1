"""Figures of counts, each with its interval: shares, rankings, agreement. Imports errors and intervals.

Cells are patients, with noise or without; a figure of a class that is empty is not applicable, of too
few patients suppressed. Shapes as the functions say: b bins · c classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from shared.errors import PolicyError
from shared.measures.counts import SUPPORT
from shared.sums.contract import Floats
from shared.sums.estimate import NOT_APPLICABLE, SUPPRESSED, TOO_NOISY, Estimate
from shared.sums.intervals import auc_interval, normal_quantile, share_interval

Bools = NDArray[np.bool_]

# The widest half of an interval that still says something, by how a figure's name begins; of others. An
# NPV, an accuracy and a Brier score of no model at all lie near what a good one reaches.
_WIDEST_OF: Mapping[str, float] = {
    "NPV": 0.1,
    "accuracy": 0.1,
    "balanced accuracy": 0.15,
    "macro F1": 0.15,
    "Brier": 0.05,
    "specificity": 0.2,
    "C-index": 0.2,
    "observed risk": 0.1,
    "observed − expected": 0.1,
    "expected risk": 0.1,
    "calibration slope": 0.5,
    "calibration error": 0.1,
    "net benefit": 0.1,
}
_WIDEST, _WIDEST_AUC = 0.3, 0.2
_WIDEST_FACTOR = 3.0  # of a ratio: either end is at most so many times away
_RATIOS = "LR"
_OTHER_OF_CUT = {"sensitivity": "specificity", "specificity": "sensitivity"}
# Made of the shares of all classes that are called rightly.
COMPOSED = frozenset({"balanced accuracy", "macro F1", "κ", "quadratic κ"})
# How far above its noise a cell is expected to be for a figure that such noise would swallow.
ABOVE_NOISE = 2.0
# How many are taken to have the endpoint, before anything is known.
PREVALENCE = 0.2


def worth_showing(
    found: Mapping[str, Estimate], expected: Mapping[str, Estimate]
) -> dict[str, Estimate]:
    """Noisy figures that were expected to say something."""
    shown = shown_of(expected)
    return {
        name: each if each.value is not None and name in shown else TOO_NOISY
        for name, each in found.items()
    }


def shown_of(expected: Mapping[str, Estimate]) -> frozenset[str]:
    """The noisy figures of a table that are expected to say something.

    A count does where noise moves it by no more than the largest count that is expected. Sensitivity
    and specificity of one cut do together or not at all, and what is composed of classes' shares where
    all of these do: a half alone reads as a triumph.
    """
    counts = [each.value or 0.0 for name, each in expected.items() if name.startswith(SUPPORT)]
    shown = {
        name
        for name, each in expected.items()
        if (
            (each.high or 0.0) - (each.value or 0.0) <= max(counts)
            if name.startswith(SUPPORT)
            else is_narrow(name, each)
        )
    }
    shares = {name for name in expected if name.startswith(tuple(_OTHER_OF_CUT))}
    shown -= {name for name in shares if not {name, _other_of_cut(name)} <= shown}
    return frozenset(shown if shares <= shown else shown - COMPOSED)


def _other_of_cut(name: str) -> str:
    word, comma, of = name.partition(",")
    return _OTHER_OF_CUT[word] + comma + of


def bell_pair(n_bins: int) -> Floats:
    """Shares of patients without and with the endpoint, of a score that tells them apart. Shape: [2,b].

    Bins by rising suspicion; before anything is known.
    """
    middles = (np.arange(n_bins) + 0.5) / n_bins
    bells = np.exp(-0.5 * ((middles - np.array([[0.35], [0.65]])) / 0.25) ** 2)
    shares: Floats = bells / bells.sum(axis=1, keepdims=True)
    return shares


def is_narrow(name: str, estimate: Estimate) -> bool:
    """Whether half of a figure's interval is narrow enough to be worth showing."""
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return False
    if name.startswith(_RATIOS):
        return estimate.high <= _WIDEST_FACTOR * estimate.value <= _WIDEST_FACTOR**2 * estimate.low
    return max(estimate.high - estimate.value, estimate.value - estimate.low) <= widest_of(name)


def widest_of(name: str) -> float:
    """The widest half of an interval that still says something of a figure."""
    widest = _WIDEST_AUC if "AUC" in name else _WIDEST
    return next((width for begin, width in _WIDEST_OF.items() if name.startswith(begin)), widest)


def require_full_cells(total: Floats, minimum_cell: int, *, of: str, fewer: str) -> None:
    """Refuse an exact total of which a cell holds a few patients.

    Args:
        total: counts of patients.
        minimum_cell: fewest patients of a cell that is not empty.
        of: what the cells are of.
        fewer: what to ask fewer of.

    Raises:
        PolicyError: one does.
    """
    if ((total > 0) & (total < minimum_cell)).any():
        raise PolicyError(
            "cell-too-small",
            f"a cell of a {of} holds fewer than {minimum_cell} patients",
            hint=f"ask for noised tables (validation.release_class=dp), or for fewer {fewer}",
        )


def why_lacking(
    count: float, minimum_cell: int, *, noise_variance: float = 0.0, is_expected: bool = False
) -> Estimate | None:
    """Why a class of this size gives no figure, or None when it does.

    Of a class that is expected noise may not swallow it: it must be ``ABOVE_NOISE`` times what noise
    alone could make of nobody. Of one that came out noise decides nothing, or only classes that it has
    lifted would be seen; the interval says how little it leaves.
    """
    if is_expected and count < ABOVE_NOISE * normal_quantile(0.95) * math.sqrt(noise_variance):
        return TOO_NOISY
    if count < 0.5:
        return NOT_APPLICABLE
    return SUPPRESSED if count < minimum_cell else None


def why_either_is_lacking(
    sizes: tuple[float, float],
    noise_variance: tuple[float, float],
    minimum_cell: int,
    *,
    is_expected: bool,
) -> Estimate | None:
    """Why one of two classes gives no figure of both, or None when neither does."""
    reasons = (
        why_lacking(size, minimum_cell, noise_variance=variance, is_expected=is_expected)
        for size, variance in zip(sizes, noise_variance, strict=True)
    )
    return next((reason for reason in reasons if reason), None)


def auc_of(
    positives: Floats,
    negatives: Floats,
    cell_sd: tuple[float, float],
    minimum_cell: int,
    *,
    is_expected: bool = False,
    confidence: float = 0.95,
) -> Estimate:
    """Of two histograms by rising suspicion; patients of one bin count as ties (½)."""
    sizes = float(positives.sum()), float(negatives.sum())
    noise = cell_sd[0] ** 2 * positives.size, cell_sd[1] ** 2 * negatives.size
    lacking = why_either_is_lacking(sizes, noise, minimum_cell, is_expected=is_expected)
    if lacking:
        return lacking
    wins = float(positives @ (np.cumsum(negatives) - negatives / 2))
    low, high = auc_interval(positives, negatives, cell_sd=cell_sd, confidence=confidence)
    value = min(max(wins / (sizes[0] * sizes[1]), 0.0), 1.0)
    return Estimate(status="measured", value=value, low=low, high=high)


def mean_of(parts: list[Estimate]) -> Estimate:
    """Mean over classes; their errors are taken to go together, which is never too narrow."""
    if any(each.value is None for each in parts):
        return next(each for each in parts if each.value is None)
    figures = np.array([(each.value, each.low, each.high) for each in parts], dtype=np.float64)
    value, low, high = (float(each) for each in figures.mean(axis=0))
    return Estimate(status="measured", value=value, low=low, high=high)


def share_of(
    cells: Floats,
    variance: Floats,
    hit: Bools,
    of: Bools,
    minimum_cell: int,
    *,
    is_expected: bool = False,
    confidence: float = 0.95,
) -> Estimate:
    """The share of the patients in ``of`` who are in ``hit``."""
    hits, misses = float(cells[hit].sum()), float(cells[of & ~hit].sum())
    noise = float(variance[hit].sum()), float(variance[of & ~hit].sum())
    lacking = why_lacking(
        hits + misses, minimum_cell, noise_variance=sum(noise), is_expected=is_expected
    )
    if lacking:
        return lacking
    low, high = share_interval(hits, misses, noise_variance=noise, confidence=confidence)
    value = min(max(hits / (hits + misses), 0.0), 1.0)
    return Estimate(status="measured", value=value, low=low, high=high)


def smooth_figure(
    figure: Callable[[Floats], float],
    cells: Floats,
    variance: Floats,
    minimum_cell: int,
    *,
    least: float = 0.0,
    is_expected: bool = False,
) -> Estimate:
    """A smooth figure of a confusion matrix, within [least, 1], by the delta method.

    Cells vary as Poisson counts do, and by their noise; half a patient in each keeps a perfect matrix
    from having no interval. Where noise alone could have made a class the figure may be anything.
    """
    sizes, noise = cells.sum(axis=1), variance.sum(axis=1)
    for size, of_class in zip(sizes, noise, strict=True):
        lacking = why_lacking(
            float(size), minimum_cell, noise_variance=float(of_class), is_expected=is_expected
        )
        if lacking:
            return lacking
    could_be_noise = sizes < normal_quantile(0.95) * np.sqrt(noise)
    if variance.any() and could_be_noise.any():
        return bounded(figure(np.maximum(cells, 0.0) + 0.5), 2.0, least=least)
    spread = spread_of(figure, cells, variance)
    return bounded(figure(cells), normal_quantile(0.95) * math.sqrt(spread), least=least)


def spread_of(figure: Callable[[Floats], float], cells: Floats, variance: Floats | float) -> float:
    """Variance of a smooth figure of counts by the delta method, half a patient more in each cell.

    ``variance``: of the noise in each cell, or in all alike; counts vary as Poisson's do besides.
    """
    held, step = np.maximum(cells, 0.0) + 0.5, 1e-4 * max(float(cells.sum()), 1.0)
    slope = np.zeros_like(cells)
    for place in np.ndindex(*cells.shape):
        moved = np.zeros_like(cells)
        moved[place] = step
        slope[place] = (figure(held + moved) - figure(held - moved)) / (2.0 * step)
    return float((slope**2 * (held + variance)).sum())


def bounded(value: float, margin: float, *, least: float = 0.0) -> Estimate:
    """A figure within [least, 1] and its interval."""
    value = min(max(value, least), 1.0)
    return Estimate(
        status="measured", value=value, low=max(value - margin, least), high=min(value + margin, 1.0)
    )


def balanced_accuracy(cells: Floats) -> float:
    """Mean of the classes' sensitivities. Shape: [c,c]."""
    return float((np.diag(cells) / cells.sum(axis=1)).mean())


def macro_f1(cells: Floats) -> float:
    """Mean of the classes' F1. Shape: [c,c]."""
    return float((2.0 * np.diag(cells) / (cells.sum(axis=0) + cells.sum(axis=1))).mean())


def kappa(cells: Floats) -> float:
    """Cohen's κ. Shape: [c,c]."""
    return _weighted_kappa(cells, 1.0 - np.eye(len(cells)))


def quadratic_kappa(cells: Floats) -> float:
    """κ with squared distances of the classes' places. Shape: [c,c]."""
    place = np.arange(len(cells))
    return _weighted_kappa(cells, np.subtract.outer(place, place) ** 2.0)


def _weighted_kappa(cells: Floats, disagreement: Floats) -> float:
    by_chance = np.outer(cells.sum(axis=1), cells.sum(axis=0)) / cells.sum()
    return float(1.0 - (disagreement * cells).sum() / (disagreement * by_chance).sum())
