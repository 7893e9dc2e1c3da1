"""A PNG file of a tree becomes a ``Film``: grey pixels, and what its folders say.

Of the file only its pixels are looked at, never its text. Every failure is an ``IntakeError`` whose
text holds no value of the file. Imports dicom's ``Film``, the tree's places and errors.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from client.intake.dicom import MAX_FILE_BYTES, MAX_PIXELS, Film
from client.intake.tree_place import place_in_tree, study_day
from shared.errors import IntakeError
from shared.exam.pixels import Picture

Stored = NDArray[np.uint8] | NDArray[np.uint16]

HINT = "`osteofed-site cohort --examples` says which film; export it again as a grey PNG"
# What each of Pillow's modes is read as; the others do not fit into 16 bits.
READ_AS = {"1": "L", "L": "L", "I;16": "I;16"} | dict.fromkeys(("LA", "P", "RGB", "RGBA"), "RGBA")


def read_png_film(path: Path) -> Film:
    """Read one PNG file of a tree; its spacing, side and position are unknown.

    Args:
        path: ``…/part/patient/study_label/image.png``.

    Raises:
        IntakeError: the film may not or cannot be used; its code is in ``quarantine.CODES``.
    """
    place = place_in_tree(path.absolute())
    if place is None:
        raise _refusal("missing-patient", "a PNG file must lie in part/patient/study_label/")
    return Film(
        picture=Picture(pixels=read_levels(path).astype(np.float32)),
        pixel_mm=None,
        spacing_source="",
        laterality=None,
        words={"BodyPartExamined": place.part.upper()},
        photometric="MONOCHROME2",
        is_inverted=False,
        manufacturer="",
        presentation_intent="",
        transfer_syntax="",
        acquired=study_day(place.study),
        patient_id=place.patient,
        issuer="",
        sop_instance_uid=place.name,
    )


def png_patient_id(path: Path) -> str:
    """The patient that a file's folders name, empty where they name none."""
    place = place_in_tree(path.absolute())
    return place.patient if place else ""


def read_levels(path: Path, read_as: Mapping[str, str] = READ_AS) -> Stored:
    """Pixels [h, w] of a PNG file as they are stored; colours count where they are grey.

    Args:
        path: of the file.
        read_as: what each of Pillow's modes is read as; others are refused.

    Raises:
        IntakeError: it is damaged, too large, or of another mode.
    """
    if path.stat().st_size > MAX_FILE_BYTES:
        raise _refusal("too-large", f"a film must be smaller than {MAX_FILE_BYTES} bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path, formats=["PNG"])
    except Image.DecompressionBombError:
        raise _refusal("too-large", f"a film must have 1 to {MAX_PIXELS} pixels") from None
    except Exception:  # noqa: BLE001 - a damaged file may raise anything
        raise _refusal("unreadable-dicom", "the file is no PNG, or its beginning is damaged") from None
    with image:
        if not 0 < image.width * image.height <= MAX_PIXELS:
            raise _refusal("too-large", f"a film must have 1 to {MAX_PIXELS} pixels")
        if getattr(image, "n_frames", 1) != 1:
            raise _refusal("several-frames", "a film must have one frame")
        if image.mode not in read_as:
            raise _refusal("unsupported-depth", "a film must store up to 16 bits of grey")
        try:
            pixels = np.asarray(image.convert(read_as[image.mode]))
        except Exception:  # noqa: BLE001 - as above
            raise _refusal("unreadable-dicom", "the file ends early, or is damaged") from None
    return _grey_of(pixels)


def _grey_of(pixels: Stored) -> Stored:
    """[h, w] of [h, w], or of [h, w, 4] whose colours are equal and opaque."""
    if pixels.ndim == 2:
        return pixels
    grey: Stored = pixels[..., 0]
    if (pixels[..., 3] != 255).any() or (pixels[..., 1:3] != grey[..., None]).any():
        raise _refusal("not-greyscale", "a film must be grey, and nowhere transparent")
    return grey


def _refusal(reason: str, fact: str) -> IntakeError:
    return IntakeError(reason, fact, hint=HINT)
