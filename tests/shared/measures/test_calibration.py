"""Calibration of probabilities and of numbers by hand, under noise, and where there is none."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from shared.errors import SettingsError
from shared.measures.calibration import (
    PairSums,
    Recalibration,
    calibrate_regression,
    calibration_curve,
    expected_calibration_error,
    recalibrate,
)
from shared.sums.estimate import NOT_APPLICABLE, SUPPRESSED, TOO_NOISY, Estimate
from shared.sums.intervals import share_interval

Floats = np.ndarray
BINS = 8
EDGES = np.linspace(0, 1, BINS + 1)
LOGIT = np.log((EDGES[:-1] + EDGES[1:]) / (2 - EDGES[:-1] - EDGES[1:]))
OF_BIN = np.array([0.25, 0.2, 0.15, 0.12, 0.1, 0.08, 0.06, 0.04])  # of all patients
INTERCEPT, SLOPE = -0.3, 0.7
RISK = 1 / (1 + np.exp(-(INTERCEPT + SLOPE * LOGIT)))
REPETITIONS = 400
NEAR = 3 * (0.95 * 0.05 / REPETITIONS) ** 0.5
NO_NOISE = np.zeros((6, 6))
CENTRE = 0.6


def expected(n: float) -> tuple[Floats, Floats]:
    """Ill and well patients of bins, as many as there are in the mean of n."""
    return n * OF_BIN * RISK, n * OF_BIN * (1 - RISK)


def drawn(draw: np.random.Generator, n: int, cell_sd: float) -> tuple[Floats, Floats]:
    shares = np.concatenate(expected(1.0))
    counts = draw.multinomial(n, shares) + draw.normal(0, cell_sd, 2 * BINS)
    return counts[:BINS], counts[BINS:]


def read(ill: Floats, well: Floats, cell_sd: float = 0.0, minimum_cell: int = 1) -> Recalibration:
    return recalibrate(ill, well, EDGES, cell_sd=cell_sd, minimum_cell=minimum_cell)


def test_a_point_of_the_curve_is_a_share_with_its_interval_beside_the_bins_middle() -> None:
    ill, well = np.array([5.0, 0, 2, 30]), np.array([45.0, 0, 1, 10])
    edges = np.array([0, 0.2, 0.4, 0.6, 1.0])
    curve = calibration_curve(ill, well, edges, cell_sd=0.0, minimum_cell=5)
    assert [each.predicted for each in curve] == pytest.approx([0.1, 0.3, 0.5, 0.8])
    first, empty, few, last = (each.observed for each in curve)
    assert (empty, few) == (NOT_APPLICABLE, SUPPRESSED)
    assert (first.value, last.value) == pytest.approx((0.1, 0.75))
    exact = share_interval(5.0, 45.0, noise_variance=(0.0, 0.0), confidence=0.95)
    assert (first.low, first.high) == exact
    loud = calibration_curve(ill, well, edges, cell_sd=2.0, minimum_cell=5)
    assert loud[0].observed.high > first.high
    assert [each.observed for each in loud][1:3] == [TOO_NOISY, TOO_NOISY]


def test_intercept_and_slope_are_those_that_made_the_patients() -> None:
    found = read(*expected(1000))
    assert found.slope.value == pytest.approx(SLOPE, abs=1e-9)
    # the shift alone: as many expected as observed ill
    shifted = 1 / (1 + np.exp(-(found.intercept.value + LOGIT)))
    assert (OF_BIN * shifted).sum() == pytest.approx((OF_BIN * RISK).sum(), abs=1e-12)


def test_the_slope_is_that_of_an_unpenalised_regression_on_the_patients() -> None:
    ill, well = drawn(np.random.default_rng(1), 800, 0.0)
    x = np.concatenate([np.repeat(LOGIT, each.astype(int)) for each in (ill, well)])[:, None]
    y = np.repeat([1, 0], [int(ill.sum()), int(well.sum())])
    model = LogisticRegression(C=np.inf, tol=1e-12, max_iter=1000).fit(x, y)
    assert read(ill, well).slope.value == pytest.approx(float(model.coef_[0, 0]), abs=1e-6)


def test_predictions_that_mean_what_they_say_need_no_recalibration() -> None:
    middles = (EDGES[:-1] + EDGES[1:]) / 2
    found = read(200 * middles, 200 * (1 - middles))
    assert found.intercept.value == pytest.approx(0.0, abs=1e-9)
    assert found.slope.value == pytest.approx(1.0, abs=1e-9)


def test_what_cannot_be_fitted_is_not_applicable_and_with_noise_too_noisy() -> None:
    one_bin = np.zeros(BINS)
    one_bin[2] = 40.0
    found = read(one_bin, one_bin)
    assert found.slope == NOT_APPLICABLE
    assert found.intercept.value == pytest.approx(-LOGIT[2])
    told_apart = read(np.repeat([0.0, 20], 4), np.repeat([20.0, 0], 4))
    assert told_apart.slope == NOT_APPLICABLE
    assert read(np.repeat([0.0, 20], 4), np.repeat([20.0, 0], 4), cell_sd=0.1).slope == TOO_NOISY
    # negative counts where the slope is decided: no maximum
    ill, well = np.array([-30.0, 20, 20, 40, 20, 20, 20, -30]), np.full(BINS, 20.0)
    well[[0, -1]] = -30.0
    assert read(ill, well, cell_sd=20.0).slope == TOO_NOISY


def test_information_that_noise_could_have_made_is_too_noisy() -> None:
    ill, well = expected(200)
    assert read(ill, well, cell_sd=1.0).slope.status == "measured"
    assert read(ill, well, cell_sd=30.0).slope == TOO_NOISY


def test_a_class_too_small_is_not_recalibrated_and_has_no_error() -> None:
    ill, well = np.zeros(BINS), np.full(BINS, 10.0)
    assert read(ill, well).slope == read(ill, well).intercept == NOT_APPLICABLE
    ill[3] = 2.0
    assert read(ill, well, minimum_cell=5).slope == SUPPRESSED
    error = expected_calibration_error(ill, well, EDGES, cell_sd=0.0, minimum_cell=5)
    assert error == SUPPRESSED


def test_edges_that_are_no_probabilities_are_refused() -> None:
    with pytest.raises(SettingsError):
        recalibrate(*expected(100), 2 * EDGES, cell_sd=0.0, minimum_cell=5)


def test_expected_calibration_error_by_hand() -> None:
    edges = np.array([0, 0.5, 1.0])
    # 50 of 200 in a bin that says .25, 300 of 400 in one that says .75
    true = expected_calibration_error(
        np.array([50.0, 300]), np.array([150.0, 100]), edges, cell_sd=0.0, minimum_cell=5
    )
    assert true.value == pytest.approx(0.0)
    # 100 of 200 and 250 of 400: wrong by .25 and by .125
    found = expected_calibration_error(
        np.array([100.0, 250]), np.array([100.0, 150]), edges, cell_sd=0.0, minimum_cell=5
    )
    assert found.value == pytest.approx((200 * 0.25 + 400 * 0.125) / 600)
    # variances 62.5 and 100: a normal margin of 1.96·12.7475/600, and √(2/π)·17.9057/600 of chance
    assert found.high == pytest.approx(0.166667 + 0.041641, abs=2e-6)
    assert found.low == pytest.approx(0.166667 - 0.041641 - 0.023811, abs=3e-6)


def test_a_calibration_error_is_of_ten_bins_however_many_the_table_has() -> None:
    edges = np.linspace(0.0, 1.0, 65)
    middles = (edges[:-1] + edges[1:]) / 2
    # of neighbours one says too much and the next too little: within a tenth they make good
    off = np.where(np.arange(64) % 2, 0.05, -0.05) * (middles > 0.06) * (middles < 0.94)
    ill, well = 1000 * (middles + off), 1000 * (1 - middles - off)
    found = expected_calibration_error(ill, well, edges, cell_sd=0.0, minimum_cell=5)
    assert found.value < 0.01
    # all of a tenth say .02 too little, and mean it
    less = expected_calibration_error(
        1000 * (middles + 0.02 * (middles < 0.9)),
        1000 * (1 - middles),
        edges,
        cell_sd=0.0,
        minimum_cell=5,
    )
    assert 0.005 < less.value < 0.02


def test_a_calibration_error_that_would_be_mostly_chance_is_not_shown() -> None:
    """Of 200 calibrated patients in 64 bins it read .14, of 50 .23."""
    edges, draw = np.linspace(0.0, 1.0, 65), np.random.default_rng(4)

    def error(n: int, **noise: float) -> Estimate:
        risk = draw.beta(1.5, 4.0, n)
        is_ill = draw.random(n) < risk
        ill, well = (np.histogram(risk[each], edges)[0].astype(float) for each in (is_ill, ~is_ill))
        options = {"cell_sd": 0.0, "minimum_cell": 1} | noise
        return expected_calibration_error(ill, well, edges, **options)

    assert {error(50), error(100)} == {SUPPRESSED}
    shown = [each.value for each in (error(1000) for _ in range(20))]
    assert max(shown) < 0.08
    # of noisy ones it is asked of what is expected, and of what came out never
    assert error(3000, cell_sd=10.0, above_noise=2.0) == TOO_NOISY
    assert error(3000, cell_sd=10.0).value is not None


def test_more_noise_than_patients_leaves_no_calibration_error() -> None:
    found = expected_calibration_error(*expected(50), EDGES, cell_sd=20.0, minimum_cell=1)
    assert found == TOO_NOISY


def coverage(truth: float, figure: Callable[[Floats, Floats], Estimate], cell_sd: float) -> float:
    draw, held = np.random.default_rng(2), 0
    for _ in range(REPETITIONS):
        found = figure(*drawn(draw, 500, cell_sd))
        held += found.low <= truth <= found.high
    return held / REPETITIONS


@pytest.mark.parametrize("cell_sd", [0.0, 4.0])
@pytest.mark.parametrize("name", ["intercept", "slope"])
def test_recalibration_holds_the_truth_as_often_as_it_says(name: str, cell_sd: float) -> None:
    truth = getattr(read(*expected(1e6)), name).value
    found = coverage(truth, lambda ill, well: getattr(read(ill, well, cell_sd), name), cell_sd)
    assert found == pytest.approx(0.95, abs=NEAR)


@pytest.mark.parametrize("cell_sd", [0.0, 4.0])
def test_the_calibration_error_holds_the_truth_though_noise_lifts_it(cell_sd: float) -> None:
    def figure(ill: Floats, well: Floats) -> Estimate:
        return expected_calibration_error(ill, well, EDGES, cell_sd=cell_sd, minimum_cell=1)

    truth = expected_calibration_error(*expected(1e6), EDGES, cell_sd=0.0, minimum_cell=1).value
    assert coverage(truth, figure, cell_sd) > 0.95 - NEAR
    # what is perfectly calibrated may have no error, however many bins noise moves
    middles, draw = (EDGES[:-1] + EDGES[1:]) / 2, np.random.default_rng(3)
    for _ in range(100):
        noise = draw.normal(0, cell_sd, (2, BINS))
        found = figure(60 * middles + noise[0], 60 * (1 - middles) + noise[1])
        assert found.low == 0.0
        assert found.value < 0.15


def people(draw: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    """Targets, and predictions that exaggerate: the line of target on prediction is 0.18 + 0.7 x."""
    prediction = draw.normal(0.65, 0.1, n)
    return 0.18 + 0.7 * prediction + draw.normal(0, 0.06, n), prediction


def sums_of(target: Floats, prediction: Floats) -> PairSums:
    y, e = target - CENTRE, prediction - target
    columns = (np.ones_like(y), y, e, y**2, e**2, y * e)
    return PairSums(
        **dict(zip(PairSums.__dataclass_fields__, map(float, map(sum, columns)), strict=True))
    )


def line(sums: PairSums, noise: Floats = NO_NOISE, minimum_cell: int = 5) -> Recalibration:
    return calibrate_regression(sums, noise, centre=CENTRE, minimum_cell=minimum_cell)


def test_the_line_of_numbers_is_least_squares_with_students_interval() -> None:
    from scipy.stats import linregress
    from scipy.stats import t as student

    target, prediction = people(np.random.default_rng(6), 60)
    found, truth = line(sums_of(target, prediction)), linregress(prediction, target)
    assert found.slope.value == pytest.approx(truth.slope, abs=1e-12)
    assert found.intercept.value == pytest.approx(truth.intercept, abs=1e-12)
    reach = student.ppf(0.975, 58)
    assert found.slope.high - truth.slope == pytest.approx(reach * truth.stderr, abs=1e-12)
    margin = found.intercept.high - truth.intercept
    assert margin == pytest.approx(reach * truth.intercept_stderr, abs=1e-12)


@pytest.mark.parametrize("noise_sd", [0.0, 1.0])
def test_the_line_holds_the_truth_as_often_as_it_says(noise_sd: float) -> None:
    draw, held = np.random.default_rng(7), np.zeros(2)
    sds = noise_sd * np.array([2.0, 0.4, 0.2, 0.2, 0.1, 0.1])
    for _ in range(REPETITIONS):
        exact = sums_of(*people(draw, 300))
        noisy = PairSums(
            **{
                name: value + draw.normal(0, sd)
                for (name, value), sd in zip(vars(exact).items(), sds, strict=True)
            }
        )
        found = line(noisy, np.diag(sds**2))
        held += [
            found.intercept.low <= 0.18 <= found.intercept.high,
            found.slope.low <= 0.7 <= found.slope.high,
        ]
    assert held / REPETITIONS == pytest.approx([0.95, 0.95], abs=NEAR)


def test_noise_of_one_source_in_two_sums_counts_once_where_it_cancels() -> None:
    sums = sums_of(*people(np.random.default_rng(8), 300))
    # Σe² up and Σye down by half of it leave Σf² alone
    both = NO_NOISE.copy()
    both[np.ix_([4, 5], [4, 5])] = [[1.0, -0.5], [-0.5, 0.25]]
    together = line(sums, both).slope
    apart = line(sums, np.diag(np.diag(both))).slope
    assert together.high - together.low < 0.8 * (apart.high - apart.low)


def test_predictions_that_do_not_vary_have_no_line_and_under_noise_are_too_noisy() -> None:
    target, _ = people(np.random.default_rng(9), 50)
    sums = sums_of(target, np.full(50, 0.7))
    assert line(sums) == Recalibration(intercept=NOT_APPLICABLE, slope=NOT_APPLICABLE)
    noisy = PairSums(**(vars(sums) | {"e_squared": sums.e_squared + 0.5}))
    found = line(noisy, np.diag([0, 0, 0, 0, 1.0, 0]))
    assert found == Recalibration(intercept=TOO_NOISY, slope=TOO_NOISY)


def test_too_few_patients_have_no_line() -> None:
    sums = sums_of(*people(np.random.default_rng(10), 6))
    assert line(sums, minimum_cell=10).slope == SUPPRESSED
    assert math.isfinite(line(sums, minimum_cell=6).slope.value)
