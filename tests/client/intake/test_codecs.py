"""Streams that imagecodecs reads: the same values as another decoder, and what it must not accept."""

from __future__ import annotations

import struct

import imagecodecs
import numpy as np
import pytest
from practice_streams import BY_IMAGECODECS, encode_by_gdcm, lossless_jpeg
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import get_frame
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    JPEG2000,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from client.intake.codecs import STREAMS, decode_stream

SHAPE = (48, 40)


@pytest.fixture(scope="module")
def levels() -> np.ndarray:
    ramp = np.add.outer(np.arange(48) * 30, np.arange(40) * 20)
    return (ramp + np.random.default_rng(4).integers(0, 50, SHAPE)).astype(np.uint16)


def compressed(levels: np.ndarray, syntax: str, **more: object) -> Dataset:
    """A film by one of pydicom's encoders."""
    film = Dataset()
    film.file_meta = FileMetaDataset()
    film.SamplesPerPixel, film.PhotometricInterpretation = 1, "MONOCHROME2"
    film.Rows, film.Columns = levels.shape
    film.BitsAllocated, film.BitsStored, film.HighBit, film.PixelRepresentation = 16, 12, 11, 0
    film.SOPInstanceUID = "2.25.1"
    film.compress(syntax, levels, generate_instance_uid=False, **more)
    return film


LOSSES = {JPEGLSNearLossless: {"jls_error": 4}, JPEG2000: {"j2k_psnr": [50.0]}}
PEERS = {
    RLELossless: "pydicom",
    JPEGLSLossless: "pyjpegls",
    JPEGLSNearLossless: "pyjpegls",
    JPEG2000Lossless: "gdcm",
    JPEG2000: "gdcm",
}


@pytest.mark.parametrize("syntax", PEERS)
def test_values_are_those_of_another_decoder_bit_for_bit(levels, syntax):
    film = compressed(levels, syntax, **LOSSES.get(syntax, {}))
    stream = get_frame(film.PixelData, 0, number_of_frames=1)
    values = decode_stream(syntax, stream, SHAPE, n_bytes=2)
    assert values.dtype == np.uint16
    assert np.array_equal(values, pixel_array(film, raw=True, decoding_plugin=PEERS[syntax]))
    if syntax not in LOSSES:
        assert np.array_equal(values, levels)


@pytest.mark.parametrize("syntax", [JPEGLossless, JPEGLosslessSV1])
def test_lossless_jpeg_by_another_encoder_is_read_exactly(levels, syntax):
    values = decode_stream(syntax, encode_by_gdcm(levels, syntax, 12), SHAPE, n_bytes=2)
    assert np.array_equal(values, levels)


@pytest.mark.parametrize("syntax", BY_IMAGECODECS)
def test_what_only_imagecodecs_reads_comes_back(levels, syntax):
    values = decode_stream(syntax, BY_IMAGECODECS[syntax](levels), SHAPE, n_bytes=2)
    off = np.abs(values.astype(int) - levels).max()
    assert off == 0 if "Lossless" in syntax.keyword else 0 < off < 60


def test_eight_bits_of_a_stream_fill_the_sixteen_of_a_film(levels):
    small = (levels >> 4).astype(np.uint8)
    values = decode_stream(JPEGLosslessSV1, lossless_jpeg(small, bits=8), SHAPE, n_bytes=2)
    assert values.dtype == np.uint16
    assert np.array_equal(values, small)


def stream_of(syntax: str, levels: np.ndarray) -> bytes:
    if syntax in BY_IMAGECODECS:
        return BY_IMAGECODECS[syntax](levels)
    if syntax in (JPEGLossless, JPEGLosslessSV1):
        return encode_by_gdcm(levels, syntax, 12)
    film = compressed(levels, syntax, **LOSSES.get(syntax, {}))
    return get_frame(film.PixelData, 0, number_of_frames=1)


@pytest.mark.parametrize("syntax", STREAMS)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.97])
def test_a_stream_that_ends_early_is_refused_at_once(levels, syntax, share):
    stream = stream_of(syntax, levels)
    with pytest.raises((ValueError, RuntimeError, struct.error)):
        decode_stream(syntax, stream[: int(share * len(stream))], SHAPE, n_bytes=2)


@pytest.mark.parametrize("syntax", STREAMS)
@pytest.mark.parametrize("shape", [(48, 41), (8, 8), (4800, 4000)])
def test_a_stream_of_another_size_than_the_film_declares_is_refused(levels, syntax, shape):
    with pytest.raises((ValueError, RuntimeError)):
        decode_stream(syntax, stream_of(syntax, levels), shape, n_bytes=2)


def test_a_lossless_stream_with_a_hole_is_refused_though_a_picture_can_be_made_of_it(levels):
    stream = lossless_jpeg(levels, bits=12)
    middle = len(stream) // 2
    holed = stream[:middle] + stream[middle + 30 :]
    assert imagecodecs.jpeg8_decode(holed).shape == SHAPE
    with pytest.raises(ValueError, match="must hold exactly its pixels"):
        decode_stream(JPEGLosslessSV1, holed, SHAPE, n_bytes=2)


def test_a_damaged_htj2k_stream_is_no_picture_of_memory_that_nobody_filled(levels):
    stream = BY_IMAGECODECS[HTJ2KLossless](levels)
    middle = len(stream) // 2
    with pytest.raises(ValueError, match="sound HTJ2K"):
        decode_stream(HTJ2KLossless, stream[:middle] + stream[middle + 40 :], SHAPE, n_bytes=2)


def test_a_stream_of_another_process_than_its_syntax_names_is_refused(levels):
    baseline = encode_by_gdcm(levels >> 4, JPEGBaseline8Bit, 8)
    assert decode_stream(JPEGExtended12Bit, baseline, SHAPE, n_bytes=2).max() < 256
    for syntax, stream in (
        (JPEGLosslessSV1, baseline),
        (JPEGExtended12Bit, lossless_jpeg(levels, bits=12)),
        (JPEGLSLossless, lossless_jpeg(levels, bits=12)),
    ):
        with pytest.raises(ValueError, match="by its syntax's process"):
            decode_stream(syntax, stream, SHAPE, n_bytes=2)
