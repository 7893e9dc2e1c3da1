"""Cumulative incidence by hand, and what must hold of it whatever the counts."""

from __future__ import annotations

import numpy as np
import pytest
from practice_follow_up import ALONE, FOLLOWED, follow, label_of

from shared.measures.incidence import incidence

LABEL = label_of(edges=[1, 2])


def counts_of(label, **numbers: float) -> np.ndarray:
    counts = np.zeros(len(label.classes))
    for name, number in numbers.items():
        counts[label.classes.index(name.replace("_", " "))] = number
    return counts


def test_each_event_has_the_share_of_who_was_still_free_of_both() -> None:
    counts = counts_of(
        LABEL, fracture_by_1=30, death_by_1=10, free_for_1=20, fracture_by_2=20, free_for_2=80
    )
    found = incidence(counts[None], LABEL)[0]
    # of 160; then of the 100 who were followed further, among 120 of 160 who were free
    assert found == pytest.approx(
        np.array([[30 / 160, 30 / 160 + 120 / 160 * 20 / 100], [10 / 160, 10 / 160]])
    )


def test_who_left_before_an_interval_was_survived_is_not_at_risk_in_it() -> None:
    counts = counts_of(LABEL, fracture_by_1=10, free_for_0=100, free_for_2=90)
    assert incidence(counts[None], LABEL)[0, 0, 0] == pytest.approx(10 / 100)


def test_where_everybody_is_followed_it_is_the_share_that_had_the_event() -> None:
    draw = np.random.default_rng(1)
    k, r = FOLLOWED.n_intervals, len(FOLLOWED.causes)
    counts = np.zeros((4, len(FOLLOWED.classes)))
    counts[:, : r * k] = draw.integers(0, 9, (4, r * k))
    counts[:, -1] = 50
    shares = counts[:, : r * k].reshape(4, r, k).cumsum(axis=2) / counts.sum(axis=1)[:, None, None]
    np.testing.assert_allclose(incidence(counts, FOLLOWED), shares)


def test_samples_are_apart_and_nobody_has_no_event() -> None:
    place = follow(300, seed=4, competing=0.0).places(ALONE).astype(int)
    counts = np.bincount(place, minlength=len(ALONE.classes))
    both = incidence(np.stack([counts * 1.0, counts * 0.0]), ALONE)
    np.testing.assert_array_equal(both[:1], incidence(counts[None] * 1.0, ALONE))
    assert not both[1].any()
    assert (np.diff(both[0, 0]) > 0).all()
