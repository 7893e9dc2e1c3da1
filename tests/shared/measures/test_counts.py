"""Counts as they are displayed: whole, none below zero, adding up, nearest to what came out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.measures.counts import add_up, counted, support_of
from shared.sums.estimate import SUPPRESSED, Estimate

COUNTS = st.lists(st.floats(-300, 900), min_size=1, max_size=6).map(np.array)


@given(COUNTS, st.floats(-50, 2000))
def test_displayed_counts_are_whole_and_add_up_to_the_displayed_total(
    counts: np.ndarray, total: float
) -> None:
    shown = add_up(counts, total)
    assert shown.sum() == max(round(total), 0)
    assert (shown >= 0).all()
    assert (shown == np.round(shown)).all()


@given(st.lists(st.floats(-6, 9), min_size=3, max_size=3).map(np.array), st.integers(0, 8))
def test_no_other_whole_counts_of_that_total_lie_much_nearer(counts: np.ndarray, total: int) -> None:
    shown = add_up(counts, total)
    others = [
        np.array(each) for each in itertools.product(range(total + 1), repeat=3) if sum(each) == total
    ]
    nearest = min(float(np.square(each - counts).sum()) for each in others)
    assert float(np.square(shown - counts).sum()) <= nearest + 1e-9


def test_what_adds_up_already_stays_and_larger_classes_keep_their_places() -> None:
    assert add_up(np.array([20.0, 80.0]), 100).tolist() == [20, 80]
    assert add_up(np.array([20.4, 79.9]), 100.3).tolist() == [20, 80]
    assert add_up(np.array([-7.0, 60.0, 50.0]), 100).tolist() == [0, 55, 45]
    assert add_up(np.array([-7.0, -2.0]), -9.0).tolist() == [0, 0]


def test_an_interval_is_about_what_came_out_and_holds_what_is_displayed() -> None:
    assert counted(-4.0, 10.0, displayed=0.0) == Estimate(status="measured", value=0, low=0, high=6)
    assert counted(30.0, 2.0, displayed=25.0) == Estimate(status="measured", value=25, low=25, high=32)
    assert counted(29.999999, 0.0, displayed=30.0).low == 30.0


def test_groups_add_up_to_all_of_them_and_a_small_exact_one_is_suppressed() -> None:
    noisy = support_of(("a", "b", "c"), np.array([40.3, -5.0, 12.2]), 8.0, 10)
    assert [each.value for each in noisy.values()] == [38, 0, 10]
    assert noisy["n, b"].high == pytest.approx(1.959964 * 8 - 5)
    exact = support_of(("a", "b"), np.array([40.0, 3.0]), 0.0, 10)
    assert (exact["n, a"].value, exact["n, b"]) == (40, SUPPRESSED)
