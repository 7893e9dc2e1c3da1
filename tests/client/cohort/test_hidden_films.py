"""Hidden films: bone gone, as much else gone, everything else as it was, from film and mask alone."""

from __future__ import annotations

import numpy as np
import pytest

from client.cohort.hidden_films import hide_bone, hide_else

SIZE = 48


def film(seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return np.clip(0.4 + 0.1 * draw.normal(size=(SIZE, SIZE)), 0, 1).astype(np.float16)


def bone(height: int = 20) -> np.ndarray:
    mask = np.zeros((SIZE, SIZE), dtype=np.bool_)
    mask[10 : 10 + height, 18:30] = True
    return mask


def near_mean(picture: np.ndarray, source: np.ndarray, y: int, x: int) -> float:
    """Mean of the source's pixels in the window about a pixel, wider until there is one."""
    radius = 8
    while True:
        window = np.s_[max(y - radius, 0) : y + radius + 1, max(x - radius, 0) : x + radius + 1]
        if source[window].any():
            return float(picture.astype(np.float64)[window][source[window]].mean())
        radius *= 2


def test_bone_becomes_the_mean_of_what_is_none_near_by_and_nothing_else_changes() -> None:
    picture, mask = film(), bone()
    picture[mask] = 1.0
    hidden = hide_bone(picture, mask)
    assert np.array_equal(hidden[~mask], picture[~mask])
    for y, x in ((10, 18), (20, 24), (29, 29), (15, 20)):
        assert hidden[y, x] == np.float16(near_mean(picture, ~mask, y, x))
    assert hidden[mask].max() < 0.6


def test_as_large_an_area_without_bone_is_hidden_and_the_bone_stays() -> None:
    picture, mask = film(), bone()
    picture[mask] = 1.0
    hidden = hide_else(picture, mask)
    assert np.array_equal(hidden[mask], picture[mask])
    changed = hidden != picture
    # a pixel may have been its neighbourhood's mean before, to half precision
    assert 0.97 * mask.sum() <= changed.sum() <= mask.sum()
    assert hidden[changed].max() < 0.6, "no bone is in the mean"


def test_the_area_follows_from_film_and_mask_alone() -> None:
    first, again, other = (hide_else(film(seed), bone()) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first != film(0), other != film(1))
    assert not np.array_equal(hide_else(film(), bone(20)), hide_else(film(), bone(21)))


@pytest.mark.parametrize("share", ["nothing", "most", "all"])
def test_whatever_the_mask_films_stay_finite(share: str) -> None:
    mask = np.zeros((SIZE, SIZE), dtype=np.bool_)
    mask[: {"nothing": 0, "most": SIZE - 6, "all": SIZE}[share]] = True
    for hide in (hide_bone, hide_else):
        hidden = hide(film(), mask)
        assert hidden.dtype == np.float16
        assert np.isfinite(hidden).all()
    if share == "nothing":
        assert np.array_equal(hide_bone(film(), mask), film())
        assert np.array_equal(hide_else(film(), mask), film())
    if share == "most":
        assert (hide_else(film(), mask) != film())[~mask].mean() > 0.9, "all that is none is hidden"
