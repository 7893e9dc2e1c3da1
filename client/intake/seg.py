"""DICOM Segmentation objects (PS3.3 A.51): which film each frame shows, which segment, and its mask.

Of a SEG only what says so is looked at. A frame names its film where it was derived from (PS3.3
C.7.6.16.2.6), else the object names the one film of its series (PS3.3 C.12.1). A door to pydicom.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, config, dcmread
from pydicom.pixels.utils import pixel_array
from pydicom.uid import SegmentationStorage

from client.intake.dicom import MAX_FILE_BYTES, MAX_PIXELS
from client.intake.regions import Region

NO_FILM = "intake.seg-without-film"
UNREADABLE = "intake.unreadable-mask"
MAX_FRAMES = 4096
_NEEDED = (
    "SOPClassUID",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SegmentSequence",
    "ReferencedSeriesSequence",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)


def list_seg(path: Path, place: str) -> list[Region]:
    """The frames of a SEG, each a region of its film; one with a code where it is none, or damaged."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            return [Region(place=place, code=UNREADABLE)]
        with warnings.catch_warnings(), config.disable_value_validation():
            warnings.simplefilter("ignore")
            seg = dcmread(path, stop_before_pixels=True, specific_tags=list(_NEEDED))
            if seg.SOPClassUID != SegmentationStorage or not 0 < seg.Rows * seg.Columns <= MAX_PIXELS:
                return [Region(place=place, code=UNREADABLE)]
            return _frames(seg, path, place)
    except Exception:  # noqa: BLE001 - a damaged file may raise anything, with its values in the text
        return [Region(place=place, code=UNREADABLE)]


def read_frame(path: Path, frame: int) -> NDArray[np.bool_]:
    """The mask [h,w] of one frame; of a fractional one what is at least half.

    Raises:
        ValueError: it cannot be decoded.
    """
    try:
        with warnings.catch_warnings(), config.disable_value_validation():
            warnings.simplefilter("ignore")
            seg = dcmread(path)
            is_bits = seg.BitsAllocated == 1 and not seg.file_meta.TransferSyntaxUID.is_compressed
            levels = _bits(seg, frame) if is_bits else pixel_array(path, index=frame)
    except Exception:  # noqa: BLE001 - as above
        raise ValueError("the frame cannot be decoded") from None
    full = float(seg.get("MaximumFractionalValue") or 1)
    is_fractional = str(seg.get("SegmentationType")) == "FRACTIONAL"
    mask: NDArray[np.bool_] = levels >= (full / 2 if is_fractional else 1)
    return mask


def _bits(seg: Dataset, frame: int) -> NDArray[np.uint8]:
    """A frame [h,w] of single bits, which may begin within a byte (PS3.5 8.1.1)."""
    n = int(seg.Rows) * int(seg.Columns)
    first, offset = divmod(frame * n, 8)
    packed = np.frombuffer(seg.PixelData, np.uint8)[first : first + (offset + n + 7) // 8]
    bits = np.unpackbits(packed, bitorder="little")[offset : offset + n]
    return bits.reshape(int(seg.Rows), int(seg.Columns))


def _frames(seg: Dataset, path: Path, place: str) -> list[Region]:
    labels = {
        int(segment.SegmentNumber): str(segment.get("SegmentLabel") or "").strip()
        for segment in seg.get("SegmentSequence") or ()
    }
    shared = _first(seg, "SharedFunctionalGroupsSequence")
    groups = list(seg.get("PerFrameFunctionalGroupsSequence") or ())[:MAX_FRAMES]
    found = []
    for frame, group in enumerate(groups):
        film = _film(group) or _film(shared) or _only_film(seg)
        numbered = _first(group, "SegmentIdentificationSequence")
        if "ReferencedSegmentNumber" not in numbered:
            numbered = _first(shared, "SegmentIdentificationSequence")
        number = numbered.get("ReferencedSegmentNumber")
        found.append(
            Region(
                place=f"{place} frame {frame + 1}",
                film=film,
                unit="" if number is None else labels.get(int(number), ""),
                path=path,
                frame=frame,
                code="" if film else NO_FILM,
            )
        )
    return found or [Region(place=place, code=NO_FILM)]


def _film(group: Dataset) -> str:
    """The image from which a frame was derived; empty where a group names none."""
    source = _first(_first(group, "DerivationImageSequence"), "SourceImageSequence")
    return str(source.get("ReferencedSOPInstanceUID") or "").strip()


def _only_film(seg: Dataset) -> str:
    """The film of a SEG that refers to one image in all."""
    films = {
        str(instance.get("ReferencedSOPInstanceUID") or "").strip()
        for series in seg.get("ReferencedSeriesSequence") or ()
        for instance in series.get("ReferencedInstanceSequence") or ()
    }
    return films.pop() if len(films) == 1 else ""


def _first(dataset: Dataset, keyword: str) -> Dataset:
    return next(iter(dataset.get(keyword) or ()), Dataset())
