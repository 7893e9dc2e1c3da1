"""The decoders: the pixels of an open film become a matrix of numbers.

Pixels go through decode → modality LUT → inversion, in this order (PS3.3 C.7.6.3); windows (VOI LUT)
are left out because they differ by vendor and the later normalisation replaces them. No text of an
error holds a value of the file. Imports the codecs and errors only.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import gdcm
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.processing import apply_modality_lut
from pydicom.pixels.utils import pixel_array
from pydicom.tag import Tag
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
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

from client.intake.codecs import OtherSizeError, decode_stream
from shared.errors import IntakeError

# pydicom logs and warns with attribute values; at a hospital these are a patient's.
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
# gdcm writes about damaged code streams straight to stderr; here they become a quarantine code.
gdcm.Trace.SetWarning(False)
gdcm.Trace.SetError(False)

IMAGECODECS, NATIVE = "imagecodecs", "native"
Stored = NDArray[np.integer]  # [h, w] as the film has them, of 8 or 16 bits
# Where old films keep overlays in bits above the stored ones (PS3.3 C.9.2); planes of their own are
# never read.
OVERLAY_BITS = tuple(Tag(group, 0x0102) for group in range(0x6000, 0x6020, 2))
HINT = "`osteofed-site cohort` names the remedy of each code"

# Transfer syntax → who decodes it; the second is asked where the first cannot vouch for a stream.
# "" is pydicom itself.
DECODERS: Mapping[str, tuple[str, ...]] = {
    ImplicitVRLittleEndian: (NATIVE,),
    ExplicitVRLittleEndian: (NATIVE,),
    ExplicitVRBigEndian: ("",),
    DeflatedExplicitVRLittleEndian: (NATIVE,),
    RLELossless: (IMAGECODECS,),
    JPEGBaseline8Bit: ("gdcm",),
    JPEGExtended12Bit: (IMAGECODECS,),
    JPEGLossless: (IMAGECODECS, "gdcm"),
    JPEGLosslessSV1: (IMAGECODECS, "gdcm"),
    JPEGLSLossless: (IMAGECODECS,),
    JPEGLSNearLossless: (IMAGECODECS,),
    # pylibjpeg's binding of OpenJPEG takes most garbled code streams for films (D-006).
    JPEG2000Lossless: (IMAGECODECS, "gdcm"),
    JPEG2000: (IMAGECODECS, "gdcm"),
    HTJ2KLossless: (IMAGECODECS,),
    HTJ2KLosslessRPCL: (IMAGECODECS,),
    HTJ2K: (IMAGECODECS,),
}


def read_pixels(dataset: Dataset, *, invert: bool) -> NDArray[np.float32]:
    """The film's values [h, w] after the modality LUT, each turned over where ``invert``.

    A film that says of no sign, or wrongly of one, leaves with ``PixelRepresentation`` 0.

    Raises:
        IntakeError: the transfer syntax has no decoder here, or the values are no finite matrix.
        Exception: a damaged code stream may raise anything, with values of the file in its text.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax not in DECODERS:
        raise IntakeError("unsupported-syntax", "the transfer syntax has no decoder here", hint=HINT)
    stored = _decode(dataset, DECODERS[syntax])
    pixels = _apply_modality(stored, dataset)
    if pixels.ndim != 2:
        raise IntakeError("unreadable-dicom", "pixels must be a finite matrix", hint=HINT)
    return np.subtract(pixels.min() + pixels.max(), pixels, out=pixels) if invert else pixels


def _decode(dataset: Dataset, decoders: tuple[str, ...]) -> Stored:
    """Stored values [h, w] by the first decoder that can read them."""
    for decoder in decoders[:-1]:
        try:
            return _decode_by(decoder, dataset)
        except OtherSizeError:
            raise
        except Exception:  # noqa: BLE001, S112 - what it finds wrong, the next one judges
            continue
    return _decode_by(decoders[-1], dataset)


