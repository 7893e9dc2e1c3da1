"""The one door to ``pydicom`` and ``gdcm`` for writing: a synthetic film becomes a DICOM object.

Owns modules, attributes and transfer syntaxes of DX (PS3.3 A.26) and, for old machines, CR (PS3.3
A.2) images. Written objects are valid: ``dciodvfy`` of dicom3tools reports no error. Names and
numbers in the headers are invented, but look like a person's, so that tests can search for them.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import Literal

import gdcm
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from server.synthetic.beam import FULL_SCALE, Scanner
from server.synthetic.hip import Side
from server.synthetic.hospitals import Syntax
from server.synthetic.look import FilmTags
from server.synthetic.solids import Point

SYNTAX_UIDS: dict[Syntax, UID] = {
    "implicit": ImplicitVRLittleEndian,
    "explicit": ExplicitVRLittleEndian,
    "rle": RLELossless,
    "jpeg_lossless": JPEGLosslessSV1,
    "jpeg_ls": JPEGLSLossless,
    "jpeg_2000": JPEG2000Lossless,
}
_GDCM_SYNTAXES = {
    "rle": gdcm.TransferSyntax.RLELossless,
    "jpeg_lossless": gdcm.TransferSyntax.JPEGLosslessProcess14_1,
    "jpeg_2000": gdcm.TransferSyntax.JPEG2000Lossless,
}
# View Position -> what its code says (PS3.16 CID 4010)
VIEW_CODES = {
    "AP": ("399348003", "antero-posterior"),
    "PA": ("272479007", "postero-anterior"),
    "LL": ("399173006", "left lateral"),
}
_JPEG_2000_START = b"\xff\x4f\xff\x51"  # markers SOC and SIZ, ISO/IEC 15444-1 A.4


@dataclass(frozen=True)
class FilmHeader:
    """What a header says beside the pixels, and ``tags``, what it says of them.

    ``is_legacy``: a CR object with the series' Laterality instead of DX with ImageLaterality; so is any
    film without spacing or orientation, which DX requires. ``uid_root``: a number that makes study,
    series and instance UIDs (PS3.5 B.2).
    """

    patient_name: str
    patient_id: str
    issuer: str
    birth_day: date
    sex: str
    day: date
    clock: str
    accession: str
    institution: str
    side: Side | Literal["unpaired"]
    view_position: str
    body_part: str
    scanner: Scanner
    syntax: Syntax
    uid_root: int
    tags: FilmTags
    is_for_processing: bool = False
    is_legacy: bool = False
    is_burned_in: bool = False
    region: tuple[str, str] = ("24136001", "Hip joint")
    description: str = "X-RAY HIP"


def write_film(path: Path, pixels: NDArray[np.uint16], header: FilmHeader) -> None:
    """Write grey levels, bone bright, [h,w] of the tags' bits, as one DICOM file."""
    path.write_bytes(encode_film(pixels, header))


def encode_film(pixels: NDArray[np.uint16], header: FilmHeader) -> bytes:
    """The DICOM file of a film, in memory; MONOCHROME1 stores the inverted levels."""
    dataset = Dataset()
    _add_patient_and_study(dataset, header)
    _add_equipment(dataset, header)
    if is_cr(header.tags, is_legacy=header.is_legacy):
        _add_cr(dataset, header)
    else:
        _add_dx(dataset, header)
    _add_image(dataset, header, pixels.shape)
    _add_spacing(dataset, header.tags)
    _add_apertures(dataset, header.tags)
    stored = full_scale(header.tags) - pixels if header.tags.is_monochrome1 else pixels
    return _serialise(dataset, np.ascontiguousarray(stored, dtype="<u2"), header.syntax)


def is_cr(tags: FilmTags, *, is_legacy: bool) -> bool:
    """Whether a film of these tags is a CR object, which may lack what DX requires."""
    return is_legacy or tags.spacing == "none" or tags.orientation is None


def full_scale(tags: FilmTags) -> int:
    """The largest value of the bits stored."""
    return int(2**tags.bits_stored - 1)


def encode_garbled_film(
    pixels: NDArray[np.uint16], header: FilmHeader, rng: np.random.Generator
) -> bytes:
    """A film whose header is sound and whose JPEG 2000 code stream is noise."""
    whole = encode_film(pixels, header)
    # from the code stream's own header on: decoders forgive damage further inside
    start = whole.index(_JPEG_2000_START)
    return whole[:start] + rng.bytes(len(whole) - start - 8) + whole[-8:]


