"""Makes a phantom's clean film look like one that a hospital stored: ``wear(film, look, rng)``.

Draws what lies on films beside anatomy, by the frequencies of a ``FilmLook``: first in the room (metal,
collimator, lead letter), then in the machine (turned, bits, shutter, padding, canvas). Landmark, bone
mask and what the header tells move along. Works on any phantom's arrays and knows no body part. Imports
look, drawing and sheet of this package, and numpy.

Legend: h w pixels; places are row and column, in pixels from the centre of the first one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from server.synthetic import drawing
from server.synthetic.look import FilmLook, FilmTags, Shutter, ShutterShape, Spacing
from server.synthetic.sheet import Places, Sheet
from server.synthetic.solids import Array, Point

PHANTOM_FULL_SCALE = 4095
KEPT_MM = 50.0  # around the landmark people neither collimate nor lay letters
LINEAR_RANGE = 3.5  # natural logarithm of the exposures that a linear detector stores
MARKER_SHARES = (0.002, 0.02)  # of the exposed field
Box = tuple[float, float, float, float]  # left, top, right, bottom edges in pixels
_OPPOSITE = {"L": "R", "R": "L", "A": "P", "P": "A", "F": "H", "H": "F"}


class Phantom(Protocol):
    """A clean film: grey levels of 12 bits, bone bright, [h,w], and what is known about it."""

    @property
    def pixels(self) -> NDArray[np.uint16]: ...
    @property
    def bone_mask(self) -> NDArray[np.bool_]: ...
    @property
    def landmark(self) -> Point: ...
    @property
    def side(self) -> str: ...
    @property
    def pixel_mm(self) -> float: ...


@dataclass(frozen=True)
class WornFilm:
    """A film as it is stored, bone bright, of ``tags.bits_stored`` bits; the mask has visible bone.

    ``boxes``: left, top, right and bottom edge of each box that was named, in pixels.
    """

    pixels: NDArray[np.uint16]
    bone_mask: NDArray[np.bool_]
    landmark: Point
    tags: FilmTags
    boxes: Mapping[str, Box]


def wear(
    film: Phantom,
    look: FilmLook,
    rng: np.random.Generator,
    *,
    upright: tuple[str, str] = ("L", "F"),
    boxes: Mapping[str, Box] = MappingProxyType({}),
) -> WornFilm:
    """The film with what this look's frequencies draw for it.

    Args:
        film: a phantom's clean film.
        look: frequencies.
        rng: draws.
        upright: where row and column lead on a film as it hangs (PS3.3 C.7.6.1.1.1).
        boxes: edges of boxes on the clean film by name; they move along.
    """
    sheet = Sheet(
        film.pixels.astype(np.float32),
        film.bone_mask,
        {"landmark": np.array([film.landmark])} | {name: _corners(box) for name, box in boxes.items()},
        (film.pixel_mm, film.pixel_mm),
    )
    sheet = _in_the_room(sheet, film.side[0].upper(), look, rng)
    sheet, orientation = _hang(sheet, upright, look, rng)
    bits, shares = zip(*look.bits, strict=True)
    tags = FilmTags(
        pixel_mm=sheet.pixel_mm,
        orientation=None if orientation == upright and _is(look.no_orientation, rng) else orientation,
        bits_stored=int(rng.choice(bits, p=shares)),
        is_linear=_is(look.linear, rng),
        has_view=not _is(look.no_view, rng),
        has_body_part=not _is(look.no_body_part, rng),
        spacing=_spacing(look, rng),
    )
    tags = replace(tags, is_monochrome1=_is(look.monochrome1, rng) or tags.is_linear)
    sheet = replace(sheet, grey=_quantise(sheet.grey, tags, rng))
    return _in_the_machine(sheet, tags, look, rng, names=tuple(boxes))


def _in_the_room(sheet: Sheet, letter: str, look: FilmLook, rng: np.random.Generator) -> Sheet:
    """Pixels, metal, collimator and lead: what is there when the film is taken."""
    scale = drawing.measure_scale(sheet.grey)
    if _is(look.unequal_pixels, rng):
        sheet = sheet.stretch_rows(rng.uniform(0.85, 1.18))
    if _is(look.metal, rng):
        rods = _rods(sheet, rng)
        sheet = replace(sheet, grey=drawing.draw_rods(sheet.grey, rods, scale, rng))
    field = np.array([(0.0, 0.0), sheet.size])
    if _is(look.border, rng):
        is_added = _is(look.border_added, rng)
        sheet = _collimate(sheet, scale, rng, is_added=is_added, is_told=_is(look.border_told, rng))
        field = sheet.places["field"]
    if _is(look.marker, rng):
        area = float(np.prod(field[1] - field[0])) * np.exp(rng.uniform(*np.log(MARKER_SHARES)))
        drawn = drawing.lead_letter(letter, max((area * 13 / 11) ** 0.5, 9.0), rng)
        level = scale.high + rng.uniform(0.1, 0.6) * (scale.high - scale.low)
        place = _near_an_edge(sheet, field, drawn.shape, rng)
        sheet = replace(sheet, grey=drawing.stamp(sheet.grey, drawn, place, level))
    return sheet


def _in_the_machine(
    sheet: Sheet, tags: FilmTags, look: FilmLook, rng: np.random.Generator, *, names: tuple[str, ...]
) -> WornFilm:
    """Word, shutter, padding and canvas: what software adds to stored values."""
    full = float(2**tags.bits_stored - 1)
    if _is(look.word, rng):
        drawn = drawing.burned_word(rng.choice(drawing.WORDS), max(7.0, sheet.grey.shape[0] * 0.035))
        whole = np.array([(0.0, 0.0), sheet.size])
        place = _near_an_edge(sheet, whole, drawn.shape, rng)
        sheet = replace(sheet, grey=drawing.stamp(sheet.grey, drawn, place, full))
    if _is(look.shutter, rng):
        sheet, shutter = _shut(sheet, full, rng)
        if _is(look.shutter_told, rng):
            tags = replace(tags, shutter=shutter)
    if _is(look.padding, rng):
        sheet, values = _pad(sheet, full, rng)
        if _is(look.padding_told, rng):
            tags = replace(tags, padding=values)
    if _is(look.canvas, rng):
        margins = rng.uniform(0.05, 0.35, 4) * np.repeat(sheet.size, 2)
        sheet = sheet.paste(margins, full * float(rng.random() < 0.3))
    if tags.shutter:
        tags = replace(tags, shutter=replace(tags.shutter, points=_points(sheet.places["shutter"])))
    if "collimator" in sheet.places:
        corners = sheet.places["collimator"]
        tags = replace(tags, collimator=(_point(corners.min(axis=0)), _point(corners.max(axis=0))))
    return WornFilm(
        pixels=sheet.grey.astype(np.uint16),
        bone_mask=sheet.bone,
        landmark=_points(sheet.places["landmark"])[0],
        tags=tags,
        boxes={name: _box(sheet.places[name]) for name in names},
    )


def _corners(box: Box) -> Places:
    """Upper left and lower right corner of a box, from the centre of the first pixel, [2,2]."""
    left, top, right, bottom = box
    return np.array([(top, left), (bottom, right)]) - 0.5


def _box(corners: Places) -> Box:
    (top, left), (bottom, right) = corners.min(axis=0) + 0.5, corners.max(axis=0) + 0.5
    return float(left), float(top), float(right), float(bottom)


def _is(share: float, rng: np.random.Generator) -> bool:
    return bool(rng.random() < share)


def _spacing(look: FilmLook, rng: np.random.Generator) -> Spacing:
    if _is(look.no_spacing, rng):
        return "none"
    return "calibrated" if _is(look.calibrated, rng) else "imager"


def _quantise(grey: Array, tags: FilmTags, rng: np.random.Generator) -> Array:
    """Whole values of the bits stored: of the logarithm of exposure, or of exposure itself."""
    full = np.float32(2**tags.bits_stored - 1)
    share = np.clip(grey / np.float32(PHANTOM_FULL_SCALE), 0, 1)
    if tags.is_linear:
        share = -np.expm1(-np.float32(LINEAR_RANGE) * share)
    values = share * full
    if tags.bits_stored > 12:  # the phantom's steps are coarser than this detector's
        values += (rng.random(grey.shape, np.float32) - np.float32(0.5)) * full / PHANTOM_FULL_SCALE
    return np.asarray(np.clip(np.rint(values), 0, full), np.float32)


def _kept(sheet: Sheet) -> tuple[Places, Places]:
    """Landmark, and the half size of what people keep around it."""
    return sheet.places["landmark"][0], KEPT_MM / np.asarray(sheet.pixel_mm)


def _collimate(
    sheet: Sheet, scale: drawing.Scale, rng: np.random.Generator, *, is_added: bool, is_told: bool
) -> Sheet:
    """Cover what lies outside of a slightly tilted rectangle: of the picture, or of margins added."""
    tilt = float(rng.normal(0.0, 1.0))
    widths = rng.uniform(0.05, 0.20, 4) * (rng.random(4) < 0.7)  # above, below, left, right
    size = sheet.size
    margins = np.floor(widths * np.repeat(size, 2))
    if is_added:
        sheet = sheet.paste(margins, scale.high)
        # the tilted edge lies on the picture: what it leaves of the margins would be even
        inset = np.repeat(size[::-1], 2) * abs(np.sin(np.deg2rad(tilt))) + 1.0
        corners = np.array([margins[::2] + inset[::2], margins[::2] + size - 1 - inset[1::2]])
    else:
        landmark, kept = _kept(sheet)
        corners = np.array([margins[::2], size - 1 - margins[1::2]])
        corners[0] = np.minimum(corners[0], landmark - kept)
        corners[1] = np.maximum(corners[1], landmark + kept)
    # a side without a border is not the collimator's: it lies outside of the film
    open_sides = (margins == 0).reshape(2, 2).T
    beyond = np.where(open_sides, corners + np.array([[-1.0], [1.0]]) * size * 0.5, corners)
    inside = drawing.inside_rectangle(sheet.grey.shape, beyond, tilt)
    inside_mm = inside * np.float32(np.mean(sheet.pixel_mm))
    field = np.clip(corners, 0, sheet.size - 1)
    places = sheet.places | {"field": field} | ({"collimator": field} if is_told else {})
    return replace(
        sheet,
        grey=drawing.cover_border(sheet.grey, inside_mm, scale, rng),
        bone=sheet.bone & (inside > 0),
        places=places,
    )


def _rods(sheet: Sheet, rng: np.random.Generator) -> tuple[tuple[Point, Point, float], ...]:
    """A nail along the bone, or screws across it."""
    rows, columns = np.nonzero(sheet.bone[:: drawing.SAMPLE, :: drawing.SAMPLE])
    at = np.stack([rows, columns], axis=1) * float(drawing.SAMPLE)
    centre = at.mean(axis=0)
    _, axes = np.linalg.eigh(np.cov((at - centre).T))
    pixels_per_mm = 1.0 / float(np.mean(sheet.pixel_mm))
    across, along = axes[:, 0], axes[:, 1]
    if rng.random() < 0.5:
        half, radius = along * rng.uniform(60.0, 150.0) * pixels_per_mm, 5.5 * pixels_per_mm
        return ((_point(centre - half), _point(centre + half), radius),)
    landmark = sheet.places["landmark"][0]
    middles = [landmark + along * step * pixels_per_mm for step in rng.uniform(-25.0, 25.0, 3)]
    half = (across + 0.4 * along) * rng.uniform(18.0, 30.0) * pixels_per_mm
    return tuple((_point(at - half), _point(at + half), 2.8 * pixels_per_mm) for at in middles)


def _near_an_edge(
    sheet: Sheet, field: Places, size: tuple[int, ...], rng: np.random.Generator
) -> Point:
    """A place for a drawing near one of the field's edges, as far from the landmark as must be."""
    landmark, kept = _kept(sheet)
    low, high = field[0] + np.asarray(size) * 0.7, field[1] - np.asarray(size) * 0.7
    best, best_distance = low, -1.0
    for _ in range(8):
        place = rng.uniform(np.minimum(low, high), np.maximum(low, high))
        axis = int(rng.integers(2))
        place[axis] = (low, high)[int(rng.integers(2))][axis]
        distance = float(np.hypot(*((place - landmark) / kept)))
        if distance > best_distance:
            best, best_distance = place, distance
        if distance > 1.0:
            break
    return _point(best)


