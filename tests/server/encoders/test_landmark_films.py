"""What teaches a landmark's network: where a film is moved or tilted, so is its landmark."""

from __future__ import annotations

import numpy as np
import pytest

from server.encoders.landmark_films import _cover, _surround, _tilt, draw_seen, hung, spoil
from server.synthetic.physics import draw_public_film

PLACE = (50.5, 60.5)


@pytest.fixture
def blob() -> np.ndarray:
    """One bright place on an even film."""
    rows, columns = np.mgrid[:110, :120]
    distance = np.hypot(rows - 50, columns - 60)
    return (1000 + 2000 * np.exp(-((distance / 3) ** 2))).astype(np.float32)


def brightest(film: np.ndarray, near: tuple[float, float]) -> tuple[float, float]:
    """The middle of what is bright within 8 pixels."""
    row, column = (int(at) for at in near)
    top, left = max(0, row - 8), max(0, column - 8)
    part = film[top : row + 9, left : column + 9].astype(np.float64)
    weight = np.maximum(part - 1200, 0)
    rows, columns = np.mgrid[top : top + part.shape[0], left : left + part.shape[1]]
    return tuple(float((weight * at).sum() / weight.sum()) + 0.5 for at in (rows, columns))


@pytest.mark.parametrize("move", [_surround, _tilt])
@pytest.mark.parametrize("seed", range(6))
def test_a_landmark_moves_with_its_film(blob, move, seed):
    film, place = move(blob, PLACE, np.random.default_rng(seed))
    assert brightest(film, place) == pytest.approx(place, abs=0.3)


@pytest.mark.parametrize("seed", range(6))
def test_what_covers_an_edge_leaves_the_landmark_in_sight(blob, seed):
    covered = _cover(blob, PLACE, np.random.default_rng(seed))
    assert (covered != blob).any()
    assert np.array_equal(covered[16:85, 26:95], blob[16:85, 26:95])


def test_a_right_film_hangs_as_a_left_one():
    rng = np.random.default_rng(1)
    film = next(each for each in iter(lambda: draw_public_film(rng), None) if each.side == "right")
    pixels, place = hung(film)
    assert np.array_equal(pixels[:, ::-1], film.pixels)
    assert place[1] == pixels.shape[1] - film.landmark[1] - 0.5


def test_spoiling_leaves_the_film_that_was_given_alone(blob):
    before = blob.copy()
    for seed in range(20):
        spoil(blob, PLACE, np.random.default_rng(seed))
    assert np.array_equal(blob, before)


def test_each_film_is_seen_three_times_with_and_without_a_landmark():
    told = []
    seen = draw_seen(4, seed=2, progress=lambda *now: told.append(now))
    assert len(seen) == 12
    assert all(each.channels.shape[0] == 2 for each in seen)
    assert all(each.landmark is not None for each in seen[::3])
    for each in seen:
        if each.landmark is not None:
            assert all(
                0 <= at <= n for at, n in zip(each.landmark, each.channels.shape[1:], strict=True)
            )
    assert any(each.landmark is None for each in draw_seen(8, seed=3))
