"""Sums over shares, and quotients that stay finite."""

from __future__ import annotations

import numpy as np

from shared.features.radiomics.shares import entropy, quotient, sum_by


def test_entropy_is_in_bits_and_shares_of_nothing_add_nothing() -> None:
    assert entropy(np.array([0.5, 0.25, 0.25, 0.0])) == 1.5
    assert entropy(np.zeros(3)) == 0.0


def test_a_quotient_by_nothing_is_nothing() -> None:
    assert quotient(3.0, 2.0) == 1.5
    assert quotient(3.0, 0.0) == quotient(3.0, -1e-16) == 0.0


def test_weights_are_summed_by_index() -> None:
    found = sum_by(np.array([2, 0, 2]), np.array([1.0, 4.0, 0.5]), length=4)
    assert found.tolist() == [4.0, 0.0, 1.5, 0.0]
