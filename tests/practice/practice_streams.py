"""Code streams by encoders that are not the decoders under test."""

from __future__ import annotations

import gdcm
import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.uid import (
    HTJ2K,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
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
