"""Who the patients are: one bounded row per patient, summed; the cells of a cohort's description.

A site turns each labelled patient's earliest labelled exam into one row whose L2 norm is at most
``sensitivity(spec)``, sums the rows and adds Gaussian noise of one standard deviation to every cell (or
none, in a governed release). ``shared.measure.description.reading`` makes every figure from the sums.

Cells, in this order, with u a value scaled to [−1, 1] by public bounds:
    count       1
    endpoint    one-hot over (with it, without it)
    number      per field: u, 2u² − 1, and, where values may be missing, missing: √(1 + W²) then
    category    per field: one-hot over its categories and, where it may be missing, missing
    target      regression only: u, 2u² − 1
    moments     optional: upper triangle of v·vᵀ, off the diagonal times √2, for v of ‖v‖ ≤ R, over R²

A patient has either a value or none, so a missing cell costs no sensitivity; √2 makes a triangle's norm
that of the whole product, ‖v‖² (Dwork, Talwar, Thakurta, Zhang 2014, AnalyzeGauss). Weights decide only
how the noise is shared out. Noised cells are never clipped at 0. Imports settings and errors only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.contract.model_settings import ModelSettings
from shared.contract.stages import DescriptionStage
from shared.errors import PolicyError, ProtocolError
from shared.exam.schema import ClinicalField

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# share of the noise budget each cell gets (larger = less noise)
COUNT_WEIGHT = 1.0
ONE_HOT_WEIGHT = 1.0
VALUE_WEIGHT = 1.0
SQUARE_WEIGHT = 0.7
MISSING_WEIGHT = math.hypot(VALUE_WEIGHT, SQUARE_WEIGHT)
MOMENTS_WEIGHT = 3.0
# values are clipped this many public SDs from the public mean, or at the schema's range if closer
CLIP_SD = 3.0
# R² per standardised number; twice its expectation, so that about one patient in twenty is scaled down
RADIUS_SQUARED_PER_NUMBER = 2.0


@dataclass(frozen=True, kw_only=True)
class NumberCells:
    """A number's public bounds and reference, in its unit; values beyond the bounds are clipped."""

    name: str
    unit: str
    low: float
    high: float
    reference_mean: float
    reference_sd: float
    may_be_missing: bool

    @property
    def middle(self) -> float:
        """The value at u = 0."""
        return (self.low + self.high) / 2

    @property
    def half(self) -> float:
        """Units per u."""
        return (self.high - self.low) / 2

    @property
    def n_cells(self) -> int:
        """u, 2u² − 1, and missing."""
        return 3 if self.may_be_missing else 2


@dataclass(frozen=True, kw_only=True)
class CategoryCells:
    """A category's words, in the schema's order."""

    name: str
    categories: tuple[str, ...]
    may_be_missing: bool

    @property
    def n_cells(self) -> int:
        """One per category, and missing."""
        return len(self.categories) + self.may_be_missing


