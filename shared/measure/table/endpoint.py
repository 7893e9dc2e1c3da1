"""What a table says of the endpoint beside AUC, sensitivity and specificity: post-processing.

Likelihood ratios of the call; whether a predicted number, or a stated probability, means what it says;
the ROC curve, the calibration curve and the decision curve. Imports the rest of the package, curves and
calibration. Legend: b bins · m cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.measure.table.cells import by_suspicion, endpoint_calls, score_histograms
from shared.measure.table.expected import expected_table
from shared.measure.table.moments import read_moments
from shared.measure.table.spec import TableSpec
from shared.measures.calibration import (
    CalibrationPoint,
    PairSums,
    calibrate_regression,
    calibration_curve,
    expected_calibration_error,
    recalibrate,
)
from shared.measures.curves import NetBenefit, decision_curve, likelihood_ratios, roc_points
from shared.measures.figures import ABOVE_NOISE, is_narrow
from shared.sums.estimate import TOO_NOISY, Estimate

Floats = NDArray[np.float64]
# A bin stands for its middle: with fewer bins a calibrated rare probability has a slope of 1.1 to 1.5.
FEWEST_BINS = 16


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Of the endpoint.

    Attributes:
        roc: share of the others called, and sensitivity, from nobody to everybody.
        calibration: of a stated probability only.
        decision: of a stated probability only.
    """

    roc: tuple[tuple[float, float], ...]
    calibration: tuple[CalibrationPoint, ...] = ()
    decision: tuple[NetBenefit, ...] = ()


def endpoint_figures(
    table: Floats, spec: TableSpec, *, noise_sd: float, minimum_cell: int, above_noise: float = 1.0
) -> dict[str, Estimate]:
    """Figures by name; none that the table does not hold. Arguments as of ``read_classes``.

    ``above_noise``: 2 for a table that is expected. A figure that noise may swallow is then expected to
    be swallowed, so that what is shown hardly ever depends on what came out.
    """
    found: dict[str, Estimate] = {}
    calls = endpoint_calls(table, spec, noise_sd=noise_sd)
    if calls is not None:
        ratios = likelihood_ratios(*calls, minimum_cell=minimum_cell, above_noise=above_noise)
        found |= {
            f"LR+, {spec.classes[0]}": ratios.positive,
            f"LR−, {spec.classes[0]}": ratios.negative,
        }
    if spec.has_moments:
        found["calibration slope"] = _slope(
            table, spec, noise_sd=noise_sd, minimum_cell=minimum_cell, above_noise=above_noise
        )
    if spec.states_probability and spec.bins >= FEWEST_BINS:
        bins = _probability_bins(table, spec)
        cell_sd = noise_sd / spec.cell_weight
        line = recalibrate(*bins, cell_sd=cell_sd, minimum_cell=minimum_cell, above_noise=above_noise)
        error = expected_calibration_error(
            *bins, cell_sd=cell_sd, minimum_cell=minimum_cell, above_noise=above_noise
        )
        found |= {
            "calibration intercept": line.intercept,
            "calibration slope": line.slope,
            "calibration error": error,
        }
    return found


def read_curves(
    table: Floats, spec: TableSpec, *, noise_sd: float, minimum_cell: int, n_expected: float
) -> Curves:
    """The endpoint's curves, for display; under noise the points that were expected to say something.

    Arguments as of ``read_classes``. A point is expected to be swallowed where noise may swallow it, so
    that what is shown hardly ever depends on what came out.
    """
    found = _curves(table, spec, noise_sd=noise_sd, minimum_cell=0 if noise_sd else minimum_cell)
    if not noise_sd:
        return found
    likely = expected_table(spec, n_patients=n_expected)
    expected = _curves(
        likely, spec, noise_sd=noise_sd, minimum_cell=minimum_cell, above_noise=ABOVE_NOISE
    )

    def shown(name: str, each: Estimate, likely: Estimate) -> Estimate:
        return each if each.value is None or is_narrow(name, likely) else TOO_NOISY

    return Curves(
        roc=found.roc,
        calibration=tuple(
            CalibrationPoint(
                predicted=point.predicted,
                observed=shown("observed", point.observed, other.observed),
            )
            for point, other in zip(found.calibration, expected.calibration, strict=True)
        ),
        decision=tuple(
            NetBenefit(
                threshold=point.threshold,
                model=shown("net benefit", point.model, other.model),
                treat_all=shown("net benefit", point.treat_all, other.treat_all),
            )
            for point, other in zip(found.decision, expected.decision, strict=True)
        ),
    )


def _curves(
    table: Floats, spec: TableSpec, *, noise_sd: float, minimum_cell: int, above_noise: float = 1.0
) -> Curves:
    ill, well = (by_suspicion(each, spec) for each in score_histograms(table, spec))
    roc = tuple((float(x), float(y)) for x, y in roc_points(ill, well, minimum_cell=minimum_cell))
    if not spec.states_probability:
        return Curves(roc=roc)
    bins, cell_sd = _probability_bins(table, spec), noise_sd / spec.cell_weight
    return Curves(
        roc=roc,
        calibration=calibration_curve(
            *bins, cell_sd=cell_sd, minimum_cell=minimum_cell, above_noise=above_noise
        ),
        decision=decision_curve(
            *bins, cell_sd=cell_sd, minimum_cell=minimum_cell, above_noise=above_noise
        ),
    )


def _probability_bins(table: Floats, spec: TableSpec) -> tuple[Floats, Floats, Floats]:
    """The ill, the well and the edges of the bins. [m] -> [b], [b], [b+1]."""
    ill, well = score_histograms(table, spec)
    return ill, well, np.concatenate([[0.0], spec.inner_edges, [1.0]])


def _slope(
    table: Floats, spec: TableSpec, *, noise_sd: float, minimum_cell: int, above_noise: float
) -> Estimate:
    """Of the target on the prediction: below 1 where predictions are too extreme.

    Of values as a row holds them: a target is cut to its public range, an error to the largest public
    one, and the prediction is their sum.
    """
    moments = read_moments(table, spec, noise_sd=noise_sd)
    half, unit = (spec.target_high - spec.target_low) / 2, spec.error_high
    sums = PairSums(
        n=moments.count,
        y=moments.u * half,
        e=moments.v * unit,
        y_squared=moments.u2 * half**2,
        e_squared=moments.v2 * unit**2,
        product=moments.uv * half * unit,
    )
    of_first = (moments.sd_count, moments.sd_u, moments.sd_v)
    noise = np.diag(np.square([*of_first, moments.sd_u2, moments.sd_v2, moments.sd_uv]))
    # Σx² comes from Σ(2x² − 1) and the count: half of the count's noise is in it.
    shared = moments.sd_count**2
    noise[0, 3] = noise[3, 0] = noise[0, 4] = noise[4, 0] = shared / 2
    noise[3, 4] = noise[4, 3] = shared / 4
    scale = np.array([1.0, half, unit, half**2, unit**2, half * unit])
    centre = (spec.target_low + spec.target_high) / 2
    found = calibrate_regression(
        sums,
        noise * np.outer(scale, scale),
        centre=centre,
        minimum_cell=minimum_cell,
        above_noise=above_noise,
    )
    return found.slope
