"""A site's exact figures of a release: one vector of named statistics, each patient counted once.

Owns which figures there are, where each stands, whom it implies and to how many digits it is public.
What of a vector may leave says ``shared.measure.governed.disclosure``. Shares come from a decision that
the caller has made; nothing here knows a threshold. Standard errors are those of the influence
function, so they assume no distribution. Imports the exact measures, settings, stages and errors.

Rules for what is not finite, never flattering: a patient without a finite target is unlabelled and left
out; a score that is not finite ranks, and is called, wrongly for the patient's class; a prediction that
is not finite has the largest public error.

Legend: n patients · m figures.

Source: DeLong, DeLong & Clarke-Pearson 1988 (Biometrics 44:837); Hampel 1974 (JASA 69:383) for standard
errors; Cox 1958 (Biometrika 45:562) for logistic recalibration; Bland & Altman 1986 (Lancet 327:307).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shared.contract.decision import decision_of
from shared.contract.model_settings import ModelSettings
from shared.contract.stages import TableStage
from shared.errors import ProtocolError
from shared.measure.exact.discrimination import delong
from shared.measure.governed.values import has_many_values

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Whom a figure counts: everybody; both classes; how one class is divided by the decision; or how each
# class beside the endpoint is divided by its own call.
Implied = Literal["patients", "classes", "positives", "negatives", "others"]
# No figure is beyond it, of either sign: what a coordinator need not believe.
LARGEST = 1e9
LIMIT_SD = 1.96  # limits of agreement: bias ± 1.96 SD with divisor n − 1 (Bland & Altman 1986)
# Decimals of a figure in the target's unit, beyond the first digit of the target's public range.
_UNIT_DIGITS = 4
_PROBABILITY_FLOOR = 1e-6  # where a logit ends
_NEWTON_STEPS = 50
_LONGEST_SLOPE = 1e3  # a steeper recalibration is one that separates the classes: there is none


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One place of a vector.

    Attributes:
        implies: whose counts follow from the figure and the size of the class that it is a share of.
        digits: decimals that are released; None: by the target's unit.
        low: least value that it can have.
        high: largest.
    """

    implies: Implied
    digits: int | None
    low: float = -LARGEST
    high: float = LARGEST


_COUNTED: dict[str, Figure] = {
    "n": Figure(implies="patients", digits=0, low=0.0),
    "n_positive": Figure(implies="classes", digits=0, low=0.0),
    "auc": Figure(implies="classes", digits=4, low=0.0, high=1.0),
    "auc_se": Figure(implies="classes", digits=4, low=0.0, high=1.0),
    "sensitivity": Figure(implies="positives", digits=3, low=0.0, high=1.0),
    "specificity": Figure(implies="negatives", digits=3, low=0.0, high=1.0),
}
REGRESSION: dict[str, Figure] = {
    **_COUNTED,
    "r2": Figure(implies="patients", digits=4, high=1.0),
    "r2_se": Figure(implies="patients", digits=4, low=0.0),
    "mae": Figure(implies="patients", digits=None, low=0.0),
    "rmse": Figure(implies="patients", digits=None, low=0.0),
    "rmse_se": Figure(implies="patients", digits=None, low=0.0),
    "bias": Figure(implies="patients", digits=None),
    "error_sd": Figure(implies="patients", digits=None, low=0.0),
    "limit_low_se": Figure(implies="patients", digits=None, low=0.0),
    "limit_high_se": Figure(implies="patients", digits=None, low=0.0),
    "slope": Figure(implies="patients", digits=3),
    "intercept": Figure(implies="patients", digits=None),
    "target_mean": Figure(implies="patients", digits=None),
    "target_sd": Figure(implies="patients", digits=None, low=0.0),
}
CLASSIFICATION: dict[str, Figure] = {
    **_COUNTED,
    "brier": Figure(implies="classes", digits=4, low=0.0, high=1.0),
    "slope": Figure(implies="classes", digits=3),
    "intercept": Figure(implies="classes", digits=3),
}


