"""Likelihood ratios, calibration and curves of a table, held against the patients and drawn noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from practice_validation import (
    rows_of_numbers,
    rows_of_scores,
    spec_of_numbers,
    spec_of_probabilities,
)
from sklearn import metrics

from shared.measure.table.cells import score_histograms
from shared.measure.table.classes import read_classes
from shared.measure.table.endpoint import endpoint_figures, read_curves
from shared.measure.table.expected import expected_table
from shared.measure.table.spec import sensitivity
from shared.measures.calibration import calibration_curve, recalibrate
from shared.sums.estimate import TOO_NOISY

BMD = spec_of_numbers(bins=64)
RISK = spec_of_probabilities(bins=64, cut=0.25, error=0.35)


def people(n: int, *, stretch: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Predictions [n] and targets [n]; calibrated at stretch 1."""
    draw = np.random.default_rng(seed)
    own = draw.normal(0, 0.06, n)
    target = np.clip(0.65 + own + draw.normal(0, 0.05, n), 0.36, 0.99)
    return 0.65 + stretch * own, target


def risks(n: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [n] that mean what they say, and who has the endpoint [n]."""
    draw = np.random.default_rng(seed)
    risk = 1 / (1 + np.exp(-draw.normal(-1.2, 1.1, n)))
    return risk, draw.random(n) < risk


@pytest.mark.parametrize("stretch", [0.5, 1.0, 1.5])
def test_the_slope_of_numbers_is_that_of_a_line_through_the_patients(stretch: float) -> None:
    prediction, target = people(3000, stretch=stretch)
    table = rows_of_numbers(BMD, prediction, target).sum(axis=0)
    found = endpoint_figures(table, BMD, noise_sd=0.0, minimum_cell=10)["calibration slope"]
    line = np.polyfit(prediction, target, 1)
    assert found.value == pytest.approx(line[0], abs=1e-9)
    assert found.low < 1 / stretch < found.high


def test_likelihood_ratios_are_those_of_the_patients() -> None:
    risk, is_ill = risks(4000)
    table = rows_of_scores(RISK, risk, is_ill).sum(axis=0)
    found = endpoint_figures(table, RISK, noise_sd=0.0, minimum_cell=10)
    positive, negative = metrics.class_likelihood_ratios(is_ill, risk >= 0.25)
    assert found["LR+, ill"].value == pytest.approx(positive)
    assert found["LR−, ill"].value == pytest.approx(negative)


def test_an_order_read_by_one_score_has_no_calibration_of_a_probability() -> None:
    ordered = spec_of_probabilities("mild", "middle", "severe", is_ordered=True, confusion=1.0)
    found = endpoint_figures(np.full(ordered.n_cells, 30.0), ordered, noise_sd=0.0, minimum_cell=10)
    assert set(found) == {"LR+, severe", "LR−, severe"}
    curves = read_curves(
        np.full(ordered.n_cells, 30.0), ordered, noise_sd=0.0, minimum_cell=10, n_expected=0
    )
    assert curves.roc
    assert not curves.calibration
    assert not curves.decision


@pytest.mark.parametrize("epsilon_noise", [0.0, 1.4])
def test_calibration_intervals_hold_the_truth(epsilon_noise: float) -> None:
    draw = np.random.default_rng(3)
    sd = {id(spec): epsilon_noise * sensitivity(spec) for spec in (BMD, RISK)}
    held: dict[str, list[bool]] = {"slope of numbers": [], "slope": [], "intercept": []}
    for seed in range(1000, 1150):
        prediction, target = people(6000, stretch=0.8, seed=seed)
        table = rows_of_numbers(BMD, prediction, target).sum(axis=0)
        noisy = table + draw.normal(0, 1, table.size) * sd[id(BMD)]
        found = endpoint_figures(noisy, BMD, noise_sd=sd[id(BMD)], minimum_cell=10)
        slope = found["calibration slope"]
        # of a calibrated prediction that was drawn to its mean by .8, the slope is 1.25
        if slope.value is not None:
            held["slope of numbers"].append(slope.low <= 1.25 <= slope.high)
        risk, is_ill = risks(3000, seed=seed)
        table = rows_of_scores(RISK, risk, is_ill).sum(axis=0)
        noisy = table + draw.normal(0, 1, table.size) * sd[id(RISK)]
        found = endpoint_figures(noisy, RISK, noise_sd=sd[id(RISK)], minimum_cell=10)
        for name, truth in (("slope", 1.0), ("intercept", 0.0)):
            each = found[f"calibration {name}"]
            if each.value is not None:
                held[name].append(each.low <= truth <= each.high)
    for name, hits in held.items():
        assert len(hits) > 120, name
        assert np.mean(hits) > 0.95 - 3 * (0.95 * 0.05 / len(hits)) ** 0.5, name


def test_curves_are_those_of_the_patients() -> None:
    risk, is_ill = risks(4000)
    table = rows_of_scores(RISK, risk, is_ill).sum(axis=0)
    found = read_curves(table, RISK, noise_sd=0.0, minimum_cell=1, n_expected=0)
    others, own = np.array(found.roc).T
    assert np.trapezoid(own, others) == pytest.approx(metrics.roc_auc_score(is_ill, risk), abs=2e-3)
    point = next(each for each in found.decision if each.threshold == 0.25)
    called = risk >= 0.25
    benefit = (called & is_ill).mean() - (called & ~is_ill).mean() / 3
    assert point.model.value == pytest.approx(benefit)
    known = [each for each in found.calibration if each.observed.value is not None]
    assert np.mean([abs(each.predicted - each.observed.value) for each in known]) < 0.1


def test_under_noise_points_that_were_expected_to_say_nothing_are_left_out() -> None:
    risk, is_ill = risks(300)
    table = rows_of_scores(RISK, risk, is_ill).sum(axis=0)
    few = read_curves(table, RISK, noise_sd=3.0, minimum_cell=10, n_expected=100)
    assert {each.observed for each in few.calibration} == {TOO_NOISY}
    many = read_curves(200 * table, RISK, noise_sd=3.0, minimum_cell=10, n_expected=60_000)
    assert sum(each.observed.value is not None for each in many.calibration) > 30
    figures = read_classes(table, RISK, noise_sd=9.0, minimum_cell=10, n_expected=100)
    assert figures["calibration slope"] == figures["LR+, ill"] == TOO_NOISY


def test_a_point_that_noise_may_swallow_is_left_out_whatever_came_out() -> None:
    spec = spec_of_probabilities(bins=16, cut=0.25, error=0.35)
    n, sd, draw = 6000, 9.0, np.random.default_rng(1)
    likely = expected_table(spec, n_patients=n)
    ill, well = score_histograms(likely, spec)
    is_clear = ill + well > 2 * 1.96 * sd * 2**0.5
    assert not is_clear.all()

    def shown(table: np.ndarray) -> np.ndarray:
        found = read_curves(table, spec, noise_sd=sd, minimum_cell=10, n_expected=n)
        return np.array([point.observed.value is not None for point in found.calibration])

    planned = shown(10 * likely)  # nothing is swallowed of so many
    assert planned.sum() == 12
    assert is_clear[planned].all()
    # a point at twice the 95 % of its noise comes out within it once in forty times, others never
    drawn = np.array([shown(likely + draw.normal(0, sd, likely.size)) for _ in range(60)])
    assert drawn[:, planned].mean(axis=0).min() > 0.9
    assert not drawn[:, ~planned].any()


def test_noise_of_a_curve_is_that_of_its_cells_in_patients() -> None:
    """A cell of weight one half holds half of each patient, and the noise of a table whole."""
    light = replace(RISK, blocks=RISK.blocks.model_copy(update={"ranking": 0.5}))
    risk, is_ill = risks(3000)
    table = rows_of_scores(light, risk, is_ill).sum(axis=0)
    ill, well = score_histograms(table, light)
    assert ill.sum() + well.sum() == pytest.approx(3000)
    edges = np.concatenate([[0.0], light.inner_edges, [1.0]])
    noise = {"cell_sd": 2 * 2.5, "minimum_cell": 0}
    found = read_curves(table, light, noise_sd=2.5, minimum_cell=0, n_expected=1e9)
    shown = [each.observed for each in found.calibration if each.observed.value is not None]
    exact = [each.observed for each in calibration_curve(ill, well, edges, **noise)]
    assert len(shown) > 10
    assert all(each in exact for each in shown)
    line = recalibrate(ill, well, edges, **noise)
    figures = endpoint_figures(table, light, noise_sd=2.5, minimum_cell=0)
    assert figures["calibration slope"] == line.slope
    assert figures["calibration intercept"] == line.intercept
