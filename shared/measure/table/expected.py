"""How wide a table's intervals will be, before anything is spent: public values alone decide.

A table of expected patients (public range of the target, an assumed strength of the model) is read
with the noise that the plan has. What comes out so wide that it says nothing is not shown: if the noisy
figure itself decided, only figures that noise has flattered would be seen. Imports the table and its
reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from shared.contract.decision import Decision
from shared.measure.table.reading import read_table
from shared.measure.table.rows import Bools, Floats, TableSpec, contributions
from shared.sums.estimate import FIGURES, Estimate

# What a model of some use reaches: a share of the target's variance, a ranking, a share of patients.
ASSUMED_R2, ASSUMED_AUC, ASSUMED_PREVALENCE = 0.5, 0.8, 0.2
RANGE_SDS = 5.0
# The widest half of an interval that still says something of a model as assumed. An AUC of .8 stays
# .1 above a ranking at random; an R² of .5 stays above 0, and as a ratio of noisy sums it errs low
# by .04 at most (test_moments). A sensitivity, of few patients, may lie anywhere; a specificity
# lies near .9, where ±.3 would not tell it from that of a rule that calls a third. Of errors, a
# share of the error: the ends of an interval are at most a factor of three apart. So, at ε 3, a
# site of the demo shows none of these four of its 22 or 44 internal or 30 later patients, R² and
# specificity of 88, and all of 320; three sites together R² and specificity of 154, four of them
# specificity of 120.
WIDEST = {"auc": 0.2, "sensitivity": 0.3, "specificity": 0.2, "r2": 0.3}
WIDEST_OF_ERROR = 0.5
_GRID = 60


@dataclass(frozen=True)
class Expected:
    """Half an interval's width by figure, and which figures are worth showing."""

    half_widths: Mapping[str, float | None]
    shown: frozenset[str]


def expect(
    spec: TableSpec,
    decision: Decision,
    *,
    n_patients: float,
    noise_sd: float,
    minimum_cell: int,
) -> Expected:
    """What a table of so many patients will say.

    Args:
        spec: meaning of the cells.
        decision: gives the endpoint.
        n_patients: as declared, of all sites together where tables are pooled.
        noise_sd: of every cell, of all sites together where tables are pooled; 0: exact.
        minimum_cell: as ``read_table`` takes it.
    """
    found = read_table(
        expected_table(spec, decision, n_patients=n_patients),
        spec,
        noise_sd=noise_sd,
        minimum_cell=minimum_cell,
        sensitivity_target=0.0,
    )
    figures: dict[str, Estimate] = {name: getattr(found, name) for name in FIGURES}
    half_widths = {name: _half_width(estimate) for name, estimate in figures.items()}
    error = figures["rmse"].value or 0.0
    shown = {
        name
        for name, half in half_widths.items()
        if half is not None and half <= WIDEST.get(name, WIDEST_OF_ERROR * error)
    }
    return Expected(half_widths, frozenset(shown))


def expected_table(spec: TableSpec, decision: Decision, *, n_patients: float) -> Floats:
    """The exact table [n_cells] of ``n_patients`` expected patients, as real numbers."""
    if decision.is_regression:
        score, target = _expected_numbers(spec)
        rows = contributions(
            spec,
            score=score,
            is_positive=decision.is_positive(target),
            target=target,
            prediction=score,
        )
        table: Floats = rows.mean(axis=0) * n_patients
        return table
    score, is_positive = _expected_probabilities()
    rows = contributions(spec, score=score, is_positive=is_positive)
    weight = np.where(is_positive, ASSUMED_PREVALENCE, 1.0 - ASSUMED_PREVALENCE) / _GRID
    weighted: Floats = weight @ rows * n_patients
    return weighted


def _quantiles(n: int) -> Floats:
    normal = NormalDist()
    return np.array([normal.inv_cdf((place + 0.5) / n) for place in range(n)])


def _expected_numbers(spec: TableSpec) -> tuple[Floats, Floats]:
    """Predictions and targets of a calibrated model that explains ``ASSUMED_R2``.

    The public range of targets is taken for ``RANGE_SDS`` standard deviations of a population.
    """
    mean, sd = (
        (spec.target_low + spec.target_high) / 2,
        (spec.target_high - spec.target_low) / RANGE_SDS,
    )
    z, e = (each.ravel() for each in np.meshgrid(_quantiles(_GRID), _quantiles(_GRID)))
    own = ASSUMED_R2 * z + np.sqrt(ASSUMED_R2 * (1.0 - ASSUMED_R2)) * e
    return mean + sd * own, mean + sd * z


def _expected_probabilities() -> tuple[Floats, Bools]:
    """Calibrated probabilities of as many positives as negatives, ranked as ``ASSUMED_AUC`` says."""
    apart = np.sqrt(2.0) * NormalDist().inv_cdf(ASSUMED_AUC)
    z = np.concatenate([_quantiles(_GRID) + apart, _quantiles(_GRID)])
    odds = ASSUMED_PREVALENCE / (1.0 - ASSUMED_PREVALENCE) * np.exp(apart * (z - apart / 2.0))
    return odds / (1.0 + odds), np.arange(2 * _GRID) < _GRID


def _half_width(estimate: Estimate) -> float | None:
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return None
    # The wider side: the other one may end where the figure's range does.
    return max(estimate.high - estimate.value, estimate.value - estimate.low)
