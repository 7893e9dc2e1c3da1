"""Histograms of errors against shares counted by hand; what is hidden never makes errors smaller."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from server.federation.compose import compose_settings
from shared.contract.decision import decision_of
from shared.errors import PolicyError, SettingsError
from shared.measures.errors import Errors, ErrorsSettings
from shared.measures.scored import MeasureTask, Scored
from shared.sums.estimate import SUPPRESSED
from shared.sums.federate import federate
from shared.sums.one_sum import OneSum

EDGES = (0.25, 0.5, 1.0)
ERRORS = Errors.build(
    ErrorsSettings(kind="errors", edges=EDGES), MeasureTask(decision_of(compose_settings()), ())
)
# errors, with binary fractions: 0, 0.25 (an edge belongs to its band), 0.375, 0.5, 0.75, 1.0, 3.0
OUTPUT = np.array([1.0, 1.25, 1.0, 2.0, 0.25, 0.0, -2.0])
LABEL = np.array([1.0, 1.0, 1.375, 1.5, 1.0, 1.0, 1.0])


def total_of(output: np.ndarray, label: np.ndarray) -> np.ndarray:
    return federate(
        OneSum(ERRORS), [Scored(output[:, None], label, np.zeros((len(label), 0)))], n_declared=1.0
    ).vector


def test_each_patient_is_counted_in_the_band_of_the_absolute_error() -> None:
    assert total_of(OUTPUT, LABEL).tolist() == [2, 2, 2, 1]


def test_classes_have_no_error_in_a_unit() -> None:
    rule = decision_of(compose_settings(["experiment=bmd_classes"]))
    with pytest.raises(SettingsError, match="not the classes") as caught:
        Errors.build(ErrorsSettings(kind="errors", edges=EDGES), MeasureTask(rule, ()))
    assert caught.value.code == "settings.needs-a-number"
    assert "validation.blocks" in caught.value.hint


def test_who_has_no_label_is_in_no_band_and_what_is_no_number_is_the_largest_error() -> None:
    output = np.array([np.nan, np.inf, -np.inf, 1e308, 1.0, 1.0])
    label = np.array([1.0, 1.0, 1.0, -1e308, np.nan, np.inf])
    assert total_of(output, label).tolist() == [0, 0, 0, 4]


def test_shares_within_each_edge_are_those_counted_by_hand() -> None:
    read = ERRORS.read(np.array([2.0, 2.0, 4.0, 2.0]), sd=0.0, minimum_cell=10, n_expected=1000)
    assert {name: each.value for name, each in read.items()} == {
        "within 0.25": 0.2,
        "within 0.5": 0.4,
        "within 1": 0.8,
    }
    # Wilson's interval of 8 in 10
    assert read["within 1"].low == pytest.approx(0.4902, abs=3e-4)
    assert read["within 1"].high == pytest.approx(0.9433, abs=3e-4)


def test_noise_widens_an_interval_by_the_cells_on_either_side() -> None:
    total = np.array([200.0, 200.0, 400.0, 200.0])
    read = ERRORS.read(total, sd=20.0, minimum_cell=10, n_expected=1000)
    found = read["within 0.25"]
    # hits in one cell, misses in three: variance θ(1−θ)n + sd²((1−θ)² + 3θ²), at θ near 0.2 of 1000
    sd = (160 + 400 * (0.64 + 3 * 0.04)) ** 0.5 / 1000
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * sd, rel=0.02)
    found = read["within 1"]  # three cells of hits, one of misses, at 0.8
    sd = (160 + 400 * (3 * 0.04 + 0.64)) ** 0.5 / 1000
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * sd, rel=0.02)
    found = read["within 0.5"]  # two and two, at 0.4
    sd = (240 + 400 * (2 * 0.36 + 2 * 0.16)) ** 0.5 / 1000
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * sd, rel=0.02)


def test_nothing_is_read_from_too_few_patients_and_a_noisy_share_stays_a_share() -> None:
    few = ERRORS.read(np.array([3.0, 3.0, 3.0, 0.0]), sd=0.0, minimum_cell=10, n_expected=1000)
    assert set(few.values()) == {SUPPRESSED}
    noisy = ERRORS.read(np.array([-8.0, 30.0, 4.0, -6.0]), sd=5.0, minimum_cell=10, n_expected=1000)
    assert noisy["within 0.25"].value == 0.0
    assert noisy["within 1"].value == 1.0


def test_small_bands_are_joined_to_the_next_larger_errors() -> None:
    assert ERRORS.suppress(np.array([4.0, 5.0, 0.0, 12.0]), 5).tolist() == [0, 9, 0, 12]
    assert ERRORS.suppress(np.array([2.0, 1.0, 1.0, 5.0]), 5).tolist() == [0, 0, 0, 9]


def test_too_few_of_the_largest_errors_cannot_be_shown_at_all() -> None:
    with pytest.raises(PolicyError) as caught:
        ERRORS.suppress(np.array([40.0, 40.0, 40.0, 4.0]), 5)
    assert caught.value.code == "policy.cell-too-small"


@given(st.lists(st.integers(0, 30), min_size=4, max_size=4), st.integers(1, 12))
def test_what_is_hidden_loses_nobody_shows_no_small_cell_and_never_flatters(
    counts: list[int], minimum: int
) -> None:
    total = np.array(counts, dtype=np.float64)
    try:
        shown = ERRORS.suppress(total, minimum)
    except PolicyError:
        return
    assert shown.sum() == total.sum()
    assert all(cell == 0 or cell >= minimum for cell in shown)
    assert (np.cumsum(shown) <= np.cumsum(total)).all()


@pytest.mark.parametrize("edges", [(), tuple(float(edge) for edge in range(65))])
def test_a_measure_has_one_to_sixty_four_edges(edges: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError):
        ErrorsSettings(kind="errors", edges=edges)


@pytest.mark.parametrize(
    "edges", [(0.5, 0.25), (0.5, 0.5), (-0.1, 0.5), (0.0, 0.5), (0.5, float("inf"))]
)
def test_edges_must_rise_from_above_zero_and_be_numbers(edges: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError):
        ErrorsSettings(kind="errors", edges=edges)
