"""The one door to ``imagecodecs``: code streams that it reads faster than others, or alone.

It returns a picture from most damaged streams, so a stream is read only where its own size is the
film's, it ends as it should and, if it is lossless JPEG, it holds exactly its pixels. What this door
refuses may be read by another decoder. Imports the JPEG header only.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Mapping

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from client.intake.jpeg import (
    BASELINE,
    END,
    EXTENDED,
    JPEG_LS,
    LOSSLESS,
    JpegHeader,
    holds_exactly,
    read_header,
)


class OtherSizeError(ValueError):
    """The stream's own size is not the film's: no other decoder may be asked, which would swell."""


Shape = tuple[int, int]
Stored = NDArray[np.uint8] | NDArray[np.uint16]


def decode_stream(syntax: str, stream: bytes, shape: Shape, *, n_bytes: int) -> Stored:
    """Stored values [h, w] of a film's only code stream, negative ones modulo 2^bits.

    Args:
        syntax: one of ``STREAMS``.
        stream: with or without padding at its end.
        shape: rows and columns that the film declares.
        n_bytes: 1 or 2 for a stored value.

    Raises:
        ValueError: this is no such stream, or not a whole one.
        RuntimeError: imagecodecs cannot read it.
    """
    values = STREAMS[syntax](stream, shape, n_bytes)
    if values.shape != shape or values.itemsize > n_bytes:
        raise ValueError("must hold one value for each pixel, none longer than is declared")
    return values.astype(f"u{n_bytes}", copy=False)


def _decode_rle(stream: bytes, shape: Shape, n_bytes: int) -> Stored:
    size = shape[0] * shape[1] * n_bytes
    decoded = imagecodecs.dicomrle_decode(stream, f"<u{n_bytes}", out=size)
    return np.frombuffer(decoded, dtype=f"<u{n_bytes}").reshape(shape)


def _decode_lossless_jpeg(stream: bytes, shape: Shape, _n_bytes: int) -> Stored:
    header = _require_jpeg(stream, shape, LOSSLESS)
    if not header.is_plain or header.predictor != 1:
        raise ValueError("must be foretold by left neighbours, without restarts")
    values: Stored = imagecodecs.jpeg8_decode(stream)
    if not holds_exactly(stream, header, values.astype(np.uint16, copy=False)):
        raise ValueError("must hold exactly its pixels")
    return values


def _decode_extended_jpeg(stream: bytes, shape: Shape, _n_bytes: int) -> Stored:
    _require_jpeg(stream, shape, BASELINE, EXTENDED)
    values: Stored = imagecodecs.jpeg8_decode(stream)
    return values


def _decode_jpeg_ls(stream: bytes, shape: Shape, _n_bytes: int) -> Stored:
    _require_jpeg(stream, shape, JPEG_LS)  # without its end CharLS works for minutes
    values: Stored = imagecodecs.jpegls_decode(stream)
    return values


def _decode_jpeg2000(stream: bytes, shape: Shape, _n_bytes: int) -> Stored:
    _require_size(_ended(stream), shape)
    values: Stored = imagecodecs.jpeg2k_decode(stream)
    return values


def _decode_htj2k(stream: bytes, shape: Shape, _n_bytes: int) -> Stored:
    """imagecodecs only reports what OpenJPH finds wrong, and returns memory that nobody has filled."""
    _require_size(_ended(stream), shape)
    reported: list[object] = []
    hook, sys.unraisablehook = sys.unraisablehook, reported.append
    try:
        values: Stored = imagecodecs.htj2k_decode(stream)
    finally:
        sys.unraisablehook = hook
    if reported:
        raise ValueError("must be a sound HTJ2K stream")
    return values


def _ended(stream: bytes) -> bytes:
    if not stream.rstrip(b"\0").endswith(END):
        raise ValueError("must end with its end marker")
    return stream


def _require_jpeg(stream: bytes, shape: Shape, *processes: int) -> JpegHeader:
    header = read_header(_ended(stream))
    if header.shape != shape:
        raise OtherSizeError("must be of the film's size")
    if header.process not in processes:
        raise ValueError("must be coded by its syntax's process")
    return header


def _require_size(stream: bytes, shape: Shape) -> None:
    """The SIZ segment, which comes first (T.800 A.5.1): the film's size, one component."""
    if not stream.startswith(b"\xff\x4f\xff\x51") or len(stream) < 42:
        raise ValueError("must begin with the size of its image")
    right, lower, left, upper = struct.unpack_from(">4I", stream, 8)
    [n_components] = struct.unpack_from(">H", stream, 40)
    if (lower - upper, right - left) != shape:
        raise OtherSizeError("must be of the film's size")
    if n_components != 1:
        raise ValueError("must be of one component")


STREAMS: Mapping[str, Callable[[bytes, Shape, int], Stored]] = {
    RLELossless: _decode_rle,
    JPEGExtended12Bit: _decode_extended_jpeg,
    JPEGLossless: _decode_lossless_jpeg,
    JPEGLosslessSV1: _decode_lossless_jpeg,
    JPEGLSLossless: _decode_jpeg_ls,
    JPEGLSNearLossless: _decode_jpeg_ls,
    JPEG2000Lossless: _decode_jpeg2000,
    JPEG2000: _decode_jpeg2000,
    HTJ2KLossless: _decode_htj2k,
    HTJ2KLosslessRPCL: _decode_htj2k,
    HTJ2K: _decode_htj2k,
}
