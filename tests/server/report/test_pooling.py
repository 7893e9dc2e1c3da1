"""Random-effects pooling against the BCG vaccine trials and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import t as student

from server.report.pooling import pool_aucs, pool_effects, pool_histograms

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


def test_hartung_knapp_and_prediction_interval_by_formula() -> None:
    found = pool_effects(LOG_RATIO, VARIANCE)
    weight = 1 / (VARIANCE + found.between_site_variance)
    scale = (weight * (LOG_RATIO - found.value) ** 2).sum() / 12
    se = (max(scale, 1.0) / weight.sum()) ** 0.5
    assert found.high - found.value == pytest.approx(student.ppf(0.975, 12) * se)
    reach = student.ppf(0.975, 11) * (found.between_site_variance + se**2) ** 0.5
    assert found.prediction_low == pytest.approx(found.value - reach)


def test_equal_sites_have_no_variance_between_them() -> None:
    found = pool_aucs([0.8, 0.8, 0.8], [0.001, 0.002, 0.004])
    assert found.value == pytest.approx(0.8)
    assert found.between_site_variance == 0.0
    # never narrower than the fixed-effect interval with t: logit variance 1/Σ(1/v)
    spread = (0.16**-2 / (1 / 0.001 + 1 / 0.002 + 1 / 0.004)) ** 0.5 * student.ppf(0.975, 2)
    assert found.low == pytest.approx(1 / (1 + np.exp(-(np.log(4) - spread))))


def test_one_site_has_no_interval_and_two_have_no_prediction_interval() -> None:
    alone, pair = pool_aucs([0.8], [0.001]), pool_aucs([0.8, 0.7], [0.001, 0.001])
    assert alone.value == pytest.approx(0.8)
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


def test_without_noise_the_mean_of_equal_tables_is_their_auc() -> None:
    positives, negatives = np.array([1.0, 2, 3, 14]), np.array([40.0, 25, 10, 5])
    found = pool_histograms(np.tile(positives, (4, 1)), np.tile(negatives, (4, 1)), cell_sd=(0.0, 0.0))
    wins = positives @ (np.cumsum(negatives) - negatives / 2)
    assert found.value == pytest.approx(wins / (20 * 80), abs=1e-6)
    assert found.between_site_variance == 0.0


def test_noise_that_leaves_no_positives_leaves_no_mean() -> None:
    nobody = np.full((3, 4), -0.5)
    assert pool_histograms(nobody, np.full((3, 4), 20.0), cell_sd=(1.0, 1.0)) is None
