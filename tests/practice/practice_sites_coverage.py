"""How often intervals over several hospitals hold the truth: hospitals are drawn again and again.

A score is normal in each class, with one SD; hospitals differ in how far apart the classes lie, so that
the logit of a hospital's AUC is normal about ``LOGIT``. A rival score errs partly as the first does.
Truth is of the scores themselves, without bins: of all hospitals for the mean, of one more for a
prediction, of these hospitals' patients, with their sizes, for what is pooled.
Legend: s hospitals · b bins.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from practice_coverage import BMD

from server.report.compare import with_variance
from server.report.pooling import LEAST_SITES, PooledEffect, pool_exact_aucs, pool_histograms
from shared.measure.exact.discrimination import measure_auc
from shared.measure.table.bins import bins_for
from shared.measure.table.spec import sensitivity
from shared.measures.comparison import auc_difference
from shared.measures.differences import difference_of_aucs
from shared.measures.figures import auc_of
from shared.sums.estimate import Estimate
from shared.sums.intervals import expit

Floats = NDArray[np.float64]
LOGIT, RIVAL_LOGIT, SHARED_ERROR = 1.2, 0.8, 0.6
SIZES, PREVALENCE = (100, 200, 400), 0.2
MEASURE_BINS = 6  # of a comparison and of subgroups, as they are shipped
LOW, HIGH = -2.5, 4.0  # public ends of a score
NORMAL = NormalDist()
Interval = tuple[float, float, float, float]  # low, high, the truth, and what bins make of it


@dataclass(frozen=True, kw_only=True)
class Patients:
    """Of one hospital. Shapes: scores [2,n], of the release and of a rival; is_ill [n]."""

    scores: Floats
    is_ill: NDArray[np.bool_]
    aucs: tuple[float, float]

    def histogram(self, which: int, bins: int, part: slice = slice(None)) -> Floats:
        """By class, the ill first, and bin [2,b]."""
        places = _places(self.scores[which, part], bins)
        ill = self.is_ill[part]
        counts = [np.bincount(places[side], minlength=bins) for side in (ill, ~ill)]
        return np.array(counts, dtype=np.float64)

    def joint(self, bins: int) -> Floats:
        """By class, the well first, and bin of both scores [2,b,b]."""
        total = np.zeros((2, bins, bins))
        first, second = (_places(score, bins) for score in self.scores)
        np.add.at(total, (self.is_ill.astype(int), first, second), 1.0)
        return total


def _places(score: Floats, bins: int) -> NDArray[np.intp]:
    return np.searchsorted(_edges(bins), score)


@cache
def _edges(bins: int) -> Floats:
    return np.linspace(LOW, HIGH, bins + 1)[1:-1]


def draw_hospital(n: int, spread: float, draw: np.random.Generator) -> Patients:
    """n patients of a hospital whose AUC's logit has an SD of ``spread`` over hospitals."""
    moved = spread * draw.standard_normal()
    aucs = expit(LOGIT + moved), expit(RIVAL_LOGIT + moved)
    is_ill = draw.random(n) < PREVALENCE
    own = draw.standard_normal((2, n))
    errors = np.stack([own[0], SHARED_ERROR * own[0] + (1 - SHARED_ERROR**2) ** 0.5 * own[1]])
    apart = np.array([2**0.5 * NORMAL.inv_cdf(auc) for auc in aucs])
    return Patients(scores=errors + apart[:, None] * is_ill, is_ill=is_ill, aucs=aucs)


def draw_federation(n_sites: int, spread: float, draw: np.random.Generator) -> list[Patients]:
    """Hospitals of 100, 200 and 400 patients in turn."""
    return [draw_hospital(SIZES[site % 3], spread, draw) for site in range(n_sites)]


@dataclass(frozen=True, kw_only=True)
class SitesTally:
    """Of one interval: share that holds the truth, and what bins make of it; intervals; mean width."""

    held: float
    held_of_bins: float
    n: int
    width: float


def tally_sites(
    n_sites: int, spread: float, *, multiplier: float, repetitions: int, seed: int
) -> dict[str, SitesTally]:
    """Each interval over so many hospitals, under the noise of so many multiples of a table's bound."""
    draw, found = np.random.default_rng(seed), defaultdict[str, list[Interval]](list)
    for _ in range(repetitions):
        for name, interval in _intervals(n_sites, spread, multiplier, draw):
            found[name].append(interval)
    return {name: _tallied(np.array(each)) for name, each in found.items()}


def _tallied(intervals: Floats) -> SitesTally:
    """Shapes: intervals [n,4]."""
    low, high, *truths = intervals.T
    held, of_bins = (float(np.mean((low <= truth) & (truth <= high))) for truth in truths)
    return SitesTally(
        held=held, held_of_bins=of_bins, n=len(intervals), width=float((high - low).mean())
    )


@cache
def binned(auc: float, bins: int) -> float:
    """What an AUC of normal scores is in so many bins."""
    apart = 2**0.5 * NORMAL.inv_cdf(auc)
    ill, well = (
        np.diff([0.0, *(NORMAL.cdf(edge - mean) for edge in _edges(bins)), 1.0])
        for mean in (apart, 0.0)
    )
    return float(ill @ (np.cumsum(well) - well / 2))


