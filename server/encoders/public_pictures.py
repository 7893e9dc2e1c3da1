"""Pictures of no body at all: the generic pretraining beside that on films.

Dead leaves, discs that hide one another. Imports nothing of the project.

Source: Lee, Mumford, Huang 2001 (Int J Comput Vis 41:35); as pretraining Baradad et al. 2021
(arXiv 2106.05963).

Legend: n pictures · h w pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PIXELS = 128
SHAPES = ("radius_exponent", "contrast")
_DISCS = 400  # enough to cover a picture
_RADII = (0.02, 0.5)  # shares of an edge


def draw_pictures(
    n_films: int, *, seed: int, progress: Callable[[str, int, int], None] | None = None
) -> tuple[Tensor, Tensor]:
    """Pictures as an encoder reads films, and their standardised ``SHAPES``.

    Shapes: pictures [n,1,128,128] uint8 (255 = 1.0), quantities [n,2].
    """
    rng = np.random.default_rng(seed)
    pictures = torch.empty(n_films, 1, PIXELS, PIXELS, dtype=torch.uint8)
    quantities = torch.empty(n_films, len(SHAPES))
    for index in range(n_films):
        exponent, contrast = float(rng.uniform(1.5, 4.0)), float(rng.uniform(0.05, 0.3))
        grey = _dead_leaves(exponent, contrast, rng)
        pictures[index, 0] = torch.from_numpy(np.rint(grey * 255.0).astype(np.uint8))
        quantities[index] = torch.tensor((exponent, contrast))
        if progress is not None and (index + 1) % 100 == 0:
            progress("drawing pictures", index + 1, n_films)
    mean, deviation = quantities.mean(dim=0), quantities.std(dim=0)
    return pictures, (quantities - mean) / deviation


def _dead_leaves(exponent: float, contrast: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Grey [h,w] in [0,1]; radii by a power law of this exponent, levels of this SD."""
    low, high = (radius ** (1.0 - exponent) for radius in _RADII)
    radii = (low + rng.random(_DISCS) * (high - low)) ** (1.0 / (1.0 - exponent))
    rows, columns = np.mgrid[0:PIXELS, 0:PIXELS] / PIXELS
    grey = np.full((PIXELS, PIXELS), 0.5)
    places, levels = rng.random((_DISCS, 2)), 0.5 + contrast * rng.normal(size=_DISCS)
    for radius, (row, column), level in zip(radii, places, levels, strict=True):
        grey[(rows - row) ** 2 + (columns - column) ** 2 < radius**2] = level
    clipped: NDArray[np.float64] = np.clip(grey, 0.0, 1.0)
    return clipped
