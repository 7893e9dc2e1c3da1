"""Times cut at public edges: classes and likelihoods against those written out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from practice_follow_up import ALONE, FOLLOWED, label_of
from pydantic import ValidationError


def test_the_classes_are_each_cause_by_interval_and_then_the_whole_intervals_survived() -> None:
    label = label_of(edges=[1, 2.5])
    assert label.classes == (
        *("fracture by 1", "fracture by 2.5", "death by 1", "death by 2.5"),
        *("free for 0", "free for 1", "free for 2.5"),
    )
    assert len(FOLLOWED.classes) == 2 * 5 + 6
    assert len(ALONE.classes) == 5 + 6


@pytest.mark.parametrize(
    ("years", "word", "named"),
    [
        (0.0, "fracture", "fracture by 1"),
        (1.0, " Fracture ", "fracture by 1"),
        (1.001, "1", "fracture by 2"),
        (5.0, "death", "death by 5"),
        (5.001, "death", "free for 5"),
        (5.001, "fracture", "free for 5"),
        (0.499, "alive", "free for 0"),
        (0.5, "alive", "free for 1"),
        (4.4, "0", "free for 4"),
        (4.5, "0", "free for 5"),
        (30.0, "alive", "free for 5"),
        (3.0, "moved", None),
    ],
)
def test_a_time_falls_into_its_interval_and_who_is_censored_has_survived_past_the_middle(
    years: float, word: str, named: str | None
) -> None:
    assert FOLLOWED.class_of(years, word) == named


def test_a_class_is_as_likely_as_its_intervals_say() -> None:
    label = label_of(edges=[1, 2])
    # by hand: of nothing, a fracture and a death in the first and in the second interval
    first, second = np.array([0.7, 0.2, 0.1]), np.array([0.5, 0.4, 0.1])
    likely = np.exp((label.exposures() * np.log([first, second])).sum(axis=(1, 2)))
    assert likely == pytest.approx([0.2, 0.7 * 0.4, 0.1, 0.7 * 0.1, 1.0, 0.7, 0.7 * 0.5])
    ended = [known != -1 for known in label.counts_as()]
    assert likely[ended].sum() == pytest.approx(1.0), "what is known at the horizon is one of these"


@pytest.mark.parametrize("label", [ALONE, FOLLOWED, label_of(edges=[2], reference_risk=0.4)])
def test_before_training_everybody_has_the_public_risk(label: object) -> None:
    k, r, odds = label.n_intervals, len(label.causes), np.exp(label.start_logit())
    hazard = odds / (1.0 + r * odds)
    assert 1.0 - (1.0 - hazard) ** k == pytest.approx(label.reference_risk)


def test_at_the_horizon_an_event_counts_and_who_left_before_is_not_known() -> None:
    assert label_of(edges=[1, 2]).counts_as() == (0, 0, 1, 1, -1, -1, 1)
    assert label_of(edges=[1, 2], competing=[]).counts_as() == (0, 0, -1, -1, 1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"edges": [1, 1]}, "edges must be above 0, each above the one before"),
        ({"edges": [0, 1]}, "edges must be above 0, each above the one before"),
        ({"censored": ["FRACTURE"]}, "must not share a word"),
        ({"high": 4}, "high 4 must reach the last edge, 5"),
        ({"low": 9, "high": 8}, "low 9 must be below high 8"),
        ({"edges": [5], "reference_risk": 0.5}, "leaves nobody free of every cause"),
    ],
)
def test_what_contradicts_itself_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        label_of(**changes)