@dataclass(frozen=True, kw_only=True)
class StatisticsSpec:
    """What a vector's places mean. Public: the plan alone determines it.

    Attributes:
        is_regression: whether there is a target beside the classes.
        unit_range: width of the target's public range, in its unit; it says which digits are public.
        error_high: largest error, which a prediction that is not finite gets.
        others: classes beside the endpoint, where there are two or more: each is counted, and which
            share of it is called rightly.
    """

    is_regression: bool
    unit_range: float = 1.0
    error_high: float = 1.0
    others: tuple[str, ...] = ()

    @property
    def figures(self) -> dict[str, Figure]:
        """Name → figure, in the order of the vector."""
        counts = {size_of(each): Figure(implies="others", digits=0, low=0.0) for each in self.others}
        shares = {
            share_of(each): Figure(implies="others", digits=3, low=0.0, high=1.0)
            for each in self.others
        }
        return (REGRESSION if self.is_regression else CLASSIFICATION) | counts | shares

    @property
    def n_figures(self) -> int:
        """m, the length of a vector."""
        return len(self.figures)

    @property
    def digits(self) -> tuple[int, ...]:
        """Public decimals of each figure [m]."""
        of_unit = _UNIT_DIGITS - math.floor(math.log10(self.unit_range))
        return tuple(of_unit if each.digits is None else each.digits for each in self.figures.values())

    def named(self, vector: Floats) -> dict[str, float]:
        """Figures by name; a withheld one, or one beyond its range, is NaN. Shapes: vector [m].

        Raises:
            ProtocolError: the vector is of another length.
        """
        if vector.shape != (self.n_figures,):
            raise ProtocolError(
                "table-shape", f"statistics must be {self.n_figures} figures, not {vector.shape}"
            )
        return {
            name: float(value) if figure.low <= value <= figure.high else math.nan
            for (name, figure), value in zip(self.figures.items(), vector, strict=True)
        }


def size_of(name: str) -> str:
    """The figure that counts a class beside the endpoint."""
    return f"n, {name}"


def share_of(name: str) -> str:
    """The figure that says which share of a class beside the endpoint is called rightly."""
    return f"sensitivity, {name}"


def statistics_spec(settings: ModelSettings, stage: TableStage) -> StatisticsSpec:
    """The statistics of a governed stage."""
    rule = decision_of(settings)
    others = tuple(name for place, name in enumerate(rule.classes) if place != rule.endpoint)
    return StatisticsSpec(
        is_regression=rule.is_regression,
        unit_range=stage.target_high - stage.target_low,
        error_high=stage.error_high,
        others=others if len(others) > 1 else (),
    )


def measure_statistics(
    spec: StatisticsSpec,
    *,
    suspicion: Floats,
    is_positive: Bools,
    is_called: Bools,
    target: Floats | None = None,
    prediction: Floats | None = None,
    rightly: Mapping[str, Bools] | None = None,
) -> Floats:
    """The figures of a site's patients, exact; NaN where there is none. Never to be sent as they are.

    Args:
        spec: meaning of the places.
        suspicion: score that rises with suspicion; in classification the positive class's probability.
        is_positive: whether the patient has the endpoint.
        is_called: whether the release's decision calls the patient positive.
        target: regression only, in the target's unit.
        prediction: regression only, in the target's unit.
        rightly: of each class beside the endpoint, for each of its patients, whether the decision calls
            that class; a patient with an output that is not finite is called wrongly.

    Shapes: suspicion [n], is_positive [n], is_called [n], target [n], prediction [n] -> [m].

    Raises:
        ProtocolError: lengths differ, or target and prediction do not go with the spec.
    """
    given = [suspicion, is_positive, is_called]
    given += [part for part in (target, prediction) if part is not None]
    has_both = target is not None and prediction is not None
    if any(part.shape != (suspicion.size,) for part in given) or has_both != spec.is_regression:
        raise ProtocolError(
            "table-shape",
            "suspicion, is_positive, is_called and, in regression, target and prediction must be one "
            f"number per patient, not {[part.shape for part in given]}",
        )
    if target is None or prediction is None:
        found = _count_and_rank(suspicion, is_positive, is_called)
        found |= _measure_probabilities(suspicion, is_positive)
    else:
        known = np.isfinite(target)
        found = _count_and_rank(suspicion[known], is_positive[known], is_called[known])
        found |= _measure_errors(target[known], prediction[known], error_high=spec.error_high)
    for name, right in (rightly or {}).items():
        found |= {size_of(name): float(right.size)}
        found |= {share_of(name): float(right.mean())} if right.size else {}
    vector = np.array([found.get(name, math.nan) for name in spec.figures])
    bounded: Floats = np.clip(vector, -LARGEST, LARGEST)
    return bounded


