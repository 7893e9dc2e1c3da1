"""Real code streams in, values out: every syntax, the order of steps, damage."""

from __future__ import annotations

from pathlib import Path

import gdcm
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

from client.cohort.quarantine import CODES
from client.intake.decode import DECODERS
from client.intake.dicom import read_film
from shared.errors import IntakeError

LOSSLESS = {
    "implicit": "1.2.840.10008.1.2",
    "explicit": "1.2.840.10008.1.2.1",
    "deflated": "1.2.840.10008.1.2.1.99",
    "rle": "1.2.840.10008.1.2.5",
    "jpeg 2000 lossless": "1.2.840.10008.1.2.4.90",
    "jpeg-ls lossless": "1.2.840.10008.1.2.4.80",
}


def code_of(path: Path) -> str:
    with pytest.raises(IntakeError) as refusal:
        read_film(path)
    assert "CANARY" not in str(refusal.value)
    assert refusal.value.code in CODES
    return refusal.value.code


@pytest.mark.parametrize("syntax", LOSSLESS.values(), ids=LOSSLESS)
def test_lossless_syntaxes_give_the_stored_pixels(write_film, stored, syntax):
    film = read_film(write_film(syntax=syntax))
    assert film.transfer_syntax == syntax
    assert film.picture.pixels.dtype == np.float32
    assert np.array_equal(film.picture.pixels, stored.astype(np.float32))


def test_jpeg_lossless_gives_the_stored_pixels(write_film, stored, tmp_path):
    source, target = write_film(), tmp_path / "jpeg-lossless.dcm"
    reader = gdcm.ImageReader()
    reader.SetFileName(str(source))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    film = read_film(target)
    assert film.transfer_syntax == "1.2.840.10008.1.2.4.70"
    assert np.array_equal(film.picture.pixels, stored.astype(np.float32))


def test_no_decoder_is_the_gpl_one():
    assert {name for names in DECODERS.values() for name in names} == {
        *("", "native", "imagecodecs", "gdcm")
    }
    with pytest.raises(ModuleNotFoundError):
        __import__("libjpeg")


SMALL = np.array([[0, 10], [20, 30]], dtype=np.uint16)
RESCALE = {"RescaleSlope": "2", "RescaleIntercept": "5"}


@pytest.mark.parametrize(
    ("photometric", "shape", "expected"),
    [
        ("MONOCHROME2", "IDENTITY", [[5, 25], [45, 65]]),
        ("MONOCHROME1", None, [[65, 45], [25, 5]]),
        ("MONOCHROME1", "INVERSE", [[65, 45], [25, 5]]),  # one inversion, not two
        ("MONOCHROME2", "INVERSE", [[65, 45], [25, 5]]),
    ],
)
def test_inversion_comes_last_and_once(write_film, photometric, shape, expected):
    more = {"PresentationLUTShape": shape} if shape else {}
    film = read_film(write_film(pixels=SMALL, PhotometricInterpretation=photometric, **RESCALE, **more))
    assert film.picture.pixels.tolist() == expected
    assert film.is_inverted == (expected[0][0] == 65)


def test_modality_lut_is_applied_before_inversion(write_film):
    table = Dataset()
    table.LUTDescriptor = [4, 0, 16]
    table.ModalityLUTType = "US"
    table.add_new(0x00283006, "US", [100, 400, 900, 1600])
    pixels = np.array([[0, 1], [2, 3]], dtype=np.uint16)
    path = write_film(
        pixels=pixels,
        ModalityLUTSequence=Sequence([table]),
        PhotometricInterpretation="MONOCHROME1",
    )
    # Inverted first, the table would give 1600 900 400 100; after it, 1700 minus each entry.
    assert read_film(path).picture.pixels.tolist() == [[1600, 1300], [800, 100]]


def test_windows_change_nothing(write_film, stored):
    film = read_film(write_film(WindowCenter="100", WindowWidth="50"))
    assert np.array_equal(film.picture.pixels, stored)


def test_syntax_without_decoder_is_told_from_damage(write_film):
    path = write_film()
    film = dcmread(path)
    film.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.102"  # MPEG-4
    film.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
    film["PixelData"].VR = "OB"
    film.save_as(path)
    assert code_of(path) == "intake.unsupported-syntax"


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.80"])
def test_garbled_code_stream_is_unreadable(write_film, syntax):
    rng = np.random.default_rng(11)
    for number in range(12):
        pixels = rng.normal(2000, 300, (96, 96)).clip(0, 4095).astype(np.uint16)
        path = write_film(f"{number}.dcm", pixels=pixels, syntax=syntax)
        data = path.read_bytes()
        start = len(data) // 3
        path.write_bytes(data[:start] + rng.bytes(len(data) - start - 8) + data[-8:])
        assert code_of(path) == "intake.unreadable-dicom"


