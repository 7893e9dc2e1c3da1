"""How wide a table's intervals will be, before anything is spent: public values alone decide.

A table of expected patients (public range of the target, an assumed strength of the model) is read
with the noise that the plan has. What comes out so wide that it says nothing is not shown, nor what
noise may swallow, nor one share of a cut without the other: if the noisy figure itself decided, only
figures that noise has flattered would be seen. Imports the table and its reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from scipy.optimize import bisect

from shared.measure.table.cells import endpoint_calls, histogram_sds, score_histograms
from shared.measure.table.moments import Moments, read_moments, target_spread
from shared.measure.table.reading import read_table
from shared.measure.table.rows import Floats, contributions
from shared.measure.table.spec import TableSpec
from shared.measures.figures import PREVALENCE, why_lacking, widest_of
from shared.sums.estimate import FIGURES, TOO_NOISY, Estimate

# What a model of some use reaches: a share of the target's variance, a ranking, a share of patients.
ASSUMED_R2, ASSUMED_AUC = 0.5, 0.8
RANGE_SDS = 5.0
# How many of these the mean of targets may lie from the middle of their range, where the noise of their
# spread is least. Of the fewest patients of whom R² is then shown at most one draw in twenty leaves it
# its whole range (populations of 7, 15 and 25 % below the cut; ε 3, at one site or three, and ε 1).
OFF_MIDDLE = 0.75
# The widest half of an interval that still says something of a model as assumed. An AUC of .8 stays
# .1 above a ranking at random; an R² of .5 stays above 0, and as a ratio of noisy sums it errs low
# by .05 at most (test_moments). A sensitivity, of few patients, may lie anywhere; a specificity
# lies near .9, where ±.3 would not tell it from that of a rule that calls a third. Of errors, a
# share of the error: the ends of an interval are at most a factor of three apart. So, at ε 3, a
# site of the demo shows none of these four of its 22, 44 or 88 internal or 30 later patients, and all
# of 280; three sites together AUC of 154, four of them none of 120.
WIDEST = {
    "auc": widest_of("AUC"),
    "sensitivity": widest_of("sensitivity"),
    "specificity": widest_of("specificity"),
    "r2": 0.3,
}
WIDEST_OF_ERROR = 0.5
# One share of a cut reads as a triumph where the other is not told.
BOTH_OF_CUT = frozenset({"sensitivity", "specificity"})
_GRID = 60


@dataclass(frozen=True)
class Expected:
    """Half an interval's width by figure, and which figures are worth showing."""

    half_widths: Mapping[str, float | None]
    shown: frozenset[str]


def expect(
    spec: TableSpec,
    *,
    n_patients: float,
    noise_sd: float,
    minimum_cell: int,
) -> Expected:
    """What a table of so many patients will say.

    Args:
        spec: meaning of the cells.
        n_patients: as declared, of all sites together where tables are pooled.
        noise_sd: of every cell, of all sites together where tables are pooled; 0: exact.
        minimum_cell: as ``read_table`` takes it.
    """
    table = expected_table(spec, n_patients=n_patients)
    found = read_table(
        table,
        spec,
        noise_sd=noise_sd,
        minimum_cell=minimum_cell,
        sensitivity_target=0.0,
    )
    figures: dict[str, Estimate] = {name: getattr(found, name) for name in FIGURES}
    half_widths = {name: half_width(estimate) for name, estimate in figures.items()}
    error = figures["rmse"].value or 0.0
    shown = {
        name
        for name, half in half_widths.items()
        if half is not None and half <= WIDEST.get(name, WIDEST_OF_ERROR * error)
    } - _swallowed(table, spec, noise_sd=noise_sd)
    if not shown >= BOTH_OF_CUT:
        shown -= BOTH_OF_CUT
    return Expected(half_widths, frozenset(shown))


def _swallowed(table: Floats, spec: TableSpec, *, noise_sd: float) -> set[str]:
    """Figures of which noise may swallow a class, or the spread of targets.

    Theirs is not ``ABOVE_NOISE`` times what noise alone could make. Of fewer patients with the endpoint
    than expected, or of targets closer together, only draws that noise has lifted would be seen.
    """
    classes = zip(score_histograms(table, spec), histogram_sds(spec, noise_sd=noise_sd), strict=True)
    rest_on = {"auc": [(float(each.sum()), sd**2 * spec.bins) for each, sd in classes]}
    calls = endpoint_calls(table, spec, noise_sd=noise_sd)
    if calls is not None:
        cells, variance = (each.sum(axis=1) for each in calls)
        for place, name in enumerate(("sensitivity", "specificity")):
            rest_on[name] = [(float(cells[place]), float(variance[place]))]
    if spec.has_moments:
        rest_on["r2"] = [target_spread(_off_middle(read_moments(table, spec, noise_sd=noise_sd)))]
    return {
        name
        for name, sums in rest_on.items()
        if any(
            why_lacking(size, 0, noise_variance=variance, is_expected=True) == TOO_NOISY
            for size, variance in sums
        )
    }


