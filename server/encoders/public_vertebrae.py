"""Public vertebrae, each cut from its synthetic film, and how high they are: what an encoder is taught.

Crops are those of an intake (boxes with a margin), of a hospital whose patients no figure is measured
on. Heights are measured on the vertebra's mask, over its length, so that neither scale nor side
matters; no grade, no BMD and nothing of a patient is among them. Imports phantoms and the exam package.

Legend: n crops · h w pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from server.synthetic.phantoms.exams import draw_exams
from server.synthetic.phantoms.settings import read_phantom
from server.synthetic.phantoms.table import UNITS
from shared.exam.pixels import Picture, prepare
from shared.exam.regions import box_of, cut_mask, grow

HEIGHTS = ("lower_edge_over_length", "middle_over_length", "higher_edge_over_length")
HOSPITAL, MARGIN = "rowan", 0.15
_SHARES = (0.15, 0.5, 0.85)  # of a body's length, where its height is measured
_AROUND = 0.05  # of its length, over which it is averaged

Progress = Callable[[str, int, int], None]


def draw_vertebrae(
    n_crops: int, *, seed: int, pixels: int, progress: Progress | None = None
) -> tuple[Tensor, Tensor]:
    """Crops of public vertebrae, and their standardised heights.

    Shapes: crops [n,1,pixels,pixels] uint8 (255 = 1.0), heights [n,3].
    """
    phantom, rng = read_phantom("spine"), np.random.default_rng(seed)
    crops = torch.empty(n_crops, 1, pixels, pixels, dtype=torch.uint8)
    heights = torch.empty(n_crops, len(HEIGHTS))
    drawn = 0
    while drawn < n_crops:
        (exam,) = draw_exams(phantom, HOSPITAL, 1, rng)
        picture = Picture(pixels=exam.film.pixels.astype(np.float32))
        for unit in UNITS["spine"][: n_crops - drawn]:
            mask = exam.film.parts[unit]
            grey, framing = prepare(picture, pixels, window=grow(box_of(mask), MARGIN))
            crops[drawn, 0] = torch.from_numpy(np.rint(grey * 255.0).astype(np.uint8))
            heights[drawn] = torch.tensor(measure_heights(cut_mask(mask, framing.window, pixels)))
            drawn += 1
        if progress is not None:
            progress("drawing public vertebrae", drawn, n_crops)
    return crops, (heights - heights.mean(dim=0)) / heights.std(dim=0)


def measure_heights(mask: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Lower edge, middle and higher edge of a body, over its length: [h,w] -> 3 ratios."""
    tall = mask.sum(axis=0)
    columns = np.flatnonzero(tall)
    first, length = float(columns[0]), float(columns[-1] - columns[0] + 1)
    at = (np.arange(len(tall)) + 0.5 - first) / length
    edge, middle, other = (
        float(tall[np.abs(at - share) <= _AROUND].mean()) / length for share in _SHARES
    )
    return min(edge, other), middle, max(edge, other)
