"""What will be shown follows from public numbers, before any table is there."""

from __future__ import annotations

import math

import numpy as np
import pytest
from practice_plan import table_of
from scipy.stats import norm

from server.federation.compose import compose_settings
from shared.measure.table.expected import ASSUMED_AUC, ASSUMED_R2, WIDEST, expect, expected_table
from shared.measure.table.reading import read_table
from shared.measure.table.spec import TableSpec, sensitivity
from shared.privacy.accountant import gaussian_mu


def shipped(*overrides: str) -> TableSpec:
    return table_of(compose_settings(["validation.bins=8", *overrides]))


def noise_of(spec: TableSpec, epsilon: float) -> float:
    return sensitivity(spec) / gaussian_mu(epsilon, 1e-5)


@pytest.mark.parametrize("experiment", ["xattn_bmd", "bmd_classes"])
def test_the_expected_patients_are_as_many_and_as_good_as_assumed(experiment: str) -> None:
    spec = shipped(f"experiment={experiment}", "validation.bins=16")
    found = read_table(
        expected_table(spec, n_patients=1000.0),
        spec,
        noise_sd=0.0,
        minimum_cell=10,
        sensitivity_target=0.0,
    )
    assert found.n_patients.value == pytest.approx(1000.0)
    assert found.n_positive.value is not None
    if spec.has_moments:
        assert found.r2.value == pytest.approx(ASSUMED_R2, abs=0.02)
        cut = (spec.rule.label_cuts[0] - 0.675) / 0.13
        assert found.n_positive.value == pytest.approx(1000 * norm.cdf(cut), rel=0.1)
    else:
        assert found.auc.value == pytest.approx(ASSUMED_AUC, abs=0.02)
        assert found.n_positive.value == pytest.approx(200.0)


def test_more_patients_or_less_noise_show_more() -> None:
    spec = shipped()
    shown = {
        (n, epsilon): expect(spec, n_patients=n, noise_sd=noise_of(spec, epsilon), minimum_cell=10)
        for n in (20, 100, 400, 2000)
        for epsilon in (1.0, 3.0)
    }
    assert shown[20, 1.0].shown == frozenset()
    assert shown[2000, 3.0].shown >= {"auc", "sensitivity", "specificity", "r2", "mae", "bias"}
    for epsilon in (1.0, 3.0):
        for few, many in ((20, 100), (100, 400), (400, 2000)):
            assert shown[few, epsilon].shown <= shown[many, epsilon].shown
    for n in (20, 100, 400, 2000):
        assert shown[n, 1.0].shown <= shown[n, 3.0].shown
    for found in shown.values():
        for name in found.shown & WIDEST.keys():
            half = found.half_widths[name]
            assert half is not None
            assert half <= WIDEST[name]


def test_no_noisy_count_takes_away_what_a_plan_shows() -> None:
    spec = shipped()
    table = expected_table(spec, n_patients=5.0) - 20.0
    found = read_table(
        table, spec, noise_sd=30.0, minimum_cell=10, sensitivity_target=0.0, shown={"r2", "mae", "auc"}
    )
    assert (found.n_patients.status, found.n_patients.value) == ("measured", 0.0)
    assert (found.n_positive.status, found.n_positive.value) == ("measured", 0.0)
    assert found.r2.status == found.mae.status == "measured"
    assert found.rmse.status == found.specificity.status == "too-noisy"
    assert found.auc.status == "too-noisy"  # of no positives there is no ranking


def test_the_expected_half_width_is_that_of_real_noise() -> None:
    """Intervals of a thousand noisy tables are as wide, in the middle, as was foretold."""
    spec = shipped()
    sd = noise_of(spec, 3.0)
    exact = expected_table(spec, n_patients=400.0)
    foretold = expect(spec, n_patients=400.0, noise_sd=sd, minimum_cell=10).half_widths
    draw = np.random.default_rng(3)
    found: dict[str, list[float]] = {"auc": [], "specificity": [], "r2": [], "mae": []}
    for _ in range(200):
        noisy = exact + draw.normal(0, sd, spec.n_cells)
        read = read_table(
            noisy, spec, noise_sd=sd, minimum_cell=10, sensitivity_target=0.0, shown=set(found)
        )
        for name, widths in found.items():
            estimate = getattr(read, name)
            widths.append(max(estimate.high - estimate.value, estimate.value - estimate.low))
    for name, widths in found.items():
        half = foretold[name]
        assert half is not None
        assert math.isclose(float(np.median(widths)), half, rel_tol=0.3), name