def _off_middle(sums: Moments) -> Moments:
    """The same of targets that lie ``OFF_MIDDLE`` higher: as wide, in more noise."""
    off = OFF_MIDDLE * 2.0 / RANGE_SDS  # of the scaled axis, from −1 to 1
    return replace(
        sums, u=sums.u + off * sums.count, u2=sums.u2 + off * (2 * sums.u + off * sums.count)
    )


def expected_table(spec: TableSpec, *, n_patients: float) -> Floats:
    """The exact table [n_cells] of ``n_patients`` expected patients, as real numbers."""
    outputs, label, weight = likely_patients(spec)
    rows = contributions(spec, outputs=outputs, label=label)
    table: Floats = weight @ rows * n_patients
    return table


def likely_patients(spec: TableSpec) -> tuple[Floats, Floats, Floats]:
    """Outputs [n,o], labels [n] and weights [n], adding up to 1, of expected patients."""
    if not spec.rule.is_regression:
        return _expected_probabilities(spec)
    outputs, label = _expected_numbers(spec)
    return outputs, label, np.full(label.size, 1.0 / label.size)


def _quantiles(n: int) -> Floats:
    normal = NormalDist()
    return np.array([normal.inv_cdf((place + 0.5) / n) for place in range(n)])


def _expected_numbers(spec: TableSpec) -> tuple[Floats, Floats]:
    """Predictions [n,1] and targets [n] of a calibrated model that explains ``ASSUMED_R2``.

    The public range of targets is taken for ``RANGE_SDS`` standard deviations of a population.
    """
    mean, sd = (
        (spec.target_low + spec.target_high) / 2,
        (spec.target_high - spec.target_low) / RANGE_SDS,
    )
    z, e = (each.ravel() for each in np.meshgrid(_quantiles(_GRID), _quantiles(_GRID)))
    own = ASSUMED_R2 * z + np.sqrt(ASSUMED_R2 * (1.0 - ASSUMED_R2)) * e
    return (mean + sd * own)[:, None], mean + sd * z


def _expected_probabilities(spec: TableSpec) -> tuple[Floats, Floats, Floats]:
    """Calibrated probabilities [n,c], classes [n] and how many each stands for, adding up to 1.

    Each class is seen in a normal signal: of one score, further along it; of a score each, in its own.
    The endpoint ranks above all others as ``ASSUMED_AUC`` says.
    """
    c, is_graded = spec.n_classes, spec.ranking == "graded"
    apart = _distance(c - 1 if is_graded else 1)
    share = np.full(c, (1.0 - PREVALENCE) / (c - 1))
    share[0] = PREVALENCE
    true = np.repeat(np.arange(c), _GRID**2)
    if is_graded:
        places = apart * np.arange(c)[::-1]
        signal = np.tile(_quantiles(_GRID**2), c) + places[true]
        logit = np.log(share) - 0.5 * (signal[:, None] - places) ** 2
    else:
        own = np.stack([np.resize(_shuffled(_GRID**2, seed), true.size) for seed in range(c)], axis=1)
        logit = np.log(share) + apart * (own + apart * (true[:, None] == np.arange(c)))
    odds = np.exp(logit - logit.max(axis=1, keepdims=True))
    outputs = np.empty_like(odds)
    outputs[:, spec.order] = odds / odds.sum(axis=1, keepdims=True)
    return outputs, np.asarray(spec.order, dtype=np.float64)[true], share[true] / _GRID**2


def _distance(n_others: int) -> float:
    """Between neighbours on a line, where the first ranks above equally many of each other."""
    normal = NormalDist()

    def short_of(apart: float) -> float:
        ranks = [normal.cdf(apart * step / 2.0**0.5) for step in range(1, n_others + 1)]
        return ASSUMED_AUC - sum(ranks) / n_others

    return float(bisect(short_of, 0.0, 2.0))


def _shuffled(n: int, seed: int) -> Floats:
    return np.random.default_rng(seed).permutation(_quantiles(n))


def half_width(estimate: Estimate) -> float | None:
    """The wider half of a figure's interval; None without one."""
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return None
    # The wider side: the other one may end where the figure's range does.
    return max(estimate.high - estimate.value, estimate.value - estimate.low)
