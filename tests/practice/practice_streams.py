"""Films and code streams by encoders that, where there is another, are not the decoders under test."""

from __future__ import annotations

from pathlib import Path

import gdcm
import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSNearLossless,
)

BY_GDCM = {
    JPEGLossless: gdcm.TransferSyntax.JPEGLosslessProcess14,
    JPEGLosslessSV1: gdcm.TransferSyntax.JPEGLosslessProcess14_1,
    JPEGBaseline8Bit: gdcm.TransferSyntax.JPEGBaselineProcess1,
}
# pydicom has no encoder of these.
BY_IMAGECODECS = {
    JPEGExtended12Bit: lambda levels: imagecodecs.jpeg8_encode(levels, level=95, bitspersample=12),
    HTJ2KLossless: lambda levels: imagecodecs.htj2k_encode(levels, reversible=True),
    HTJ2KLosslessRPCL: lambda levels: imagecodecs.htj2k_encode(levels, reversible=True),
    HTJ2K: lambda levels: imagecodecs.htj2k_encode(levels, level=0.0003, reversible=False),
}


NATIVE = {
    "implicit": ImplicitVRLittleEndian,
    "explicit": ExplicitVRLittleEndian,
    "big endian": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
}
# How an encoder is told to lose: at most 4 of 4096 levels; a peak signal-to-noise ratio of 50 dB.
LOSSES = {JPEGLSNearLossless: {"jls_error": 4}, JPEG2000: {"j2k_psnr": [50.0]}}


def lossless_jpeg(levels: NDArray[np.generic], *, bits: int) -> bytes:
    """JPEG Lossless, first-order prediction (PS3.5 A.4.1), of [h, w] with ``bits`` stored."""
    return encode_by_gdcm(levels, JPEGLosslessSV1, bits)


def encode_by_gdcm(levels: NDArray[np.generic], syntax: str, bits: int) -> bytes:
    """One code stream of [h, w] in a syntax of ``BY_GDCM``."""
    levels = np.ascontiguousarray(levels, dtype=np.uint8 if bits <= 8 else np.uint16)
    writer = gdcm.ImageWriter()  # owns the image: must live until the conversion
    image = writer.GetImage()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((levels.shape[1], levels.shape[0], 1))
    image.SetPixelFormat(gdcm.PixelFormat(1, levels.itemsize * 8, bits, bits - 1, 0))
    grey = gdcm.PhotometricInterpretation.MONOCHROME2
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(grey))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.ImplicitVRLittleEndian))
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetByteStringValue(levels.tobytes())
    image.SetDataElement(element)
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(BY_GDCM[syntax]))
    change.SetInput(image)
    if not change.Change():
        raise ValueError(f"gdcm does not encode {syntax}")
    fragment = change.GetOutput().GetDataElement().GetSequenceOfFragments().GetFragment(0)
    return fragment.GetByteValue().GetBuffer().encode("utf-8", "surrogateescape")


def write_film(path: Path, levels: NDArray[np.generic], syntax: str, *, bits: int) -> Path:
    """One right hip as a DICOM file; ``bits`` are those stored."""
    allocated = 8 if bits <= 8 else 16
    dataset = Dataset()
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID, dataset.PatientID = "2.25.1", "NOBODY"
    dataset.StudyDate, dataset.BodyPartExamined = "20200101", "HIP"
    dataset.ViewPosition, dataset.ImageLaterality = "AP", "R"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = levels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = allocated, bits, bits - 1
    dataset.PixelRepresentation = 0
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    levels = np.ascontiguousarray(levels, dtype=np.uint8 if allocated == 8 else np.uint16)
    if syntax in NATIVE.values():
        order = ">" if syntax == ExplicitVRBigEndian else "<"
        stored = levels.astype(levels.dtype.newbyteorder(order))
        dataset.add_new("PixelData", "OW", stored.tobytes())
    elif syntax in BY_GDCM:
        dataset.add_new("PixelData", "OB", encapsulate([encode_by_gdcm(levels, syntax, bits)]))
    elif syntax in BY_IMAGECODECS:
        dataset.add_new("PixelData", "OB", encapsulate([BY_IMAGECODECS[syntax](levels)]))
    else:
        dataset.compress(syntax, levels, generate_instance_uid=False, **LOSSES.get(syntax, {}))
    dataset.save_as(path, enforce_file_format=True)
    return path
