"""Rewrites ``client/doctor/tiny_films``: one 32 × 32 ramp in each transfer syntax a site decodes.

``python -m tests.practice.tiny_films``, with gdcm's, imagecodecs' and pydicom's encoders.
``osteofed-site doctor`` decodes these files; nobody is on them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

FOLDER = Path(__file__).resolve().parents[2] / "client" / "doctor" / "tiny_films"
# 5 to 253 in equal steps along the diagonal: smooth, so that lossy syntaxes stay within 2 levels.
RAMP = (5 + 4 * np.add.outer(np.arange(32), np.arange(32))).astype(np.uint8)
# Names of gdcm's syntaxes.
_BY_GDCM = {
    JPEGBaseline8Bit: "JPEGBaselineProcess1",
    JPEGLossless: "JPEGLosslessProcess14",
    JPEGLosslessSV1: "JPEGLosslessProcess14_1",
}
_BY_IMAGECODECS: dict[str, Callable[[], bytes]] = {
    JPEGExtended12Bit: lambda: imagecodecs.jpeg8_encode(
        RAMP.astype(np.uint16), level=95, bitspersample=12
    ),
    HTJ2KLossless: lambda: imagecodecs.htj2k_encode(RAMP, reversible=True),
    HTJ2KLosslessRPCL: lambda: imagecodecs.htj2k_encode(RAMP, reversible=True),
    HTJ2K: lambda: imagecodecs.htj2k_encode(RAMP, level=0.0005, reversible=False),
}
# Deflated first: zlib's compressor crashes once gdcm, with a zlib of its own, is loaded.
SYNTAXES = (
    *(DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRLittleEndian),
    *(ExplicitVRBigEndian, RLELossless, JPEGLSLossless, JPEGLSNearLossless, JPEG2000Lossless),
    *(JPEG2000, JPEGBaseline8Bit, JPEGLossless, JPEGLosslessSV1),
    *(JPEGExtended12Bit, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K),
)


def write_tiny_film(path: Path, syntax: str) -> None:
    """One DICOM file of the ramp in one transfer syntax."""
    dataset = Dataset()
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = "2.25.1"
    dataset.PatientID = "NOBODY"
    dataset.StudyDate = "20200101"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = RAMP.shape
    # JPEG Extended is for 12 bits; the others are as small as can be.
    bits = 12 if syntax == JPEGExtended12Bit else 8
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8 * -(-bits // 8), bits, bits - 1
    dataset.PixelRepresentation = 0
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax in _BY_GDCM:
        dataset.add_new(0x7FE00010, "OB", encapsulate([_encode_with_gdcm(_BY_GDCM[syntax])]))
    elif syntax in _BY_IMAGECODECS:
        dataset.add_new(0x7FE00010, "OB", encapsulate([_BY_IMAGECODECS[syntax]()]))
    elif syntax == JPEGLSNearLossless:
        dataset.compress(syntax, RAMP, generate_instance_uid=False, jls_error=1)
    elif syntax == JPEG2000:
        dataset.compress(syntax, RAMP, generate_instance_uid=False, j2k_psnr=[60.0])
    elif UID(syntax).is_compressed and syntax != DeflatedExplicitVRLittleEndian:
        dataset.compress(syntax, RAMP, generate_instance_uid=False)
    else:
        dataset.add_new(0x7FE00010, "OB", RAMP.tobytes())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.save_as(path, enforce_file_format=True)


def _encode_with_gdcm(syntax: str) -> bytes:
    import gdcm

    writer = gdcm.ImageWriter()
    image = writer.GetImage()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((32, 32, 1))
    image.SetPixelFormat(gdcm.PixelFormat(1, 8, 8, 7, 0))
    image.SetPhotometricInterpretation(
        gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2)
    )
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.ImplicitVRLittleEndian))
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetByteStringValue(RAMP.tobytes())
    image.SetDataElement(element)
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(image)
    if not change.Change():
        raise ValueError(f"gdcm does not encode syntax {syntax}")
    fragment = change.GetOutput().GetDataElement().GetSequenceOfFragments().GetFragment(0)
    stream: str = fragment.GetByteValue().GetBuffer()
    return stream.encode("utf-8", "surrogateescape")


if __name__ == "__main__":
    for uid in SYNTAXES:
        write_tiny_film(FOLDER / f"{uid}.dcm", uid)
