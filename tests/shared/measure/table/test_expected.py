"""What will be shown follows from public numbers, before any table is there."""

from __future__ import annotations

import math

import numpy as np
import pytest
from practice_coverage import BMD, POPULATIONS, Population, exact_tables, with_bins
from practice_plan import table_of
from scipy.stats import norm

from server.federation.compose import compose_settings
from shared.measure.table.expected import (
    ASSUMED_AUC,
    ASSUMED_R2,
    BOTH_OF_CUT,
    WIDEST,
    expect,
    expected_table,
)
from shared.measure.table.moments import R2_RANGE
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


def narrow(names: tuple[str, ...], spec: TableSpec, n: float, sd: float) -> set[str]:
    """Of figures those narrow enough to be shown, whatever else is asked of them."""
    found = expect(spec, n_patients=n, noise_sd=sd, minimum_cell=10)
    return {name for name in names if (found.half_widths[name] or math.inf) <= WIDEST[name]}


@pytest.mark.parametrize("population", POPULATIONS[:3], ids=lambda each: each.name)
def test_an_r2_that_is_shown_hardly_ever_has_its_whole_range_for_an_interval(
    population: Population,
) -> None:
    """Of 154 patients at three sites, ε 3, one in ten to one in five had."""
    spec, sd = with_bins(8), 3**0.5 * 1.4 * sensitivity(BMD)

    def shown(n: float) -> frozenset[str]:
        return expect(spec, n_patients=n, noise_sd=sd, minimum_cell=10).shown

    fewest = next(n for n in range(100, 400) if "r2" in shown(n))
    assert narrow(("r2",), spec, fewest - 1, sd) == {"r2"}, "narrow enough of fewer patients"
    generator, repetitions = np.random.default_rng(1), 400
    target, prediction = population.draw(repetitions * fewest, generator)
    whole = 0
    for exact in exact_tables(spec, target, prediction, n=fewest):
        noisy = exact + generator.normal(0, sd, exact.size)
        r2 = read_table(
            noisy, spec, noise_sd=sd, minimum_cell=10, sensitivity_target=0.0, shown={"r2"}
        ).r2
        whole += (r2.low, r2.high) == R2_RANGE
    assert whole / repetitions < 0.06


def test_a_class_that_noise_may_swallow_has_no_ranking_however_narrow() -> None:
    spec, sd = with_bins(4), 3.74 * sensitivity(BMD)
    found = expect(spec, n_patients=210, noise_sd=sd, minimum_cell=10)
    assert found.half_widths["auc"] < WIDEST["auc"]
    assert "auc" not in found.shown
    many = expect(spec, n_patients=400, noise_sd=sd, minimum_cell=10)
    assert "auc" in many.shown


def test_one_share_of_a_cut_is_not_shown_without_the_other() -> None:
    spec, sd = with_bins(8), 1.4 * sensitivity(BMD)
    assert narrow(("sensitivity", "specificity"), spec, 120, sd) == {"specificity"}
    for n in (60, 90, 120, 150, 200, 400):
        shown = expect(spec, n_patients=n, noise_sd=sd, minimum_cell=10).shown
        assert len(shown & BOTH_OF_CUT) in (0, 2)


def test_no_mean_error_that_is_shown_is_above_the_root_of_the_mean_square() -> None:
    spec = with_bins(4)
    sd, draw = 3.74 * sensitivity(spec), np.random.default_rng(2)
    likely, n_apart = expected_table(spec, n_patients=200.0), 0
    for _ in range(200):
        noisy = likely + draw.normal(0, sd, likely.size)
        options = {"noise_sd": sd, "minimum_cell": 10, "sensitivity_target": 0.0}
        both = read_table(noisy, spec, shown={"mae", "rmse"}, **options)
        assert both.mae.low <= both.mae.value <= both.rmse.value
        alone = read_table(noisy, spec, shown={"mae"}, **options)
        assert both.mae.high == alone.mae.high
        n_apart += alone.mae.value > both.rmse.value
    assert n_apart > 10, "noise moves their sums apart"
