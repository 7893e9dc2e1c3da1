"""Means of bounded values: a row's length, the interval of a mean, and what nobody can say."""

from __future__ import annotations

import numpy as np
import pytest

from shared.measures.means import COUNT, Means, count_tells
from shared.sums.estimate import SUPPRESSED, TOO_NOISY, Estimate

MEANS = Means(("a", "b"), unit=0.2)


def values(n: int, *, seed: int = 0) -> np.ndarray:
    return np.clip(np.random.default_rng(seed).normal([0.3, 0.0], [0.4, 0.2], (n, 2)), -1.0, 1.0)


def test_the_longest_row_is_that_of_values_at_their_ends() -> None:
    rows = MEANS.rows_of(np.array([[1.0, -1.0], [0.5, 0.0], [np.nan, np.inf]]))
    lengths = np.linalg.norm(rows, axis=1)
    assert lengths[0] == pytest.approx(MEANS.norm)
    assert lengths[1] < MEANS.norm
    assert rows[2].tolist() == [COUNT, 0.0, 0.0, 0.0, 0.0], "what is no number is counted as 0"


def test_a_mean_has_its_unit_and_the_interval_of_a_mean() -> None:
    drawn = values(500)
    total = MEANS.rows_of(drawn).sum(axis=0)
    assert MEANS.count_of(total) == pytest.approx(500)
    found = MEANS.figures(total, sd=0.0, minimum_cell=10)
    for name, column in zip("ab", drawn.T, strict=True):
        assert found[name].value == pytest.approx(0.2 * column.mean())
        half = 0.2 * 1.959964 * column.std() / 500**0.5
        assert found[name].high - found[name].value == pytest.approx(half)


def test_intervals_hold_the_truth_under_noise() -> None:
    truth = 0.2 * values(200_000, seed=1).mean(axis=0)
    draw, held = np.random.default_rng(2), []
    for seed in range(200):
        noise = draw.normal(0.0, 2.0, MEANS.n_cells)
        total = MEANS.rows_of(values(400, seed=5 + seed)).sum(axis=0) + noise
        found = MEANS.figures(total, sd=2.0, minimum_cell=10)
        held += [
            found[name].low <= each <= found[name].high for name, each in zip("ab", truth, strict=True)
        ]
    assert 0.92 <= np.mean(held) <= 0.985  # of 400


def test_too_few_give_no_mean_and_noise_that_swallows_them_is_foreseen() -> None:
    total = MEANS.rows_of(values(6)).sum(axis=0)
    assert set(MEANS.figures(total, sd=0.0, minimum_cell=10).values()) == {SUPPRESSED}
    foreseen = MEANS.figures(MEANS.expected(50), sd=20.0, minimum_cell=10, is_expected=True)
    assert set(foreseen.values()) == {TOO_NOISY}


def test_what_tells_something_is_decided_by_the_width_that_is_expected() -> None:
    wide, narrow = (Estimate(status="measured", value=0.0, low=-x, high=x) for x in (0.04, 0.02))
    assert not MEANS.tells(wide)
    assert MEANS.tells(narrow)
    assert not MEANS.tells(TOO_NOISY)
    loud, quiet = (Estimate(status="measured", value=10.0, low=0.0, high=x) for x in (21.0, 19.0))
    assert not count_tells(loud)
    assert count_tells(quiet)
    assert not count_tells(SUPPRESSED)
