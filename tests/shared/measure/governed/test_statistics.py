"""Exact figures of a site: by hand, by the exact measures, and their standard errors by repetition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from practice_plan import plan_of

from server.federation.compose import compose_settings
from shared.errors import ProtocolError
from shared.measure.exact.discrimination import delong
from shared.measure.exact.regression import measure_regression
from shared.measure.governed.statistics import (
    LARGEST,
    StatisticsSpec,
    measure_statistics,
    statistics_spec,
)

REGRESSION = StatisticsSpec(is_regression=True, unit_range=0.65, error_high=0.25)
CLASSES = StatisticsSpec(is_regression=False)
Floats = np.ndarray


def of_errors(target: Floats, prediction: Floats) -> dict[str, float]:
    return REGRESSION.named(
        measure_statistics(
            REGRESSION,
            suspicion=-prediction,
            is_positive=target <= 0.6,
            is_called=prediction <= 0.62,
            target=target,
            prediction=prediction,
        )
    )


def of_probabilities(probability: Floats, is_positive: Floats) -> dict[str, float]:
    return CLASSES.named(
        measure_statistics(
            CLASSES, suspicion=probability, is_positive=is_positive, is_called=probability >= 0.5
        )
    )


def drawn(n: int, seed: int) -> tuple[Floats, Floats]:
    draw = np.random.default_rng(seed)
    target = draw.normal(0.7, 0.1, n)
    return target, 0.2 + 0.75 * target + draw.normal(0, 0.06, n)


def test_figures_of_a_regression_are_those_of_the_exact_measures() -> None:
    target, prediction = drawn(120, 1)
    found, expected = of_errors(target, prediction), measure_regression(target, prediction)
    assert found["r2"] == pytest.approx(expected.r2, rel=1e-12)
    assert (found["mae"], found["bias"]) == (expected.mae, expected.bias)
    assert found["rmse"] ** 2 == pytest.approx(expected.mse, rel=1e-12)
    assert found["bias"] - 1.96 * found["error_sd"] == pytest.approx(expected.limit_low, rel=1e-12)
    slope, intercept = np.polyfit(prediction, target, 1)
    assert (found["slope"], found["intercept"]) == pytest.approx((slope, intercept), rel=1e-9)
    auc, variance = delong(-prediction[None, :], target <= 0.6)
    assert (found["auc"], found["auc_se"]) == (auc[0], math.sqrt(variance[0, 0]))
    positive = target <= 0.6
    assert (found["n"], found["n_positive"]) == (120, positive.sum())
    assert found["sensitivity"] == np.mean(prediction[positive] <= 0.62)
    assert found["specificity"] == np.mean(prediction[~positive] > 0.62)


def test_standard_errors_are_the_spread_of_figures_over_repetitions() -> None:
    repeats = [of_errors(*drawn(300, seed)) for seed in range(600)]
    pairs = [("r2", "r2_se"), ("rmse", "rmse_se"), ("auc", "auc_se")]
    for name, error in pairs:
        spread = np.std([found[name] for found in repeats])
        assert np.mean([found[error] for found in repeats]) == pytest.approx(spread, rel=0.08), name
    for side, error in ((-1.96, "limit_low_se"), (1.96, "limit_high_se")):
        limits = [found["bias"] + side * found["error_sd"] for found in repeats]
        assert np.mean([found[error] for found in repeats]) == pytest.approx(np.std(limits), rel=0.08)


def test_a_recalibration_finds_the_line_that_the_logits_were_bent_by() -> None:
    draw = np.random.default_rng(3)
    logit = draw.normal(0, 1.5, 20_000)
    is_positive = draw.random(logit.size) < 1 / (1 + np.exp(-(0.4 + 0.7 * logit)))
    stated = 1 / (1 + np.exp(-logit))
    found = of_probabilities(stated, is_positive)
    assert found["slope"] == pytest.approx(0.7, abs=0.04)
    assert found["intercept"] == pytest.approx(0.4, abs=0.04)
    assert found["brier"] == pytest.approx(np.mean((stated - is_positive) ** 2), rel=1e-12)
    fitted = 1 / (1 + np.exp(-(found["intercept"] + found["slope"] * logit)))
    assert abs(float(np.sum(fitted - is_positive))) < 1e-4  # the score equations hold
    assert abs(float(logit @ (fitted - is_positive))) < 1e-4


def test_classes_that_the_score_separates_have_no_recalibration() -> None:
    found = of_probabilities(np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True]))
    assert found["auc"] == 1.0
    assert math.isnan(found["slope"])
    assert math.isnan(found["intercept"])


def test_what_is_not_finite_is_never_flattering() -> None:
    positive = np.array([True, True, True, False, False, False])
    good = np.array([0.9, 0.8, 0.7, 0.1, 0.2, 0.3])
    broken = np.array([np.nan, 0.8, 0.7, np.nan, 0.2, 0.3])
    found, whole = of_probabilities(broken, positive), of_probabilities(good, positive)
    assert (found["sensitivity"], found["specificity"]) == pytest.approx((2 / 3, 2 / 3))
    assert found["auc"] == pytest.approx(4 / 9)  # two of three beat two of three
    assert found["brier"] > whole["brier"] + 0.3
    target = np.array([0.5, 0.55, 0.7, 0.8, np.nan])
    prediction = np.array([np.nan, 0.6, 0.7, 0.8, 0.7])
    errors = of_errors(target, prediction)
    assert errors["n"] == 4
    assert errors["mae"] == pytest.approx((0.25 + 0.05) / 4)
    assert errors["sensitivity"] == 0.5


def test_figures_that_do_not_exist_are_nan_and_none_is_beyond_the_largest() -> None:
    nobody = of_errors(np.zeros(0), np.zeros(0))
    assert (nobody["n"], nobody["n_positive"]) == (0, 0)
    assert all(math.isnan(nobody[name]) for name in set(REGRESSION.figures) - {"n", "n_positive"})
    alike = of_errors(np.linspace(0.7, 0.8, 5), np.linspace(0.7, 0.8, 5))
    assert math.isnan(alike["rmse_se"])
    assert math.isnan(alike["sensitivity"])
    assert (alike["mae"], alike["specificity"]) == (0.0, 1.0)
    wild = of_errors(np.array([0.5, 0.5 + 1e-12, 0.7]), np.array([1e30, -1e30, 0.0]))
    assert wild["mae"] == LARGEST
    only = of_probabilities(np.array([0.2, 0.4]), np.array([True, True]))
    assert math.isnan(only["auc"])
    assert only["sensitivity"] == 0.0
    assert of_probabilities(np.zeros(0), np.zeros(0, dtype=bool))["n"] == 0


def test_a_figure_beyond_its_range_reads_as_withheld() -> None:
    forged = np.zeros(CLASSES.n_figures)
    forged[2] = 1.5
    assert math.isnan(CLASSES.named(forged)["auc"])
    with pytest.raises(ProtocolError):
        CLASSES.named(forged[1:])


def test_digits_of_the_unit_follow_the_public_range() -> None:
    def digits(unit_range: float) -> int:
        spec = StatisticsSpec(is_regression=True, unit_range=unit_range)
        return spec.digits[list(spec.figures).index("mae")]

    assert [digits(width) for width in (0.65, 1.0, 90.0, 1000.0)] == [5, 4, 3, 1]


@pytest.mark.parametrize("short", ["is_positive", "is_called", "target", "prediction"])
def test_numbers_that_are_not_one_a_patient_are_refused(short: str) -> None:
    parts = {name: np.zeros(4) for name in ("suspicion", "target", "prediction")}
    parts |= {name: np.zeros(4, dtype=bool) for name in ("is_positive", "is_called")}
    with pytest.raises(ProtocolError):
        measure_statistics(REGRESSION, **parts | {short: parts[short][1:]})
    with pytest.raises(ProtocolError):
        measure_statistics(CLASSES, **parts)


@pytest.mark.parametrize("spec", [REGRESSION, CLASSES])
def test_every_figure_beyond_what_it_can_be_reads_as_withheld(spec: StatisticsSpec) -> None:
    shares = {"auc", "auc_se", "sensitivity", "specificity", "brier"}
    signed = {"r2", "bias", "slope", "intercept", "target_mean"}
    for place, name in enumerate(spec.figures):
        vector = np.full(spec.n_figures, 0.5)
        for value, is_kept in (
            (0.0, True),
            (1.0, True),
            (1.0001, name not in shares | {"r2"}),
            (-0.0001, name in signed),
            (math.inf, False),
            (-math.inf, False),
            (math.nan, False),
        ):
            vector[place] = value
            read = spec.named(vector)
            assert math.isnan(read[name]) != is_kept, (name, value)
            assert all(read[other] == 0.5 for other in read if other != name)


def test_other_classes_come_last_each_with_its_size_and_share() -> None:
    spec = StatisticsSpec(is_regression=False, others=("middle", "mild"))
    assert list(spec.figures)[-4:] == [
        *("n, middle", "n, mild", "sensitivity, middle", "sensitivity, mild"),
    ]
    assert spec.digits[-4:] == (0, 0, 3, 3)
    found = spec.named(
        measure_statistics(
            spec,
            suspicion=np.array([0.9, 0.1, 0.2, 0.6]),
            is_positive=np.array([True, False, False, False]),
            is_called=np.array([True, False, False, True]),
            rightly={"middle": np.array([True, False, False]), "mild": np.zeros(0, dtype=bool)},
        )
    )
    assert (found["n, middle"], found["n, mild"]) == (3, 0)
    assert found["sensitivity, middle"] == pytest.approx(1 / 3)
    assert math.isnan(found["sensitivity, mild"])


def test_two_classes_have_no_figures_of_others_and_three_have() -> None:
    sizes = {"elm": 100}
    for overrides, others in (
        (["task.grades=[]"], ()),
        ([], ("osteopenia", "normal")),
        (["task=bmd_classes"], ("normal", "osteopenia")),
    ):
        plan = plan_of(compose_settings(["fusion=linear", *overrides]), sizes)
        assert statistics_spec(plan.settings, plan.tables[0]).others == others