@dataclass(frozen=True, kw_only=True)
class DescriptionSpec:
    """What a description's cells mean. Public: the plan alone determines it.

    ``fields`` are in the order of the schema's; ``target`` is None in classification.
    """

    endpoint: str
    fields: tuple[NumberCells | CategoryCells, ...]
    target: NumberCells | None
    has_second_moments: bool

    @property
    def first_cells(self) -> tuple[int, ...]:
        """Index of the first cell of each field, of the target, and of the moments."""
        sizes = [field.n_cells for field in self.fields]
        sizes.append(0 if self.target is None else self.target.n_cells)
        return tuple(3 + sum(sizes[:place]) for place in range(len(sizes) + 1))

    @property
    def moment_names(self) -> tuple[str, ...]:
        """Names of v's entries: a constant 1, numbers in public SDs, categories one-hot, the label."""
        names = ["1"]
        for field in self.fields:
            if isinstance(field, NumberCells):
                names.append(field.name)
            else:
                names += [f"{field.name}={category}" for category in field.categories]
        return (*names, self.endpoint if self.target is None else self.target.name)

    @property
    def n_cells(self) -> int:
        """Length of a table."""
        d = len(self.moment_names)
        return self.first_cells[-1] + (d * (d + 1) // 2 if self.has_second_moments else 0)

    @property
    def radius_squared(self) -> float:
        """R², to which ‖v‖² is clipped: 1 for the constant and each one-hot, more for a number."""
        n_numbers = sum(isinstance(field, NumberCells) for field in self.fields)
        n_ones = 1 + len(self.fields) - n_numbers
        if self.target is None:
            n_ones += 1
        else:
            n_numbers += 1
        return n_ones + RADIUS_SQUARED_PER_NUMBER * n_numbers


def description_spec(settings: ModelSettings, stage: DescriptionStage) -> DescriptionSpec:
    """The description that a stage releases of the cohorts of a run."""
    task, label = settings.task, settings.cohort.label
    target = None
    if task.kind == "regression":
        target = NumberCells(
            name=label.column,
            unit=task.target_unit,
            low=stage.target_low,
            high=stage.target_high,
            reference_mean=task.target_mean,
            reference_sd=task.target_sd,
            may_be_missing=False,
        )
    fields = tuple(_field_cells(field) for field in settings.cohort.fields)
    if label.kind == "time_to_event":  # how each follow-up ended, and when
        fields += (CategoryCells(name=label.column, categories=label.classes, may_be_missing=False),)
    return DescriptionSpec(
        endpoint=task.endpoint,
        fields=fields,
        target=target,
        has_second_moments=stage.has_second_moments,
    )


def _field_cells(field: ClinicalField) -> NumberCells | CategoryCells:
    if field.kind == "category":
        return CategoryCells(
            name=field.name, categories=field.categories, may_be_missing=field.may_be_missing
        )
    reach = CLIP_SD * field.reference_sd
    low = max(field.low, field.reference_mean - reach)
    high = min(field.high, field.reference_mean + reach)
    if low >= high:  # the reference lies outside the accepted range
        low, high = field.low, field.high
    return NumberCells(
        name=field.name,
        unit=field.unit,
        low=low,
        high=high,
        reference_mean=field.reference_mean,
        reference_sd=field.reference_sd,
        may_be_missing=field.may_be_missing,
    )


def sensitivity(spec: DescriptionSpec) -> float:
    """Largest L2 norm of a row: how far one patient can move the table (add/remove)."""
    squares = COUNT_WEIGHT**2 + ONE_HOT_WEIGHT**2
    for cells in (*spec.fields, spec.target):
        if isinstance(cells, NumberCells):
            squares += VALUE_WEIGHT**2 + SQUARE_WEIGHT**2
        elif cells is not None:
            squares += ONE_HOT_WEIGHT**2
    return math.sqrt(squares + (MOMENTS_WEIGHT**2 if spec.has_second_moments else 0.0))


def contributions(
    spec: DescriptionSpec, *, fields: Floats, field_mask: Bools, target: Floats, is_positive: Bools
) -> Floats:
    """One bounded row per patient; of a patient without label or required value it is zero.

    A number that is not finite, or a category that is none, is missing.

    Args:
        spec: meaning of the cells.
        fields: numbers standardised by the public reference, categories as index.
        field_mask: True = present.
        target: label in its own unit, or class index; NaN = unlabelled.
        is_positive: whether the patient has the endpoint.

    Shapes: fields [n, k], field_mask [n, k], target [n], is_positive [n] -> [n, n_cells].

    Raises:
        ProtocolError: the shapes do not fit.
    """
    n, k = target.size, len(spec.fields)
    if fields.shape != (n, k) or field_mask.shape != (n, k) or is_positive.shape != (n,):
        raise ProtocolError(
            "table-shape",
            f"fields and their mask must be [n, {k}], target and is_positive [n], not "
            f"{[part.shape for part in (fields, field_mask, target, is_positive)]}",
        )
    values = fields.astype(np.float64)
    present = field_mask & np.isfinite(values)
    for column, cells in enumerate(spec.fields):
        if isinstance(cells, CategoryCells):
            present[:, column] &= (values[:, column] >= 0) & (values[:, column] < len(cells.categories))
    usable = np.isfinite(target)
    for column, cells in enumerate(spec.fields):
        if not cells.may_be_missing:
            usable &= present[:, column]
    parts = [np.full((n, 1), COUNT_WEIGHT), ONE_HOT_WEIGHT * _one_hot(~is_positive, 2)]
    moments = [np.ones((n, 1))]
    for column, cells in enumerate(spec.fields):
        make = _number_part if isinstance(cells, NumberCells) else _category_part
        part, entries = make(cells, values[:, column], present[:, column])  # type: ignore[arg-type]
        parts.append(part)
        moments.append(entries)
    if spec.target is None:
        moments.append(is_positive[:, None].astype(np.float64))
    else:
        with np.errstate(over="ignore"):
            z = (target - spec.target.reference_mean) / spec.target.reference_sd
        part, entries = _number_part(spec.target, z, np.isfinite(target))
        parts.append(part)
        moments.append(entries)
    if spec.has_second_moments:
        parts.append(_triangles(np.concatenate(moments, axis=1), spec.radius_squared))
    rows: Floats = np.concatenate(parts, axis=1)
    rows[~usable] = 0.0
    return rows


def _number_part(cells: NumberCells, z: Floats, present: Bools) -> tuple[Floats, Floats]:
    """A number's cells [n, 2 or 3], and its entry in v [n, 1], 0 where missing."""
    low = (cells.low - cells.reference_mean) / cells.reference_sd
    high = (cells.high - cells.reference_mean) / cells.reference_sd
    clipped = np.clip(np.where(present, z, 0.0), low, high)
    u = np.clip((clipped - (low + high) / 2) / ((high - low) / 2), -1.0, 1.0)
    columns = [VALUE_WEIGHT * u, SQUARE_WEIGHT * (2 * u**2 - 1)]
    columns = [np.where(present, column, 0.0) for column in columns]
    if cells.may_be_missing:
        columns.append(np.where(present, 0.0, MISSING_WEIGHT))
    return np.stack(columns, axis=1), np.where(present, clipped, 0.0)[:, None]


def _category_part(cells: CategoryCells, index: Floats, present: Bools) -> tuple[Floats, Floats]:
    """A category's cells [n, K or K + 1], and its entries in v [n, K], 0 where missing."""
    k = len(cells.categories)
    one_hot = _one_hot(np.where(present, index, k).astype(np.intp), k + 1)
    return ONE_HOT_WEIGHT * one_hot[:, : cells.n_cells], one_hot[:, :k]


def _one_hot(index: NDArray[np.intp] | Bools, size: int) -> Floats:
    made: Floats = np.eye(size)[index.astype(np.intp)]
    return made


def _triangles(v: Floats, radius_squared: float) -> Floats:
    """Bounded upper triangles [n, d(d+1)/2] of v·vᵀ; the constant is kept, the rest scaled down."""
    length = np.linalg.norm(v[:, 1:], axis=1, keepdims=True)
    longest = math.sqrt(radius_squared - 1)
    bounded = v.copy()
    bounded[:, 1:] *= longest / np.maximum(length, longest)
    first, second = np.triu_indices(v.shape[1])
    scale = np.where(first == second, 1.0, math.sqrt(2)) * MOMENTS_WEIGHT / radius_squared
    products: Floats = bounded[:, first] * bounded[:, second] * scale
    return products


def withhold_small_groups(table: Floats, spec: DescriptionSpec, *, minimum_cell: int) -> Floats:
    """An exact table [n_cells] that shows no group of patients between 1 and the minimum.

    A field of which one category, the missing or the present are that few is withheld whole, since the
    others and the count would tell them. A withheld number reads as missing in everybody, a withheld
    category as a field of nobody; neither moves a figure that other sites' tables are pooled into.

    Raises:
        PolicyError: so few patients have the endpoint, or have it not.
    """
    shown, count = table.copy(), table[0] / COUNT_WEIGHT

    def has_small(sizes: Floats) -> bool:
        rounded = np.rint(sizes)
        return bool(((rounded > 0) & (rounded < minimum_cell)).any())

    if has_small(table[1:3] / ONE_HOT_WEIGHT):
        raise PolicyError(
            "cell-too-small",
            f"fewer than {minimum_cell} patients have the endpoint, or have it not",
            hint="ask for noised tables (validation.release_class=dp), or measure more patients",
        )
    for cells, first in zip(spec.fields, spec.first_cells, strict=False):
        place = slice(first, first + cells.n_cells)
        if isinstance(cells, CategoryCells):
            if has_small(table[place] / ONE_HOT_WEIGHT):
                shown[place] = 0.0
        elif cells.may_be_missing:
            missing = table[first + 2] / MISSING_WEIGHT
            if has_small(np.array([missing, count - missing])):
                shown[place] = (0.0, 0.0, count * MISSING_WEIGHT)
    return shown
