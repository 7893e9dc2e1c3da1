"""Draws the fixed films and regions of films.json; ``python films.py``, once. Needs scipy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from scipy import ndimage


def main() -> None:
    """Write films.json: grey values of three decimals, regions of 0 and 1."""
    rng = np.random.default_rng(20261127)
    rough = rng.random((24, 28))
    smooth = ndimage.gaussian_filter(rng.normal(size=(30, 26)), 2.0)
    y, x = np.indices(smooth.shape)
    ring = (np.hypot(y - 14, x - 12) < 12) & (np.hypot(y - 12, x - 13) > 4)
    scattered = rng.random(rough.shape) < 0.6
    around = ndimage.convolve(scattered.astype(int), np.ones((3, 3), dtype=int), mode="constant")
    has_neighbour = scattered & (around > 1)  # pyradiomics counts a pixel without any, IBSI does not
    films = {
        "a whole rough film": (rough, np.ones_like(rough)),
        "a ring of a smooth film": (smooth - smooth.min(), ring),
        "scattered pixels of few grey values": (np.floor(5 * rough), has_neighbour),
    }
    written = {
        name: {"film": np.round(film, 3).tolist(), "region": region.astype(int).tolist()}
        for name, (film, region) in films.items()
    }
    (Path(__file__).resolve().parent / "films.json").write_text(json.dumps(written) + "\n")


if __name__ == "__main__":
    main()
