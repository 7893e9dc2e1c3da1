"""The decoders: the pixels of an open film become a matrix of numbers.

Pixels go through decode → modality LUT → inversion, in this order (PS3.3 C.7.6.3); windows (VOI LUT)
are left out because they differ by vendor and the later normalisation replaces them. No text of an
error holds a value of the file. Imports errors only.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import gdcm
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels.processing import apply_modality_lut
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
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

from shared.errors import IntakeError

# pydicom logs and warns with attribute values; at a hospital these are a patient's.
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
# gdcm writes about damaged code streams straight to stderr; here they become a quarantine code.
gdcm.Trace.SetWarning(False)
gdcm.Trace.SetError(False)

HINT = "`osteofed-site cohort` names the remedy of each code"

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


def read_pixels(dataset: Dataset, *, invert: bool) -> NDArray[np.float32]:
    """The film's values [h, w] after the modality LUT, each turned over where ``invert``.

    Raises:
        IntakeError: the transfer syntax has no decoder here, or the values are no finite matrix.
        Exception: a damaged code stream may raise anything, with values of the file in its text.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax not in DECODERS:
        raise IntakeError("unsupported-syntax", "the transfer syntax has no decoder here", hint=HINT)
    stored = pixel_array(dataset, raw=True, decoding_plugin=DECODERS[syntax])
    if not dataset.PixelRepresentation:
        # Bits above BitsStored are no part of the value (PS3.5 8.1.1); pydicom clears signed ones.
        stored = stored & ((1 << int(dataset.BitsStored)) - 1)
    pixels = _apply_modality(stored, dataset)
    if pixels.ndim != 2 or not np.isfinite(pixels).all():
        raise IntakeError("unreadable-dicom", "pixels must be a finite matrix", hint=HINT)
    return (pixels.min() + pixels.max()) - pixels if invert else pixels


def _apply_modality(stored: NDArray[np.generic], dataset: Dataset) -> NDArray[np.float32]:
    """Modality LUT, or rescale slope and intercept (PS3.3 C.11.1)."""
    if dataset.get("ModalityLUTSequence"):
        return np.asarray(apply_modality_lut(stored, dataset), dtype=np.float32)
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    pixels = stored.astype(np.float32)
    if slope is not None and intercept is not None:
        pixels = pixels * np.float32(slope) + np.float32(intercept)
    return pixels
