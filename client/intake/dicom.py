"""The one door to ``pydicom`` and ``gdcm`` for reading: a radiograph becomes a ``Film``.

Only the attributes of ``ALLOWED`` are ever looked at. Pixels go through decode → modality LUT →
inversion, in this order (PS3.3 C.7.6.3); windows (VOI LUT) are left out because they differ by
vendor and the later normalisation replaces them. Every failure is an ``IntakeError`` whose text
holds no value of the file. Imports errors and the names of film words.
"""

from __future__ import annotations

import contextlib
import logging
import re
import struct
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Literal

import gdcm
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, config, dcmread
from pydicom.filereader import read_file_meta_info
from pydicom.pixels.processing import apply_modality_lut
from pydicom.pixels.utils import pixel_array
from pydicom.tag import Tag
from pydicom.uid import (
    JPEG2000,
    UID,
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from client.intake.film_words import DESCRIPTIONS, SEQUENCES
from shared.errors import IntakeError

# pydicom logs and warns with attribute values; at a hospital these are a patient's.
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
# gdcm writes about damaged code streams straight to stderr; here they become a quarantine code.
gdcm.Trace.SetWarning(False)
gdcm.Trace.SetError(False)

Laterality = Literal["L", "R", "B"]

_META_BYTES = 2**16  # no sound meta group is longer
_META_START = 128 + 4 + 12  # preamble, DICM, the group length itself
MAX_FILE_BYTES = 512 * 2**20
MAX_INFLATION = 100  # radiographs deflate to a half; deflate itself can reach 1032
_SMALL_BYTES = 16 * 2**20  # may inflate by any factor
MAX_PIXELS = 64 * 2**20  # 8192 × 8192; the largest flat panels have about 18 million

# Transfer syntax → pydicom's name of the only decoder used for it ("" = pydicom itself, native).
DECODERS: Mapping[str, str] = {
    ImplicitVRLittleEndian: "",
    ExplicitVRLittleEndian: "",
    ExplicitVRBigEndian: "",
    DeflatedExplicitVRLittleEndian: "",
    RLELossless: "pydicom",
    JPEGBaseline8Bit: "gdcm",
    JPEGLossless: "gdcm",
    JPEGLosslessSV1: "gdcm",
    JPEGLSLossless: "pyjpegls",
    JPEGLSNearLossless: "pyjpegls",
    # OpenJPEG's own binding takes most garbled code streams for films; gdcm's refuses them.
    JPEG2000Lossless: "gdcm",
    JPEG2000: "gdcm",
}

RADIOGRAPHS = frozenset(
    {
        ComputedRadiographyImageStorage,
        DigitalXRayImageStorageForPresentation,
        DigitalXRayImageStorageForProcessing,
    }
)
# The syntax of a data set that does not name it, by (is implicit, is little endian) as it was read.
_AS_READ: Mapping[tuple[bool | None, bool | None], UID] = {
    (True, True): ImplicitVRLittleEndian,
    (False, True): ExplicitVRLittleEndian,
    (False, False): ExplicitVRBigEndian,
}
_LAST_OF_A_START = 0x0020  # a data set begins with a group length, a character set or an image type
_DATES = ("AcquisitionDate", "ContentDate", "StudyDate", "AcquisitionDateTime", "SeriesDate")
_PLACEHOLDER_YEAR = 1900
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # and its multi-frame children .1 to .4

ALLOWED = (
    "SOPClassUID",
    "SOPInstanceUID",
    "ImageType",
    "Manufacturer",
    "PatientID",
    "IssuerOfPatientID",
    "AcquisitionDate",
    "ContentDate",
    "StudyDate",
    "AcquisitionDateTime",
    "SeriesDate",
    "BodyPartExamined",
    "AnatomicRegionSequence",
    "ViewPosition",
    "ViewCodeSequence",
    "SeriesDescription",
    "ProtocolName",
    "StudyDescription",
    "ImageLaterality",
    "Laterality",
    "PixelSpacing",
    "PixelSpacingCalibrationType",
    "ImagerPixelSpacing",
    "BurnedInAnnotation",
    "PresentationIntentType",
    "PresentationLUTShape",
    "PhotometricInterpretation",
    "SamplesPerPixel",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "PixelData",
)
# Where old films keep overlays in bits above the stored ones (PS3.3 C.9.2); planes of their
# own are never read.
_OVERLAY_BITS = tuple(Tag(group, 0x0102) for group in range(0x6000, 0x6020, 2))
_KEPT = frozenset({*(Tag(keyword) for keyword in ALLOWED), *_OVERLAY_BITS})


@dataclass(frozen=True, kw_only=True)
class Film:
    """One radiograph, bright where it attenuates. Identity and date never show in its repr.

    ``pixels`` [h, w] float32; ``pixel_mm`` is (row, column) spacing at the detector, or calibrated.
    ``words``: what it says about itself, by DICOM keyword; typed text may name somebody.
    """

    pixels: NDArray[np.float32] = field(repr=False)
    pixel_mm: tuple[float, float] | None
    laterality: Laterality | None
    words: Mapping[str, str] = field(repr=False)
    photometric: str
    is_inverted: bool
    manufacturer: str
    presentation_intent: str
    transfer_syntax: str
    acquired: date | None = field(repr=False)
    patient_id: str = field(repr=False)
    issuer: str = field(repr=False)
    sop_instance_uid: str = field(repr=False)


def read_film(path: Path, *, default_laterality: Laterality | None = None) -> Film:
    """Read one DICOM radiograph.

    Args:
        path: a DICOM file (PS3.10), or a data set that was written without preamble or meta group.
        default_laterality: the site's rule for films that name no side.

    Raises:
        IntakeError: the film may not or cannot be used; its code is in ``quarantine.CODES``.
    """
    try:
        with warnings.catch_warnings(), config.disable_value_validation():
            warnings.simplefilter("ignore")
            dataset = _open(path)
            _refuse_unwanted(dataset)
            pixels, is_inverted = _read_pixels(dataset)
            return _describe(dataset, pixels, is_inverted, default_laterality)
    except IntakeError:
        raise
    except Exception:  # noqa: BLE001 - a damaged file may raise anything, with its values in the text
        raise _refusal("unreadable-dicom", "the file cannot be decoded") from None


def read_patient_id(path: Path) -> str:
    """The patient's number in a file that ``read_film`` refused, empty where there is none to read."""
    try:
        with warnings.catch_warnings(), config.disable_value_validation():
            warnings.simplefilter("ignore")
            _refuse_bomb(path)
            # a film may end early, but not before its patient
            found = dcmread(path, stop_before_pixels=True, specific_tags=["PatientID"])
            return str(found.get("PatientID") or "").strip()
    except Exception:  # noqa: BLE001 - as in ``read_film``
        return ""


def list_dicomdir(path: Path) -> list[tuple[str, ...]]:
    """The files that a DICOMDIR lists, each as path components below its folder (PS3.3 F.3.2.2).

    Raises:
        IntakeError: not a DICOMDIR, or one that leads out of its folder.
    """
    try:
        with warnings.catch_warnings(), config.disable_value_validation():
            warnings.simplefilter("ignore")
            records = dcmread(path).DirectoryRecordSequence
            named = [record.get("ReferencedFileID") for record in records]
    except Exception:  # noqa: BLE001 - as in ``read_film``
        raise IntakeError(
            "unreadable-dicomdir",
            "the DICOMDIR cannot be read",
            hint="delete it, so that every file of the folder is looked at, or export it again",
        ) from None
    listed = [(name,) if isinstance(name, str) else tuple(name) for name in named if name]
    if any(part in ("", ".", "..") or "/" in part or "\0" in part for name in listed for part in name):
        raise IntakeError(
            "unreadable-dicomdir",
            "the DICOMDIR lists a file outside its own folder",
            hint="do not use this medium; ask who wrote it",
        )
    return listed


def _refusal(reason: str, fact: str) -> IntakeError:
    return IntakeError(reason, fact, hint="`osteofed-site cohort` names the remedy of each code")


def _open(path: Path) -> Dataset:
    if path.stat().st_size > MAX_FILE_BYTES:
        raise _refusal("too-large", f"a film must be smaller than {MAX_FILE_BYTES} bytes")
    _refuse_bomb(path)
    is_bare = _is_bare(path)
    dataset = dcmread(path, force=is_bare)
    if is_bare and "SOPClassUID" not in dataset:
        raise _refusal("unreadable-dicom", "the file begins like a data set and is none")
    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta.TransferSyntaxUID = _AS_READ[dataset.original_encoding]
    # pydicom's own specific_tags is a linear search per element; elements are still undecoded here.
    for tag in dataset.keys() - _KEPT:
        del dataset[tag]
    return dataset


def _is_bare(path: Path) -> bool:
    """Whether a file begins with the first element of a data set instead of the preamble."""
    with path.open("rb") as stream:
        group, element = struct.unpack("<HH", stream.read(4).ljust(4, b"\xff"))
    return group in (0x0002, 0x0008) and element <= _LAST_OF_A_START


def _refuse_bomb(path: Path) -> None:
    """A deflated file (PS3.5 A.5) must not swell beyond a film; pydicom would inflate it whole."""
    most = min(MAX_FILE_BYTES, max(_SMALL_BYTES, MAX_INFLATION * path.stat().st_size))
    with path.open("rb") as stream:
        if DeflatedExplicitVRLittleEndian.encode() not in stream.read(_META_BYTES):
            return
        meta = read_file_meta_info(path)
        if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
            return
        # the deflated part begins after the meta group (PS3.10 7.1), whose length is its first element
        stream.seek(_META_START + int(meta.FileMetaInformationGroupLength))
        inflate, n_bytes = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while data := inflate.unconsumed_tail or stream.read(2**20):
            n_bytes += len(inflate.decompress(data, 2**22))
            if n_bytes > most:
                raise _refusal("too-large", f"the film must inflate to at most {most} bytes")
            if inflate.eof:
                return


def _refuse_unwanted(dataset: Dataset) -> None:
    sop_class = _text(dataset, "SOPClassUID")
    if sop_class == _SECONDARY_CAPTURE or sop_class.startswith(f"{_SECONDARY_CAPTURE}."):
        raise _refusal("secondary-capture", "the image is a secondary capture")
    if sop_class not in RADIOGRAPHS:
        raise _refusal("not-a-radiograph", "the SOP class must be CR or DX")
    if _text(dataset, "BurnedInAnnotation") == "YES":
        raise _refusal("burned-in-annotation", "BurnedInAnnotation must not be YES")
    if int(dataset.get("NumberOfFrames") or 1) != 1:
        raise _refusal("several-frames", "a film must have one frame")
    is_grey = _text(dataset, "PhotometricInterpretation").startswith("MONOCHROME")
    if is_grey and dataset.get("SamplesPerPixel") is None:
        dataset.SamplesPerPixel = 1  # the only number that goes with it (PS3.3 C.7.6.3.1.2)
    if not is_grey or int(dataset.SamplesPerPixel) != 1:
        raise _refusal("not-greyscale", "a film must be MONOCHROME1 or MONOCHROME2")
    stored, high = int(dataset.BitsStored), int(dataset.get("HighBit", dataset.BitsStored - 1))
    # The high bit is the last stored one (PS3.5 8.1.1); below it older films hid overlays.
    if int(dataset.BitsAllocated) not in (8, 16) or not 1 < stored <= 16 or high != stored - 1:
        raise _refusal(
            "unsupported-depth", "a film must store 2 to 16 bits in 8 or 16, from the lowest"
        )
    if not 0 < int(dataset.Rows) * int(dataset.Columns) <= MAX_PIXELS:
        raise _refusal("too-large", f"a film must have 1 to {MAX_PIXELS} pixels")


def _read_pixels(dataset: Dataset) -> tuple[NDArray[np.float32], bool]:
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax not in DECODERS:
        raise _refusal("unsupported-syntax", "the transfer syntax has no decoder here")
    decoder = DECODERS[syntax]
    stored = pixel_array(dataset, raw=True, decoding_plugin=decoder, correct_unused_bits=False)
    stored = _clear_unused_bits(stored, dataset)
    pixels = _apply_modality(stored, dataset)
    if pixels.ndim != 2 or not np.isfinite(pixels).all():
        raise _refusal("unreadable-dicom", "pixels must be a finite matrix")
    # MONOCHROME1 goes with INVERSE (PS3.3 C.8.11.3): together they mean one inversion, not two.
    is_inverted = (
        _text(dataset, "PhotometricInterpretation") == "MONOCHROME1"
        or _text(dataset, "PresentationLUTShape") == "INVERSE"
    )
    if is_inverted:
        pixels = (pixels.min() + pixels.max()) - pixels
    return pixels, is_inverted


def _clear_unused_bits(stored: NDArray[np.integer], dataset: Dataset) -> NDArray[np.integer]:
    """Stored values without what lies above BitsStored: overlays, or the sign again (PS3.5 8.1.1).

    Raises:
        IntakeError: something else lies there, which would wrap bright values into dark ones.
    """
    n_bits, width = int(dataset.BitsStored), 8 * stored.itemsize
    value_bits, all_bits = (1 << n_bits) - 1, (1 << width) - 1
    overlays: int = sum({1 << int(dataset[tag].value or 0) for tag in _OVERLAY_BITS if tag in dataset})
    above = all_bits & ~value_bits & ~overlays
    plain = stored.astype(f"u{stored.itemsize}")
    is_stray = (plain & above) != 0
    if dataset.PixelRepresentation:
        is_stray &= ((plain & above) != above) | (plain >> (n_bits - 1) & 1 == 0)
    if (is_stray & (stored != dataset.get("PixelPaddingValue"))).any():
        raise _refusal("stray-bits", "pixels must not exceed BitsStored")
    if not dataset.PixelRepresentation:
        return plain & value_bits
    return (plain << (width - n_bits)).astype(f"i{stored.itemsize}") >> (width - n_bits)


def _apply_modality(stored: NDArray[np.generic], dataset: Dataset) -> NDArray[np.float32]:
    """Modality LUT, or rescale slope and intercept (PS3.3 C.11.1)."""
    if dataset.get("ModalityLUTSequence"):
        return np.asarray(apply_modality_lut(stored, dataset), dtype=np.float32)
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    pixels = stored.astype(np.float32)
    if slope is not None and intercept is not None:
        pixels = pixels * np.float32(slope) + np.float32(intercept)
    return pixels


def _describe(
    dataset: Dataset,
    pixels: NDArray[np.float32],
    is_inverted: bool,
    default_laterality: Laterality | None,
) -> Film:
    return Film(
        pixels=pixels,
        pixel_mm=_spacing(dataset),
        laterality=_side(dataset) or default_laterality,
        words=_words(dataset),
        photometric=_text(dataset, "PhotometricInterpretation"),
        is_inverted=is_inverted,
        manufacturer=_text(dataset, "Manufacturer"),
        presentation_intent=_text(dataset, "PresentationIntentType"),
        transfer_syntax=str(dataset.file_meta.TransferSyntaxUID),
        acquired=_date(dataset),
        patient_id=str(dataset.get("PatientID") or "").strip(),
        issuer=str(dataset.get("IssuerOfPatientID") or "").strip(),
        sop_instance_uid=str(dataset.get("SOPInstanceUID") or "").strip(),
    )


def _text(dataset: Dataset, keyword: str) -> str:
    return str(dataset.get(keyword) or "").strip().upper()


def _words(dataset: Dataset) -> dict[str, str]:
    """Texts by keyword: plain ones as written, of a sequence its first "scheme code"."""
    texts = {name: _text(dataset, name) for name in ("BodyPartExamined", "ViewPosition", *DESCRIPTIONS)}
    for name in SEQUENCES:
        first = next(iter(dataset.get(name) or ()), Dataset())
        texts[name] = f"{_text(first, 'CodingSchemeDesignator')} {_text(first, 'CodeValue')}".strip()
    image_type = dataset.get("ImageType") or ""
    parts = [image_type] if isinstance(image_type, str) else image_type
    texts["ImageType"] = "\\".join(str(part).strip().upper() for part in parts)
    return {name: text for name, text in texts.items() if text}


def _side(dataset: Dataset) -> Laterality | None:
    """ImageLaterality (PS3.3 C.8.11.1), else Laterality of the series (PS3.3 C.7.3.1)."""
    sides: dict[str, Laterality] = {"L": "L", "R": "R", "B": "B"}
    return sides.get(_text(dataset, "ImageLaterality")) or sides.get(_text(dataset, "Laterality"))


def _spacing(dataset: Dataset) -> tuple[float, float] | None:
    """PixelSpacing only where it is calibrated, else the detector's (PS3.3 10.7.1.1, C.8.11.4)."""
    if _text(dataset, "PixelSpacingCalibrationType"):
        calibrated = _positive_pair(dataset.get("PixelSpacing"))
        if calibrated:
            return calibrated
    return _positive_pair(dataset.get("ImagerPixelSpacing"))


def _positive_pair(value: object) -> tuple[float, float] | None:
    """Two positive finite numbers, or None: some writers store 0.000 for "unknown"."""
    try:
        row_mm, column_mm = (float(part) for part in value)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        return None
    is_usable = 0 < row_mm < np.inf and 0 < column_mm < np.inf
    return (row_mm, column_mm) if is_usable else None


def _date(dataset: Dataset) -> date | None:
    """The first known day; years before any radiograph are placeholders."""
    for keyword in _DATES:
        text = re.sub("[.-]", "", _text(dataset, keyword)[:10])[:8]
        if len(text) == 8 and text.isdigit():
            with contextlib.suppress(ValueError):
                day = date(int(text[:4]), int(text[4:6]), int(text[6:]))
                if day.year > _PLACEHOLDER_YEAR:
                    return day
    return None