def _decode_by(decoder: str, dataset: Dataset) -> Stored:
    """Stored values [h, w] by one decoder."""
    shape = int(dataset.Rows), int(dataset.Columns)
    n_bytes = int(dataset.BitsAllocated) // 8
    stored: Stored
    if decoder == NATIVE:  # a view of the file's bytes; what follows them is padding
        values = np.frombuffer(dataset.PixelData, f"<u{n_bytes}", count=shape[0] * shape[1])
        stored = values.reshape(shape)
    elif decoder == IMAGECODECS:
        stream = get_frame(dataset.PixelData, 0, number_of_frames=1)
        stored = decode_stream(dataset.file_meta.TransferSyntaxUID, stream, shape, n_bytes=n_bytes)
    else:
        stored = pixel_array(
            dataset, raw=True, view_only=True, decoding_plugin=decoder, correct_unused_bits=False
        )
    return _clear_unused_bits(stored, dataset)


def _clear_unused_bits(stored: Stored, dataset: Dataset) -> Stored:
    """Stored values without what lies above BitsStored: overlays, or the sign again (PS3.5 8.1.1).

    Raises:
        IntakeError: something else lies there, which would wrap bright values into dark ones.
    """
    bits, width = int(dataset.BitsStored), 8 * stored.itemsize
    plain = stored.astype(f"u{stored.itemsize}", copy=False)  # native order, the same bits
    if not dataset.get("PixelRepresentation"):
        dataset.PixelRepresentation = 0
        if not int(plain.max()) >> bits:
            return plain
    value_bits, all_bits = (1 << bits) - 1, (1 << width) - 1
    overlays: int = sum({1 << int(dataset[tag].value or 0) for tag in OVERLAY_BITS if tag in dataset})
    above = all_bits & ~value_bits & ~overlays
    has_bits = (plain & above) != 0
    is_stray = has_bits
    if dataset.PixelRepresentation:  # the highest stored bit is the sign
        is_negative = plain >> (bits - 1) & 1 == 1
        repeats_sign = has_bits & is_negative & ((plain & above) == above)
        # a film repeats the sign in all its negative values or in none
        is_stray = (has_bits & ~repeats_sign) | (is_negative & ~has_bits & repeats_sign.any())
    if (is_stray & (stored != dataset.get("PixelPaddingValue"))).any():
        raise IntakeError("stray-bits", "pixels must not exceed BitsStored", hint=HINT)
    values = plain & value_bits
    if not dataset.PixelRepresentation:
        return values
    signed: Stored = (plain << (width - bits)).view(f"i{stored.itemsize}") >> (width - bits)
    if not has_bits.any() and _n_leaps(values, bits) < _n_leaps(signed, bits):
        dataset.PixelRepresentation = 0  # the header is wrong: with a sign, bright wraps into dark
        return values
    return signed


def _n_leaps(values: Stored, bits: int) -> int:
    """How often a value and the next of its row lie more than half of the range apart."""
    rows = values[::4].astype(np.int32)
    return int((np.abs(np.diff(rows, axis=1)) > 1 << (bits - 1)).sum())


def _apply_modality(stored: Stored, dataset: Dataset) -> NDArray[np.float32]:
    """Modality LUT, or rescale slope and intercept (PS3.3 C.11.1)."""
    if dataset.get("ModalityLUTSequence"):
        pixels = np.asarray(apply_modality_lut(stored, dataset), dtype=np.float32)
    else:
        slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
        pixels = stored.astype(np.float32)
        if slope is None or intercept is None or (slope, intercept) == (1, 0):
            return pixels
        pixels *= np.float32(slope)
        pixels += np.float32(intercept)
    if not np.isfinite([pixels.min(), pixels.max()]).all():  # one value that is no number shows in both
        raise IntakeError("unreadable-dicom", "pixels must be a finite matrix", hint=HINT)
    return pixels
