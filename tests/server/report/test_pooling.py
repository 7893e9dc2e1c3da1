"""Random-effects pooling against the BCG vaccine trials and by hand."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from scipy.stats import chi2, norm
from scipy.stats import t as student

from server.report.pooling import (
    pool_effects,
    pool_exact_aucs,
    pool_histograms,
    predict_effect,
)

BENCH = Path(__file__).resolve().parents[2] / "bench"

# Colditz 1994 (JAMA 271:698): vaccinated TB +, −, control TB +, −; as dat.bcg in R metafor
BCG = np.array(
    [
        [4, 119, 11, 128], [6, 300, 29, 274], [3, 228, 11, 209], [62, 13536, 248, 12619],
        [33, 5036, 47, 5761], [180, 1361, 372, 1079], [8, 2537, 10, 619],
        [505, 87886, 499, 87892], [29, 7470, 45, 7232], [17, 1699, 65, 1600],
        [186, 50448, 141, 27197], [5, 2493, 3, 2338], [27, 16886, 29, 17825],
    ],
    dtype=float,
)  # fmt: skip
TREATED, CONTROL = BCG[:, 0] + BCG[:, 1], BCG[:, 2] + BCG[:, 3]
LOG_RATIO = np.log(BCG[:, 0] / TREATED) - np.log(BCG[:, 2] / CONTROL)
VARIANCE = 1 / BCG[:, 0] - 1 / TREATED + 1 / BCG[:, 2] - 1 / CONTROL


def test_reml_gives_the_published_answer_on_the_bcg_trials() -> None:
    found = pool_effects(LOG_RATIO, VARIANCE)
    # Viechtbauer 2010 (J Stat Softw 36(3), section 3.1): τ² 0.3132, mean −0.7145
    assert found.between_site_variance == pytest.approx(0.3132, abs=5e-5)
    assert found.value == pytest.approx(-0.7145, abs=5e-5)


def test_hartung_knapp_by_formula() -> None:
    found = pool_effects(LOG_RATIO, VARIANCE)
    weight = 1 / (VARIANCE + found.between_site_variance)
    scale = (weight * (LOG_RATIO - found.value) ** 2).sum() / 12
    se = (max(scale, 1.0) / weight.sum()) ** 0.5
    assert found.high - found.value == pytest.approx(student.ppf(0.975, 12) * se)


MANY = np.full(3, 40.0), np.full(3, 160.0)  # ill and well at each site


def test_equal_sites_have_no_variance_between_them() -> None:
    found = pool_exact_aucs(np.full(3, 0.8), *MANY)
    assert found.value == pytest.approx(0.8)
    assert found.between_site_variance == 0.0
    # never narrower than the fixed-effect interval with t; Hanley and McNeil, Newcombe's 99 for both
    variance = 0.16 * (1 + 99 * (0.2 / 1.2 + 0.8 / 1.8)) / (40 * 160)
    spread = (variance / 0.16**2 / 3) ** 0.5 * student.ppf(0.975, 2)
    assert found.low == pytest.approx(1 / (1 + np.exp(-(np.log(4) - spread))))


def test_a_perfect_hospital_counts_like_another_and_three_of_them_have_a_mean_below_one() -> None:
    usual, perfect, all_perfect = (
        pool_exact_aucs(np.array(aucs), *MANY)
        for aucs in ([0.98, 0.99, 0.99], [0.98, 0.99, 1.0], [1.0, 1.0, 1.0])
    )
    assert usual.value < perfect.value < all_perfect.value < 1.0
    # two perfect ones between others make the sites differ, and a further one less sure
    apart = pool_exact_aucs(np.array([0.85, 1.0, 1.0]), *MANY)
    assert 0.9 < apart.value < 1.0, "not the .85 of the one that errs"
    assert apart.between_site_variance > 0 == usual.between_site_variance
    width, usual_width = (each.prediction_high - each.prediction_low for each in (apart, usual))
    assert width > usual_width
    assert all_perfect.low > 0.9


@pytest.mark.parametrize("theta", [0.8, 0.95])
def test_the_mean_of_exact_aucs_is_held_as_often_as_it_says(theta: float) -> None:
    draw, held, n = np.random.default_rng(6), 0, 250
    sizes = np.array([(20, 120), (40, 200), (60, 90), (30, 300)], dtype=float)
    apart = NormalDist().inv_cdf(theta) * 2**0.5
    for _ in range(n):
        aucs = []
        for n_ill, n_well in sizes.astype(int):
            ill, well = draw.normal(apart, 1, n_ill), draw.normal(0, 1, n_well)
            aucs.append((ill[:, None] > well[None]).mean())
        found = pool_exact_aucs(np.array(aucs), *sizes.T)
        held += found.low <= theta <= found.high
    assert held / n > 0.93


def test_two_sites_have_no_prediction_interval_and_one_has_no_interval() -> None:
    alone, pair = (pool_effects(LOG_RATIO[:n], VARIANCE[:n], confidence=0.95) for n in (1, 2))
    assert alone.value == pytest.approx(LOG_RATIO[0])
    assert alone.low is None
    assert pair.low is not None
    assert pair.prediction_low is None


def sites_of(
    draw: np.random.Generator, *, n_sites: int, n: int, spread: float, cell_sd: float, bins: int = 8
) -> tuple[np.ndarray, np.ndarray]:
    """Noisy histograms of hospitals whose AUCs lie around a logit of 1.2."""
    edges = np.linspace(-1.5, 3.0, bins - 1)
    positives, negatives = np.zeros((n_sites, bins)), np.zeros((n_sites, bins))
    for site in range(n_sites):
        apart = 2**0.5 * norm.ppf(1 / (1 + np.exp(-draw.normal(1.2, spread))))
        is_ill = draw.random(n) < 0.2
        places = np.searchsorted(edges, draw.normal(size=n) + apart * is_ill)
        positives[site] = np.bincount(places[is_ill], minlength=bins)
        negatives[site] = np.bincount(places[~is_ill], minlength=bins)
    noise = draw.normal(0, cell_sd, (2, n_sites, bins))
    return positives + noise[0], negatives + noise[1]


@pytest.mark.parametrize(
    ("n_sites", "cell_sd", "spread"), [(3, 0.0, 0.0), (8, 0.0, 0.3), (8, 2.0, 0.3), (5, 2.0, 0.0)]
)
def test_the_interval_of_a_mean_of_noisy_tables_covers(
    n_sites: int, cell_sd: float, spread: float
) -> None:
    draw, covered, widths = np.random.default_rng(5), 0, []
    for _ in range(150):
        tables = sites_of(draw, n_sites=n_sites, n=200, spread=spread, cell_sd=cell_sd)
        found = pool_histograms(*tables, cell_sd=(cell_sd, cell_sd))
        covered += found.low <= 1 / (1 + np.exp(-1.2)) <= found.high
        widths.append(found.high - found.low)
    assert covered / 150 > 0.95 - 3 * (0.95 * 0.05 / 150) ** 0.5
    assert np.median(widths) < (0.5 if n_sites == 3 else 0.3), "and says something"


def test_a_few_small_and_noisy_hospitals_have_a_prediction_interval_and_no_overflow() -> None:
    edges, widest = np.linspace(-1.5, 3.0, 7), 0.0
    for seed in range(400):
        draw = np.random.default_rng(seed)
        tables = np.zeros((2, 3, 8))
        for site, n in enumerate((28, 54, 105)):
            is_ill = draw.random(n) < 0.2
            places = np.searchsorted(edges, draw.normal(size=n) + 1.2 * is_ill)
            tables[0, site], tables[1, site] = (
                np.bincount(places[side], minlength=8) for side in (is_ill, ~is_ill)
            )
        found = pool_histograms(*(tables + draw.normal(0, 2.06, tables.shape)), cell_sd=(2.06, 2.06))
        if found is None:
            continue
        assert 0.0 <= found.prediction_low <= found.low <= found.high <= found.prediction_high <= 1.0
        widest = max(widest, found.prediction_high - found.prediction_low)
    assert widest == 1.0, "one of them would have overflowed"


def test_without_noise_the_mean_of_equal_tables_is_their_auc() -> None:
    positives, negatives = np.array([1.0, 2, 3, 14]), np.array([40.0, 25, 10, 5])
    found = pool_histograms(np.tile(positives, (4, 1)), np.tile(negatives, (4, 1)), cell_sd=(0.0, 0.0))
    wins = positives @ (np.cumsum(negatives) - negatives / 2)
    assert found.value == pytest.approx(wins / (20 * 80), abs=1e-6)
    assert found.between_site_variance == 0.0


def test_a_margin_grows_with_the_confidence_in_each_of_the_two_intervals() -> None:
    for confidence, tail in ((0.8, 0.9), (0.99, 0.995)):
        found = pool_effects(LOG_RATIO, VARIANCE, confidence=confidence)
        weight = 1 / (VARIANCE + found.between_site_variance)
        se = (max((weight * (LOG_RATIO - found.value) ** 2).sum() / 12, 1.0) / weight.sum()) ** 0.5
        assert found.low == pytest.approx(found.value - student.ppf(tail, 12) * se)
    narrow, usual, wide = (predict_effect(LOG_RATIO, VARIANCE, confidence=c) for c in (0.8, 0.95, 0.99))
    assert wide[0] < usual[0] < narrow[0] < narrow[1] < usual[1] < wide[1]
    found = pool_effects(LOG_RATIO, VARIANCE)
    assert (found.prediction_low, found.prediction_high) == usual
    alike = pool_effects(np.full(3, 1.2), np.full(3, 0.05))
    ends = predict_effect(np.full(3, 1.2), np.full(3, 0.05))
    assert alike.low < ends[0], "three sites alike: the mean's own floor is wider"
    assert (alike.prediction_low, alike.prediction_high) == (alike.low, alike.high)


def test_a_prediction_is_over_all_variances_between_sites_that_are_not_contradicted() -> None:
    effects, own = np.array([0.4, 0.9, 1.3, 2.0]), 0.2
    # of equal errors Q is a square sum over (own + τ²), and the mean is the mean
    quantiles = chi2.ppf((np.arange(99) + 0.5) / 99, 3)
    between = np.maximum(((effects - 1.15) ** 2).sum() / quantiles - own, 0.0)
    assert between.min() == 0.0 < between.max()
    sd = np.sqrt(between + (own + between) / 4)
    low, high = predict_effect(effects, np.full(4, own))
    assert norm.cdf((low - 1.15) / sd).mean() == pytest.approx(0.025, abs=1e-9)
    assert norm.cdf((high - 1.15) / sd).mean() == pytest.approx(0.975, abs=1e-9)


@pytest.mark.parametrize("n_sites", [3, 8])
def test_a_further_hospital_lies_in_its_prediction_as_often_as_it_says(n_sites: int) -> None:
    draw, held, n = np.random.default_rng(3), 0, 400
    for _ in range(n):
        variances = draw.uniform(0.02, 0.1, n_sites)
        effects = draw.normal(1.2, np.sqrt(0.16 + variances))
        low, high = predict_effect(effects, variances)
        held += low <= draw.normal(1.2, 0.4) <= high
    assert 0.92 < held / n < 0.98


def test_three_sites_have_a_prediction_interval_wider_than_that_of_their_mean() -> None:
    found = pool_exact_aucs(np.array([0.7, 0.8, 0.9]), *MANY)
    assert 0 < found.prediction_low < found.low < found.value < found.high < found.prediction_high < 1


def test_noise_in_the_cells_widens_by_what_the_two_histograms_say() -> None:
    """The interval's half-width, on the logit scale, by the formula of the statistic."""
    bins, n_sites = 4, 3
    ill, well = np.array([2.0, 3, 5, 10]), np.array([30.0, 20, 8, 2])
    kernel = np.tril(np.ones((bins, bins)), -1) + 0.5 * np.eye(bins)
    theta = (ill / 20) @ kernel @ (well / 60)
    quantile = student.ppf(0.975, n_sites - 1)

    def half_width(cell_sd: tuple[float, float]) -> float:
        tables = np.tile(ill, (n_sites, 1)), np.tile(well, (n_sites, 1))
        found = pool_histograms(*tables, cell_sd=cell_sd)
        assert found.value == pytest.approx(theta, abs=1e-6)
        return np.log(found.high / (1 - found.high)) - np.log(theta / (1 - theta))

    def variance(cell_sd: tuple[float, float]) -> float:
        """Of one site's AUC, noise alone: Var(ε·K·w + i·K·η + ε·K·η) with θ taken off the kernel."""
        of_ill = cell_sd[0] ** 2 * (((kernel - theta) @ (well / 60)) ** 2).sum() / 20**2
        of_well = cell_sd[1] ** 2 * (((ill / 20) @ (kernel - theta)) ** 2).sum() / 60**2
        both = (cell_sd[0] * cell_sd[1] / (20 * 60)) ** 2 * ((kernel - theta) ** 2).sum()
        return of_ill + of_well + both

    exact = half_width((0.0, 0.0))
    for cell_sd in ((2.0, 0.0), (0.0, 6.0), (2.0, 6.0)):
        added = (half_width(cell_sd) ** 2 - exact**2) * n_sites / quantile**2
        assert added * (theta * (1 - theta)) ** 2 == pytest.approx(variance(cell_sd), rel=1e-6), cell_sd


