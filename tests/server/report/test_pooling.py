"""Random-effects pooling against the BCG vaccine trials and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student

from server.report.pooling import pool_aucs, pool_effects

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
