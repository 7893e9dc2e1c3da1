"""The one message of a validation: a table of bounded per-patient rows, summed over patients.

A site turns each patient into one row whose L2 norm is at most ``sensitivity(spec)``, sums the rows
and adds Gaussian noise of one standard deviation to every cell.
Every figure of a report is post-processing of that table (``shared.measure.table.reading``).

Cells, in this order:
    histogram   W·one-hot over (positive bins, negative bins), one score per patient
    moments     only in regression, each in [−1, 1] times its weight, with u the target and v the
                error (prediction − target) scaled to [−1, 1] by public bounds:
                1, u, 2u² − 1, v, 2|v| − 1, 2v² − 1

2x − 1 instead of x doubles the resolution of a quantity in [0, 1] at the same sensitivity, because
the count is known from its own cell. Weights decide only how the noise is shared out.

Rules for what is not finite, the same for every cohort and never flattering: no finite target in
regression means unlabelled, and the row is zero; a score that is not finite goes to the end bin that
is wrong for the patient's class; a prediction that is not finite has the largest error.
Imports settings, stages and errors only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.contract.settings import TaskSettings
from shared.contract.stages import TableStage
from shared.errors import ProtocolError, SettingsError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# moments in cell order, and the share of the noise budget each gets (larger = less noise)
MOMENT_WEIGHTS: dict[str, float] = {
    "count": 1.0,
    "target": 0.5,
    "target_squared": 1.0,
    "error": 0.35,
    "error_absolute": 0.35,
    "error_squared": 1.0,
}
# one-hot rows have norm W: 1 alone, more beside moments
HISTOGRAM_WEIGHT = {False: 1.0, True: 1.2}


@dataclass(frozen=True, kw_only=True)
class TableSpec:
    """What a table's cells mean. Public: the plan alone determines it.

    ``threshold`` is a bin edge and the operating point: a patient is called positive at
    score ≤ threshold when ``positive_is_low``, at score ≥ threshold otherwise.
    """

    bins: int
    score_low: float
    score_high: float
    threshold: float
    positive_is_low: bool
    has_moments: bool
    target_low: float = 0.0
    target_high: float = 1.0
    error_high: float = 1.0

    @property
    def n_cells(self) -> int:
        """Length of a table."""
        return 2 * self.bins + (len(MOMENT_WEIGHTS) if self.has_moments else 0)

    @property
    def bins_below(self) -> int:
        """Bins below the threshold; bins are as equally wide as an edge at the threshold allows."""
        share = (self.threshold - self.score_low) / (self.score_high - self.score_low)
        return min(max(round(share * self.bins), 1), self.bins - 1)

    @property
    def inner_edges(self) -> Floats:
        """Edges between bins [bins − 1]; the end bins reach to ±infinity."""
        below = np.linspace(self.score_low, self.threshold, self.bins_below + 1)
        above = np.linspace(self.threshold, self.score_high, self.bins - self.bins_below + 1)
        return np.concatenate([below[1:], above[1:-1]])


def table_spec(task: TaskSettings, validation: TableStage) -> TableSpec:
    """The table of a stage.

    Raises:
        SettingsError: the operating point is not inside the score range.
    """
    is_regression, threshold = task.kind == "regression", task.operating_point
    if not validation.score_low < threshold < validation.score_high:
        raise SettingsError(
            "threshold-outside-scores",
            f"the operating point {threshold} must lie between validation.score_low "
            f"{validation.score_low} and validation.score_high {validation.score_high}",
            hint="choose the validation group that fits the task: bmd or probability",
        )
    return TableSpec(
        bins=validation.bins,
        score_low=validation.score_low,
        score_high=validation.score_high,
        threshold=threshold,
        positive_is_low=is_regression,
        has_moments=is_regression,
        target_low=validation.target_low,
        target_high=validation.target_high,
        error_high=validation.error_high,
    )


def sensitivity(spec: TableSpec) -> float:
    """Largest L2 norm of a row, attained: how far one patient can move the table (add/remove)."""
    return row_norm(has_moments=spec.has_moments)


def row_norm(*, has_moments: bool) -> float:
    """The same of a table of however many bins: a patient stands in one of them."""
    squares = HISTOGRAM_WEIGHT[has_moments] ** 2
    if has_moments:
        squares += sum(weight**2 for weight in MOMENT_WEIGHTS.values())
    return math.sqrt(squares)


def contributions(
    spec: TableSpec,
    *,
    score: Floats,
    is_positive: Bools,
    target: Floats | None = None,
    prediction: Floats | None = None,
) -> Floats:
    """One bounded row per patient.

    Args:
        spec: meaning of the cells.
        score: one number per patient: predicted target in regression, probability in classification.
        is_positive: whether the patient has the endpoint.
        target: regression only, in the target's unit.
        prediction: regression only, in the target's unit.

    Shapes: score [n], is_positive [n], target [n], prediction [n] -> [n, n_cells].

    Raises:
        ProtocolError: lengths differ, or target and prediction do not go with the spec.
    """
    given = [score, is_positive] + [part for part in (target, prediction) if part is not None]
    has_both = target is not None and prediction is not None
    if any(part.shape != (score.size,) for part in given) or has_both != spec.has_moments:
        raise ProtocolError(
            "table-shape",
            "score, is_positive and, in regression, target and prediction must be one number per "
            f"patient, not {[part.shape for part in given]}",
        )
    rows = np.zeros((score.size, spec.n_cells))
    column = _bin_of(spec, score, is_positive) + np.where(is_positive, 0, spec.bins)
    rows[np.arange(score.size), column] = HISTOGRAM_WEIGHT[spec.has_moments]
    if target is not None and prediction is not None:
        rows[:, 2 * spec.bins :] = _moments(spec, target, prediction)
        rows[~np.isfinite(target)] = 0.0
    return rows


def _bin_of(spec: TableSpec, score: Floats, is_positive: Bools) -> NDArray[np.intp]:
    # a score on an edge falls on the positive side of it
    side = "left" if spec.positive_is_low else "right"
    bins: NDArray[np.intp] = np.searchsorted(spec.inner_edges, score, side=side)  # type: ignore[call-overload]
    most_positive = 0 if spec.positive_is_low else spec.bins - 1
    worst = np.where(is_positive, spec.bins - 1 - most_positive, most_positive)
    return np.where(np.isfinite(score), bins, worst)


def _moments(spec: TableSpec, target: Floats, prediction: Floats) -> Floats:
    centre, half = (spec.target_low + spec.target_high) / 2, (spec.target_high - spec.target_low) / 2
    with np.errstate(invalid="ignore", over="ignore"):
        u = np.clip(np.nan_to_num((target - centre) / half), -1.0, 1.0)
        error = np.clip((prediction - target) / spec.error_high, -1.0, 1.0)
    v = np.where(np.isfinite(prediction), error, 1.0)
    v = np.nan_to_num(v, nan=1.0)
    columns = [np.ones_like(u), u, 2 * u**2 - 1, v, 2 * np.abs(v) - 1, 2 * v**2 - 1]
    moments: Floats = np.stack(columns, axis=1) * np.array(list(MOMENT_WEIGHTS.values()))
    return moments


def pool_tables(tables: Sequence[tuple[Floats, float]]) -> tuple[Floats, float]:
    """Sum of (table, noise_sd) pairs in any order; independent noise adds in quadrature.

    Raises:
        ProtocolError: there is no table, or they differ in length.
    """
    if not tables or len({table.shape for table, _ in tables}) != 1:
        raise ProtocolError(
            "table-shape", f"tables to pool must be of one shape, not {[t.shape for t, _ in tables]}"
        )
    # fsum is exact, so the order of the sites cannot matter
    cells = np.array([math.fsum(column) for column in zip(*(t for t, _ in tables), strict=True)])
    return cells, math.sqrt(math.fsum(sd**2 for _, sd in tables))
