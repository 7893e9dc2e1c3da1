"""What a film's regions make of it: crops, the mask of its bone, and a code for each that fails.

Runs where the film is read, since only there are its pixels and its UID. Imports regions and masks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from client.intake.masks import read_mask
from client.intake.regions import Region
from client.intake.seg import UNREADABLE
from shared.exam.pixels import Picture, Window
from shared.exam.regions import Box, box_of, cut_mask, grow, hang_box, hang_mask, stored_shape
from shared.exam.schema import CropRule

MASK_SIZE = "intake.mask-size"
EMPTY_MASK = "intake.empty-mask"
UNUSED_FILM = "intake.region-of-unused-film"
UNKNOWN_UNIT = "intake.unknown-crop-unit"
DUPLICATE_UNIT = "intake.duplicate-unit"
OUTSIDE = "intake.box-outside-film"
_OVER = 1.0  # pixel by which a box may reach beyond the film: rounding
Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Crop:
    """A unit of a film, in pixels of its picture; ``mask`` [h,w], None where none is given."""

    unit: str
    place: str = field(repr=False)
    window: Window
    mask: Mask | None = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class FilmRegions:
    """``bone`` [h,w] of the picture, None where no mask is given; ``codes`` by place, empty: used."""

    bone: Mask | None
    crops: tuple[Crop, ...]
    codes: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class _Mark:
    """A mask as its film hangs, of a unit or (None) of the film's bone."""

    place: str
    unit: str | None
    mask: Mask


class _Unusable(Exception):  # noqa: N818 - a signal inside this module, never an error for users
    """A region has no use; carries the code."""


def read_regions(
    regions: Iterable[Region],
    picture: Picture,
    rule: CropRule | None = None,
    words: Mapping[str, str] | None = None,
) -> FilmRegions:
    """Read the boxes and masks that are given for a film.

    Args:
        regions: of the film.
        picture: the film.
        rule: what is cropped; None: nothing is, and a unit's mask is bone as any other.
        words: the rule's unit by a hospital's word.
    """
    codes: dict[str, str] = {}
    windows: list[tuple[str, str, Window]] = []  # place, unit, window
    marks: list[_Mark] = []
    for region in regions:
        codes[region.place] = ""
        try:
            if region.box is not None:
                unit = _unit(region.unit, rule, words or {})
                windows.append((region.place, unit, _hung_box(region.box, picture)))
                continue
            for place, word, mask in _masks(region, picture, rule):
                codes[place] = ""
                try:
                    unit_of = _unit(word, rule, words or {}) if word and rule else None
                    marks.append(_Mark(place, unit_of, hang_mask(mask, picture)))
                except _Unusable as unusable:
                    codes[place] = str(unusable)
        except _Unusable as unusable:
            codes[region.place] = str(unusable)
    if rule is not None and rule.source == "masks":
        windows = [(mark.place, mark.unit, box_of(mark.mask)) for mark in marks if mark.unit]
    bone = _joined([mark.mask for mark in marks])
    crops = []
    for unit, found in _by_unit(windows).items():
        if len(found) > 1:
            codes |= {place: DUPLICATE_UNIT for place, _ in found}
            continue
        place, window = found[0]
        own = _joined([mark.mask for mark in marks if mark.unit == unit])
        wide = grow(window, rule.margin if rule else 0.0)
        crops.append(Crop(unit=unit, place=place, window=wide, mask=bone if own is None else own))
    return FilmRegions(bone=bone, crops=tuple(crops), codes=codes)


def mask_in(mask: Mask | None, window: Window, n: int, *, mirror: bool) -> Mask | None:
    """A picture's mask in a window, [n,n]; None where there is none, or nothing of it in the window."""
    if mask is None:
        return None
    cut = cut_mask(mask, window, n, mirror=mirror)
    return cut if cut.any() else None


def _masks(region: Region, picture: Picture, rule: CropRule | None) -> Iterator[tuple[str, str, Mask]]:
    """Place, word for the unit and mask [h,w] of the stored film; where levels are units, of each."""
    try:
        levels = read_mask(region)
    except (OSError, ValueError, MemoryError):
        raise _Unusable(UNREADABLE) from None
    if levels.shape != stored_shape(picture):
        raise _Unusable(MASK_SIZE)
    if not levels.any():
        raise _Unusable(EMPTY_MASK)
    if region.unit or rule is None or rule.source == "boxes":
        yield region.place, region.unit, levels > 0
        return
    for level in np.unique(levels[levels > 0]).tolist():
        known = level if isinstance(level, int) and level <= len(rule.units) else 0
        word = rule.units[known - 1] if known else str(level)
        yield f"{region.place} level {level}", word, levels == level


def _hung_box(box: Box, picture: Picture) -> Window:
    left, top, right, bottom = box
    height, width = stored_shape(picture)
    if min(left, top) < -_OVER or right > width + _OVER or bottom > height + _OVER:
        raise _Unusable(OUTSIDE)
    return hang_box(box, picture)


def _unit(word: str, rule: CropRule | None, words: Mapping[str, str]) -> str:
    """The rule's unit that a word means; case does not matter."""
    folded = {name.strip().casefold(): unit for name, unit in words.items()}
    meant = folded.get(word.strip().casefold(), word.strip())
    units = {unit.casefold(): unit for unit in (rule.units if rule else ())}
    if meant.casefold() not in units:
        raise _Unusable(UNKNOWN_UNIT)
    return units[meant.casefold()]


def _by_unit(
    windows: Iterable[tuple[str, str | None, Window]],
) -> dict[str, list[tuple[str, Window]]]:
    groups: dict[str, list[tuple[str, Window]]] = defaultdict(list)
    for place, unit, window in windows:
        groups[unit or ""].append((place, window))
    return groups


def _joined(masks: list[Mask]) -> Mask | None:
    return np.logical_or.reduce(masks) if masks else None
