"""Spacing, bounding and truncation by hand."""

from __future__ import annotations

import numpy as np
import pytest

from shared.sums.lattice import bound_rows, from_lattice, spacing_of, to_lattice


@pytest.mark.parametrize(
    ("bound", "exponent"), [(1.0, -30), (1.99, -30), (2.0, -29), (0.5, -31), (0.3, -32)]
)
def test_spacing_is_the_bounds_power_of_two_below_it_over_two_to_the_thirty(
    bound: float, exponent: int
) -> None:
    assert spacing_of(bound) == 2.0**exponent


def test_rows_are_truncated_towards_zero() -> None:
    rows = np.array([[0.9, -0.9, 1.5, -1.5, 2.0]])
    assert to_lattice(rows, spacing=0.5).tolist() == [[1, -1, 3, -3, 4]]


def test_a_long_row_is_scaled_to_the_bound_and_a_short_one_left_as_it_is() -> None:
    bounded = bound_rows(np.array([[3.0, 4.0], [0.3, 0.4]]), bound=1.0)
    assert bounded[0].tolist() == pytest.approx([0.6, 0.8], abs=1e-11)
    assert np.linalg.norm(bounded[0]) < 1.0
    assert bounded[1].tolist() == [0.3, 0.4]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_a_row_without_a_finite_norm_becomes_zeros(value: float) -> None:
    assert bound_rows(np.array([[value, 1.0]]), bound=1.0).tolist() == [[0.0, 0.0]]


def test_a_rows_norm_does_not_depend_on_how_rows_lie_in_memory() -> None:
    rows = np.random.default_rng(0).normal(size=(128, 300))
    whole = bound_rows(rows, bound=1.0)
    assert np.array_equal(bound_rows(np.asfortranarray(rows), bound=1.0), whole)
    assert np.array_equal(bound_rows(rows[7:8], bound=1.0)[0], whole[7])


def test_a_total_comes_back_in_its_own_unit() -> None:
    assert from_lattice(np.array([3, -2]), spacing=0.25).tolist() == [0.75, -0.5]
