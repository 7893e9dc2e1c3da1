"""The C-index against pairs counted by hand, and its variance against the spread of simulations."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from practice_follow_up import ALONE, FOLLOWED, follow, label_of

from shared.errors import ProtocolError
from shared.exam.time_to_event import TimeToEventLabel
from shared.measure.exact.concordance import concordance

LABEL = label_of(edges=[1, 2])


def places(*names: str, label: TimeToEventLabel = LABEL) -> np.ndarray:
    return np.array([label.classes.index(name) for name in names], dtype=np.float64)


def test_pairs_are_an_event_and_whoever_was_free_of_it_then_or_later() -> None:
    place = places("fracture by 1", "fracture by 2", "death by 1", "free for 0", "free for 1")
    # the first with the second, the dead and who was free for one year; the second with the dead alone
    scores = np.array([[0.9, 0.5, 0.1, 0.7, 0.9], [0.1, 0.2, 0.3, 0.4, 0.5]])
    values, _ = concordance(scores, place, LABEL)
    assert values == pytest.approx([3.5 / 4, 0.0])


def test_two_events_of_one_interval_are_no_pair() -> None:
    with pytest.raises(ProtocolError) as caught:
        concordance(np.array([[0.1, 0.9]]), places("fracture by 1", "fracture by 1"), LABEL)
    assert caught.value.code == "protocol.no-pairs"


def test_the_interval_that_influences_make_is_as_wide_as_simulations_spread() -> None:
    found, variances = [], []
    for seed in range(200):
        followed = follow(200, seed=seed)
        value, influence = concordance(followed.risk[None], followed.places(FOLLOWED), FOLLOWED)
        found.append(value[0])
        variances.append((influence**2).sum())
    assert np.sqrt(np.mean(variances)) == pytest.approx(np.std(found), rel=0.12)


def test_influences_add_up_to_nothing() -> None:
    followed = follow(150, seed=9, competing=0.0)
    _, influence = concordance(followed.columns.T, followed.places(ALONE), ALONE)
    assert np.allclose(influence.sum(axis=1), 0.0, atol=1e-12)


REFERENCE = json.loads(
    (Path(__file__).resolve().parents[3] / "practice" / "references" / "survival.json").read_text()
)


@pytest.mark.parametrize(
    ("label", "answer"),
    [
        (label_of(competing=[], censored=["alive", "death"]), "c_of_one_event"),
        (FOLLOWED, "c_beside_death"),
    ],
)
def test_it_is_the_concordance_that_lifelines_finds(label: TimeToEventLabel, answer: str) -> None:
    data = REFERENCE["data"]
    assert data["edges"] == list(label.edges)
    names = [str(label.class_of(*pair)) for pair in zip(data["years"], data["status"], strict=True)]
    values, _ = concordance(np.array([data["risk"]]), places(*names, label=label), label)
    assert values[0] == pytest.approx(REFERENCE["answers"][answer], abs=1e-12)