def _shut(sheet: Sheet, full: float, rng: np.random.Generator) -> tuple[Sheet, Shutter]:
    """Black or white outside of a rectangle, a disc or a polygon around the landmark."""
    shapes: tuple[ShutterShape, ...] = ("RECTANGULAR", "CIRCULAR", "POLYGONAL")
    shape = shapes[int(rng.integers(3))]
    size = sheet.size
    landmark, kept = _kept(sheet)
    low = np.minimum(rng.uniform(0.02, 0.15, 2) * size, landmark - kept)
    high = np.maximum((1 - rng.uniform(0.02, 0.15, 2)) * size, landmark + kept)
    low, high = np.rint(np.maximum(low, 0)), np.rint(np.minimum(high, size - 1))
    if shape == "RECTANGULAR":
        places = np.array([low, high])
        within = drawing.is_in_polygon(sheet.grey.shape, _octagon(low, high, cut=0.0))
    elif shape == "POLYGONAL":
        places = np.rint(_octagon(low, high, cut=float(rng.uniform(0.05, 0.2))))
        within = drawing.is_in_polygon(sheet.grey.shape, places)
    else:
        centre = np.rint((low + high) / 2)
        least = float(np.hypot(*(landmark - centre))) + float(kept.max())
        radius = round(max(least, float(rng.uniform(0.45, 0.6)) * float(size.max())))
        places = np.array([centre, centre + np.array([0.0, radius])])
        within = drawing.is_in_circle(sheet.grey.shape, _point(centre), radius)
    is_white = bool(rng.random() < 0.3)
    grey = np.where(within, sheet.grey, np.float32(full * is_white))
    sheet = replace(
        sheet, grey=grey, bone=sheet.bone & within, places=sheet.places | {"shutter": places}
    )
    return sheet, Shutter(shape, _points(places), is_white)


