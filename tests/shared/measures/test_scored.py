"""Scored patients are picked together: score and label stay one patient's."""

from __future__ import annotations

import numpy as np

from shared.measures.scored import Scored


def test_score_and_label_of_the_same_patients_are_picked_in_the_order_asked_for() -> None:
    scored = Scored(np.array([[0.1], [0.2], [0.3]]), np.array([1.0, np.nan, 0.0]), np.eye(3))
    picked = scored.select([2, 0, 2])
    assert picked.outputs.tolist() == [[0.3], [0.1], [0.3]]
    assert picked.label.tolist() == [0.0, 1.0, 0.0]
    assert picked.fields.argmax(axis=1).tolist() == [2, 0, 2]
    assert (len(scored), len(picked), len(scored.select([]))) == (3, 3, 0)


def test_makers_of_scanners_go_with_their_patient_and_nobody_has_one_that_is_not_named() -> None:
    named = Scored(np.zeros((3, 1)), np.zeros(3), np.zeros((3, 0)), (("A",), (), ("B", "C")))
    assert named.select([2, 0, 2]).makers == (("B", "C"), ("A",), ("B", "C"))
    assert Scored(np.zeros((2, 1)), np.zeros(2), np.zeros((2, 0))).makers == ((), ())
