"""The films on which a landmark's network is trained: public, each as it is and spoilt at random.

Sound ones have unexposed borders, shutters, markers, tilted canvases and tones of any level, their
landmark still in sight. Others are no such anatomy: bones dark, mirrored, turned, at a wrong scale.
Imports synthetic and the exam package. Legend: h w pixels; places in pixels, a middle at a half.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from server.encoders.pretrain_landmark import Seen, see
from server.synthetic.look import FilmLook
from server.synthetic.physics import Film, draw_public_film
from server.synthetic.wear import wear
from shared.exam.pixels import Picture, find_field

Floats = NDArray[np.float32]
Place = tuple[float, float]

WORN = FilmLook(turned=0.0, flipped=0.0, linear=0.0, unequal_pixels=0.0)
KEPT_PIXELS = 35  # between a landmark and what covers a film's edge
SCALE_ERROR = 0.03  # SD of the log of a spacing that is told
WRONG_SCALE = (0.25, 0.9)  # log of one that is no such anatomy any more

Progress = Callable[[str, int, int], None]


def draw_seen(n_films: int, *, seed: int, progress: Progress | None = None) -> list[Seen]:
    """Three of each public film: as it is, spoilt, and spoilt so much that it often is no hip."""
    rng = np.random.default_rng(seed)
    seen: list[Seen] = []
    for index in range(n_films):
        seen += _three(draw_public_film(rng), rng)
        if progress is not None and (index + 1) % 50 == 0:
            progress("drawing public films", index + 1, n_films)
    return seen


def _three(film: Film, rng: np.random.Generator) -> Iterator[Seen]:
    pixels, place = hung(film)
    yield _seen(pixels, place, film.pixel_mm, rng)
    worn = wear(film, WORN, rng)
    if rng.random() < 0.5:
        dressed = replace(film, pixels=worn.pixels, landmark=worn.landmark)
        yield _seen(*hung(dressed), film.pixel_mm, rng)
    else:
        yield _seen(*spoil(pixels, place, rng), film.pixel_mm, rng)
    spoilt, moved = spoil(pixels, place, rng)
    kind = rng.random()
    if kind < 0.40:
        yield _seen(spoilt, moved, film.pixel_mm, rng)
    elif kind < 0.70:
        yield _seen(_undo(spoilt, rng), None, film.pixel_mm, rng)
    else:
        factor = float(np.exp(rng.choice((-1, 1)) * rng.uniform(*WRONG_SCALE)))
        yield _seen(spoilt, None, film.pixel_mm * factor, rng)


def _undo(pixels: Floats, rng: np.random.Generator) -> Floats:
    """Bones dark, mirrored, upside down, or turned by one to three right angles."""
    kind = int(rng.integers(6))
    if kind == 0:
        return -pixels
    if kind < 3:
        return pixels[:, ::-1] if kind == 1 else pixels[::-1]
    return np.rot90(pixels, kind - 2)


def hung(film: Film) -> tuple[Floats, Place]:
    """A film as a left one, and its landmark."""
    row, column = film.landmark[0] + 0.5, film.landmark[1] + 0.5
    pixels = film.pixels.astype(np.float32)
    if film.side == "right":
        return np.ascontiguousarray(pixels[:, ::-1]), (row, pixels.shape[1] - column)
    return pixels, (row, column)


def _seen(pixels: Floats, place: Place | None, pixel_mm: float, rng: np.random.Generator) -> Seen:
    told = pixel_mm * float(np.exp(rng.normal(0.0, SCALE_ERROR)))
    whole = np.ascontiguousarray(pixels, dtype=np.float32)
    grey, exposed = find_field(Picture(pixels=whole, pixel_mm=(told, told)))
    block = tuple(n // m for n, m in zip(whole.shape, grey.shape, strict=True))
    moved = None if place is None else (place[0] / block[0], place[1] / block[1])
    return see(grey, exposed, told * block[0], moved)


def spoil(pixels: Floats, place: Place, rng: np.random.Generator) -> tuple[Floats, Place]:
    """A film with a border, a cover, a tilt or none, perhaps with markers and another tone."""
    kind = rng.random()
    if kind < 0.25:
        pixels, place = _surround(pixels, place, rng)
    elif kind < 0.40:
        pixels = _cover(pixels, place, rng)
    elif kind < 0.50:
        pixels, place = _tilt(pixels, place, rng)
    if rng.random() < 0.4:
        pixels = _mark(pixels, place, rng)
    if rng.random() < 0.3:
        grey = (pixels - pixels.min()) / max(float(np.ptp(pixels)), 1e-6)
        pixels = (grey ** rng.uniform(0.5, 2.0)).astype(np.float32)
    return pixels, place


def _level(pixels: Floats, rng: np.random.Generator) -> float:
    """Of what is not exposed: brighter than the film, darker, or anything between."""
    low, high = float(pixels.min()), float(pixels.max())
    reach = high - low
    return (
        high + rng.uniform(-0.05, 0.3) * reach,
        low - rng.uniform(0.0, 0.2) * reach,
        rng.uniform(low, high),
    )[int(rng.choice(3, p=(0.5, 0.3, 0.2)))]


def _surround(pixels: Floats, place: Place, rng: np.random.Generator) -> tuple[Floats, Place]:
    """A margin of up to 30 % on each side."""
    top, bottom, left, right = (
        int(rng.uniform(0, 0.3) * n) for n in (*pixels.shape[:1] * 2, *pixels.shape[1:] * 2)
    )
    wide = np.pad(pixels, ((top, bottom), (left, right)), constant_values=_level(pixels, rng))
    if rng.random() < 0.5:
        noise = rng.normal(0, rng.uniform(0, 0.02) * float(np.ptp(pixels)), wide.shape)
        noise[top : top + pixels.shape[0], left : left + pixels.shape[1]] = 0
        wide = (wide + noise).astype(np.float32)
    return wide, (place[0] + top, place[1] + left)


def _cover(pixels: Floats, place: Place, rng: np.random.Generator) -> Floats:
    """Up to 20 % of each side covered, the landmark's surroundings left."""
    covered = pixels.copy()
    level = _level(pixels, rng)
    for axis, n in enumerate(pixels.shape):
        before = int(max(0, min(rng.uniform(0, 0.2) * n, place[axis] - KEPT_PIXELS)))
        after = int(max(0, min(rng.uniform(0, 0.2) * n, n - place[axis] - KEPT_PIXELS)))
        turned = covered if axis == 0 else covered.T
        turned[:before] = level
        turned[n - after :] = level
    return covered


