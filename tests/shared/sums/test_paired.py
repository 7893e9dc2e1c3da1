"""Differences of two readings: DeLong's and Tango's without noise, and covered with noise."""

from __future__ import annotations

import numpy as np
import pytest

from shared.measure.exact.discrimination import compare_aucs, delong
from shared.sums.paired import Difference, auc_difference, share_difference

Z = 1.959963984540054
EDGES = np.linspace(-2.0, 3.0, 7)[1:-1]
IS_CALLED = np.arange(6) >= 3
FIRST, SECOND = np.broadcast_to(IS_CALLED[:, None], (6, 6)), np.broadcast_to(IS_CALLED, (6, 6))
PARTS = (FIRST & ~SECOND, ~FIRST & SECOND, FIRST == SECOND)


def drawn(n: int, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Who is ill [n], and the bins of two readings that err together; the first is better."""
    is_ill = draw.random(n) < 0.2
    scores = draw.multivariate_normal([0, 0], [[1, 0.4], [0.4, 1]], n) + np.outer(is_ill, [1.2, 0.7])
    first, second = np.searchsorted(EDGES, scores).T
    return is_ill, first, second


def joint(is_ill: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Counts [2,6,6]."""
    counts = np.zeros((2, 6, 6))
    np.add.at(counts, (is_ill.astype(int), first, second), 1.0)
    return counts


def parts_of(counts: np.ndarray) -> tuple[float, float, float]:
    first, second, rest = (float(counts[part].sum()) for part in PARTS)
    return first, second, rest


@pytest.mark.parametrize("seed", range(5))
def test_without_noise_two_aucs_are_compared_as_delong_does_on_binned_scores(seed: int) -> None:
    is_ill, first, second = drawn(400, np.random.default_rng(seed))
    scores = np.stack([first, second]).astype(float)
    aucs, covariance = delong(scores, is_ill)
    sd = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    well, ill = joint(is_ill, first, second)
    found = auc_difference(ill, well, cell_sd=0.0, confidence=0.95)
    assert found.value == pytest.approx(aucs[0] - aucs[1], abs=1e-10)
    assert found.low == pytest.approx(aucs[0] - aucs[1] - Z * sd, abs=1e-10)
    assert found.high == pytest.approx(aucs[0] - aucs[1] + Z * sd, abs=1e-10)
    z = found.value / ((found.high - found.low) / (2 * Z))
    assert z == pytest.approx(compare_aucs(*scores, is_ill).z, abs=1e-8)


def test_a_pair_is_narrower_than_two_readings_of_other_patients() -> None:
    is_ill, first, second = drawn(2000, np.random.default_rng(7))
    well, ill = joint(is_ill, first, second)
    paired = auc_difference(ill, well, cell_sd=0.0, confidence=0.95)
    _, covariance = delong(np.stack([first, second]).astype(float), is_ill)
    unpaired = 2 * Z * np.sqrt(np.trace(covariance))
    assert paired.high - paired.low < 0.9 * unpaired


def test_two_perfect_readings_do_not_differ_for_certain() -> None:
    ill, well = np.zeros((2, 2)), np.zeros((2, 2))
    ill[1, 1], well[0, 0] = 30.0, 30.0
    found = auc_difference(ill, well, cell_sd=0.0, confidence=0.95)
    assert found.value == 0.0
    assert 0.03 < found.high < 0.2
    assert found.low == pytest.approx(-found.high)


def test_shares_are_compared_as_tango_does() -> None:
    # of 44 patients 43 are read alike and one is hit by the second only: his equation at both ends
    found = share_difference((0.0, 1.0, 43.0), noise_variance=(0.0, 0.0, 0.0), confidence=0.95)
    assert found.value == pytest.approx(-1 / 44)
    for delta in (found.low, found.high):
        a, b, c = 2 * 44, -1.0 + (2 * 44 + 1.0) * delta, -1.0 * delta * (1 - delta)
        only_second = (np.sqrt(b**2 - 4 * a * c) - b) / (2 * a)
        z2 = (-1.0 - 44 * delta) ** 2 / (44 * (2 * only_second + delta * (1 - delta)))
        assert z2 == pytest.approx(Z**2, rel=0.01)


def test_readings_that_never_differ_still_have_an_interval() -> None:
    found = share_difference((0.0, 0.0, 50.0), noise_variance=(0.0, 0.0, 0.0), confidence=0.95)
    # Tango's with no discordant pair: ± z²/(n + z²)
    assert found.high == pytest.approx(Z**2 / (50 + Z**2), abs=1e-3)
    assert found.low == pytest.approx(-found.high, abs=1e-3)


def test_noise_enters_a_difference_of_shares_as_it_enters_the_counts() -> None:
    # a million patients: sampling is nothing, ±1.96 of the noise in first − second − δ·n at δ = 0.1
    noise = (4e8, 9e8, 1e8)
    found = share_difference((2e5, 1e5, 7e5), noise_variance=noise, confidence=0.95)
    sd = np.sqrt(4e8 * 0.9**2 + 9e8 * 1.1**2 + 1e8 * 0.1**2) / 1e6
    assert found.high - found.low == pytest.approx(2 * Z * sd, rel=0.02)


def test_noise_moves_a_large_difference_of_aucs_as_far_as_its_interval_says() -> None:
    # the first nearly perfect, the second nearly reversed, of so many that sampling is nothing
    draw, sd, shares = np.random.default_rng(6), 3000.0, np.zeros((2, 6, 6))
    shares[:, 5, 0], shares[:, 0, 5] = (0.1, 0.9), (0.9, 0.1)
    found = [
        auc_difference(ill, well, cell_sd=sd, confidence=0.95)
        for well, ill in (1e6 * shares + draw.normal(0.0, sd, (200, 2, 6, 6)))
    ]
    values = np.array([each.value for each in found])
    assert values.mean() == pytest.approx(0.8, abs=0.005)
    width = np.mean([each.high - each.low for each in found])
    assert width == pytest.approx(2 * Z * values.std(), rel=0.16)


@pytest.mark.parametrize(("n", "sd"), [(800, 0.0), (1500, 3.7)], ids=["exact", "at ε = 1"])
def test_differences_are_covered(n: int, sd: float) -> None:
    # 3.7: the noise multiplier of one release at ε = 1. 400 draws: 95 % ± 3 standard errors of 1.1
    draw = np.random.default_rng(3)
    well, ill = joint(*drawn(1_000_000, draw))
    truth = auc_difference(ill, well, cell_sd=0.0, confidence=0.95).value
    shares = [(part[PARTS[0]].sum() - part[PARTS[1]].sum()) / part.sum() for part in (well, ill)]
    cells = [float(part.sum()) * sd**2 for part in PARTS]
    hits = np.zeros(3)
    for _ in range(400):
        counts = joint(*drawn(n, draw)) + draw.normal(0.0, sd, (2, 6, 6))
        found: list[Difference] = [auc_difference(counts[1], counts[0], cell_sd=sd, confidence=0.95)]
        noise = (cells[0], cells[1], cells[2])
        found += [
            share_difference(parts_of(part), noise_variance=noise, confidence=0.95) for part in counts
        ]
        truths = (truth, *shares)
        hits += [each.low <= true <= each.high for each, true in zip(found, truths, strict=True)]
    assert ((hits / 400 >= 0.917) & (hits / 400 <= 0.983)).all(), hits / 400
