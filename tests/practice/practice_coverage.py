"""How often the intervals of a table hold the truth: five populations, drawn again and again.

A repetition draws patients, makes their table, adds the noise of one ε and reads what a plan of so many
patients would show. Truth is what the population's own figures are, the AUC without bins; errors and
targets are cut to the table's public bounds, since that is what a table measures (``Population.truth``
has both). Counts alone are held against the patients that were drawn.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from practice_validation import rows_of_numbers, spec_of_numbers

from shared.measure.exact.discrimination import measure_auc
from shared.measure.exact.regression import measure_regression
from shared.measure.table.expected import expect
from shared.measure.table.reading import read_table
from shared.measure.table.spec import TableSpec, sensitivity
from shared.sums.estimate import Measures

Floats = NDArray[np.float64]
FIGURES = (
    *("n_patients", "n_positive", "auc", "sensitivity", "specificity"),
    *("r2", "mae", "rmse", "bias", "limit_low", "limit_high"),
)
BMD = spec_of_numbers()
THRESHOLD = BMD.cuts[0]
MINIMUM_CELL = 10
SD_TARGET, R2 = 0.12, 0.6
TRUTH_PATIENTS, TRUTH_SEED = 1_000_000, 99
BLOCK_PATIENTS = 50_000  # whose rows are held at once


@dataclass(frozen=True, kw_only=True)
class Population:
    """A femoral neck BMD, g/cm², and a model's prediction of it.

    A calibrated prediction explains ``R2`` of the target; the model adds ``offset`` to it and
    stretches it about its mean by ``stretch``.
    """

    name: str
    prevalence: float
    model: str = "calibrated"
    offset: float = 0.0
    stretch: float = 1.0
    has_heavy_tails: bool = False

    def draw(self, n: int, generator: np.random.Generator) -> tuple[Floats, Floats]:
        """Target and prediction of n patients."""
        mean = THRESHOLD - SD_TARGET * NormalDist().inv_cdf(self.prevalence)
        calibrated = R2**0.5 * SD_TARGET * generator.standard_normal(n)
        unit = generator.standard_t(5, n) * 0.6**0.5 if self.has_heavy_tails else None
        error = generator.standard_normal(n) if unit is None else unit
        target = mean + calibrated + (1 - R2) ** 0.5 * SD_TARGET * error
        return target, mean + self.offset + self.stretch * calibrated

    @cache  # noqa: B019
    def truth(self) -> dict[str, tuple[float, float]]:
        """Of each figure but the counts: with the table's bounds, and without any."""
        target, prediction = self.draw(TRUTH_PATIENTS, np.random.default_rng(TRUTH_SEED))
        is_positive = target <= THRESHOLD
        table = sum(exact_tables(BMD, target, prediction, n=target.size))
        bounded, free = _read(table, BMD, 0.0), measure_regression(target, prediction)
        found = {name: (getattr(bounded, name).value,) * 2 for name in FIGURES[3:5]}
        found["auc"] = (measure_auc(-prediction, is_positive),) * 2
        for name in FIGURES[5:]:
            value = free.mse**0.5 if name == "rmse" else getattr(free, name)
            found[name] = (getattr(bounded, name).value, value)
        return found


POPULATIONS = (
    Population(name="referred", prevalence=0.25),
    Population(name="screened", prevalence=0.07),
    Population(name="biased", prevalence=0.15, offset=0.05, model="0.05 g/cm² too high"),
    Population(name="shrunk", prevalence=0.15, stretch=0.5, model="half as far from the mean"),
    Population(
        name="heavy tails",
        prevalence=0.15,
        has_heavy_tails=True,
        model="calibrated; errors are t with 5 degrees of freedom",
    ),
)