def _tilt(pixels: Floats, place: Place, rng: np.random.Generator) -> tuple[Floats, Place]:
    """Turned by up to 12 degrees on a canvas of its own size."""
    angle = rng.uniform(-12, 12)
    level = float(pixels.min() if rng.random() < 0.5 else pixels.max())
    tilted = ndimage.rotate(pixels, angle, reshape=False, order=1, cval=level)
    cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    middle = np.array(pixels.shape) / 2
    # ndimage takes output (y, x) from input (cos·y + sin·x, cos·x − sin·y), about the middle
    row, column = np.array(place) - middle
    moved = np.array([cosine * row - sine * column, sine * row + cosine * column]) + middle
    return tilted, (float(moved[0]), float(moved[1]))


def _mark(pixels: Floats, place: Place, rng: np.random.Generator) -> Floats:
    """One to three bright letters or plates, not on the landmark."""
    marked = pixels.copy()
    height, width = pixels.shape
    for _ in range(int(rng.integers(1, 4))):
        tall, wide = (int(share * min(height, width)) + 2 for share in rng.uniform(0.03, 0.14, 2))
        top, left = int(rng.integers(0, height - tall)), int(rng.integers(0, width - wide))
        if abs(top - place[0]) < tall + 12 and abs(left - place[1]) < wide + 12:
            continue
        box = marked[top : top + tall, left : left + wide]
        level = float(pixels.max()) + rng.uniform(0, 0.8) * float(np.ptp(pixels))
        box[rng.random(box.shape) < (0.6 if rng.random() < 0.5 else 1.1)] = level
    return marked