def test_two_tables_have_no_mean_and_a_table_of_one_class_none_either() -> None:
    ill, well = np.tile([1.0, 2, 3, 14], (3, 1)), np.tile([40.0, 25, 10, 5], (3, 1))
    assert pool_histograms(ill, well, cell_sd=(0.0, 0.0)) is not None
    assert pool_histograms(ill[:2], well[:2], cell_sd=(0.0, 0.0)) is None
    assert pool_histograms(ill, 0 * well, cell_sd=(0.0, 0.0)) is None


def test_noise_that_leaves_no_positives_leaves_no_mean() -> None:
    nobody = np.full((3, 4), -0.5)
    assert pool_histograms(nobody, np.full((3, 4), 20.0), cell_sd=(1.0, 1.0)) is None


def test_the_page_says_of_several_hospitals_what_was_measured() -> None:
    page = (BENCH.parents[1] / "docs" / "coverage.md").read_text()
    sys.path.insert(0, str(BENCH))
    try:
        section = importlib.import_module("sites_coverage_section")
    finally:
        sys.path.remove(str(BENCH))
    assert section.sites_section() in page, "run make coverage"
    cells = json.loads(section.DATA.read_text())["cells"]
    noisy = [each["figures"] for each in cells if each["n_sites"] == 8 and each["spread"]]
    for figures in noisy:
        assert figures["mean of sites"]["held"] >= 0.93
        assert figures["prediction, mean of sites"]["held"] >= 0.92
