"""Reads who the patients are out of a description's table: pure post-processing, deterministic.

Means, SDs, shares and missingness, each with an interval of sampling and privacy noise together, for
one site or for the pooled tables of several; and the moments that PCA, ridge or LASSO start from.
Figures are of values clipped to the public bounds. Groups below the minimum cell, and what noise
alone could have made, are ``suppressed``; noisy sums are never clipped at 0 before that. Imports the
rest of the package only.

Source: Fieller 1954 (J R Stat Soc B 16:175) for a mean over a noisy count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.errors import ProtocolError
from shared.measure.description.rows import (
    COUNT_WEIGHT,
    MISSING_WEIGHT,
    MOMENTS_WEIGHT,
    ONE_HOT_WEIGHT,
    SQUARE_WEIGHT,
    VALUE_WEIGHT,
    CategoryCells,
    DescriptionSpec,
    NumberCells,
)
from shared.sums.estimate import NOT_APPLICABLE, SUPPRESSED, Estimate, within
from shared.sums.intervals import fraction_interval, normal_quantile

Floats = NDArray[np.float64]
# an exponential's; the spread of an SD is not released, so it is taken wide rather than short
KURTOSIS = 9.0


@dataclass(frozen=True, kw_only=True)
class NumberReading:
    """A number's mean and SD over the patients that have it.

    Attributes:
        name: of the field.
        unit: of the field.
        low: values are clipped to it from below.
        high: values are clipped to it from above.
        mean: of the clipped values.
        sd: of the clipped values.
        missing: share of patients without it.
    """

    name: str
    unit: str
    low: float
    high: float
    mean: Estimate
    sd: Estimate
    missing: Estimate


@dataclass(frozen=True, kw_only=True)
class CategoryReading:
    """A field's categories among the patients that have it.

    Attributes:
        name: of the field.
        shares: by category.
        missing: share of patients without it.
    """

    name: str
    shares: dict[str, Estimate]
    missing: Estimate


@dataclass(frozen=True, kw_only=True)
class SecondMoments:
    """Covariance of numbers in public SDs, categories one-hot and the label; missing numbers as 0.

    Each patient's vector is scaled down to a public length, so long ones count less.

    Attributes:
        names: of the columns.
        mean: of each column.
        covariance: the nearest matrix without negative eigenvalues.
        entry_sd: the privacy noise of one entry off the diagonal before that.
    """

    names: tuple[str, ...]
    mean: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]
    entry_sd: float


@dataclass(frozen=True, kw_only=True)
class Description:
    """Who the labelled patients are. Shares are of 1.

    Attributes:
        endpoint: the positive class.
        n_patients: described.
        n_positive: with the endpoint.
        prevalence: share with the endpoint.
        target: the label; null in classification.
        numbers: of the clinical fields.
        categories: of the clinical fields.
        second_moments: null where the plan releases none.
    """

    endpoint: str
    n_patients: Estimate
    n_positive: Estimate
    prevalence: Estimate
    target: NumberReading | None
    numbers: tuple[NumberReading, ...]
    categories: tuple[CategoryReading, ...]
    second_moments: SecondMoments | None


@dataclass(frozen=True, kw_only=True)
class _Sum:
    """A noisy sum over patients, and the variance of its noise."""

    value: float
    variance: float

    def __add__(self, other: _Sum) -> _Sum:
        return _Sum(value=self.value + other.value, variance=self.variance + other.variance)


@dataclass(frozen=True, kw_only=True)
class _Sums:
    """A table, and how its cells are to be shown."""

    table: Floats
    noise_sd: float
    minimum_cell: int
    confidence: float

    @property
    def z(self) -> float:
        return normal_quantile(self.confidence)

    @property
    def count(self) -> _Sum:
        return self.cell(0, COUNT_WEIGHT)

    def cell(self, index: int, weight: float) -> _Sum:
        return _Sum(value=float(self.table[index]) / weight, variance=(self.noise_sd / weight) ** 2)

    def is_few(self, group: _Sum) -> bool:
        """Whether a group is too small to be shown, or noise alone could have made it."""
        is_noise = group.value <= self.z * math.sqrt(group.variance)
        return group.value < max(self.minimum_cell, 1) or is_noise

    def around(self, value: float, variance: float, floor: float) -> Estimate:
        margin = self.z * math.sqrt(variance)
        return Estimate(
            status="measured", value=value, low=max(value - margin, floor), high=value + margin
        )


def read_description(
    table: Floats,
    spec: DescriptionSpec,
    *,
    noise_sd: float,
    minimum_cell: int,
    confidence: float = 0.95,
) -> Description:
    """The description in one site's table, or in pooled tables.

    Args:
        table: summed rows [n_cells], with noise of ``noise_sd`` in every cell.
        spec: meaning of the cells.
        noise_sd: 0 in a governed release: then intervals hold sampling alone.
        minimum_cell: patients below which a figure is suppressed.
        confidence: of the intervals.

    Raises:
        ProtocolError: the table does not fit the spec or is not finite.
    """
    if table.shape != (spec.n_cells,) or not np.isfinite(table).all():
        raise ProtocolError(
            "table-shape", f"a description must be {spec.n_cells} finite cells, not {table.shape}"
        )
    sums = _Sums(table=table, noise_sd=noise_sd, minimum_cell=minimum_cell, confidence=confidence)
    k = len(spec.fields)
    fields = list(zip(spec.fields, spec.first_cells[:k], strict=True))
    has_moments = spec.has_second_moments and not sums.is_few(sums.count)
    return Description(
        endpoint=spec.endpoint,
        n_patients=_counted(sums, sums.count),
        n_positive=_counted(sums, sums.cell(1, ONE_HOT_WEIGHT)),
        prevalence=_shares(sums, 1, 2)[0],
        target=_number(sums, spec.target, spec.first_cells[k]) if spec.target else None,
        numbers=tuple(
            _number(sums, cells, first) for cells, first in fields if isinstance(cells, NumberCells)
        ),
        categories=tuple(
            _category(sums, cells, first) for cells, first in fields if isinstance(cells, CategoryCells)
        ),
        second_moments=_second_moments(sums, spec) if has_moments else None,
    )


def _counted(sums: _Sums, count: _Sum) -> Estimate:
    return SUPPRESSED if sums.is_few(count) else sums.around(count.value, count.variance, 0.0)


def _category(sums: _Sums, cells: CategoryCells, first: int) -> CategoryReading:
    k = len(cells.categories)
    shares = _shares(sums, first, k)
    missing = _shares(sums, first, k + 1)[k] if cells.may_be_missing else NOT_APPLICABLE
    return CategoryReading(
        name=cells.name, shares=dict(zip(cells.categories, shares, strict=True)), missing=missing
    )


def _shares(sums: _Sums, first: int, n_cells: int) -> list[Estimate]:
    """Each of neighbouring one-hot cells as a share of their sum."""
    cells = [sums.cell(first + place, ONE_HOT_WEIGHT) for place in range(n_cells)]
    total = _Sum(value=0.0, variance=0.0)
    for cell in cells:
        total += cell
    return [_share(sums, cell, total, covariance=cell.variance) for cell in cells]


def _share(sums: _Sums, hits: _Sum, total: _Sum, *, covariance: float) -> Estimate:
    if sums.is_few(total) or hits.value < sums.minimum_cell:
        return SUPPRESSED
    low, high = fraction_interval(
        hits.value,
        total.value,
        noise_variance=(hits.variance, total.variance),
        covariance=covariance,
        confidence=sums.confidence,
    )
    return within(hits.value / total.value, low, high, bounds=(0.0, 1.0))


def _number(sums: _Sums, cells: NumberCells, first: int) -> NumberReading:
    present, missing = sums.count, NOT_APPLICABLE
    if cells.may_be_missing:
        lacking = sums.cell(first + 2, MISSING_WEIGHT)
        present = _Sum(
            value=present.value - lacking.value, variance=present.variance + lacking.variance
        )
        missing = _share(sums, lacking, sums.count, covariance=0.0)
    mean, sd = SUPPRESSED, SUPPRESSED
    if sums.is_few(present):
        missing = SUPPRESSED if cells.may_be_missing else missing
    else:
        mean, sd = _mean_and_sd(sums, cells, first, present)
    return NumberReading(
        name=cells.name,
        unit=cells.unit,
        low=cells.low,
        high=cells.high,
        mean=mean,
        sd=sd,
        missing=missing,
    )


def _mean_and_sd(
    sums: _Sums, cells: NumberCells, first: int, present: _Sum
) -> tuple[Estimate, Estimate]:
    n, total = present.value, sums.cell(first, VALUE_WEIGHT)
    doubled = sums.cell(first + 1, SQUARE_WEIGHT)  # Σ(2u² − 1)
    mean = total.value / n
    mean_square = (total.value**2 - total.variance) / n**2  # without the noise's own square
    variance = (doubled.value / n + 1) / 2 - mean_square
    sampling = max(variance, 0.0) / n
    # Σu − θ·n has variance a + b·θ², and θ is in when its square is at most z² times that (Fieller)
    a, b = total.variance + sampling * n**2, present.variance
    square = sums.z**2
    curvature = n**2 - square * b  # > 0, since the present are not few
    shift = square * b * mean / curvature
    reach = math.sqrt(shift**2 + square * (a + b * mean**2) / curvature)
    value = min(max(mean, -1.0), 1.0)
    mean_low = min(max(mean + shift - reach, -1.0), value)
    mean_high = max(min(mean + shift + reach, 1.0), value)
    in_units = Estimate(
        status="measured",
        value=cells.middle + cells.half * value,
        low=cells.middle + cells.half * mean_low,
        high=cells.middle + cells.half * mean_high,
    )
    slope = doubled.value / (2 * n) - 2 * mean_square  # −n·d(variance)/dn
    noise = (doubled.variance / 4 + 4 * mean_square * total.variance + slope**2 * b) / n**2
    return in_units, _sd(sums, cells, n=n, mean=value, variance=variance, noise=max(noise, 0.0))


def _sd(
    sums: _Sums, cells: NumberCells, *, n: float, mean: float, variance: float, noise: float
) -> Estimate:
    """SD of a sample, suppressed where noise alone could have made it.

    The fourth moment is not released: at most that of a long tail, or what the bounds leave.
    """
    if n <= 1 or variance <= sums.z * math.sqrt(noise):
        return SUPPRESSED
    fourth = min(KURTOSIS * variance**2, (1 + abs(mean)) ** 2 * variance)
    margin = sums.z * math.sqrt(noise + (fourth - variance**2) / n)
    bessel = n / (n - 1)
    low, high = max(variance - margin, 0.0), variance + margin
    return Estimate(
        status="measured",
        value=cells.half * math.sqrt(variance * bessel),
        low=cells.half * math.sqrt(low * bessel),
        high=cells.half * math.sqrt(high * bessel),
    )


def _second_moments(sums: _Sums, spec: DescriptionSpec) -> SecondMoments:
    names = spec.moment_names
    d, n = len(names), sums.count.value
    unit = spec.radius_squared / MOMENTS_WEIGHT / n
    first, second = np.triu_indices(d)
    scale = np.where(first == second, 1.0, math.sqrt(2))
    gram = np.zeros((d, d))
    gram[first, second] = sums.table[spec.first_cells[-1] :] / scale * unit
    gram[second, first] = gram[first, second]
    mean = gram[0, 1:]
    entry_sd = sums.noise_sd * unit / math.sqrt(2)
    # the noise of a mean is in its own square too
    covariance = gram[1:, 1:] - np.outer(mean, mean) + entry_sd**2 * np.eye(d - 1)
    return SecondMoments(
        names=names[1:],
        mean=tuple(float(value) for value in mean),
        covariance=tuple(tuple(float(x) for x in row) for row in nearest_positive(covariance)),
        entry_sd=entry_sd,
    )


def nearest_positive(matrix: Floats) -> Floats:
    """The nearest positive semidefinite matrix (Frobenius) to a symmetric one [d, d] (Higham 1988)."""
    values, vectors = np.linalg.eigh(matrix)
    nearest: Floats = (vectors * np.maximum(values, 0.0)) @ vectors.T
    return (nearest + nearest.T) / 2