@dataclass(frozen=True)
class Tally:
    """Of one figure over the repetitions.

    ``reach``: of each interval that was shown, how far the truth lies from its middle, in half-widths;
    ``width``: mean, in the figure's unit.
    """

    repetitions: int
    reach: Floats
    width: float

    @property
    def shown(self) -> float:
        """Share of the repetitions in which the figure was shown."""
        return self.reach.size / self.repetitions

    def coverage(self, stretch: float = 1.0) -> float:
        """Share of the shown intervals, made so much wider, that hold the truth; NaN of none."""
        return float(np.mean(self.reach <= stretch)) if self.reach.size else float("nan")


def tally(
    population: Population, n: int, *, spec: TableSpec, multiplier: float, repetitions: int, seed: int
) -> dict[str, Tally]:
    """What ``read_table`` says in each repetition, of each figure that a plan shows of n patients.

    The patients are those of the seed, whatever the spec and the noise.
    """
    drawn, noise = (np.random.default_rng(each) for each in np.random.SeedSequence(seed).spawn(2))
    noise_sd = multiplier * sensitivity(spec)
    shown = planned(spec, n=n, noise_sd=noise_sd)
    truth = {name: pair[0] for name, pair in population.truth().items()}
    reach: dict[str, list[float]] = {name: [] for name in FIGURES}
    widths: dict[str, list[float]] = {name: [] for name in FIGURES}
    done = 0
    while done < repetitions:
        some = min(max(BLOCK_PATIENTS // n, 1), repetitions - done)
        done += some
        target, prediction = population.draw(some * n, drawn)
        positives = (target <= THRESHOLD).reshape(some, n).sum(axis=1)
        for table, n_positive in zip(
            exact_tables(spec, target, prediction, n=n), positives, strict=True
        ):
            noisy = table + noise_sd * noise.standard_normal(spec.n_cells)
            read = _read(noisy, spec, noise_sd, shown)
            known = truth | {"n_patients": n, "n_positive": int(n_positive)}
            for name in shown:
                found = getattr(read, name)
                if found.low is not None:
                    off = abs(known[name] - (found.low + found.high) / 2)
                    # an exact count has no width and is right but for its last digit
                    reach[name].append(off / max((found.high - found.low) / 2, 1e-9))
                    widths[name].append(found.high - found.low)
    return {
        name: Tally(
            repetitions,
            np.array(reach[name]),
            float(np.mean(widths[name])) if widths[name] else float("nan"),
        )
        for name in FIGURES
    }


def planned(spec: TableSpec, *, n: int, noise_sd: float) -> frozenset[str]:
    """Counts, and the figures that a plan shows of so many patients; of an exact table, all it has."""
    found = expect(spec, n_patients=n, noise_sd=noise_sd, minimum_cell=MINIMUM_CELL)
    had = {name for name, half in found.half_widths.items() if half is not None}
    return frozenset(FIGURES[:2]) | (found.shown if noise_sd else had)


@cache
def binned_auc(population: Population, bins: int) -> float:
    """The population's AUC as a table of so many bins gives it."""
    target, prediction = population.draw(TRUTH_PATIENTS, np.random.default_rng(TRUTH_SEED))
    (table,) = exact_tables(with_bins(bins), target, prediction, n=target.size)
    value = _read(table, with_bins(bins), 0.0).auc.value
    return float("nan") if value is None else value


def with_bins(bins: int) -> TableSpec:
    """The practice table with another number of bins."""
    return replace(BMD, bins=bins)


def _read(
    table: Floats, spec: TableSpec, noise_sd: float, shown: Collection[str] = FIGURES
) -> Measures:
    return read_table(
        table, spec, noise_sd=noise_sd, minimum_cell=1, sensitivity_target=0.0, shown=shown
    )


def exact_tables(spec: TableSpec, target: Floats, prediction: Floats, *, n: int) -> Iterator[Floats]:
    """Exact tables [n_cells] of every n patients in turn."""
    for start in range(0, target.size, n):
        total = np.zeros(spec.n_cells)
        for low in range(start, start + n, BLOCK_PATIENTS):
            part = slice(low, min(low + BLOCK_PATIENTS, start + n))
            rows = rows_of_numbers(spec, prediction[part], target[part])
            total += rows.sum(axis=0)
        yield total
