"""Draws a contact sheet of a phantom: clean films above, the same films worn as a hospital's below.

For the eye of a radiologist: pictures say more about a phantom than any test. Imports exams and
settings; wear of the package above, and PIL.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from server.synthetic.exams import site_generator
from server.synthetic.phantoms.exams import OSTEOPOROSIS_T, PhantomExam, draw_exams
from server.synthetic.phantoms.settings import PhantomSettings, read_hospitals, read_phantom, site_of
from server.synthetic.wear import wear

TILE = 230  # pixels of a tile's height; a film that lies on its side is as wide at most
GREYS = 64  # of the written picture: as many as an eye tells apart, and a file of modest size
MOST_DRAWN = 20
_STREAM = 9

Grey = NDArray[np.uint8]


def write_sheet(path: Path, phantom_name: str, *, seed: int = 1) -> tuple[str, ...]:
    """Write one film of each hospital as PNG: as it was made, and as it was stored.

    Every second hospital's is the first with a finding or osteoporosis; where a marker leaks the label,
    that hospital's is the first with both.

    Returns:
        What is on each column, from the left: hospital, label or T-score, and what was drawn.
    """
    phantom = read_phantom(phantom_name)
    columns: list[Grey] = []
    captions: list[str] = []
    for hospital in read_hospitals():
        site = site_of(hospital, phantom)
        rng = site_generator(site, seed, _STREAM)
        leaks = phantom.marker is not None and phantom.marker.hospital == hospital
        exam = _draw(phantom, hospital, rng, is_positive=leaks or len(columns) % 2 == 1, leaks=leaks)
        worn = wear(exam.film, site.look, rng, upright=phantom.film.upright)
        clean, stored = _tile(exam.film.pixels), _tile(worn.pixels)
        width = max(clean.shape[1], stored.shape[1])
        columns.append(np.vstack([_padded(clean, width), _padded(stored, width)]))
        captions.append(f"{hospital}: {_caption(exam)}")
    picture = Image.fromarray(np.hstack(columns))
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.quantize(GREYS).save(path, optimize=True)
    return tuple(captions)


def _draw(
    phantom: PhantomSettings,
    hospital: str,
    rng: np.random.Generator,
    *,
    is_positive: bool,
    leaks: bool,
) -> PhantomExam:
    """The hospital's first exam, or its first that shows something, if one of many does.

    ``leaks``: a marker goes with osteoporosis there, and both are to be seen together.
    """
    exams = (draw_exams(phantom, hospital, 1, rng)[0] for _ in range(MOST_DRAWN))
    for exam in exams:
        truth = exam.film.truth
        is_shown = truth.has_fracture
        is_shown |= phantom.finding is None and exam.t_score <= OSTEOPOROSIS_T
        is_shown &= truth.has_marker or not leaks
        if is_shown or not is_positive:
            break
    return exam


def _tile(pixels: NDArray[np.uint16]) -> Grey:
    """A film at the height of a tile, from its darkest to its brightest half percent."""
    low, high = np.percentile(pixels, (0.5, 99.5))
    grey = np.clip((pixels - low) / max(float(high - low), 1.0), 0, 1) * 255
    share = TILE / max(pixels.shape)
    size = (round(share * pixels.shape[1]), round(share * pixels.shape[0]))
    tile: Grey = np.asarray(Image.fromarray(grey.astype(np.uint8)).resize(size, Image.Resampling.BOX))
    return tile


def _padded(tile: Grey, width: int) -> Grey:
    left = (width - tile.shape[1]) // 2
    sides = (left, width - tile.shape[1] - left + 4)
    return np.pad(tile, ((0, TILE - tile.shape[0] + 4), sides), constant_values=255)


def _caption(exam: PhantomExam) -> str:
    truth = exam.film.truth
    words = [truth.class_name or f"T {exam.t_score:.1f}"]
    words += [f"{loss.level} lost {loss.worst:.0%}" for loss in truth.losses]
    drawn = (("fracture", truth.has_fracture and not truth.losses), ("metal", truth.has_implant))
    words += [word for word, is_there in (*drawn, ("marker", truth.has_marker)) if is_there]
    return ", ".join(words)
