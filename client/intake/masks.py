"""Masks in a folder beside the films: PNG files of a film's size, and DICOM SEG.

``masks/FILM.png`` is of a whole film, ``masks/FILM/UNIT.png`` of one unit; FILM is the place of the
film's file below the films' folder, or its SOP Instance UID. A SEG names its film itself. Imports the
readers of both.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client.intake.inputs import walk_files
from client.intake.png_film import READ_AS, read_levels
from client.intake.regions import Region
from client.intake.seg import UNREADABLE, list_seg, read_frame
from shared.errors import IntakeError

MASKS_FOLDER = "masks"
Levels = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.bool_]
_SEG_SUFFIXES = frozenset({"", ".dcm", ".dicom", ".dic", ".ima"})


def list_masks(folder: Path) -> list[Region]:
    """Every mask of a folder, in a stable order; what lies there and is none has a code."""
    found: list[Region] = []
    for path in sorted(walk_files(folder)):
        if path.name.startswith("."):
            continue
        name = path.relative_to(folder)
        place = f"{folder.name}/{name.as_posix()}"
        if not path.is_file():
            found.append(Region(place=place, code=UNREADABLE))
        elif path.suffix.lower() == ".png":
            film = name.with_suffix("")
            found.append(Region(place=place, film=film.as_posix(), path=path))
            if len(film.parts) > 1:  # or of a unit of the film that the folder names
                of_unit = film.parent.as_posix()
                found.append(Region(place=place, film=of_unit, unit=film.name, path=path))
        elif path.suffix.lower() in _SEG_SUFFIXES or path.stem.replace(".", "").isdigit():
            found += list_seg(path, place)
        else:
            found.append(Region(place=place, code=UNREADABLE))
    return found


def read_mask(region: Region) -> Levels:
    """The levels [h,w] of a mask; those of a palette are its indices.

    Raises:
        ValueError: it cannot be read.
    """
    if region.path is None:
        raise ValueError("the region is a box")
    if region.frame is not None:
        return read_frame(region.path, region.frame)
    try:
        return read_levels(region.path, READ_AS | {"P": "P"})
    except IntakeError as error:
        raise ValueError(error.code) from None
