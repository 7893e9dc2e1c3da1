"""Governed statistics, read and pooled: equal to the figures of the patients put together."""

from __future__ import annotations

import math

import numpy as np
import pytest

from server.report.governed import pool_statistics, read_constant_r2, read_statistics
from server.report.pooling import pool_aucs
from shared.measure.exact.discrimination import logit_interval
from shared.measure.exact.regression import measure_regression
from shared.measure.governed.disclosure import withhold
from shared.measure.governed.statistics import StatisticsSpec, measure_statistics

SPEC = StatisticsSpec(is_regression=True, unit_range=0.65, error_high=0.25)
CLASSES = StatisticsSpec(is_regression=False)
TARGET = 0.85
Floats = np.ndarray


def drawn(seed: int, n: int = 200, *, bias: float = 0.0) -> tuple[Floats, Floats]:
    draw = np.random.default_rng(seed)
    target = draw.normal(0.68, 0.1, n)
    return target, target + draw.normal(bias, 0.07, n)


def figures(target: Floats, prediction: Floats) -> Floats:
    return measure_statistics(
        SPEC,
        suspicion=-prediction,
        is_positive=target <= 0.6,
        is_called=prediction <= 0.6,
        target=target,
        prediction=prediction,
    )


def test_one_sites_figures_are_its_own_and_their_intervals_hold_sampling_alone() -> None:
    target, prediction = drawn(1)
    vector, expected = figures(target, prediction), measure_regression(target, prediction)
    read = read_statistics(vector, SPEC, sensitivity_target=TARGET)
    named = SPEC.named(vector)
    assert (read.n_patients.value, read.n_patients.low, read.n_patients.high) == (200, 200, 200)
    assert read.n_positive.value == np.sum(target <= 0.6)
    assert (read.auc.low, read.auc.high) == logit_interval(named["auc"], named["auc_se"] ** 2)
    for name in ("r2", "mae", "bias", "limit_low", "limit_high"):
        found = getattr(read, name)
        assert found.value == pytest.approx(getattr(expected, name), rel=1e-9), name
        assert found.low < found.value < found.high, name
    assert read.rmse.value == pytest.approx(math.sqrt(expected.mse), rel=1e-9)


def test_withheld_figures_are_suppressed_and_never_zero() -> None:
    target, prediction = drawn(2, n=60)
    vector = withhold(figures(target, prediction), SPEC, minimum_cell=25)
    read = read_statistics(vector, SPEC, sensitivity_target=TARGET)
    assert read.n_patients.value == 60
    for name in ("n_positive", "auc", "sensitivity", "specificity"):
        assert getattr(read, name).status == "suppressed", name
    assert read.r2.status == "measured"
    assert read.promise == "not-applicable"
    nothing = read_statistics(np.full(SPEC.n_figures, np.nan), SPEC, sensitivity_target=TARGET)
    assert nothing.n_patients.status == nothing.r2.status == "suppressed"
    assert read_constant_r2(np.full(SPEC.n_figures, np.nan), SPEC, constant=0.7).value is None


def test_pooled_figures_are_those_of_all_patients_together() -> None:
    groups = [
        drawn(seed, n, bias=bias) for seed, n, bias in ((1, 80, 0.02), (2, 150, 0.0), (3, 300, -0.03))
    ]
    read = pool_statistics([figures(*group) for group in groups], SPEC, sensitivity_target=TARGET)
    target, prediction = (np.concatenate(parts) for parts in zip(*groups, strict=True))
    expected = measure_regression(target, prediction)
    for name in ("r2", "mae", "bias", "limit_low", "limit_high"):
        assert getattr(read, name).value == pytest.approx(getattr(expected, name), rel=1e-10), name
    whole = read_statistics(figures(target, prediction), SPEC, sensitivity_target=TARGET)
    assert read.sensitivity.value == pytest.approx(whole.sensitivity.value, rel=1e-12)
    assert read.specificity.value == pytest.approx(whole.specificity.value, rel=1e-12)
    for name in ("r2", "mae", "rmse"):  # as wide as of one cohort, about
        widths = [getattr(each, name).high - getattr(each, name).low for each in (read, whole)]
        assert widths[0] == pytest.approx(widths[1], rel=0.12), name


