"""Regression figures by hand, and patient bootstraps against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import r2_score

from shared.errors import ProtocolError
from shared.measure.exact.regression import (
    bootstrap_means,
    bootstrap_r2,
    compare_r2,
    measure_regression,
    percentile_interval,
    percentile_p,
)


def test_figures_by_hand() -> None:
    found = measure_regression(np.array([1.0, 2, 3, 4]), np.array([1.5, 2.0, 2.5, 5.0]))
    # errors 0.5, 0, −0.5, 1: SSE 1.5, SST 5, mean 0.25, SD √((1.5 − 4 · 0.0625) / 3)
    assert found.r2 == pytest.approx(0.7)
    assert found.mae == pytest.approx(0.5)
    assert found.mse == pytest.approx(0.375)
    assert found.bias == pytest.approx(0.25)
    assert found.limit_high - found.limit_low == pytest.approx(2 * 1.96 * (1.25 / 3) ** 0.5)


def test_targets_without_variation_are_refused() -> None:
    with pytest.raises(ProtocolError):
        measure_regression(np.ones(5), np.zeros(5))


def test_bootstrap_equals_a_loop_that_copies_each_patients_exams() -> None:
    generator = np.random.default_rng(1)
    patient = generator.integers(0, 40, 100)
    patient[:40] = np.arange(40)
    target = generator.standard_normal(100) + 100
    predictions = target + generator.standard_normal((2, 100))
    found = bootstrap_r2(
        target, predictions, patient, replicates=300, generator=np.random.default_rng(2)
    )
    again = np.random.default_rng(2)
    for row in found:
        drawn = again.integers(0, 40, 40)
        exams = np.concatenate([np.flatnonzero(patient == p) for p in drawn])
        expected = [r2_score(target[exams], p[exams]) for p in predictions]
        assert np.allclose(row, expected, atol=1e-9, rtol=0)


def test_a_percentile_interval_leaves_out_as_much_on_either_side() -> None:
    replicates = np.append(np.linspace(0.0, 1.0, 100_001), np.nan)
    assert percentile_interval(replicates) == pytest.approx((0.025, 0.975))
    assert percentile_interval(replicates, confidence=0.8) == pytest.approx((0.1, 0.9))


def test_paired_difference_is_much_narrower_than_two_intervals() -> None:
    generator = np.random.default_rng(3)
    target = generator.standard_normal(400)
    shared = 0.6 * generator.standard_normal(400)
    better, worse = target + shared, target + 1.05 * shared
    found = compare_r2(
        target, better, worse, np.arange(400), replicates=500, generator=np.random.default_rng(4)
    )
    assert 0 < found.low < found.value < found.high < 0.1
    assert found.value == pytest.approx((1.05**2 - 1) * (shared**2).sum() / (400 * target.var()))


def test_means_of_several_readings_are_drawn_together() -> None:
    rng = np.random.default_rng(8)
    first = rng.exponential(1.0, 400)
    values = np.stack([first, first + 0.25])
    drawn = bootstrap_means(values, replicates=3000, generator=np.random.default_rng(1))
    assert drawn.shape == (3000, 2)
    assert drawn[:, 1] - drawn[:, 0] == pytest.approx(0.25)
    assert drawn[:, 0].mean() == pytest.approx(first.mean(), abs=0.01)
    assert drawn[:, 0].std() == pytest.approx(first.std() / 20, rel=0.05)


def test_a_mean_of_nobody_is_refused() -> None:
    with pytest.raises(ProtocolError):
        bootstrap_means(np.zeros((2, 0)), replicates=5, generator=np.random.default_rng(1))


def test_the_p_of_replicates_counts_those_on_the_smaller_side_of_0() -> None:
    ninety_nine = np.concatenate([np.full(95, 0.3), np.full(4, -0.1)])
    assert percentile_p(ninety_nine) == pytest.approx(2 * 5 / 100)
    assert percentile_p(-ninety_nine) == pytest.approx(2 * 5 / 100)
    assert percentile_p(np.append(ninety_nine, np.nan)) == pytest.approx(2 * 5 / 100)
    assert percentile_p(np.full(99, 0.3)) == pytest.approx(2 / 100)
    assert percentile_p(np.zeros(99)) == 1.0
