"""What a film's tags say of its picture: polarity, orientation, spacing, and where no beam went.

The result hangs as on a screen and is bright where it attenuates (PS3.3 C.7.6.3, C.8.11.3). A tag that
cannot be true, such as a collimator that leaves nothing, is taken as not written. Imports pydicom and
the exam package.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydicom import Dataset
from pydicom.pixels.processing import apply_modality_lut

from shared.exam.pixels import Change, Picture, Turn

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

TAGS = (
    "PatientOrientation",
    "PixelSpacing",
    "PixelSpacingCalibrationType",
    "ImagerPixelSpacing",
    "NominalScannedPixelSpacing",
    "EstimatedRadiographicMagnificationFactor",
    "PixelAspectRatio",
    "FieldOfViewShape",
    "FieldOfViewDimensions",
    "PixelIntensityRelationship",
    "PixelIntensityRelationshipSign",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    *(
        f"{kind}{part}"
        for kind in ("Shutter", "Collimator")
        for part in (
            "Shape",
            "LeftVerticalEdge",
            "RightVerticalEdge",
            "UpperHorizontalEdge",
            "LowerHorizontalEdge",
        )
    ),
    "CenterOfCircularShutter",
    "RadiusOfCircularShutter",
    "VerticesOfThePolygonalShutter",
    "CenterOfCircularCollimator",
    "RadiusOfCircularCollimator",
    "VerticesOfThePolygonalCollimator",
)
_LEAST_LEFT = 0.05  # a tag that leaves less of a film than this is not true
_USUAL_MAGNIFICATION = (1.0, 2.0)
_SQUARE = 0.03
_DARKEST = 1e-4  # of the largest intensity: what a detector tells from nothing


@dataclass(frozen=True, kw_only=True)
class Spacing:
    """Millimetres per pixel (row, column), and which tag says so; None where none does."""

    mm: tuple[float, float] | None
    source: str


def make_picture(dataset: Dataset, values: Floats, *, is_inverted: bool) -> Picture:
    """The values of a film as a picture.

    Args:
        dataset: the open film.
        values: [h, w] after the modality LUT.
        is_inverted: whether a screen shows large values dark.
    """
    padding = _padding(dataset, values)
    told = _apertures(dataset, values.shape)
    if padding is not None:
        told = ~padding if told is None else told & ~padding
    if told is not None and told.mean() < _LEAST_LEFT:
        told = None
    is_inverted = _is_less_bright(dataset, is_inverted)
    pixels = _attenuation(dataset, values) if is_inverted else values
    spacing = read_spacing(dataset).mm
    aspect = _aspect(dataset)
    turns = _turns(dataset)
    for turn in turns:
        pixels, told = turn(pixels), None if told is None else turn(told)
        if turn is np.transpose:
            spacing = spacing and (spacing[1], spacing[0])
            aspect = 1 / aspect
    changes = _changes(turns, is_inverted=is_inverted)
    return Picture(
        pixels=pixels,
        pixel_mm=spacing,
        aspect=aspect,
        told=told,
        changes=changes,
        turns=tuple(turns),
    )


def read_spacing(dataset: Dataset) -> Spacing:
    """The spacing in the patient where it is known, else at the detector (PS3.3 10.7.1, C.8.11.4).

    Pixel Spacing that is calibrated, or another than the detector's; Imager Pixel Spacing over the
    magnification, where that is told; the scanner's of a digitised film; Pixel Spacing that says of no
    calibration; the field of view over its pixels.
    """
    calibrated = positive_pair(dataset.get("PixelSpacing"))
    at_detector = positive_pair(dataset.get("ImagerPixelSpacing"))
    is_typed = bool(str(dataset.get("PixelSpacingCalibrationType") or "").strip())
    # a Pixel Spacing that is another than the detector's has been corrected (PS3.3 10.7.1.3)
    is_corrected = bool(at_detector and not np.allclose(calibrated or 0, at_detector, rtol=1e-3))
    if calibrated and (is_typed or is_corrected):
        return Spacing(mm=calibrated, source="calibrated")
    if at_detector:
        factor = _number(dataset.get("EstimatedRadiographicMagnificationFactor")) or 1.0
        low, high = _USUAL_MAGNIFICATION
        factor = factor if low <= factor <= high else 1.0
        return Spacing(mm=(at_detector[0] / factor, at_detector[1] / factor), source="detector")
    scanned = positive_pair(dataset.get("NominalScannedPixelSpacing"))
    if scanned:
        return Spacing(mm=scanned, source="scanned film")
    if calibrated:
        return Spacing(mm=calibrated, source="uncalibrated")
    field = dataset.get("FieldOfViewDimensions")
    sides = [_number(side) for side in (field if isinstance(field, Sequence) else [field])]
    shape = int(dataset.Rows), int(dataset.Columns)
    if len(sides) == 2 and all(sides) and _shape_words(dataset, "FieldOfViewShape") == ["RECTANGLE"]:
        mm = _square([float(side or 0) for side in sides], shape)
        return Spacing(mm=mm, source="field of view" if mm else "")
    return Spacing(mm=None, source="")


def _square(sides: Sequence[float], shape: tuple[int, int]) -> tuple[float, float] | None:
    """Sides over pixels, in whichever order makes pixels square: writers disagree about it."""
    for height, width in (sides, reversed(sides)):
        mm = positive_pair((height / shape[0], width / shape[1]))
        if mm and abs(mm[0] / mm[1] - 1) < _SQUARE:
            return mm
    return None


def positive_pair(value: object) -> tuple[float, float] | None:
    """Two positive finite numbers, or None: some writers store 0.000 for "unknown"."""
    try:
        row_mm, column_mm = (float(part) for part in value)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        return None
    is_usable = 0 < row_mm < np.inf and 0 < column_mm < np.inf
    return (row_mm, column_mm) if is_usable else None


def _number(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if 0 < number < np.inf else None


def _aspect(dataset: Dataset) -> float:
    """Height of a pixel over its width (PS3.3 C.7.6.3.1.7)."""
    pair = positive_pair(dataset.get("PixelAspectRatio"))
    return pair[0] / pair[1] if pair else 1.0


def _is_less_bright(dataset: Dataset, is_inverted: bool) -> bool:
    """Whether what attenuates more has smaller values.

    What is for presentation is bright as a screen shows it. Raw values say themselves which way the
    beam's intensity goes (PS3.3 C.8.11.3.1.2): +1, larger is more of it; −1, larger is less.
    """
    is_raw = _word(dataset, "PresentationIntentType") == "FOR PROCESSING"
    sign = dataset.get("PixelIntensityRelationshipSign") if is_raw else None
    return bool(sign == 1) if sign in (1, -1) else is_inverted


def _attenuation(dataset: Dataset, values: Floats) -> Floats:
    """Values turned over; those that are linear in the beam's intensity become logarithms."""
    if _word(dataset, "PixelIntensityRelationship") == "LIN":
        floor = max(float(values.max()) * _DARKEST, 1e-6)
        logged: Floats = -np.log(np.maximum(values, np.float32(floor)))
        return logged
    turned_over: Floats = (values.min() + values.max()) - values
    return turned_over


