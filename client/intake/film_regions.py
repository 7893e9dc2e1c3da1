"""What a film's regions make of it: the mask of its bone, as it hangs, and a code for each that fails.

Runs where the film is read, since only there are its pixels and its UID. Imports regions and masks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from client.intake.masks import read_mask
from client.intake.regions import Region
from client.intake.seg import UNREADABLE
from shared.exam.pixels import Picture, Window
from shared.exam.regions import cut_mask, hang_mask, stored_shape

MASK_SIZE = "intake.mask-size"
EMPTY_MASK = "intake.empty-mask"
UNUSED_FILM = "intake.region-of-unused-film"
Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class FilmRegions:
    """``bone`` [h,w] of the picture, None where no mask is given; ``codes`` by place, empty: used."""

    bone: Mask | None
    codes: dict[str, str] = field(repr=False)

    def mask_in(self, window: Window, n: int, *, mirror: bool) -> Mask | None:
        """The bone [n,n] of a window; None where none is given, or none lies in the window.

        A mask of which nothing is in the window gets its code.
        """
        if self.bone is None:
            return None
        cut = cut_mask(self.bone, window, n, mirror=mirror)
        if cut.any():
            return cut
        self.codes.update((place, EMPTY_MASK) for place, code in self.codes.items() if not code)
        return None


def read_regions(regions: Iterable[Region], picture: Picture) -> FilmRegions:
    """Read the masks that are given for a film."""
    codes: dict[str, str] = {}
    bone: Mask | None = None
    for region in regions:
        mask, codes[region.place] = _hung(region, picture)
        if mask is not None:
            bone = mask if bone is None else bone | mask
    return FilmRegions(bone=bone, codes=codes)


def _hung(region: Region, picture: Picture) -> tuple[Mask | None, str]:
    """A mask as its film hangs, or the code of why there is none."""
    try:
        levels = read_mask(region)
    except (OSError, ValueError, MemoryError):
        return None, UNREADABLE
    if levels.shape != stored_shape(picture):
        return None, MASK_SIZE
    if not levels.any():
        return None, EMPTY_MASK
    return hang_mask(levels > 0, picture), ""
