"""Who has masks is counted beside who has none; nobody assessed is a word, never a figure."""

from __future__ import annotations

import numpy as np
import pytest

from shared.measures.assessed import (
    keep_unassessed,
    read_assessed,
    why_unassessed,
    with_unassessed,
)
from shared.sums.estimate import NOT_ASSESSED, SUPPRESSED, TOO_NOISY


def test_who_is_not_assessed_has_one_cell_and_who_has_no_label_none() -> None:
    rows = with_unassessed(
        np.ones((4, 2)),
        is_assessed=np.array([True, False, True, False]),
        is_known=np.array([True, True, False, False]),
        norm=1.5,
    )
    assert rows.tolist() == [[1, 1, 0], [0, 0, 1.5], [0, 0, 0], [0, 0, 0]]


def test_both_counts_have_their_own_noise() -> None:
    found = read_assessed(40.0, 12.0, sds=(4.0, 1.0), minimum_cell=10)
    assert (found["n, assessed"].value, found["n, not assessed"].value) == (40.0, 12.0)
    halves = [each.high - each.value for each in found.values()]
    assert halves == pytest.approx([4 * 1.959964, 1.959964], rel=1e-5)
    assert read_assessed(40.0, 3.0, sds=(0.0, 0.0), minimum_cell=10)["n, not assessed"] == SUPPRESSED


@pytest.mark.parametrize(
    ("n", "sd", "expected"),
    [(0.0, 0.0, NOT_ASSESSED), (5.0, 0.0, SUPPRESSED), (20.0, 0.0, None), (7.0, 4.0, NOT_ASSESSED)],
)
def test_a_count_that_noise_could_have_made_is_nobody(n: float, sd: float, expected: object) -> None:
    assert why_unassessed(n, sd=sd, minimum_cell=10, is_expected=False) == expected


def test_of_expected_patients_noise_only_hides() -> None:
    assert why_unassessed(10.0, sd=4.0, minimum_cell=5, is_expected=True) == TOO_NOISY
    assert why_unassessed(20.0, sd=4.0, minimum_cell=5, is_expected=True) is None


def test_nobody_assessed_is_said_even_where_figures_are_hidden() -> None:
    shown = keep_unassessed({"a": TOO_NOISY, "b": TOO_NOISY}, {"a": NOT_ASSESSED, "b": SUPPRESSED})
    assert shown == {"a": NOT_ASSESSED, "b": TOO_NOISY}