def _turns(dataset: Dataset) -> list[Turn]:
    """What brings rows to the patient's left (of a lateral view: to the front), columns to the feet."""
    orientation = dataset.get("PatientOrientation")
    if not isinstance(orientation, Sequence) or isinstance(orientation, str) or len(orientation) != 2:
        return []
    row, column = (str(word).strip().upper()[:1] for word in orientation)
    turns: list[Turn] = []
    if row in ("H", "F") and column in ("L", "R", "A", "P"):
        turns.append(np.transpose)
        row, column = column, row
    if row not in ("L", "R", "A", "P") or column not in ("H", "F"):
        return []
    if row in ("R", "P"):
        turns.append(np.fliplr)
    if column == "H":
        turns.append(np.flipud)
    return turns


def _changes(turns: Sequence[Turn], *, is_inverted: bool) -> tuple[Change, ...]:
    """In words: an odd number of mirrors is a mirror image, an even one a turn."""
    is_flipped = len(turns) % 2 == 1
    is_turned = np.transpose in turns or len(turns) == 2
    found: dict[Change, bool] = {"turned": is_turned, "flipped": is_flipped, "inverted": is_inverted}
    return tuple(change for change, is_made in found.items() if is_made)


def _padding(dataset: Dataset, values: Floats) -> Mask | None:
    """Pixels between Pixel Padding Value and its range limit (PS3.3 C.7.5.1.1.2), if there are any."""
    ends = [dataset.get("PixelPaddingValue"), dataset.get("PixelPaddingRangeLimit")]
    stored = [int(end) for end in ends if end is not None]
    if not stored or ends[0] is None:
        return None
    if not dataset.PixelRepresentation:
        stored = [end & ((1 << int(dataset.BitsStored)) - 1) for end in stored]
    ends_seen = _through_modality(dataset, np.array(stored))
    padding = (values >= ends_seen.min()) & (values <= ends_seen.max())
    return padding if padding.any() else None


