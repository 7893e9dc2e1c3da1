"""Two AUCs of different patients, and Holm's adjustment, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.measures.differences import AucDifference, adjust_by_holm, difference_of_aucs
from shared.sums.estimate import NOT_APPLICABLE


def test_a_difference_of_two_aucs_by_hand() -> None:
    found = difference_of_aucs(0.85, 0.03**2, 0.75, 0.04**2)
    # SD 0.05: z = 2, two-sided p 0.0455
    assert found.z == pytest.approx(2.0)
    assert found.p == pytest.approx(0.0455003, abs=1e-7)
    assert found.difference.value == pytest.approx(0.1)
    assert found.difference.low == pytest.approx(0.1 - 1.959964 * 0.05, abs=1e-7)
    back = difference_of_aucs(0.75, 0.04**2, 0.85, 0.03**2)
    assert (back.z, back.p) == (-found.z, found.p)


def test_aucs_that_do_not_vary_have_no_test() -> None:
    found = difference_of_aucs(1.0, 0.0, 1.0, 0.0)
    assert found == AucDifference(difference=NOT_APPLICABLE, z=None, p=None)


def test_a_difference_stays_one_of_two_aucs() -> None:
    found = difference_of_aucs(1.0, 0.25, 0.1, 0.25)
    assert found.difference.high == 1.0


def test_holms_adjustment_by_hand_in_the_order_given() -> None:
    # 0.01·4; 0.02·3; 0.03·2 is no more than the one before; 0.8 stays
    assert adjust_by_holm([0.03, 0.01, 0.8, 0.02]) == pytest.approx((0.06, 0.04, 0.8, 0.06))
    assert adjust_by_holm([0.6, 0.7]) == (1.0, 1.0)
    assert adjust_by_holm([]) == ()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.01, 0.2))
def test_holm_rejects_what_its_steps_reject(p_values: list[float], level: float) -> None:
    adjusted = adjust_by_holm(p_values)
    order = np.argsort(p_values, kind="stable")
    rejected = set()
    for place, index in enumerate(order):
        if p_values[index] * (len(p_values) - place) > level:
            break
        rejected.add(int(index))
    assert {index for index, p in enumerate(adjusted) if p <= level} == rejected
