"""Intervals end exactly where the test begins to reject, and privacy noise alone is covered."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from practice_class_coverage import CASES, ClassCase
from practice_validation import rows_of_numbers, spec_of_numbers

from shared.measure.exact.discrimination import delong
from shared.measure.table.classes import read_classes
from shared.measure.table.reading import read_table
from shared.measure.table.spec import sensitivity
from shared.sums.estimate import FIGURES
from shared.sums.intervals import (
    accepted,
    auc_interval,
    auc_variance,
    expit,
    ratio_interval,
    share_interval,
)

Z2 = 1.959964**2
SPEC = spec_of_numbers()


@pytest.mark.parametrize("noise", [(0.0, 0.0), (9.0, 0.0), (0.0, 25.0)])
def test_share_interval_ends_where_the_test_rejects(noise: tuple[float, float]) -> None:
    ends = share_interval(30.0, 20.0, noise_variance=noise, confidence=0.95)
    for theta in ends:
        variance = 50 * theta * (1 - theta) + noise[0] * (1 - theta) ** 2 + noise[1] * theta**2
        assert (30 - 50 * theta) ** 2 == pytest.approx(Z2 * variance, rel=0.01)


def test_an_end_between_two_candidates_is_not_moved_to_one_of_them() -> None:
    # |0.4 − θ| ≤ 1.96·0.05 on steps of 0.1: from 0.302 to 0.498, up to the bend of a square in a step
    grid = np.linspace(0.0, 1.0, 11)
    ends = accepted(grid, 0.4 - grid, np.full(11, 0.0025), point=0.4, confidence=0.95)
    assert ends == pytest.approx((0.302, 0.498), abs=0.005)
    far = accepted(grid, 0.4 - grid, np.full(11, 0.25), point=0.4, confidence=0.95)
    assert far == (0.0, 1.0)


def test_ratio_interval_ends_where_the_test_rejects() -> None:
    ends = ratio_interval(
        4.0,
        10.0,
        numerator_variance=0.3,
        denominator_variance=0.8,
        covariance=0.2,
        bounds=(0.0, 2.0),
        confidence=0.95,
    )
    for q in ends:
        variance = 0.3 - 2 * q * 0.2 + q**2 * 0.8
        assert (4 - 10 * q) ** 2 == pytest.approx(Z2 * variance, rel=0.02)


def test_auc_variance_by_hand() -> None:
    # 0.75·0.25/100·(1 + 9·(0.25/1.25 + 0.75/1.75)) = 0.012482
    assert auc_variance(np.array([0.75]), 10.0, 10.0)[0] == pytest.approx(0.012482, abs=1e-6)


def test_auc_interval_of_perfect_separation_is_not_a_point() -> None:
    histogram = np.array([30.0, 0.0]), np.array([0.0, 30.0])
    low, high = auc_interval(histogram[1], histogram[0], cell_sd=(0.0, 0.0), confidence=0.95)
    assert high == 1.0
    assert 0.85 < low < 0.97


def test_noise_alone_is_covered_neither_too_rarely_nor_always() -> None:
    # half a million patients: sampling is nothing beside this noise, so coverage is that of the
    # noise bookkeeping and must be 95 % (± 3.5 standard errors of 700 draws)
    generator = np.random.default_rng(1)
    prediction = generator.normal(0.64, 0.093, 500_000)
    target = np.clip(prediction + generator.normal(0, 0.076, 500_000), 0.36, 0.99)
    rows = rows_of_numbers(SPEC, prediction, target)
    exact = rows.sum(axis=0)
    sd = 6_000.0
    options = {"minimum_cell": 10, "sensitivity_target": 0.85}
    truth = read_table(exact, SPEC, noise_sd=0.0, **options)
    names = [
        "n_patients", "n_positive", "auc", "sensitivity", "specificity",
        "r2", "mae", "rmse", "bias", "limit_low", "limit_high",
    ]  # fmt: skip
    hits = dict.fromkeys(names, 0)
    for _ in range(700):
        noisy = exact + generator.normal(0, sd, SPEC.n_cells)
        found = read_table(noisy, SPEC, noise_sd=sd, **options)
        for name in names:
            estimate = getattr(found, name)
            hits[name] += estimate.low <= getattr(truth, name).value <= estimate.high
    for name, count in hits.items():
        assert 0.92 <= count / 700 <= 0.98, (name, count / 700)


def test_auc_interval_has_the_size_of_delongs_where_nothing_is_noisy() -> None:
    generator = np.random.default_rng(8)
    positive = np.clip(generator.normal(40, 6, 300), 0, 63).astype(int)
    negative = np.clip(generator.normal(32, 10, 900), 0, 63).astype(int)  # wider: Hanley's form is off
    histograms = [np.bincount(each, minlength=64).astype(float) for each in (positive, negative)]
    score, is_positive = np.concatenate([positive, negative]), np.arange(1200) < 300
    (auc,), covariance = delong(score[None].astype(float), is_positive)
    low, high = auc_interval(*histograms, cell_sd=(0.0, 0.0), confidence=0.95)
    assert low < auc < high
    assert high - low == pytest.approx(2 * 1.959964 * covariance[0, 0] ** 0.5, rel=0.02)
    hanley = 2 * 1.959964 * auc_variance(np.array([auc]), 300.0, 900.0)[0] ** 0.5
    assert abs(high - low - hanley) > 0.05 * hanley


def test_a_logit_of_any_size_has_its_share() -> None:
    assert [expit(each) for each in (-1e6, -800.0, 0.0, 800.0, 1e6)] == [0.0, 0.0, 0.5, 1.0, 1.0]
    assert expit(np.log(3.0)) == pytest.approx(0.75, abs=1e-15)


@pytest.mark.parametrize("bins", [4, 8, 64])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_tables_of_hardly_anybody_under_any_noise_have_finite_figures(
    case: ClassCase, bins: int
) -> None:
    spec, n_read = replace(case.spec, bins=bins), 0
    for seed in range(30):
        draw = np.random.default_rng(seed)
        n, loud = int(draw.integers(1, 60)), float(draw.choice([0.0, 0.3, 2.06, 8.0, 300.0]))
        sd = loud * sensitivity(spec)
        table = case.table(spec, n, draw) + sd * draw.standard_normal(spec.n_cells)
        few, many = (
            read_classes(table, spec, noise_sd=sd, minimum_cell=1, n_expected=each) for each in (n, 1e6)
        )
        read = read_table(
            table, spec, noise_sd=sd, minimum_cell=1, sensitivity_target=0.0, shown=FIGURES
        )
        for each in (*few.values(), *many.values(), *(getattr(read, name) for name in FIGURES)):
            if each.value is not None and each.low is not None:
                assert np.isfinite([each.low, each.value, each.high]).all()
                assert each.low - 1e-9 <= each.value <= each.high + 1e-9
                n_read += 1
    assert n_read > 100
