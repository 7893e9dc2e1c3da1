"""Governed statistics, read and pooled: equal to the figures of the patients put together."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest

from server.report.governed import (
    pool_auc,
    pool_statistics,
    read_beside,
    read_constant_r2,
    read_statistics,
)
from server.report.pooling import pool_exact_aucs
from shared.measure.exact.discrimination import exact_auc_interval
from shared.measure.exact.regression import measure_regression
from shared.measure.governed.disclosure import withhold
from shared.measure.governed.statistics import StatisticsSpec, measure_statistics
from shared.sums.estimate import Estimate, Measures

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
    n_positive = int(np.sum(target <= 0.6))
    assert (read.auc.low, read.auc.high) == exact_auc_interval(
        named["auc"], named["auc_se"] ** 2, n_positive=n_positive, n_negative=200 - n_positive
    )
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
    auc, ill, n = (np.array([each[name] for each in named]) for name in ("auc", "n_positive", "n"))
    pooled = pool_exact_aucs(auc, ill, n - ill)
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


# what a hospital of 100 patients sends, 30 of them ill; numbers that a hand can check
SENT = {
    "n": 100.0, "n_positive": 30.0, "auc": 0.8, "auc_se": 0.05, "sensitivity": 0.9, "specificity": 0.6,
    "r2": 0.6, "r2_se": 0.08, "mae": 0.04, "rmse": 0.05, "rmse_se": 0.004, "bias": 0.01,
    "error_sd": 0.049, "limit_low_se": 0.008, "limit_high_se": 0.009, "slope": 0.9, "intercept": 0.05,
    "target_mean": 0.7, "target_sd": 0.1,
}  # fmt: skip
Z = NormalDist().inv_cdf(0.975)


def sent(**changes: float) -> Floats:
    return np.array([(SENT | changes)[name] for name in SPEC.figures])


def read_sent(**changes: float) -> Measures:
    return read_statistics(sent(**changes), SPEC, sensitivity_target=TARGET)


def interval(estimate: Estimate) -> tuple[float, float]:
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.low, estimate.high


def wilson(share: float, n: float) -> tuple[float, float]:
    middle, reach = share + Z**2 / (2 * n), Z * math.sqrt(share * (1 - share) / n + (Z / (2 * n)) ** 2)
    return (middle - reach) / (1 + Z**2 / n), (middle + reach) / (1 + Z**2 / n)


def test_a_share_is_of_the_ill_or_of_the_others_with_wilsons_interval() -> None:
    read = read_sent()
    assert interval(read.sensitivity) == pytest.approx(wilson(0.9, 30), abs=1e-3)
    assert interval(read.specificity) == pytest.approx(wilson(0.6, 70), abs=1e-3)


def test_every_error_has_the_interval_of_its_formula() -> None:
    read = read_sent()
    assert (read.bias.value, *interval(read.bias)) == pytest.approx(
        (0.01, 0.01 - Z * 0.049 / 10, 0.01 + Z * 0.049 / 10)
    )
    factor = math.exp(Z * math.sqrt((0.05**2 - 0.04**2) / 100) / 0.04)
    assert interval(read.mae) == pytest.approx((0.04 / factor, 0.04 * factor))
    factor = math.exp(Z * 0.004 / 0.05)
    assert interval(read.rmse) == pytest.approx((0.05 / factor, 0.05 * factor))
    # of R² the unexplained share, 0.4, is on the log scale: R² stays below 1
    factor = math.exp(Z * 0.08 / 0.4)
    assert interval(read.r2) == pytest.approx((1 - 0.4 * factor, 1 - 0.4 / factor))
    low, high = 0.01 - 1.96 * 0.049, 0.01 + 1.96 * 0.049
    assert (read.limit_low.value, read.limit_high.value) == pytest.approx((low, high), abs=1e-5)
    assert interval(read.limit_low) == pytest.approx((low - Z * 0.008, low + Z * 0.008), abs=1e-5)
    assert interval(read.limit_high) == pytest.approx((high - Z * 0.009, high + Z * 0.009), abs=1e-5)


def test_an_interval_widens_with_the_confidence_that_is_asked_for() -> None:
    wide = read_statistics(sent(), SPEC, sensitivity_target=TARGET, confidence=0.99)
    usual = read_sent()
    for name in ("auc", "sensitivity", "specificity", "r2", "mae", "rmse", "bias", "limit_low"):
        assert getattr(wide, name).low < getattr(usual, name).low, name
        assert getattr(wide, name).high > getattr(usual, name).high, name


def test_a_perfect_prediction_has_errors_of_zero_and_no_interval_beside_them() -> None:
    read = read_sent(r2=1.0, r2_se=0.0, mae=0.0, rmse=0.0, rmse_se=0.0, bias=0.0, error_sd=0.0)
    for name, value in {"r2": 1.0, "mae": 0.0, "rmse": 0.0, "bias": 0.0}.items():
        found = getattr(read, name)
        assert (found.value, found.low, found.high) == (value, value, value), name


def test_a_margin_beyond_all_numbers_ends_no_report() -> None:
    read = read_sent(mae=1e-6, rmse=0.25)
    assert read.mae.status == "measured"
    assert read.mae.low >= 0
    assert math.isfinite(read.mae.high)


def test_one_class_alone_has_no_auc_and_no_share_of_the_other() -> None:
    everybody = read_sent(n_positive=100.0)
    assert everybody.auc.status == everybody.specificity.status == "suppressed"
    assert everybody.sensitivity.status == "measured"
    nobody = read_sent(n_positive=0.0)
    assert nobody.auc.status == nobody.sensitivity.status == "suppressed"
    assert nobody.specificity.status == "measured"


@pytest.mark.parametrize(("auc", "auc_se"), [(0.0, 0.0), (1.0, 0.0), (0.7, 0.0)])
def test_an_auc_that_does_not_vary_has_an_interval_by_its_sizes(auc: float, auc_se: float) -> None:
    read = read_sent(auc=auc, auc_se=auc_se).auc
    low, high = interval(read)
    assert low <= auc <= high
    assert high - low > 0.02
    smaller = read_sent(auc=auc, auc_se=auc_se, n=20.0, n_positive=6.0).auc
    assert interval(smaller)[1] - interval(smaller)[0] > high - low


def test_calibration_is_read_in_words_and_what_is_withheld_stays_so() -> None:
    found = read_beside(sent(slope=math.nan), SPEC)
    assert {name: each.value for name, each in found.items()} == {
        "calibration slope": None,
        "calibration intercept": 0.05,
        "mean of the target": 0.7,
        "SD of the target": 0.1,
    }
    assert found["calibration slope"].status == "suppressed"
    assert all(each.low is None for each in found.values())


def test_classes_beside_the_endpoint_are_read_with_their_sizes_and_intervals() -> None:
    spec = StatisticsSpec(is_regression=False, others=("middle", "mild"))
    given = dict.fromkeys(spec.figures, 0.5) | {"n, middle": 80.0, "n, mild": math.nan}
    given |= {"sensitivity, middle": 0.8, "sensitivity, mild": math.nan}
    found = read_beside(np.array(list(given.values())), spec)
    assert found["n, middle"].value == 80.0
    assert interval(found["sensitivity, middle"]) == pytest.approx((0.6996, 0.8730), abs=1e-3)  # Wilson
    assert found["n, mild"].status == found["sensitivity, mild"].status == "suppressed"


@pytest.mark.parametrize("constant", [0.5, 0.9])
def test_a_constant_misses_by_its_distance_from_the_mean_on_either_side(constant: float) -> None:
    read = read_constant_r2(sent(), SPEC, constant=constant)
    margin = Z * math.sqrt((1 + 2**2 / 2) / 100)  # two SDs away
    assert read.value == pytest.approx(-4.0)
    assert interval(read) == pytest.approx((-((2 + margin) ** 2), -((2 - margin) ** 2)))
    near = read_constant_r2(sent(), SPEC, constant=0.7)
    assert near.value == near.high == pytest.approx(0.0)
    assert near.low == pytest.approx(-((Z / 10) ** 2))
    for withheld in ({"n": 0.0}, {"target_sd": 0.0}, {"target_mean": math.nan}):
        assert read_constant_r2(sent(**withheld), SPEC, constant=0.5).status == "suppressed"


def test_two_hospitals_weigh_by_their_patients_in_every_figure_and_its_interval() -> None:
    other = {
        "n": 300.0, "n_positive": 60.0, "sensitivity": 0.75, "specificity": 0.9, "mae": 0.08,
        "rmse": 0.1, "rmse_se": 0.01, "bias": -0.02, "error_sd": 0.09, "limit_low_se": 0.004,
        "limit_high_se": 0.003, "r2_se": 0.04, "target_mean": 0.6, "target_sd": 0.2,
    }  # fmt: skip
    found = pool_statistics([sent(), sent(**other)], SPEC, sensitivity_target=TARGET)
    assert (found.n_patients.value, found.n_positive.value) == (400.0, 90.0)
    assert found.sensitivity.value == pytest.approx((0.9 * 30 + 0.75 * 60) / 90)
    assert interval(found.sensitivity) == pytest.approx(wilson(0.8, 90), abs=1e-3)
    assert found.specificity.value == pytest.approx((0.6 * 70 + 0.9 * 240) / 310)
    assert found.mae.value == pytest.approx(0.04 / 4 + 0.08 * 3 / 4)
    mse = 0.05**2 / 4 + 0.1**2 * 3 / 4
    assert found.rmse.value == pytest.approx(math.sqrt(mse))
    error = math.hypot(0.05 * 0.004 / 4, 0.1 * 0.01 * 3 / 4) / math.sqrt(mse)
    assert found.rmse.high == pytest.approx(math.sqrt(mse) * math.exp(Z * error / math.sqrt(mse)))
    bias = 0.01 / 4 - 0.02 * 3 / 4
    squares = 99 * 0.049**2 + 299 * 0.09**2 + 100 * (0.01 - bias) ** 2 + 300 * (-0.02 - bias) ** 2
    spread = math.sqrt(squares / 399)
    assert (found.bias.value, found.bias.high) == pytest.approx((bias, bias + Z * spread / 20))
    assert found.limit_high.value == pytest.approx(bias + 1.96 * spread, abs=1e-5)
    limit = found.limit_high.value + Z * math.hypot(0.009 / 4, 0.003 * 3 / 4)
    assert found.limit_high.high == pytest.approx(limit)
    limit = found.limit_low.value - Z * math.hypot(0.008 / 4, 0.004 * 3 / 4)
    assert found.limit_low.low == pytest.approx(limit)
    variance = (0.1**2 + 0.075**2) / 4 + (0.2**2 + 0.025**2) * 3 / 4
    unexplained = mse / variance
    assert found.r2.value == pytest.approx(1 - unexplained)
    r2_se = math.hypot(0.08 * 0.1**2 / 4, 0.04 * 0.2**2 * 3 / 4) / variance
    assert found.r2.low == pytest.approx(1 - unexplained * math.exp(Z * r2_se / unexplained))


def test_a_hospital_without_patients_changes_nothing_and_none_ill_anywhere_is_no_share() -> None:
    alone = pool_statistics([sent()], SPEC, sensitivity_target=TARGET)
    both = pool_statistics([sent(), sent(n=0.0, n_positive=0.0)], SPEC, sensitivity_target=TARGET)
    assert both == alone
    healthy = [sent(n_positive=0.0, sensitivity=0.0)] * 2
    assert pool_statistics(healthy, SPEC, sensitivity_target=TARGET).sensitivity.status == "suppressed"
    classes = {name: value for name, value in SENT.items() if name in CLASSES.figures} | {"brier": 0.1}
    vector = np.array([classes[name] for name in CLASSES.figures])
    pooled = pool_statistics([vector, vector], CLASSES, sensitivity_target=TARGET)
    assert pooled.r2.status == "not-applicable"
    assert pooled.specificity.value == pytest.approx(0.6)


def test_a_mean_auc_is_of_all_hospitals_that_show_one_a_perfect_one_included() -> None:
    three = [sent(auc=auc) for auc in (0.7, 0.8, 0.9)]
    assert pool_auc([*three[:2], sent(auc=math.nan)], SPEC) is None
    assert pool_auc([*three, sent(auc=math.nan)], SPEC) == pool_auc(three, SPEC)
    for auc in (1.0, 0.0):
        four = pool_exact_aucs(np.array([0.7, 0.8, 0.9, auc]), np.full(4, 30.0), np.full(4, 70.0))
        assert pool_auc([*three, sent(auc=auc, auc_se=0.0)], SPEC) == four
        assert pool_auc([*three[:2], sent(auc=auc, auc_se=0.0)], SPEC) is not None
    narrow, wide = (pool_auc(three, SPEC, confidence=each) for each in (0.8, 0.95))
    assert narrow.high - narrow.low < wide.high - wide.low
