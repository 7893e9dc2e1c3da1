"""Observed and foretold risks of patients whose hazards are known, and how far both vary."""

from __future__ import annotations

import numpy as np
import pytest
from practice_follow_up import FOLLOWED, Followed, follow

from shared.errors import ProtocolError
from shared.measure.exact.event_calibration import bootstrap_calibration

K, R = FOLLOWED.n_intervals, len(FOLLOWED.causes)


def calibrate(followed: Followed, *, times: float = 1.0, replicates: int = 200):
    """Of a model that spreads each patient's true risk over the years, or so many times it."""
    n = len(followed.years)
    outputs = np.zeros((n, len(FOLLOWED.classes)))
    outputs[:, :K] = times * followed.risk[:, None] / K
    return bootstrap_calibration(
        outputs,
        followed.places(FOLLOWED),
        FOLLOWED,
        replicates=replicates,
        generator=np.random.default_rng(3),
    )


def test_a_model_of_the_true_risks_is_calibrated_and_one_of_twice_as_much_is_not() -> None:
    followed = follow(4000, seed=2)
    values, drawn = calibrate(followed)
    spread = drawn.std(axis=0)
    assert values.shape == (3, R, K)
    assert abs(values[2, 0, -1]) < 3 * spread[2, 0, -1]
    assert values[1, 0, -1] == pytest.approx(followed.risk.mean())
    twice, again = calibrate(followed, times=2.0)
    assert twice[2, 0, -1] < -10 * again[:, 2, 0, -1].std()
    np.testing.assert_array_equal(twice[0], values[0])


def test_what_was_not_foretold_at_all_lies_wholly_in_the_difference() -> None:
    values, _ = calibrate(follow(500, seed=5))
    assert not values[1, 1].any()
    np.testing.assert_array_equal(values[2, 1], values[0, 1])
    assert values[0, 1, -1] > 0.1, "people died"


def test_replicates_spread_as_other_patients_do() -> None:
    of_others = np.array([calibrate(follow(300, seed=seed), replicates=1)[0] for seed in range(150)])
    widths = [calibrate(follow(300, seed=seed))[1].std(axis=0) for seed in range(5)]
    np.testing.assert_allclose(
        np.mean(widths, axis=0)[[0, 2], 0], of_others.std(axis=0)[[0, 2], 0], rtol=0.25
    )


def test_nobody_has_no_calibration() -> None:
    with pytest.raises(ProtocolError) as caught:
        bootstrap_calibration(
            np.zeros((0, len(FOLLOWED.classes))),
            np.zeros(0),
            FOLLOWED,
            replicates=2,
            generator=np.random.default_rng(1),
        )
    assert caught.value.code == "protocol.no-patients"