def _intervals(
    n_sites: int, spread: float, multiplier: float, draw: np.random.Generator
) -> Iterator[tuple[str, Interval]]:
    """Everything that one federation says, and another beside it."""
    sites, others = (draw_federation(n_sites, spread, draw) for _ in range(2))
    cell_sd = multiplier * sensitivity(BMD) / BMD.cell_weight
    bins = bins_for(
        noise_multiplier=multiplier,
        sensitivity=sensitivity(BMD),
        weight=BMD.cell_weight,
        n_patients=float(np.mean(SIZES)),
    )
    tables, other_tables = (
        np.stack([site.histogram(which, bins) for site in each])  # [s,2,b]
        for which, each in enumerate((sites, others))
    )
    tables = tables + cell_sd * draw.standard_normal(tables.shape)
    other_tables = other_tables + cell_sd * draw.standard_normal(tables.shape)
    next_auc = draw_hospital(1, spread, draw).aucs[0]
    yield from _means(tables, cell_sd, next_auc)
    if not multiplier:
        exact = np.array([measure_auc(site.scores[0], site.is_ill) for site in sites])
        ill = np.array([float(site.is_ill.sum()) for site in sites])
        well = np.array([float(site.is_ill.size) for site in sites]) - ill
        found = pool_exact_aucs(exact, ill, well)
        yield from _of_mean("mean of exact AUCs", found, next_auc, bins=0)
    yield from _pooled(sites, others, (tables, other_tables), cell_sd * n_sites**0.5)
    yield from _of_measures(sites, multiplier * n_sites**0.5, draw)


def _means(tables: Floats, cell_sd: float, next_auc: float) -> Iterator[tuple[str, Interval]]:
    """The mean of sites, its prediction, and the mean without each site in turn. Shapes: [s,2,b]."""
    n_sites, _, bins = tables.shape
    for left in (None, *(range(n_sites) if n_sites > LEAST_SITES else ())):
        kept = tables if left is None else np.delete(tables, left, axis=0)
        found = pool_histograms(kept[:, 0], kept[:, 1], cell_sd=(cell_sd, cell_sd))
        if left is None:
            yield from _of_mean("mean of sites", found, next_auc, bins=bins)
        elif found is not None and found.low is not None and found.high is not None:
            truths = expit(LOGIT), binned(expit(LOGIT), bins)
            yield "mean without each site in turn", (found.low, found.high, *truths)


def _of_mean(
    name: str, found: PooledEffect | None, next_auc: float, *, bins: int
) -> Iterator[tuple[str, Interval]]:
    if found is None or found.low is None or found.high is None:
        return
    truth = expit(LOGIT)
    yield name, (found.low, found.high, truth, binned(truth, bins) if bins else truth)
    if found.prediction_low is not None and found.prediction_high is not None:
        of_bins = binned(next_auc, bins) if bins else next_auc
        yield f"prediction, {name}", (found.prediction_low, found.prediction_high, next_auc, of_bins)


def _pooled(
    sites: list[Patients], others: list[Patients], tables: tuple[Floats, Floats], sd: float
) -> Iterator[tuple[str, Interval]]:
    """The AUC of all patients, and its difference from that of another model at other hospitals."""
    bins = tables[0].shape[2]
    first, second = (auc_of(*table.sum(axis=0), (sd, sd), 0) for table in tables)
    truths = [(_true_auc(sites, 0, each), _true_auc(others, 1, each)) for each in (0, bins)]
    yield from _of("pooled AUC", first, (truths[0][0], truths[1][0]))
    if first.value is not None and second.value is not None:
        found = difference_of_aucs(*with_variance(first), *with_variance(second)).difference
        apart = (truths[0][0] - truths[0][1], truths[1][0] - truths[1][1])
        yield from _of("unpaired difference of AUCs", found, apart)


def _of_measures(
    sites: list[Patients], sd: float, draw: np.random.Generator
) -> Iterator[tuple[str, Interval]]:
    """The paired difference of two scores, and the AUC of every other patient, as shipped measures."""
    joint = np.sum([site.joint(MEASURE_BINS) for site in sites], axis=0)
    well, ill = joint + sd * draw.standard_normal(joint.shape)
    paired = auc_difference(ill, well, cell_sd=sd, confidence=0.95)
    truths = [_true_auc(sites, 0, each) - _true_auc(sites, 1, each) for each in (0, MEASURE_BINS)]
    yield "paired difference of AUCs", (paired.low, paired.high, truths[0], truths[1])
    half = [site.histogram(0, MEASURE_BINS, slice(None, None, 2)) for site in sites]
    group = np.sum(half, axis=0)
    found = auc_of(*(group + sd * draw.standard_normal(group.shape)), (sd, sd), 0)
    truth = _true_auc(sites, 0, 0), _true_auc(sites, 0, MEASURE_BINS)
    yield from _of("AUC of a subgroup", found, truth)


def _of(name: str, found: Estimate, truths: tuple[float, float]) -> Iterator[tuple[str, Interval]]:
    if found.low is not None and found.high is not None:
        yield name, (found.low, found.high, *truths)


def _true_auc(sites: list[Patients], which: int, bins: int) -> float:
    """Of these hospitals' patients together: the well are alike, the ill are as many as expected.

    ``bins``: 0 for the scores' own.
    """
    sizes = np.array([site.is_ill.size for site in sites], dtype=np.float64)
    aucs = [site.aucs[which] for site in sites]
    return float(sizes @ [binned(each, bins) if bins else each for each in aucs] / sizes.sum())