def _uid(root: int, level: int) -> str:
    return f"2.25.{root + level}"


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _add_patient_and_study(dataset: Dataset, header: FilmHeader) -> None:
    """Patient (PS3.3 C.7.1.1), study (C.7.2.1), series (C.7.3.1), image (C.7.6.1)."""
    day = header.day.strftime("%Y%m%d")
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.PatientName = header.patient_name
    dataset.PatientID = header.patient_id
    dataset.IssuerOfPatientID = header.issuer
    dataset.PatientBirthDate = header.birth_day.strftime("%Y%m%d")
    dataset.PatientSex = "F" if header.sex == "female" else "M"
    dataset.StudyInstanceUID = _uid(header.uid_root, 0)
    dataset.SeriesInstanceUID = _uid(header.uid_root, 1)
    dataset.SOPInstanceUID = _uid(header.uid_root, 2)
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = day
    dataset.AcquisitionDate = day
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = header.clock
    dataset.AcquisitionTime = header.clock
    dataset.ReferringPhysicianName = ""
    dataset.StudyID = header.accession[-6:]
    dataset.AccessionNumber = header.accession
    dataset.StudyDescription = header.description
    dataset.SeriesNumber = 1
    dataset.InstanceNumber = 1
    dataset.PatientOrientation = list(header.tags.orientation or ())


def _add_equipment(dataset: Dataset, header: FilmHeader) -> None:
    """General equipment (PS3.3 C.7.5.1)."""
    dataset.Manufacturer = header.scanner.vendor
    dataset.ManufacturerModelName = header.scanner.model
    dataset.InstitutionName = header.institution
    dataset.DeviceSerialNumber = f"{header.scanner.model}-1"
    dataset.SoftwareVersions = "1.0"


def _add_dx(dataset: Dataset, header: FilmHeader) -> None:
    """DX series, anatomy, image, detector and positioning (PS3.3 C.8.11.1 to C.8.11.5)."""
    tags = header.tags
    is_for_processing = header.is_for_processing or tags.is_linear
    dataset.SOPClassUID = (
        DigitalXRayImageStorageForProcessing
        if is_for_processing
        else DigitalXRayImageStorageForPresentation
    )
    dataset.Modality = "DX"
    dataset.PresentationIntentType = "FOR PROCESSING" if is_for_processing else "FOR PRESENTATION"
    dataset.ImageType = ["ORIGINAL" if is_for_processing else "DERIVED", "PRIMARY"]
    if not is_for_processing:
        share = header.scanner.offset / FULL_SCALE
        centre = (1 - share if tags.is_monochrome1 else share) * full_scale(tags)
        dataset.WindowCenter = f"{centre:.0f}"
        dataset.WindowWidth = f"{4.0 * header.scanner.gain / FULL_SCALE * full_scale(tags):.0f}"
    dataset.ImageLaterality = header.side[0].upper()
    dataset.AnatomicRegionSequence = [_code(header.region[0], "SCT", header.region[1])]
    dataset.BodyPartExamined = header.body_part
    dataset.ViewPosition = header.view_position
    if header.view_position in VIEW_CODES:
        value, meaning = VIEW_CODES[header.view_position]
        dataset.ViewCodeSequence = [_code(value, "SCT", meaning)]
    dataset.PixelIntensityRelationship = "LIN" if tags.is_linear else "LOG"
    # −1: a larger stored value is less X-ray intensity; inverted storage turns the sign
    dataset.PixelIntensityRelationshipSign = 1 if tags.is_monochrome1 else -1
    dataset.RescaleIntercept = "0"
    dataset.RescaleSlope = "1"
    dataset.RescaleType = "US"
    dataset.PresentationLUTShape = "INVERSE" if tags.is_monochrome1 else "IDENTITY"
    dataset.DetectorType = "SCINTILLATOR"
    dataset.PositionerType = "NONE"
    dataset.AcquisitionContextSequence = []


def _add_cr(dataset: Dataset, header: FilmHeader) -> None:
    """CR series and image (PS3.3 C.8.1.1, C.8.1.2), side given by the series (C.7.3.1)."""
    dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.Modality = "CR"
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    if header.side != "unpaired":
        dataset.Laterality = header.side[0].upper()
    dataset.BodyPartExamined = header.body_part
    dataset.ViewPosition = header.view_position