def _count_and_rank(suspicion: Floats, is_positive: Bools, is_called: Bools) -> dict[str, float]:
    wrong = ~np.isfinite(suspicion)
    score = np.where(wrong, np.where(is_positive, -np.inf, np.inf), suspicion)
    called = np.where(wrong, ~is_positive, is_called)
    n_positive = int(is_positive.sum())
    n_negative = is_positive.size - n_positive
    found = {"n": float(is_positive.size), "n_positive": float(n_positive)}
    if n_positive:
        found["sensitivity"] = float(called[is_positive].mean())
    if n_negative:
        found["specificity"] = float((~called[~is_positive]).mean())
    if min(n_positive, n_negative) > 1 and has_many_values(score):
        auc, covariance = delong(score[None, :], is_positive)
        found |= {"auc": float(auc[0]), "auc_se": math.sqrt(float(covariance[0, 0]))}
    return found


def _measure_errors(target: Floats, prediction: Floats, *, error_high: float) -> dict[str, float]:
    """Figures of errors, prediction − target; R² is about the patients' own mean."""
    n = target.size
    if n < 2 or not has_many_values(target):
        return {}
    mean, variance = float(target.mean()), float(target.var())
    of_target = {"target_mean": mean, "target_sd": math.sqrt(variance)}
    predicted = np.where(np.isfinite(prediction), prediction, target + error_high)
    if not has_many_values(predicted):
        return of_target
    error = predicted - target
    bias, spread, mse = float(error.mean()), float(error.std()), float((error**2).mean())
    found = of_target | {
        "mae": float(np.abs(error).mean()),
        "rmse": math.sqrt(mse),
        "bias": bias,
        "error_sd": float(error.std(ddof=1)),
    }
    if mse > 0:
        found["rmse_se"] = _standard_error(error**2) / (2 * math.sqrt(mse))
    if spread > 0:
        moved = error - bias
        widened = LIMIT_SD * (moved**2 - spread**2) / (2 * spread)
        found["limit_low_se"] = _standard_error(moved - widened)
        found["limit_high_se"] = _standard_error(moved + widened)
    if variance > 0:
        unexplained = mse / variance
        found["r2"] = 1 - unexplained
        found["r2_se"] = _standard_error((error**2 - unexplained * (target - mean) ** 2) / variance)
    if float(predicted.std()) > 0:
        shifted = predicted - predicted.mean()
        slope = float(shifted @ (target - mean)) / float(shifted @ shifted)
        found |= {"slope": slope, "intercept": mean - slope * float(predicted.mean())}
    return found


def _standard_error(influence: Floats) -> float:
    """Standard error of a figure from each patient's influence [n] on it."""
    return float(influence.std()) / math.sqrt(influence.size)


def _measure_probabilities(probability: Floats, is_positive: Bools) -> dict[str, float]:
    """Brier score, and slope and intercept of a logistic regression of the class on the logit."""
    outcome = is_positive.astype(np.float64)
    stated = np.where(np.isfinite(probability), probability, 1 - outcome)
    if not has_many_values(stated):
        return {}
    found = {"brier": float(((stated - outcome) ** 2).mean())}
    line = _recalibrate(np.clip(stated, _PROBABILITY_FLOOR, 1 - _PROBABILITY_FLOOR), outcome)
    if line is not None:
        found |= {"intercept": line[0], "slope": line[1]}
    return found


def _recalibrate(probability: Floats, outcome: Floats) -> tuple[float, float] | None:
    """Intercept and slope by Newton's method; None where the likelihood has no maximum."""
    logit = np.log(probability / (1 - probability))
    design = np.stack([np.ones_like(logit), logit], axis=1)
    line = np.array([0.0, 1.0])
    for _ in range(_NEWTON_STEPS):
        fitted = 0.5 * (1 + np.tanh(design @ line / 2))
        curvature = design.T @ (design * (fitted * (1 - fitted))[:, None])
        if np.linalg.cond(curvature) > 1e12:
            return None
        step = np.linalg.solve(curvature, design.T @ (outcome - fitted))
        line = line + step
        if np.abs(line).max() > _LONGEST_SLOPE:
            return None
        if np.abs(step).max() < 1e-10:
            return float(line[0]), float(line[1])
    return None
