"""The number of bins is a public constant, and near the best that a look at the data would choose."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from practice_coverage import BMD, POPULATIONS, THRESHOLD, Population, exact_tables, with_bins

from shared.measure.exact.discrimination import measure_auc
from shared.measure.table.bins import CHOICES, EXACT_BINS, auc_noise_sd, bins_for
from shared.measure.table.spec import sensitivity

WEIGHT, SENSITIVITY = BMD.cell_weight, sensitivity(BMD)
MULTIPLIERS = {1: 3.74, 3: 1.40, 8: 0.61}  # of one table at ε and δ 1e-5
REPETITIONS, NOISES = 60, 4


def chosen(multiplier: float, n: float) -> int:
    return bins_for(noise_multiplier=multiplier, sensitivity=SENSITIVITY, weight=WEIGHT, n_patients=n)


def noisy_aucs(tables: np.ndarray, bins: int) -> np.ndarray:
    """Of tables [m, n_cells] as they are read; NaN where a class is too small to be shown."""
    positives, negatives = tables[:, bins - 1 :: -1], tables[:, 2 * bins - 1 : bins - 1 : -1]
    wins = (positives * (np.cumsum(negatives, axis=1) - negatives / 2)).sum(axis=1)
    sizes = positives.sum(axis=1), negatives.sum(axis=1)
    is_shown = np.minimum(*sizes) >= 10 * WEIGHT
    return np.where(is_shown, np.clip(wins / (sizes[0] * sizes[1]), 0.0, 1.0), np.nan)


def test_exact_tables_have_64_bins_and_louder_or_smaller_ones_never_more() -> None:
    assert chosen(0.0, 50) == EXACT_BINS == 64
    by_n = [chosen(1.4, n) for n in (50, 200, 800, 2000, 50_000)]
    by_noise = [chosen(multiplier, 800) for multiplier in (0.1, 0.6, 1.4, 3.7, 20.0)]
    assert by_n == sorted(by_n)
    assert by_noise == sorted(by_noise, reverse=True)
    assert (by_n[0], by_n[-1]) == (4, 64)
    assert (by_noise[0], by_noise[-1]) == (32, 4)


def test_fewer_expected_positives_mean_fewer_bins() -> None:
    rare = [
        bins_for(
            noise_multiplier=1.4,
            sensitivity=SENSITIVITY,
            weight=WEIGHT,
            n_patients=2000,
            prevalence=prevalence,
        )
        for prevalence in (0.01, 0.15, 0.5)
    ]
    assert rare == sorted(rare)
    assert rare[0] < rare[2]


def test_expected_noise_is_that_of_drawn_noise() -> None:
    n, bins, multiplier = 800, 8, 1.4
    population, generator = Population(name="half", prevalence=0.15), np.random.default_rng(1)
    target, prediction = population.draw(n, generator)
    (table,) = exact_tables(with_bins(bins), target, prediction, n=n)
    drawn = table + multiplier * SENSITIVITY * generator.standard_normal((2000, table.size))
    expected = auc_noise_sd(bins, multiplier * SENSITIVITY / WEIGHT, (0.15 * n, 0.85 * n))
    assert np.nanstd(noisy_aucs(drawn, bins)) == pytest.approx(expected, rel=0.25)


def test_rmse_is_near_the_least_of_all_numbers_of_bins() -> None:
    ratios = []
    for population, n in product((POPULATIONS[0], POPULATIONS[3]), (50, 200, 800, 2000)):
        generator = np.random.default_rng(n)
        target, prediction = population.draw(REPETITIONS * n, generator)
        is_positive = (target <= THRESHOLD).reshape(REPETITIONS, n)
        own = np.array(
            [
                measure_auc(-score, positive) if positive.any() else np.nan
                for score, positive in zip(prediction.reshape(REPETITIONS, n), is_positive, strict=True)
            ]
        )
        rmse: dict[tuple[float, int], float] = {}
        for bins in CHOICES:
            tables = np.array(list(exact_tables(with_bins(bins), target, prediction, n=n)))
            repeated, truth = np.repeat(tables, NOISES, axis=0), np.repeat(own, NOISES)
            noise = SENSITIVITY * generator.standard_normal(repeated.shape)
            for multiplier in MULTIPLIERS.values():
                off = noisy_aucs(repeated + multiplier * noise, bins) - truth
                rmse[multiplier, bins] = float(np.sqrt(np.nanmean(off**2)))
        for multiplier in MULTIPLIERS.values():
            least = min(rmse[multiplier, bins] for bins in CHOICES)
            ratios.append(rmse[multiplier, chosen(multiplier, n)] / least)
    assert len(ratios) == 24
    assert np.mean(ratios) < 1.1
    assert max(ratios) < 1.4