def _add_image(dataset: Dataset, header: FilmHeader, shape: tuple[int, ...]) -> None:
    """Image pixel (PS3.3 C.7.6.3) and what of it is padding (PS3.3 C.7.5.1.1.2)."""
    tags = header.tags
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME1" if tags.is_monochrome1 else "MONOCHROME2"
    dataset.Rows, dataset.Columns = shape
    dataset.BitsAllocated, dataset.BitsStored = 16, tags.bits_stored
    dataset.HighBit = tags.bits_stored - 1
    dataset.PixelRepresentation = 0
    dataset.BurnedInAnnotation = "YES" if header.is_burned_in else "NO"
    dataset.LossyImageCompression = "00"
    if tags.padding:
        # the value is the one nearest to the background, the limit nearest to the picture
        value, limit = (full_scale(tags) - end if tags.is_monochrome1 else end for end in tags.padding)
        dataset.PixelPaddingValue = value
        if limit != value:
            dataset.PixelPaddingRangeLimit = limit


def _add_spacing(dataset: Dataset, tags: FilmTags) -> None:
    """Spacing with its calibration (PS3.3 10.7.1), or at least the pixels' aspect (C.7.6.3.1.7)."""
    row_mm, column_mm = tags.pixel_mm
    spacing = [f"{row_mm:.4f}", f"{column_mm:.4f}"]
    if tags.spacing == "none":
        if row_mm != column_mm:
            dataset.PixelAspectRatio = [round(1000 * row_mm / column_mm), 1000]
        return
    dataset.ImagerPixelSpacing = spacing
    if tags.spacing == "calibrated":
        dataset.PixelSpacing = spacing
        dataset.PixelSpacingCalibrationType = "GEOMETRY"
        dataset.PixelSpacingCalibrationDescription = "Table to detector distance"


def _add_apertures(dataset: Dataset, tags: FilmTags) -> None:
    """Collimator (PS3.3 C.8.7.3) and display shutter (PS3.3 C.7.6.11), counted from 1."""
    if tags.collimator:
        dataset.CollimatorShape = "RECTANGULAR"
        _add_edges(dataset, "Collimator", tags.collimator)
    shutter = tags.shutter
    if shutter is None:
        return
    dataset.ShutterShape = shutter.shape
    # P-values: 0 is black, whatever the photometric interpretation
    dataset.ShutterPresentationValue = 0xFFFF if shutter.is_white else 0
    if shutter.shape == "RECTANGULAR":
        _add_edges(dataset, "Shutter", shutter.points)
    elif shutter.shape == "CIRCULAR":
        (row, column), (rim_row, rim_column) = shutter.points
        dataset.CenterOfCircularShutter = [round(row) + 1, round(column) + 1]
        dataset.RadiusOfCircularShutter = round(float(np.hypot(rim_row - row, rim_column - column)))
    else:
        dataset.VerticesOfThePolygonalShutter = [
            round(at) + 1 for vertex in shutter.points for at in vertex
        ]


def _add_edges(dataset: Dataset, kind: str, corners: tuple[Point, ...]) -> None:
    (top, left), (bottom, right) = corners
    for name, at in (
        ("UpperHorizontal", top),
        ("LeftVertical", left),
        ("LowerHorizontal", bottom),
        ("RightVertical", right),
    ):
        setattr(dataset, f"{kind}{name}Edge", round(at) + 1)


def _serialise(dataset: Dataset, stored: NDArray[np.uint16], syntax: Syntax) -> bytes:
    uid = SYNTAX_UIDS[syntax]
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid
    if syntax in _GDCM_SYNTAXES:
        dataset.PixelData = encapsulate(
            [_encode_with_gdcm(stored, _GDCM_SYNTAXES[syntax], int(dataset.BitsStored))]
        )
    elif uid.is_compressed:
        dataset.compress(uid, stored, generate_instance_uid=False)
    else:
        dataset.PixelData = stored.tobytes()
    dataset["PixelData"].VR = "OW" if not uid.is_compressed else "OB"
    stream = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _encode_with_gdcm(stored: NDArray[np.uint16], syntax: int, bits: int) -> bytes:
    """One code stream by gdcm: quick RLE (PS3.5 G), and JPEG Lossless (PS3.5 A.4.1)."""
    writer = gdcm.ImageWriter()  # owns the image: must live until the conversion
    image = writer.GetImage()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((stored.shape[1], stored.shape[0], 1))
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, bits, bits - 1, 0))
    photometric = gdcm.PhotometricInterpretation.MONOCHROME2
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(photometric))
    native = gdcm.TransferSyntax.ImplicitVRLittleEndian
    image.SetTransferSyntax(gdcm.TransferSyntax(native))
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetByteStringValue(stored.tobytes())
    image.SetDataElement(element)
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    change.SetInput(image)
    if not change.Change():
        raise ValueError(f"gdcm refused to encode a greyscale image of {bits} bits")
    fragment = change.GetOutput().GetDataElement().GetSequenceOfFragments().GetFragment(0)
    text: str = fragment.GetByteValue().GetBuffer()
    return text.encode("utf-8", "surrogateescape")