def test_eight_bits_are_a_film_too(write_film):
    pixels = np.arange(48 * 40, dtype=np.uint8).reshape(48, 40)
    film = read_film(
        write_film(pixels=pixels, BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=pixels.tobytes())
    )
    assert (film.picture.pixels == pixels).all()


def write_with_overlays(write_film, *positions: int, **attributes) -> Path:
    """A film whose bits of these positions are overlays, as its groups 6000, 6002, … say."""
    path = write_film(**attributes)
    film = dcmread(path)
    for number, position in enumerate(positions):
        film.add_new((0x6000 + 2 * number, 0x0102), "US", position)
    film.save_as(path)
    return path


def test_overlays_above_bits_stored_are_no_part_of_the_value(write_film):
    path = write_with_overlays(write_film, 12, 15, pixels=SMALL | 0x9000)
    assert read_film(path).picture.pixels.tolist() == SMALL.tolist()


def test_other_bits_above_bits_stored_are_refused_because_bright_would_turn_dark(write_film):
    assert code_of(write_film(pixels=SMALL | 0x1000)) == "intake.stray-bits"
    assert code_of(write_with_overlays(write_film, 12, pixels=SMALL | 0x3000)) == "intake.stray-bits"
    # a plane beside the pixels has position 0 and excuses nothing
    assert code_of(write_with_overlays(write_film, 0, pixels=SMALL | 0x1000)) == "intake.stray-bits"


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.80"])
def test_a_code_stream_of_more_bits_than_the_header_says_is_refused(write_film, stored, syntax):
    path = write_film(pixels=stored * 4, syntax=syntax, BitsStored=14, HighBit=13)
    film = dcmread(path)
    film.BitsStored, film.HighBit = 12, 11
    film.save_as(path)
    assert code_of(path) == "intake.stray-bits"


def test_padding_may_lie_above_bits_stored(write_film):
    padded = SMALL.copy()
    padded[0, 0] = 0xFFFF
    film = read_film(write_film(pixels=padded, PixelPaddingValue=0xFFFF))
    assert film.picture.pixels.tolist() == [[4095, 10], [20, 30]]
    assert code_of(write_film(pixels=padded)) == "intake.stray-bits"


def ramp(low: int, high: int) -> np.ndarray:
    """Rows that rise from one value to another in small steps."""
    return np.tile(np.linspace(low, high, 40).astype(np.int16), (48, 1))


SYNTAXES = ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.80"]


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("bits", [10, 12, 15, 16])
def test_a_sign_that_would_wrap_bright_into_dark_is_no_sign(write_film, bits, syntax):
    values = np.tile(np.linspace(0, 2**bits - 1, 40).astype(np.uint16), (48, 1))
    path = write_film(pixels=values, BitsStored=bits, HighBit=bits - 1, syntax=syntax)
    film = dcmread(path)
    film.PixelRepresentation = 1
    film.save_as(path)
    assert (read_film(path).picture.pixels == values).all()


@pytest.mark.parametrize("bits", [12, 16])
def test_a_sign_that_makes_a_picture_smooth_is_a_sign(write_film, bits):
    values = ramp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    pixels = values.view(np.uint16) & np.uint16(2**bits - 1)  # the sign is not repeated above
    path = write_film(pixels=pixels, PixelRepresentation=1, BitsStored=bits, HighBit=bits - 1)
    assert (read_film(path).picture.pixels == values).all()


def test_a_film_that_says_nothing_of_a_sign_has_none(write_film, stored):
    assert (read_film(write_film(PixelRepresentation=None)).picture.pixels == stored).all()


@pytest.mark.parametrize(
    "strange",
    [
        pytest.param(2500, id="a positive value that needs a bit more"),
        pytest.param(0x1001, id="a bit above of a positive value"),
        pytest.param(0xF001, id="a repeated sign without a sign"),
        pytest.param(0x7FFF, id="a sign that is repeated in part"),
    ],
)
def test_a_signed_value_of_more_bits_than_are_stored_is_refused(write_film, strange):
    values = ramp(-2000, 2000)
    values[3, 3] = np.uint16(strange).view(np.int16)
    assert code_of(write_film(pixels=values, PixelRepresentation=1)) == "intake.stray-bits"


def test_signed_values_end_at_their_highest_stored_bit(write_film):
    values = np.array([[-2048, -1, 0, 2047]] * 4, dtype=np.int16)
    signed = {"PixelRepresentation": 1}
    for unused in (values, values & 0x0FFF):  # the sign again, or nothing
        film = read_film(write_film(pixels=unused.astype(np.uint16), **signed))
        assert film.picture.pixels[0].tolist() == [-2048, -1, 0, 2047]
    stray = ((values & 0x0FFF) | np.int16(0x5000)).astype(np.uint16)
    assert code_of(write_film(pixels=stray, **signed)) == "intake.stray-bits"
    film = read_film(write_with_overlays(write_film, 12, 14, pixels=stray, **signed))
    assert film.picture.pixels[0].tolist() == [-2048, -1, 0, 2047]
