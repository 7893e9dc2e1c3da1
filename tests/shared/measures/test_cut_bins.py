"""Bins hold who is called, exactly, whichever way a score points and whether its cut is called."""

from __future__ import annotations

import numpy as np
import pytest

from server.federation.compose import compose_settings
from shared.contract.decision import decision_of
from shared.errors import SettingsError
from shared.measures.cut_bins import CutBins, bins_of_release
from shared.measures.scored import MeasureTask

SCORES = np.array([-9.0, 1.5, 1.999, 2.0, 2.001, 3.7, 99.0])
NOBODY = np.zeros(len(SCORES), dtype=bool)


@pytest.mark.parametrize(
    ("is_low_suspicious", "is_cut_called", "called"),
    [
        (True, True, SCORES <= 2.0),
        (True, False, SCORES < 2.0),
        (False, True, SCORES >= 2.0),
        (False, False, SCORES > 2.0),
    ],
)
def test_called_bins_hold_exactly_who_is_called(
    is_low_suspicious: bool, is_cut_called: bool, called: np.ndarray
) -> None:
    bins = CutBins(
        low=-4.0,
        high=8.0,
        n_bins=5,
        cut=2.0,
        is_low_suspicious=is_low_suspicious,
        is_cut_called=is_cut_called,
    )
    places = bins.places(SCORES, NOBODY)
    assert bins.is_called[places].tolist() == called.tolist()
    assert places.min() == 0, "a score beyond the range is in an end bin"
    assert places.max() == 4
    rising = places if not is_low_suspicious else places[::-1]
    assert rising.tolist() == sorted(rising), "by rising suspicion"


def test_a_score_that_is_no_number_ranks_against_its_class() -> None:
    bins = CutBins(low=0.0, high=1.0, n_bins=4, cut=0.5, is_low_suspicious=True)
    odd = np.array([np.nan, np.inf, -np.inf])
    for is_ill, place in ((True, 0), (False, 3)):
        assert bins.places(odd, np.full(3, is_ill)).tolist() == [place] * 3


def test_a_cut_outside_the_scores_is_refused_by_the_name_of_its_setting() -> None:
    for cut in (0.0, 1.0, 2.0):
        bins = CutBins(low=0.0, high=1.0, n_bins=4, cut=cut, is_low_suspicious=True)
        with pytest.raises(SettingsError) as caught:
            bins.require_cut_inside(of="the score", setting="measures.age.measure")
        assert caught.value.fact == (
            f"the cut {cut:g} of the score must lie between measures.age.measure.low 0 and "
            "measures.age.measure.high 1"
        )
        assert caught.value.hint == (
            f"set measures.age.measure.low below {cut:g} and measures.age.measure.high above it"
        )
    inside = CutBins(low=0.0, high=1.0, n_bins=4, cut=0.5, is_low_suspicious=True)
    assert inside.require_cut_inside(of="the score", setting="x") is inside


@pytest.mark.parametrize("overrides", [[], ["experiment=bmd_classes"]], ids=["a value", "classes"])
def test_a_release_is_called_in_its_bins_as_its_decision_calls(overrides: list[str]) -> None:
    rule = decision_of(compose_settings(overrides))
    bins = bins_of_release(MeasureTask(rule, ()), low=0.05, high=0.95, n_bins=7)
    score = np.append(np.linspace(0.0, 1.0, 200), rule.operating_point)
    places = bins.places(score, np.zeros(201, dtype=bool))
    outputs = score[:, None]
    if not rule.is_regression:
        outputs = np.zeros((score.size, len(rule.classes)))
        outputs[:, rule.endpoint] = score
    assert (bins.is_called[places] == (rule.call(outputs) == rule.endpoint)).all()
    assert 0 < bins.is_called[places].sum() < 201
