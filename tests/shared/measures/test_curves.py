"""ROC points, likelihood ratios and the decision curve by hand, and under noise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import SettingsError
from shared.measures.curves import cells_of_cut, decision_curve, likelihood_ratios, roc_points
from shared.sums.estimate import NOT_APPLICABLE, SUPPRESSED, TOO_NOISY

ILL, WELL = np.array([10.0, 20, 30, 40]), np.array([100.0, 60, 30, 10])
EDGES = np.array([0.0, 0.1, 0.25, 0.5, 1.0])
EXACT = np.zeros((2, 2))
REPETITIONS = 400
# Three standard errors of a share of 95 % of so many.
NEAR = 3 * (0.95 * 0.05 / REPETITIONS) ** 0.5


def test_roc_points_of_exact_counts_are_the_cumulated_shares() -> None:
    expected = [[0, 0], [0.05, 0.4], [0.2, 0.7], [0.5, 0.9], [1, 1]]
    assert np.allclose(roc_points(ILL, WELL, minimum_cell=5), expected, atol=1e-15, rtol=0)


@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50)), min_size=2, max_size=12))
def test_roc_points_of_any_noisy_counts_rise_within_0_and_1(cells: list[tuple[float, float]]) -> None:
    ill, well = np.array(cells).T
    points = roc_points(ill, well, minimum_cell=1)
    if min(ill.sum(), well.sum()) < 1:
        assert points.shape == (0, 2)
    else:
        assert points.shape == (len(cells) + 1, 2)
        assert (np.diff(points, axis=0) >= 0).all()
        assert points.min() == 0.0
        assert points.max() == 1.0


def test_noise_moves_roc_points_to_the_nearest_that_rise() -> None:
    # from the top: 40, then 36, which is drawn together to 38, then 90, 100
    points = roc_points(np.array([10.0, 54, -4, 40]), WELL, minimum_cell=5)
    assert points[:, 1] == pytest.approx([0, 0.38, 0.38, 0.9, 1])


def test_a_class_too_small_has_no_roc_points() -> None:
    assert roc_points(ILL, np.array([0.0, 0, 2, 1]), minimum_cell=5).shape == (0, 2)


def test_a_cut_calls_its_bin_and_what_lies_above() -> None:
    cells, variance = cells_of_cut(ILL, WELL, place=1, cell_sd=2.0)
    assert cells.tolist() == [[90, 10], [100, 100]]
    assert variance.tolist() == [[12, 4], [12, 4]]


def test_likelihood_ratios_by_hand() -> None:
    cells, _ = cells_of_cut(ILL, WELL, place=2, cell_sd=0.0)
    found = likelihood_ratios(cells, EXACT, minimum_cell=5)
    # 70 of 100 ill and 40 of 200 well are called
    assert found.positive.value == pytest.approx(0.7 / 0.2)
    assert found.negative.value == pytest.approx(0.3 / 0.8)
    sd = math.sqrt(1 / 70 - 1 / 100 + 1 / 40 - 1 / 200)
    assert found.positive.low == pytest.approx(3.5 * math.exp(-1.959964 * sd), rel=1e-6)
    sd = math.sqrt(1 / 30 - 1 / 100 + 1 / 160 - 1 / 200)
    assert found.negative.high == pytest.approx(0.375 * math.exp(1.959964 * sd), rel=1e-6)


def test_a_likelihood_ratio_needs_both_classes_and_no_empty_cell() -> None:
    nobody_well_called = likelihood_ratios(np.array([[30.0, 10], [0, 50]]), EXACT, minimum_cell=5)
    assert nobody_well_called.positive == NOT_APPLICABLE
    assert nobody_well_called.negative.value == pytest.approx(0.25)
    none_ill = likelihood_ratios(np.array([[0.0, 0], [20, 50]]), EXACT, minimum_cell=5)
    assert none_ill.positive == none_ill.negative == NOT_APPLICABLE
    few_ill = likelihood_ratios(np.array([[2.0, 1], [20, 50]]), EXACT, minimum_cell=5)
    assert few_ill.positive == few_ill.negative == SUPPRESSED


def test_a_cell_that_noise_could_have_made_gives_no_likelihood_ratio() -> None:
    cells = np.array([[30.0, 10], [3, 50]])
    loud = np.full((2, 2), 4.0)
    assert likelihood_ratios(cells, EXACT, minimum_cell=5).positive.value is not None
    assert likelihood_ratios(cells, loud, minimum_cell=5).positive == TOO_NOISY
    assert likelihood_ratios(cells, loud, minimum_cell=5).negative.value is not None


def test_net_benefit_by_hand() -> None:
    curve = decision_curve(ILL, WELL, EDGES, cell_sd=0.0, minimum_cell=5)
    assert [each.threshold for each in curve] == [0.1, 0.25, 0.5]
    # odds 1/9, 1/3, 1; called 90 and 100, 70 and 40, 40 and 10 of 100 ill and 200 well
    model = [(90 - 100 / 9) / 300, (70 - 40 / 3) / 300, (40 - 10) / 300]
    everybody = [(100 - 200 / 9) / 300, (100 - 200 / 3) / 300, (100 - 200) / 300]
    assert [each.model.value for each in curve] == pytest.approx(model)
    assert [each.treat_all.value for each in curve] == pytest.approx(everybody)
    assert {each.treat_none.value for each in curve} == {0.0}
    # of 300 patients 40 are worth 1, 10 are worth −1
    sd = math.sqrt((40 + 10 - 300 * 0.1**2) / 300**2)
    assert curve[2].model.high == pytest.approx(0.1 + 1.959964 * sd, rel=1e-6)
    # noise of 2 in eight cells, of which one is worth 0.9 and one −1.1 beside the mean, six −0.1
    noisy = decision_curve(ILL, WELL, EDGES, cell_sd=2.0, minimum_cell=5)[2].model
    sd = math.sqrt((47 + 4 * (0.9**2 + 1.1**2 + 6 * 0.1**2)) / 300**2)
    assert noisy.high == pytest.approx(0.1 + 1.959964 * sd, rel=1e-6)


def test_where_nobody_is_called_the_benefit_is_0_and_not_certain() -> None:
    nobody = decision_curve(
        np.array([20.0, 20, 0]), np.array([40.0, 40, 0]), np.array([0, 0.2, 0.6, 1]),
        cell_sd=0.0, minimum_cell=5,
    )[-1].model  # fmt: skip
    assert nobody.value == 0.0
    # half a patient called of either class, at odds 1.5
    assert nobody.high == pytest.approx(1.959964 * math.sqrt(0.5 + 0.5 * 1.5**2) / 120, rel=1e-6)
    assert nobody.low == -nobody.high


def test_a_decision_curve_needs_both_classes_and_more_patients_than_noise() -> None:
    few = decision_curve(np.array([1.0, 1, 0, 0]), WELL, EDGES, cell_sd=0.0, minimum_cell=5)
    assert {each.model for each in few} | {each.treat_all for each in few} == {SUPPRESSED}
    loud = decision_curve(ILL, WELL, EDGES, cell_sd=100.0, minimum_cell=5)
    assert {each.model for each in loud} == {TOO_NOISY}


@pytest.mark.parametrize(
    "edges", [[0, 0.1, 0.2, 0.3, 1.1], [-0.1, 0.1, 0.2, 0.3, 1], [0, 0.1, 0.1, 0.3, 1]]
)
def test_a_threshold_must_be_a_probability(edges: list[float]) -> None:
    with pytest.raises(SettingsError) as caught:
        decision_curve(ILL, WELL, np.array(edges), cell_sd=0.0, minimum_cell=5)
    assert caught.value.code.endswith("edges-no-probabilities")


@pytest.mark.parametrize("cell_sd", [0.0, 3.0])
def test_intervals_of_noisy_counts_hold_the_truth_as_often_as_they_say(cell_sd: float) -> None:
    draw = np.random.default_rng(4)
    cells, _ = cells_of_cut(ILL, WELL, place=2, cell_sd=0.0)
    ratios = likelihood_ratios(cells, EXACT, minimum_cell=1)
    benefit = decision_curve(ILL, WELL, EDGES, cell_sd=0.0, minimum_cell=1)[1]
    truths = [each.value for each in (*vars(ratios).values(), benefit.model, benefit.treat_all)]
    held = np.zeros((REPETITIONS, 4))
    shares = np.concatenate([ILL, WELL]) / 300
    for row in held:
        counts = draw.multinomial(300, shares) + draw.normal(0, cell_sd, 8)
        ill, well = counts[:4], counts[4:]
        ratios = likelihood_ratios(*cells_of_cut(ill, well, place=2, cell_sd=cell_sd), minimum_cell=1)
        benefit = decision_curve(ill, well, EDGES, cell_sd=cell_sd, minimum_cell=1)[1]
        found = [ratios.positive, ratios.negative, benefit.model, benefit.treat_all]
        row[:] = [each.low <= true <= each.high for each, true in zip(found, truths, strict=True)]
    assert held.mean(axis=0) == pytest.approx([0.95] * 4, abs=NEAR)
