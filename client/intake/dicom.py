"""A DICOM file becomes a ``Film``: what is allowed is read, what may not be used is refused.

Only the attributes of ``ALLOWED`` are ever looked at. Every failure is an ``IntakeError`` whose text
holds no value of the file. Imports the decoders, picture, errors and the names of film words.
"""

from __future__ import annotations

import contextlib
import re
import struct
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Literal

from pydicom import Dataset, config, dcmread
from pydicom.filereader import read_file_meta_info
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from client.intake.decode import HINT, OVERLAY_BITS, read_pixels
from client.intake.film_words import DESCRIPTIONS, SEQUENCES
from client.intake.picture import TAGS, make_picture, read_spacing
from shared.errors import IntakeError
from shared.exam.pixels import Picture

Laterality = Literal["L", "R", "B"]

_META_BYTES = 2**16  # no sound meta group is longer
_META_START = 128 + 4 + 12  # preamble, DICM, the group length itself
MAX_FILE_BYTES = 512 * 2**20
MAX_INFLATION = 100  # radiographs deflate to a half; deflate itself can reach 1032
_SMALL_BYTES = 16 * 2**20  # may inflate by any factor
MAX_PIXELS = 64 * 2**20  # 8192 × 8192; the largest flat panels have about 18 million

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
_SIDES: Mapping[str, Laterality] = {
    **{"L": "L", "LT": "L", "LEFT": "L", "R": "R", "RT": "R", "RIGHT": "R"},
    **{"B": "B", "BOTH": "B", "BILATERAL": "B"},
}
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
    *TAGS,
)
_KEPT = frozenset({*(Tag(keyword) for keyword in ALLOWED), *OVERLAY_BITS})


@dataclass(frozen=True, kw_only=True)
class Film:
    """One radiograph. Identity and date never show in its repr.

    ``pixel_mm`` is the (row, column) spacing of ``picture``, and ``spacing_source`` the tag it is from;
    ``laterality``: as its tags say; ``has_two_sides``: image and series say left and right;
    ``words``: what it says about itself, by DICOM keyword; typed text may name somebody.
    """

    picture: Picture = field(repr=False)
    pixel_mm: tuple[float, float] | None
    spacing_source: str
    laterality: Laterality | None
    has_two_sides: bool = False
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


def read_film(path: Path) -> Film:
    """Read one DICOM radiograph.

    Args:
        path: a DICOM file (PS3.10), or a data set that was written without preamble or meta group.

    Raises:
        IntakeError: the film may not or cannot be used; its code is in ``quarantine.CODES``.
    """
    try:
        with warnings.catch_warnings(), config.disable_value_validation():
            warnings.simplefilter("ignore")
            dataset = _open(path)
            _refuse_unwanted(dataset)
            is_inverted = _is_inverted(dataset)
            values = read_pixels(dataset, invert=False)
            picture = make_picture(dataset, values, is_inverted=is_inverted)
            return _describe(dataset, picture, is_inverted)
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
    return IntakeError(reason, fact, hint=HINT)


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


def _is_inverted(dataset: Dataset) -> bool:
    """MONOCHROME1 goes with INVERSE (PS3.3 C.8.11.3): together they mean one inversion, not two."""
    return (
        _text(dataset, "PhotometricInterpretation") == "MONOCHROME1"
        or _text(dataset, "PresentationLUTShape") == "INVERSE"
    )


def _describe(dataset: Dataset, picture: Picture, is_inverted: bool) -> Film:
    return Film(
        picture=picture,
        pixel_mm=picture.pixel_mm,
        spacing_source=read_spacing(dataset).source,
        laterality=_side(dataset),
        has_two_sides=set(_tagged_sides(dataset)) == {"L", "R"},
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
    for name in ("ImageType", "PatientOrientation"):
        value = dataset.get(name) or ""
        parts = [value] if isinstance(value, str) else value
        texts[name] = "\\".join(str(part).strip().upper() for part in parts)
    return {name: text for name, text in texts.items() if text}


def _side(dataset: Dataset) -> Laterality | None:
    """ImageLaterality (PS3.3 C.8.11.1), else Laterality of the series (PS3.3 C.7.3.1)."""
    of_image, of_series = _tagged_sides(dataset)
    return of_image or of_series


def _tagged_sides(dataset: Dataset) -> tuple[Laterality | None, Laterality | None]:
    """Of the image and of its series; whole words too, which some writers store instead of codes."""
    names = ("ImageLaterality", "Laterality")
    of_image, of_series = (_SIDES.get(_text(dataset, name)) for name in names)
    return of_image, of_series


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
