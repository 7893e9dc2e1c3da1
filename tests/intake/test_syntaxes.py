"""One film in every transfer syntax: what is kept of it is the same or, where it lost something, close.

Files are written by gdcm's, CharLS's, OpenJPEG's, imagecodecs' and pydicom's encoders and read by the
intake's own worker processes, up to the small image that goes into a cohort.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from practice_intake import HIP
from practice_streams import LOSSES, NATIVE, write_film
from pydicom import dcmread
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from client.intake.decode import DECODERS
from client.intake.read_film import ReadFilm
from client.intake.workers import ReadingRule, read_films
from server.synthetic.exams import draw_exams
from server.synthetic.hospitals import BIRCH
from shared.exam.pixels import Picture, prepare

PLAIN = tuple(view.model_copy(update={"anatomy": "", "window_mm": 0.0}) for view in HIP.views)
RULE = ReadingRule(PLAIN, HIP.image_pixels, None)
COMPRESSED = {
    "rle": RLELossless,
    "jpeg lossless": JPEGLossless,
    "jpeg lossless, first-order": JPEGLosslessSV1,
    "jpeg-ls": JPEGLSLossless,
    "jpeg 2000": JPEG2000Lossless,
    "htj2k": HTJ2KLossless,
    "htj2k, by resolution": HTJ2KLosslessRPCL,
}
EXACT = NATIVE | COMPRESSED
Levels = NDArray[np.uint16]


@pytest.fixture(scope="module")
def film() -> Levels:
    """A hip of 12 bits, with the noise of its detector."""
    [exam] = draw_exams(BIRCH, 1, np.random.default_rng(5))
    return exam.films[0].pixels


def kept(read: ReadFilm) -> NDArray[np.float16]:
    """What a cohort would keep of a film, [h, w] in 0 to 1."""
    assert read.code == ""
    assert read.view is not None
    return np.frombuffer(read.image, np.float16).reshape(HIP.image_pixels, HIP.image_pixels)


@pytest.mark.parametrize("bits", [12, 16])
def test_one_film_in_every_lossless_syntax_is_kept_bit_for_bit_the_same(film, tmp_path, bits):
    low = np.random.default_rng(6).integers(0, 2 ** (bits - 12), film.shape, dtype=np.uint16)
    levels = (film << (bits - 12)) | low
    assert levels.max() > 2 ** (bits - 2)
    paths = [
        write_film(tmp_path / f"{number}.dcm", levels, syntax, bits=bits)
        for number, syntax in enumerate(EXACT.values())
    ]
    assert [dcmread(path).file_meta.TransferSyntaxUID for path in paths] == list(EXACT.values())
    assert (
        len({path.stat().st_size for path in paths}) >= len(EXACT) - 3
    )  # natives are of one size, and HTJ2K
    reads = list(read_films(paths, RULE, workers=2))
    whole, _ = prepare(Picture(pixels=levels.astype(np.float32)), HIP.image_pixels, mirror=True)
    expected = whole.astype(np.float16)
    assert expected.std() > 0.1
    for name, read in zip(EXACT, reads, strict=True):
        assert kept(read).tobytes() == expected.tobytes(), name


@pytest.mark.parametrize(
    ("syntax", "bits"),
    [
        (JPEGBaseline8Bit, 8),
        (JPEGExtended12Bit, 12),
        (JPEGLSNearLossless, 12),
        (JPEG2000, 12),
        (HTJ2K, 12),
    ],
)
def test_a_film_in_a_lossy_syntax_is_kept_close_to_the_exact_one(film, tmp_path, syntax, bits):
    levels = film >> (12 - bits)
    paths = [write_film(tmp_path / "exact.dcm", levels, ExplicitVRLittleEndian, bits=bits)]
    paths.append(write_film(tmp_path / "lossy.dcm", levels, syntax, bits=bits))
    assert paths[1].stat().st_size < paths[0].stat().st_size / 2
    exact, lossy = (kept(read).astype(np.float64) for read in read_films(paths, RULE))
    difference = np.abs(exact - lossy)
    assert 0 < difference.max() < 0.09
    assert difference.mean() < 0.01


def test_every_syntax_that_is_decoded_is_in_one_of_these_tests():
    assert set(EXACT.values()) | {JPEGBaseline8Bit, JPEGExtended12Bit, HTJ2K, *LOSSES} == set(DECODERS)