def _through_modality(dataset: Dataset, stored: NDArray[np.int64]) -> Floats:
    if dataset.get("ModalityLUTSequence"):
        return np.asarray(apply_modality_lut(stored, dataset), dtype=np.float32)
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    values = stored.astype(np.float32)
    if slope is not None and intercept is not None:
        values = np.asarray(values * np.float32(slope) + np.float32(intercept), dtype=np.float32)
    return values


def _apertures(dataset: Dataset, shape: tuple[int, ...]) -> Mask | None:
    """What display shutter (PS3.3 C.7.6.11), collimator (C.8.7.3) and a round field of view leave."""
    open_: Mask | None = None
    for kind in ("Shutter", "Collimator"):
        for word in _shape_words(dataset, f"{kind}Shape"):
            left = _aperture(dataset, kind, word, shape)
            if left is not None and left.mean() >= _LEAST_LEFT and not left.all():
                open_ = left if open_ is None else open_ & left
    if open_ is None and _shape_words(dataset, "FieldOfViewShape") == ["ROUND"]:
        middle = (shape[0] + 1) / 2, (shape[1] + 1) / 2
        open_ = _circle(shape, middle, min(shape) / 2)
    return open_


def _aperture(dataset: Dataset, kind: str, word: str, shape: tuple[int, ...]) -> Mask | None:
    """One aperture; rows and columns are counted from 1."""
    try:
        if word == "RECTANGULAR":
            top, bottom, left, right = (
                int(dataset.get(f"{kind}{edge}"))
                for edge in (
                    "UpperHorizontalEdge",
                    "LowerHorizontalEdge",
                    "LeftVerticalEdge",
                    "RightVerticalEdge",
                )
            )
            if top >= bottom or left >= right:
                return None
            mask = np.zeros(shape, dtype=np.bool_)
            mask[max(0, top) : max(0, bottom - 1), max(0, left) : max(0, right - 1)] = True
            return mask
        if word == "CIRCULAR":
            row, column = (float(part) for part in dataset.get(f"CenterOfCircular{kind}"))
            return _circle(shape, (row, column), float(dataset.get(f"RadiusOfCircular{kind}")))
        if word == "POLYGONAL":
            flat = [float(part) for part in dataset.get(f"VerticesOfThePolygonal{kind}")]
            corners = [(column - 1, row - 1) for row, column in zip(flat[::2], flat[1::2], strict=True)]
            canvas = Image.new("1", (shape[1], shape[0]))
            ImageDraw.Draw(canvas).polygon(corners, fill=1)
            return np.asarray(canvas, dtype=np.bool_)
    except (TypeError, ValueError):
        return None
    return None


def _circle(shape: tuple[int, ...], middle: tuple[float, float], radius: float) -> Mask:
    rows, columns = np.ogrid[1 : shape[0] + 1, 1 : shape[1] + 1]
    inside: Mask = (rows - middle[0]) ** 2 + (columns - middle[1]) ** 2 <= radius**2
    return inside


def _word(dataset: Dataset, keyword: str) -> str:
    return str(dataset.get(keyword) or "").strip().upper()


def _shape_words(dataset: Dataset, keyword: str) -> list[str]:
    value = dataset.get(keyword)
    words = [value] if isinstance(value, str) else list(value or ())
    return [str(word).strip().upper() for word in words]
