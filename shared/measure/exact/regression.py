"""How far predictions lie from a real-valued target, where the exams themselves are at hand.

Errors are prediction − target. Bootstraps draw patients, with all their exams. What leaves a site
under differential privacy goes through ``shared.measure.table.rows``. Imports errors only.

Source: Bland & Altman 1986 (Lancet 327:307); Efron & Tibshirani 1993 for the percentile interval.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.errors import ProtocolError

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
BLOCK = 256  # replicates whose draw counts are held at once


@dataclass(frozen=True, kw_only=True)
class RegressionMeasures:
    """Figures in the target's unit; ``r2`` is 1 − SSE/SST about the measured exams' own mean."""

    r2: float
    mae: float
    mse: float
    bias: float
    limit_low: float
    limit_high: float


@dataclass(frozen=True, kw_only=True)
class Difference:
    """a − b with its paired interval."""

    value: float
    low: float
    high: float


def measure_regression(target: Floats, prediction: Floats) -> RegressionMeasures:
    """R², MAE, MSE and Bland–Altman bias and limits of agreement (SD of n − 1). Shapes: both [n].

    Raises:
        ProtocolError: fewer than two exams, or all targets are equal.
    """
    _check_varies(target)
    error = prediction - target
    bias, mse = float(error.mean()), float((error**2).mean())
    spread = 1.96 * float(error.std(ddof=1))
    return RegressionMeasures(
        r2=1 - mse / float(target.var()),
        mae=float(np.abs(error).mean()),
        mse=mse,
        bias=bias,
        limit_low=bias - spread,
        limit_high=bias + spread,
    )


def bootstrap_r2(
    target: Floats,
    predictions: Floats,
    patient: Indices,
    *,
    replicates: int,
    generator: np.random.Generator,
) -> Floats:
    """R² of m predictions in the same replicates, so that differences are paired.

    Exams become per-patient sums once; a replicate is a count of draws times those sums.

    Shapes: target [n], predictions [m, n], patient [n] indices from 0 -> [replicates, m].
    """
    _check_varies(target)
    n_patients = int(patient.max()) + 1
    centred = target - target.mean()  # R² does not change, cancellation in SST does
    columns = [np.ones_like(target), centred, centred**2, *((predictions - target) ** 2)]
    sums = np.stack([np.bincount(patient, c, minlength=n_patients) for c in columns], axis=1)
    found = np.empty((replicates, len(predictions)))
    for start in range(0, replicates, BLOCK):
        stop = min(start + BLOCK, replicates)
        counts = np.stack(
            [
                np.bincount(generator.integers(0, n_patients, n_patients), minlength=n_patients)
                for _ in range(start, stop)
            ]
        ).astype(np.float64)
        n, total, squares, *errors = (counts @ sums).T
        spread = squares - total**2 / n
        with np.errstate(divide="ignore", invalid="ignore"):
            found[start:stop] = 1 - np.stack(errors, axis=1) / spread[:, None]
    return found


def bootstrap_means(values: Floats, *, replicates: int, generator: np.random.Generator) -> Floats:
    """Means of m values of each patient in the same replicates, so that differences are paired.

    Shapes: values [m, n], one per patient, such as an absolute error -> [replicates, m].

    Raises:
        ProtocolError: there is no patient.
    """
    n_patients = values.shape[1]
    if n_patients == 0:
        raise ProtocolError(
            "no-patients", "a mean needs at least one patient", hint="report it as not applicable"
        )
    found = np.empty((replicates, len(values)))
    for start in range(0, replicates, BLOCK):
        stop = min(start + BLOCK, replicates)
        drawn = generator.integers(0, n_patients, (stop - start, n_patients))
        found[start:stop] = values[:, drawn].mean(axis=2).T
    return found


def compare_r2(
    target: Floats,
    prediction_a: Floats,
    prediction_b: Floats,
    patient: Indices,
    *,
    replicates: int,
    generator: np.random.Generator,
    confidence: float = 0.95,
) -> Difference:
    """R² of a minus R² of b on the same exams, with a paired patient-bootstrap interval."""
    drawn = bootstrap_r2(
        target,
        np.stack([prediction_a, prediction_b]),
        patient,
        replicates=replicates,
        generator=generator,
    )
    low, high = percentile_interval(drawn[:, 0] - drawn[:, 1], confidence=confidence)
    a, b = (measure_regression(target, p).r2 for p in (prediction_a, prediction_b))
    return Difference(value=a - b, low=low, high=high)


def percentile_interval(replicates: Floats, *, confidence: float = 0.95) -> tuple[float, float]:
    """Percentile interval of bootstrap replicates; replicates without a value (NaN) are left out."""
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(replicates, [tail, 1 - tail])
    return float(low), float(high)


def percentile_p(replicates: Floats) -> float:
    """Two-sided p of no difference: where the percentile interval that just holds 0 ends.

    One replicate is added to either side, so that p is at least 2/(replicates + 1).

    Shapes: replicates [r], of a difference; those without a value (NaN) are left out.

    Source: Davison & Hinkley 1997, Bootstrap Methods and their Application, 4.4.
    """
    found = replicates[np.isfinite(replicates)]
    smaller = min(int((found <= 0).sum()), int((found >= 0).sum()))
    return min(1.0, 2 * (smaller + 1) / (found.size + 1))


def _check_varies(target: Floats) -> None:
    if target.size < 2 or float(target.max()) == float(target.min()):
        raise ProtocolError(
            "no-variation",
            "R² needs at least two exams whose targets differ",
            hint="report it as not applicable",
        )
