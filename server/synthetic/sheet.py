"""A film on the table: its grey levels, its bone and its named places, moved together.

Owns stretching, turning, flipping and pasting. Imports solids of this package, numpy and scipy.

Legend: h w pixels; places are row and column, in pixels from the centre of the first one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from server.synthetic.solids import Array, Point

Mask = NDArray[np.bool_]
Places = NDArray[np.float64]  # [n,2]


@dataclass(frozen=True)
class Sheet:
    """Grey levels and bone [h,w], places by their name [n,2], mm between rows and between columns."""

    grey: Array
    bone: Mask
    places: dict[str, Places]
    pixel_mm: Point

    @property
    def size(self) -> Places:
        """Height and width in pixels, [2]."""
        return np.asarray(self.grey.shape, np.float64)

    def stretch_rows(self, factor: float) -> Sheet:
        """The same film, stored with about ``factor`` times as many rows."""
        n_rows = self.grey.shape[0]
        factor = round(n_rows * factor) / n_rows
        return Sheet(
            grey=_zoom(self.grey, factor),
            bone=_zoom(self.bone.astype(np.float32), factor) > 0.5,
            places={name: (at + 0.5) * (factor, 1.0) - 0.5 for name, at in self.places.items()},
            pixel_mm=(self.pixel_mm[0] / factor, self.pixel_mm[1]),
        )

    def turn_left(self) -> Sheet:
        """Turned by 90 degrees against the clock."""
        last = self.grey.shape[1] - 1
        return Sheet(
            grey=np.rot90(self.grey),
            bone=np.rot90(self.bone),
            places={
                name: np.stack([last - at[:, 1], at[:, 0]], axis=1) for name, at in self.places.items()
            },
            pixel_mm=(self.pixel_mm[1], self.pixel_mm[0]),
        )

    def flip(self) -> Sheet:
        """Left and right exchanged."""
        last = self.grey.shape[1] - 1
        return replace(
            self,
            grey=self.grey[:, ::-1],
            bone=self.bone[:, ::-1],
            places={
                name: np.stack([at[:, 0], last - at[:, 1]], axis=1) for name, at in self.places.items()
            },
        )

    def paste(self, margins: Places, fill: float) -> Sheet:
        """On a larger sheet of one grey; margins [4] above, below, left and right, in pixels."""
        above, below, left, right = (int(margin) for margin in margins)
        around = ((above, below), (left, right))
        return replace(
            self,
            grey=np.pad(self.grey, around, constant_values=np.float32(fill)),
            bone=np.pad(self.bone, around),
            places={name: at + np.array([above, left]) for name, at in self.places.items()},
        )


def _zoom(values: Array, factor: float) -> Array:
    zoomed = ndimage.zoom(values, (factor, 1.0), order=1, grid_mode=True, mode="nearest")
    return np.asarray(zoomed, np.float32)