def test_an_auc_is_pooled_by_random_effects_of_three_hospitals_and_not_of_two() -> None:
    vectors = [figures(*drawn(seed)) for seed in range(3)]
    named = [SPEC.named(vector) for vector in vectors]
    pooled = pool_aucs([each["auc"] for each in named], [each["auc_se"] ** 2 for each in named])
    read = pool_statistics(vectors, SPEC, sensitivity_target=TARGET).auc
    assert (read.value, read.low, read.high) == (pooled.value, pooled.low, pooled.high)
    assert pool_statistics(vectors[:2], SPEC, sensitivity_target=TARGET).auc.status == "suppressed"


def test_a_share_that_one_hospital_withheld_is_not_pooled_of_the_others() -> None:
    vectors = [figures(*drawn(seed)) for seed in range(3)]
    vectors[1][list(SPEC.figures).index("sensitivity")] = np.nan
    read = pool_statistics(vectors, SPEC, sensitivity_target=TARGET)
    assert read.sensitivity.status == "suppressed"
    assert read.specificity.status == read.auc.status == read.n_positive.status == "measured"


def test_sites_that_withheld_everything_do_not_pool() -> None:
    vectors = [figures(*drawn(seed)) for seed in range(3)]
    nothing = np.full(SPEC.n_figures, np.nan)
    alone = pool_statistics(vectors, SPEC, sensitivity_target=TARGET)
    assert pool_statistics([*vectors, nothing], SPEC, sensitivity_target=TARGET) == alone
    none = pool_statistics([nothing], SPEC, sensitivity_target=TARGET)
    assert none.n_patients.status == "suppressed"


def test_an_auc_of_one_has_an_interval_and_a_classifier_no_errors() -> None:
    probability = np.linspace(0, 1, 60)
    vector = measure_statistics(
        CLASSES, suspicion=probability, is_positive=probability > 0.5, is_called=probability > 0.4
    )
    read = read_statistics(vector, CLASSES, sensitivity_target=TARGET)
    assert read.auc.value == read.auc.high == 1.0
    assert 0.85 < read.auc.low < 1
    assert read.r2.status == "not-applicable"
    assert (read.sensitivity.value, read.promise) == (1.0, "kept")
    assert read_constant_r2(vector, CLASSES, constant=0.7).status == "not-applicable"


def test_a_public_constant_explains_less_than_the_patients_own_mean() -> None:
    target, prediction = drawn(5)
    read = read_constant_r2(figures(target, prediction), SPEC, constant=0.75)
    expected = measure_regression(target, np.full_like(target, 0.75)).r2
    assert read.value == pytest.approx(expected, rel=1e-9)
    assert read.low < read.value < read.high <= 0


def test_intervals_of_errors_cover_what_they_estimate() -> None:
    truth = {"r2": 1 - (0.07**2 + 0.02**2) / 0.1**2, "rmse": math.hypot(0.07, 0.02), "bias": 0.02}
    truth |= {"limit_low": 0.02 - 1.96 * 0.07, "limit_high": 0.02 + 1.96 * 0.07}
    hits = dict.fromkeys(truth, 0)
    for seed in range(400):
        vector = figures(*drawn(seed, n=100, bias=0.02))
        read = read_statistics(vector, SPEC, sensitivity_target=TARGET)
        for name, value in truth.items():
            found = getattr(read, name)
            hits[name] += found.low <= value <= found.high
    assert all(0.91 <= count / 400 <= 0.98 for count in hits.values()), hits


def test_a_promise_that_nobody_made_is_not_kept() -> None:
    vector = figures(*drawn(1))
    kept = read_statistics(vector, SPEC, sensitivity_target=0.01)
    assert kept.promise == "kept"
    assert read_statistics(vector, SPEC, sensitivity_target=0.0).promise == "not-applicable"
