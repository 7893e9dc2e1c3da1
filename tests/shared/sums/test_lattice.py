"""The public lattice: rows within their bound, integers that add exactly, nothing rounded up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.sums.lattice import (
    LATTICE_BITS,
    bound_rows,
    from_lattice,
    spacing_of,
    to_lattice,
)


@pytest.mark.parametrize(
    ("bound", "bits", "expected"),
    [(1.0, 30, 2.0**-30), (1.999, 30, 2.0**-30), (2.0, 30, 2.0**-29), (0.75, 0, 0.5), (4.0, 2, 1.0)],
)
def test_the_spacing_is_the_power_of_two_below_the_bound(
    bound: float, bits: int, expected: float
) -> None:
    assert spacing_of(bound, bits=bits) == expected
    assert LATTICE_BITS == 30


@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=3, max_size=3),
    st.floats(1e-3, 1e3),
)
def test_no_row_is_longer_than_the_bound_whatever_its_numbers(row: list[float], bound: float) -> None:
    bounded = bound_rows(np.array([row]), bound=bound)
    assert np.isfinite(bounded).all()
    assert np.linalg.norm(bounded) <= bound


def test_a_row_within_the_bound_is_left_alone_and_a_long_one_keeps_its_direction() -> None:
    rows = np.array([[3.0, 4.0], [0.6, 0.8], [0.0, 0.0]])
    bounded = bound_rows(rows, bound=1.0)
    np.testing.assert_allclose(bounded[0], [0.6, 0.8], rtol=1e-11)
    assert np.linalg.norm(bounded[0]) < 1.0
    np.testing.assert_array_equal(bounded[1:], rows[1:])


def test_a_row_that_is_not_finite_is_nobody() -> None:
    for bad in (np.nan, np.inf, -np.inf):
        assert not bound_rows(np.array([[bad, 1.0]]), bound=1.0).any()
    # finite, but its norm is not
    assert not bound_rows(np.array([[1e300, 1e300]]), bound=1.0).any()


def test_numbers_are_truncated_towards_zero() -> None:
    found = to_lattice(np.array([[0.99, -0.99, 1.0, -2.5, 2.5]]), spacing=1.0)
    assert found.tolist() == [[0, 0, 1, -2, 2]]
    assert found.dtype == np.int64


def test_truncation_never_lengthens_a_row() -> None:
    rows = np.random.default_rng(0).normal(size=(200, 7))
    spacing = spacing_of(10.0, bits=3)
    back = from_lattice(to_lattice(rows, spacing=spacing), spacing=spacing)
    assert (np.abs(back) <= np.abs(rows)).all()
    assert np.abs(back - rows).max() < spacing


def test_a_total_does_not_depend_on_the_order_and_moves_by_exactly_one_row() -> None:
    rows = np.random.default_rng(1).normal(size=(300, 5)) * 1e-3
    spacing = spacing_of(1.0)
    lattice = to_lattice(rows, spacing=spacing)
    total = lattice.sum(axis=0)
    assert np.array_equal(lattice[::-1].sum(axis=0), total)
    for place in (0, 150, 299):
        without = to_lattice(np.delete(rows, place, axis=0), spacing=spacing).sum(axis=0)
        assert np.array_equal(total - without, lattice[place])
    np.testing.assert_allclose(
        from_lattice(total, spacing=spacing), rows.sum(axis=0), atol=300 * spacing
    )


def test_a_rows_norm_does_not_depend_on_how_rows_lie_in_memory() -> None:
    rows = np.random.default_rng(0).normal(size=(128, 300))
    whole = bound_rows(rows, bound=1.0)
    assert np.array_equal(bound_rows(np.asfortranarray(rows), bound=1.0), whole)
    assert np.array_equal(bound_rows(rows[7:8], bound=1.0)[0], whole[7])


def test_a_total_comes_back_in_its_own_unit() -> None:
    assert from_lattice(np.array([3, -2]), spacing=0.25).tolist() == [0.75, -0.5]
