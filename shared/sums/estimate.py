"""A figure with its interval, or the reason why there is none. Imports nothing of the project."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["measured", "suppressed", "too-noisy", "not-applicable", "not-assessed"]

Promise = Literal["kept", "broken", "undecided", "not-applicable"]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure with its interval, or the reason why there is none (then all three are null).

    Attributes:
        status: ``suppressed``: too few patients. ``too-noisy``: the plan's noise leaves nothing of it.
            ``not-assessed``: nobody's films have masks.
        value: the figure.
        low: of the 95 % interval.
        high: of the interval.
    """

    status: Status
    value: float | None = None
    low: float | None = None
    high: float | None = None


SUPPRESSED = Estimate(status="suppressed")
# The plan's noise leaves nothing of it, whatever came out.
TOO_NOISY = Estimate(status="too-noisy")
NOT_APPLICABLE = Estimate(status="not-applicable")
# Nobody's films have what it is read from.
NOT_ASSESSED = Estimate(status="not-assessed")


@dataclass(frozen=True, kw_only=True)
class Measures:
    """All that a table says. Errors are prediction − target, in the target's unit.

    Attributes:
        n_patients: measured.
        n_positive: with the endpoint.
        auc: of the endpoint.
        sensitivity: at the operating point.
        specificity: at the operating point.
        r2: share of the target's variance that is explained.
        mae: mean absolute error.
        rmse: root of the mean squared error.
        bias: mean error (Bland–Altman).
        limit_low: lower limit of agreement: bias − 1.96 SD.
        limit_high: upper limit of agreement.
        promise: whether the sensitivity reaches the plan's target: ``kept`` when the whole interval
            does, ``broken`` when none of it does.
    """

    n_patients: Estimate
    n_positive: Estimate
    auc: Estimate
    sensitivity: Estimate
    specificity: Estimate
    r2: Estimate
    mae: Estimate
    rmse: Estimate
    bias: Estimate
    limit_low: Estimate
    limit_high: Estimate
    promise: Promise


# What is read from a table beside the counts of patients.
FIGURES = (
    "auc",
    "sensitivity",
    "specificity",
    "r2",
    "mae",
    "rmse",
    "bias",
    "limit_low",
    "limit_high",
)


def within(value: float, low: float, high: float, *, bounds: tuple[float, float]) -> Estimate:
    """A measured figure, cut to the range it can have."""
    value = min(max(value, bounds[0]), bounds[1])
    return Estimate(status="measured", value=value, low=low, high=high)


def promise_of(sensitivity: Estimate, target: float) -> Promise:
    """Whether the whole interval of a sensitivity keeps what was promised; 0: nobody promised."""
    if not target or sensitivity.low is None or sensitivity.high is None:
        return "not-applicable"
    if sensitivity.low >= target:
        return "kept"
    return "broken" if sensitivity.high < target else "undecided"