def _octagon(low: Places, high: Places, *, cut: float) -> Places:
    """Corners of a rectangle with its own corners cut off by a share of its sides."""
    (top, left), (bottom, right) = low, high
    down, across = cut * (high - low)
    corners = [
        (top, left + across),
        (top, right - across),
        (top + down, right),
        (bottom - down, right),
        (bottom, right - across),
        (bottom, left + across),
        (bottom - down, left),
        (top + down, left),
    ]
    return np.array(corners)


def _pad(sheet: Sheet, full: float, rng: np.random.Generator) -> tuple[Sheet, tuple[int, int]]:
    """Strips along some edges, of one value or of a narrow range of values."""
    margins = rng.uniform(0.03, 0.20, 4) * np.repeat(sheet.size, 2) * (rng.random(4) < 0.5)
    margins[int(rng.integers(4))] += 4.0
    lowest = full * float(rng.random() < 0.3)
    reach = round(full * 0.01) if rng.random() < 0.3 else 0
    lowest = max(lowest - reach, 0.0)
    padded = sheet.paste(margins, -1.0)
    filled = lowest + np.rint(rng.random(padded.grey.shape, np.float32) * reach)
    grey = np.where(padded.grey < 0, filled, padded.grey).astype(np.float32)
    return replace(padded, grey=grey), (int(lowest), int(lowest) + reach)


def _hang(
    sheet: Sheet, upright: tuple[str, str], look: FilmLook, rng: np.random.Generator
) -> tuple[Sheet, tuple[str, str]]:
    """The film as it is stored, and where its rows and columns lead."""
    right, down = upright
    if _is(look.flipped, rng):
        sheet, right = sheet.flip(), _OPPOSITE[right]
    if _is(look.turned, rng):
        for _ in range(int(rng.integers(1, 4))):
            sheet, right, down = sheet.turn_left(), down, _OPPOSITE[right]
    return sheet, (right, down)


def _point(at: Places) -> Point:
    return float(at[0]), float(at[1])


def _points(places: Places) -> tuple[Point, ...]:
    return tuple(_point(at) for at in places)
