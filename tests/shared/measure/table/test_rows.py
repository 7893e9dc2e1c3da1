"""The validation table: bounded rows, exact sensitivity, and measures that follow from sums."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from practice_tables import sum_table
from practice_validation import (
    rows_of_numbers,
    rows_of_scores,
    spec_of_numbers,
    spec_of_probabilities,
)

from shared.errors import ProtocolError
from shared.measure.exact.discrimination import measure_auc
from shared.measure.exact.regression import measure_regression
from shared.measure.table.reading import read_table
from shared.measure.table.rows import contributions, graded_score, pool_tables
from shared.measure.table.spec import TableSpec, sensitivity
from shared.sums.estimate import Measures

BMD = spec_of_numbers()
PROBABILITY = spec_of_probabilities()
THREE = spec_of_probabilities("normal", "wedge", "crush", confusion=1.0, error=0.35)
ORDERED = spec_of_probabilities("mild", "middle", "severe", is_ordered=True, confusion=1.0)
ANY_FLOAT = st.floats(allow_nan=True, allow_infinity=True, width=64)


def bmd_cohort(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    prediction = generator.normal(0.64, 0.093, n)
    return prediction, prediction + generator.normal(0, 0.076, n)


def bmd_table(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    return sum_table(rows_of_numbers(BMD, prediction, target))


def read(table: np.ndarray, spec: TableSpec = BMD, sd: float = 0.0, cell: int = 1) -> Measures:
    return read_table(table, spec, noise_sd=sd, minimum_cell=cell, sensitivity_target=0.85)


@given(st.lists(st.tuples(ANY_FLOAT, ANY_FLOAT), min_size=1, max_size=20))
@settings(max_examples=200, deadline=None)
def test_no_row_exceeds_the_sensitivity_whatever_the_values(rows: list) -> None:
    prediction, target = (np.array(column) for column in zip(*rows, strict=True))
    made = rows_of_numbers(BMD, prediction, target)
    assert np.isfinite(made).all()
    assert np.linalg.norm(made, axis=1).max() <= sensitivity(BMD) * (1 + 1e-12)


def test_sensitivity_is_attained_by_an_extreme_patient() -> None:
    made = rows_of_numbers(BMD, np.array([2.0]), np.array([0.1]))
    assert np.linalg.norm(made) == pytest.approx(sensitivity(BMD))


def test_histogram_cells_by_hand_with_scores_on_and_beyond_the_edges() -> None:
    score = np.array([-1.0, 0.25, 0.5, 0.74, 9.0])
    rows = rows_of_scores(PROBABILITY, score, np.array([1, 1, 0, 0, 0], bool))
    # positives: bins 0 and 1; negatives: 0.5 falls on the positive side
    assert sum_table(rows).tolist() == [1, 1, 0, 0, 0, 0, 2, 1]


def test_a_score_at_the_threshold_is_called_positive_when_low_is_positive() -> None:
    table = bmd_table(np.array([0.558, 0.5581]), np.array([0.5, 0.5]))
    assert read(table).sensitivity.value == pytest.approx(0.5)


def test_scores_that_are_not_finite_never_flatter() -> None:
    rows = rows_of_scores(PROBABILITY, np.array([np.nan, np.inf]), np.array([True, False]))
    assert sum_table(rows).tolist() == [1, 0, 0, 0, 0, 0, 0, 1]
    worst = bmd_table(np.array([np.nan, 0.6]), np.array([0.5, 0.7]))
    assert read(worst).sensitivity.value == 0.0
    assert read(worst).mae.value == pytest.approx((0.25 + 0.1) / 2)


def test_an_unlabelled_patient_leaves_no_trace_in_a_regression_table() -> None:
    assert not bmd_table(np.array([0.6]), np.array([np.nan])).any()


def test_cells_of_three_classes_by_hand() -> None:
    # crush is the endpoint and stands first, then normal and wedge
    outputs = np.array([[0.1, 0.3, 0.6], [0.7, 0.2, 0.1]])
    table = sum_table(contributions(THREE, outputs=outputs, label=np.array([2.0, 1.0])))
    pairs = np.rint(table[:24].reshape(3, 2, 4) * 3**0.5).astype(int)
    assert THREE.classes == ("crush", "normal", "wedge")
    assert pairs[0].tolist() == [[1, 0, 0, 0], [0, 0, 1, 0]]
    assert pairs[1].tolist() == [[1, 0, 1, 0], [0, 0, 0, 0]]
    assert pairs[2].tolist() == [[0, 1, 0, 0], [1, 0, 0, 0]]
    assert table[24:33].reshape(3, 3).tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]
    brier = [(0.4**2 + 0.1**2 + 0.3**2) / 2, (0.7**2 + 0.8**2 + 0.1**2) / 2]
    assert table[33] == pytest.approx(0.35 * sum(2 * each - 1 for each in brier))


def test_one_score_grades_ordered_classes_by_how_far_up_they_lie() -> None:
    outputs = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.2, 0.4, 0.4]])
    assert graded_score(ORDERED, outputs) == pytest.approx([1.0, 0.5, 0.6])
    rows = contributions(ORDERED, outputs=outputs, label=np.array([2.0, 1.0, 0.0]))
    assert ORDERED.classes == ("severe", "middle", "mild")
    assert [int(row[:12].argmax()) for row in rows] == [3, 4 + 2, 8 + 2]
    alone = graded_score(ORDERED, outputs[2:])
    assert alone[0] == graded_score(ORDERED, np.tile(outputs[2:], (64, 1)))[7]


def test_exact_table_gives_the_cohorts_own_figures() -> None:
    prediction, target = (np.clip(part, 0.36, 0.99) for part in bmd_cohort(1, 400))
    found, exact = read(bmd_table(prediction, target)), measure_regression(target, prediction)
    called, diseased = prediction <= 0.558, target <= 0.558
    assert found.r2.value == pytest.approx(exact.r2, abs=1e-9)
    assert found.mae.value == pytest.approx(exact.mae, abs=1e-9)
    assert found.rmse.value == pytest.approx(exact.mse**0.5, abs=1e-9)
    assert found.bias.value == pytest.approx(exact.bias, abs=1e-9)
    reach = 1.96 * float(np.std(prediction - target))  # a table's SD has divisor n
    assert found.limit_low.value == pytest.approx(exact.bias - reach, abs=1e-9)
    assert found.limit_high.value == pytest.approx(exact.bias + reach, abs=1e-9)
    assert found.n_patients.value == pytest.approx(400)
    assert found.n_positive.value == pytest.approx(diseased.sum())
    assert found.sensitivity.value == pytest.approx((called & diseased).sum() / diseased.sum())
    assert found.specificity.value == pytest.approx((~called & ~diseased).sum() / (~diseased).sum())


def test_public_bounds_move_r2_of_a_wide_population_by_less_than_a_hundredth() -> None:
    prediction, target = bmd_cohort(1, 100_000)
    exact = measure_regression(target, prediction)
    assert -0.01 < read(bmd_table(prediction, target)).r2.value - exact.r2 < 0.0


def test_auc_from_bins_is_the_auc_of_binned_scores_and_near_that_of_the_scores() -> None:
    prediction, target = bmd_cohort(2, 500)
    positive = target <= 0.558
    value = read(bmd_table(prediction, target)).auc.value
    binned = np.searchsorted(BMD.inner_edges, prediction, side="left").astype(float)
    assert value == pytest.approx(measure_auc(-binned, positive), abs=1e-12)
    # strict bound: half of the tied positive-negative pairs
    tied = sum(
        (binned[positive] == b).mean() * (binned[~positive] == b).mean() for b in range(BMD.bins)
    )
    assert abs(value - measure_auc(-prediction, positive)) <= tied / 2


@given(st.lists(st.integers(1, 60), min_size=1, max_size=5), st.integers(0, 10_000), st.randoms())
@settings(max_examples=40, deadline=None)
def test_pooled_measures_are_those_of_the_pooled_cohort_in_any_order(
    sizes: list[int], seed: int, shuffler: object
) -> None:
    sites = [bmd_cohort(seed + i, n) for i, n in enumerate(sizes)]
    together = bmd_table(*(np.concatenate(part) for part in zip(*sites, strict=True)))
    tables = [(bmd_table(*site), 0.0) for site in sites]
    pooled, sd = pool_tables(tables)
    shuffled = tables.copy()
    shuffler.shuffle(shuffled)  # type: ignore[attr-defined]
    assert sd == 0.0
    assert np.array_equal(pool_tables(shuffled)[0], pooled)
    assert np.allclose(pooled, together, rtol=0, atol=1e-9)
    assert read(pooled).auc.status == read(together).auc.status
    if read(pooled).auc.value is not None:
        assert read(pooled).auc.value == pytest.approx(read(together).auc.value)


def test_independent_noise_adds_in_quadrature() -> None:
    assert pool_tables([(np.zeros(3), 3.0), (np.ones(3), 4.0)])[1] == 5.0
    with pytest.raises(ProtocolError):
        pool_tables([(np.zeros(3), 1.0), (np.zeros(4), 1.0)])
    with pytest.raises(ProtocolError):
        pool_tables([])


def test_cells_below_the_minimum_are_suppressed_and_never_zero() -> None:
    prediction, target = np.full(40, 0.7), np.full(40, 0.7)
    target[:5] = 0.5
    found = read(bmd_table(prediction, target), cell=10)
    for name in ("n_positive", "auc", "sensitivity"):
        assert getattr(found, name).status == "suppressed"
        assert getattr(found, name).value is None
    assert found.specificity.value == 1.0
    assert found.promise == "not-applicable"
    few = read(bmd_table(prediction[:8], target[:8]), cell=10)
    assert few.n_patients.status == few.mae.status == few.r2.status == "suppressed"


def test_of_an_exact_table_a_noisy_plan_hides_nothing_and_the_minimum_holds() -> None:
    prediction, target = np.full(40, 0.7), np.full(40, 0.7)
    target[:5] = 0.5
    table = bmd_table(prediction, target)

    def shown(sd: float, names: tuple[str, ...], cell: int = 10) -> Measures:
        return read_table(
            table, BMD, noise_sd=sd, minimum_cell=cell, sensitivity_target=0.0, shown=names
        )

    exact = shown(0.0, ())
    assert exact.mae.status == exact.specificity.status == "measured"
    assert exact.n_positive.status == exact.sensitivity.status == "suppressed"
    assert shown(0.0, (), cell=41).n_patients.status == "suppressed"
    assert shown(0.0, (), cell=39).n_patients.value == pytest.approx(40)
    assert shown(0.0, (), cell=4).n_positive.value == pytest.approx(5)
    # under noise the plan decides alone, and no noisy count does
    noisy = shown(0.5, ("mae",), cell=1000)
    assert noisy.mae.status == noisy.n_patients.status == noisy.n_positive.status == "measured"
    assert noisy.bias.status == noisy.specificity.status == "too-noisy"
    assert noisy.n_patients.high - noisy.n_patients.low > 0


def test_one_class_or_one_value_is_not_applicable_and_never_zero_or_one() -> None:
    prediction, target = bmd_cohort(3, 50)
    found = read(bmd_table(prediction, np.maximum(target, 0.56)), cell=10)
    assert found.auc.status == found.sensitivity.status == "not-applicable"
    assert found.specificity.status == "measured"
    assert read(bmd_table(prediction, np.full(50, 0.7))).r2.status == "not-applicable"
    only_scores = read(np.array([0.0, 1, 5, 9, 9, 5, 1, 0]), PROBABILITY)
    assert only_scores.r2.status == only_scores.mae.status == "not-applicable"


def test_intervals_without_noise_are_wilsons() -> None:
    # 20 positives of which 15 are called: Wilson 95 % is 0.5313 to 0.8881
    table = np.array([5.0, 0, 0, 15, 20, 0, 0, 0])
    found = read(table, PROBABILITY)
    assert found.sensitivity.value == 0.75
    assert found.sensitivity.low == pytest.approx(0.5313, abs=5e-4)
    assert found.sensitivity.high == pytest.approx(0.8881, abs=5e-4)
    assert found.specificity.value == 1.0
    assert found.specificity.low == pytest.approx(20 / (20 + 1.959964**2), abs=5e-4)


def test_promise_is_kept_broken_or_undecided_by_the_whole_interval() -> None:
    def promise(missed: int, called: int) -> str:
        return read(np.array([missed, 0, 0, called, 50.0, 0, 0, 0]), PROBABILITY).promise

    assert (promise(1, 99), promise(50, 50), promise(15, 85)) == ("kept", "broken", "undecided")
    table = np.array([1, 0, 0, 99, 50.0, 0, 0, 0])
    silent = read_table(table, PROBABILITY, noise_sd=0, minimum_cell=10, sensitivity_target=0)
    assert silent.promise == "not-applicable", "nobody promised anything"


def test_more_noise_gives_wider_intervals_around_the_same_value() -> None:
    table = bmd_table(*bmd_cohort(5, 300))
    quiet, loud = read(table, sd=0.0), read(table, sd=4.0)
    for name in ("auc", "sensitivity", "specificity", "r2", "mae", "rmse", "bias", "limit_low"):
        small, large = getattr(quiet, name), getattr(loud, name)
        assert large.low < small.low <= small.high < large.high, name
        assert large.value == pytest.approx(small.value, abs=0.02)


@pytest.mark.parametrize("n", [75, 178, 500])
def test_intervals_cover_the_truth_with_privacy_noise(n: int) -> None:
    # R² by construction, the others by 10^7 draws of the same population (2026-11-21)
    truth = {"auc": 0.8807, "r2": 0.6, "sensitivity": 0.5476, "specificity": 0.9290, "mae": 0.0606}
    generator = np.random.default_rng(6)
    sd = 1.4 * sensitivity(BMD)
    inside: dict[str, list[bool]] = {name: [] for name in truth}
    for _ in range(150):
        prediction = 0.64 + 0.6**0.5 * 0.12 * generator.standard_normal(n)
        target = prediction + 0.4**0.5 * 0.12 * generator.standard_normal(n)
        noise = generator.normal(0, sd, BMD.n_cells)
        found = read(bmd_table(prediction, target) + noise, sd=sd, cell=10)
        for name, value in truth.items():
            estimate = getattr(found, name)
            if estimate.low is not None:
                inside[name].append(estimate.low <= value <= estimate.high)
    for name, hits in inside.items():
        assert len(hits) > 90
        assert np.mean(hits) >= 0.90, name


def test_noisy_counts_are_not_clipped_so_auc_is_unbiased() -> None:
    # 80 positives above and 20 below 100 negatives: AUC 0.8; mass added to empty bins would move it
    spec = replace(PROBABILITY, bins=64)
    exact = np.zeros(128)
    exact[40], exact[10], exact[64 + 24] = 80, 20, 100
    generator = np.random.default_rng(7)
    wins, pairs = [], []
    for _ in range(300):
        noisy = exact + generator.normal(0, 1.0, 128)
        positives, negatives = noisy[:64], noisy[64:]
        pairs.append(positives.sum() * negatives.sum())
        found = read(noisy, spec, sd=1.0, cell=10)
        wins.append(found.auc.value * pairs[-1])
    assert sum(wins) / sum(pairs) == pytest.approx(0.8, abs=0.02)


def test_a_table_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ProtocolError):
        read(np.zeros(BMD.n_cells + 1))
    with pytest.raises(ProtocolError):
        read(np.full(BMD.n_cells, np.nan))
    with pytest.raises(ProtocolError):
        contributions(BMD, outputs=np.zeros((2, 2)), label=np.zeros(2))
    with pytest.raises(ProtocolError):
        contributions(PROBABILITY, outputs=np.zeros((2, 2)), label=np.zeros(3))


def test_a_noisy_count_below_zero_is_shown_as_none_and_its_interval_begins_there() -> None:
    table = np.zeros(BMD.n_cells)
    table[: BMD.bins] = -3.0
    found = read_table(
        table, BMD, noise_sd=1.0, minimum_cell=1, sensitivity_target=0.0, shown=("auc", "mae")
    )
    for count in (found.n_patients, found.n_positive):
        assert count.value == count.low == 0.0
        assert count.high >= 0.0
    assert found.auc.status == found.sensitivity.status == "too-noisy"
    assert found.promise == "not-applicable"
