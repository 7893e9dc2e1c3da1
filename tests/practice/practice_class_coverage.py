"""How often the intervals of what else a table says hold the truth: of two, three and graded classes.

As ``practice_coverage``: a repetition draws patients, adds the noise of one ε and reads what a plan of
so many patients would show. Truth is what the figures are of half a million patients in 64 bins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from practice_validation import spec_of_numbers, spec_of_probabilities

from shared.measure.table.bins import EXACT_BINS, bins_for
from shared.measure.table.classes import read_classes
from shared.measure.table.rows import contributions
from shared.measure.table.spec import TableSpec, sensitivity

Floats = NDArray[np.float64]
Patients = tuple[Floats, Floats]
MINIMUM_CELL, TRUTH_PATIENTS = 10, 500_000
_BLOCK = 50_000


@dataclass(frozen=True)
class ClassCase:
    """A kind of table and the patients who are drawn for it: outputs [n,o] and labels [n]."""

    name: str
    spec: TableSpec
    draw: Callable[[int, np.random.Generator], Patients]

    def table(self, spec: TableSpec, n: int, draw: np.random.Generator) -> Floats:
        """The exact table of n patients."""
        total = np.zeros(spec.n_cells)
        for start in range(0, n, _BLOCK):
            outputs, label = self.draw(min(_BLOCK, n - start), draw)
            total += contributions(spec, outputs=outputs, label=label).sum(axis=0)
        return total

    @cache  # noqa: B019
    def truth(self, bins: int = EXACT_BINS) -> dict[str, float]:
        """Of each figure that exists, as a table of so many bins gives it."""
        spec = replace(self.spec, bins=bins)
        table = self.table(spec, TRUTH_PATIENTS, np.random.default_rng(99))
        found = read_classes(table, spec, noise_sd=0.0, minimum_cell=1, n_expected=TRUTH_PATIENTS)
        return {name: each.value for name, each in found.items() if each.value is not None}


def _two(n: int, draw: np.random.Generator) -> Patients:
    risk = 1 / (1 + np.exp(-draw.normal(-1.6, 1.3, n)))
    return np.stack([1 - risk, risk], axis=1), (draw.random(n) < risk).astype(np.float64)


def _three(n: int, draw: np.random.Generator) -> Patients:
    label = draw.choice(3, n, p=[0.45, 0.35, 0.2])
    logit = np.log([0.45, 0.35, 0.2]) + 1.4 * (
        draw.normal(0, 1, (n, 3)) + 1.4 * (label[:, None] == np.arange(3))
    )
    odds = np.exp(logit - logit.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True), label.astype(np.float64)


def _graded(n: int, draw: np.random.Generator) -> Patients:
    prediction = 0.66 + 0.085 * draw.standard_normal(n)
    return prediction[:, None], prediction + 0.07 * draw.standard_normal(n)


CASES = (
    ClassCase("two classes", spec_of_probabilities("well", "ill", cut=0.25, error=0.35), _two),
    ClassCase(
        "three classes",
        spec_of_probabilities("normal", "wedge", "crush", cut=0.3, confusion=1.0, error=0.35),
        _three,
    ),
    ClassCase("graded BMD", spec_of_numbers(cuts=(0.6, 0.7), label_cuts=(0.558, 0.738)), _graded),
)


@dataclass(frozen=True)
class ClassTally:
    """Of a figure: share of intervals that hold the truth, share of repetitions with one, mean width,
    how far ties within bins move it, and the share that holds it so moved.
    """

    held: float
    shown: float
    width: float
    lost_to_bins: float
    held_of_bins: float = float("nan")


def tally_classes(
    case: ClassCase, n: int, *, multiplier: float, repetitions: int, seed: int
) -> dict[str, ClassTally]:
    """Of each figure that is shown of n patients."""
    bins = bins_for(
        noise_multiplier=multiplier,
        sensitivity=sensitivity(case.spec),
        weight=case.spec.cell_weight,
        n_patients=n,
    )
    spec, draw = replace(case.spec, bins=bins), np.random.default_rng(seed)
    sd = multiplier * sensitivity(spec)
    spans: dict[str, list[tuple[float, float]]] = {}
    for _ in range(repetitions):
        table = case.table(spec, n, draw) + sd * draw.standard_normal(spec.n_cells)
        found = read_classes(table, spec, noise_sd=sd, minimum_cell=MINIMUM_CELL, n_expected=float(n))
        for name in case.truth():
            each = found.get(name)
            if name.startswith("n, ") or each is None or each.low is None or each.high is None:
                continue
            spans.setdefault(name, []).append((each.low, each.high))
    return {
        name: _tallied(np.array(each), name, case, bins, repetitions) for name, each in spans.items()
    }


def _tallied(spans: Floats, name: str, case: ClassCase, bins: int, repetitions: int) -> ClassTally:
    """Shapes: spans [shown,2]."""
    truth, (low, high) = case.truth()[name], spans.T
    of_bins = case.truth(bins).get(name, truth)
    return ClassTally(
        held=float(np.mean((low <= truth) & (truth <= high))),
        shown=len(spans) / repetitions,
        width=float((high - low).mean()),
        lost_to_bins=of_bins - truth,
        held_of_bins=float(np.mean((low <= of_bins) & (of_bins <= high))),
    )
