"""Real DICOM bytes in, films out: order of steps, spacing, side, refusals."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import gdcm
import numpy as np
import pytest
from pydicom import config, dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from client.cohort.quarantine import CODES
from client.intake import dicom
from client.intake.dicom import DECODERS, read_film, read_patient_id
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
    assert film.pixels.dtype == np.float32
    assert np.array_equal(film.pixels, stored.astype(np.float32))


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
    assert np.array_equal(film.pixels, stored.astype(np.float32))


def test_no_decoder_is_the_gpl_one():
    assert set(DECODERS.values()) == {"", "pydicom", "gdcm", "pyjpegls"}
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
    assert film.pixels.tolist() == expected
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
    assert read_film(path).pixels.tolist() == [[1600, 1300], [800, 100]]


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
    assert read_film(path).pixels.tolist() == SMALL.tolist()


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
    assert film.pixels.tolist() == [[4095, 10], [20, 30]]
    assert code_of(write_film(pixels=padded)) == "intake.stray-bits"


def test_windows_change_nothing(write_film, stored):
    film = read_film(write_film(WindowCenter="100", WindowWidth="50"))
    assert np.array_equal(film.pixels, stored)


@pytest.mark.parametrize(
    ("image_side", "series_side", "default", "expected"),
    [
        ("R", "L", "L", "R"),
        ("", "L", "R", "L"),
        (None, "R", "L", "R"),
        (None, None, "B", "B"),
        ("U", None, None, None),
    ],
)
def test_side_is_image_then_series_then_configured(
    write_film, image_side, series_side, default, expected
):
    more = {} if series_side is None else {"Laterality": series_side}
    path = write_film(ImageLaterality=image_side, **more)
    assert read_film(path, default_laterality=default).laterality == expected


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"PixelSpacing": ["0.1", "0.2"]}, None),  # uncalibrated: says nothing
        (
            {"PixelSpacing": ["0.1", "0.2"], "PixelSpacingCalibrationType": "GEOMETRY"},
            (0.1, 0.2),
        ),
        ({"PixelSpacing": ["0.1", "0.1"], "ImagerPixelSpacing": ["0.3", "0.4"]}, (0.3, 0.4)),
        ({"ImagerPixelSpacing": ["0.000", "0.000"]}, None),
        (
            {
                "PixelSpacing": ["0.000", "0.000"],
                "PixelSpacingCalibrationType": "FIDUCIAL",
                "ImagerPixelSpacing": ["0.3", "0.3"],
            },
            (0.3, 0.3),
        ),
    ],
)
def test_spacing_is_calibrated_or_the_detectors_and_zero_is_missing(write_film, attributes, expected):
    assert read_film(write_film(**attributes)).pixel_mm == expected


def test_first_known_date_counts(write_film):
    film = read_film(write_film(AcquisitionDate="", ContentDate="20190230", StudyDate="20190301"))
    assert film.acquired == date(2019, 3, 1)


@pytest.mark.parametrize(
    "attributes",
    [
        {"SeriesDate": "20190301"},
        {"AcquisitionDateTime": "20190301235959.5+0100"},
        {"StudyDate": "2019-03-01"},
        {"StudyDate": "2019.03.01"},
        {"ContentDate": "19000101", "StudyDate": "20190301"},
        {"ContentDate": "00010101", "SeriesDate": "20190301"},
    ],
)
def test_a_day_is_found_wherever_it_stands_and_a_placeholder_is_none(write_film, attributes):
    with config.disable_value_validation():
        path = write_film(AcquisitionDate=None, **attributes)
    assert read_film(path).acquired == date(2019, 3, 1)


REFUSED = {
    "burned-in-annotation": {"BurnedInAnnotation": "YES"},
    "secondary-capture": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"},
    "secondary-capture by many frames": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.2"},
    "not-a-radiograph": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"},
    "several-frames": {"NumberOfFrames": "3"},
    "not-greyscale": {"PhotometricInterpretation": "PALETTE COLOR"},
    "not-greyscale by samples": {"SamplesPerPixel": 3},
    "unsupported-depth by allocation": {"BitsAllocated": 32},
    "unsupported-depth by high bit": {"HighBit": 15},
    "unsupported-depth by one bit": {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0},
    "too-large": {"Rows": 65535, "Columns": 65535},
    "unreadable-dicom": {"PixelData": b"\0\0"},
    "unreadable-dicom by absence": {"PixelData": None},
    "unreadable-dicom by slope": {"RescaleSlope": "1e400", "RescaleIntercept": "0"},
}


@pytest.mark.parametrize(("reason", "attributes"), REFUSED.items(), ids=REFUSED)
def test_film_that_may_not_be_used_is_refused_with_its_code(write_film, reason, attributes):
    assert code_of(write_film(**attributes)) == f"intake.{reason.split(' by ')[0]}"


@pytest.mark.parametrize("image_type", [["DERIVED", "SECONDARY", "", "CSA RESAMPLED"], "DERIVED", ""])
def test_a_derived_film_is_a_film_and_says_so(write_film, image_type):
    film = read_film(write_film(ImageType=image_type))
    written = image_type if isinstance(image_type, str) else "\\".join(image_type)
    assert film.words.get("ImageType", "") == written


@pytest.mark.parametrize("plane", [b"\1\0", b""])
def test_an_overlay_plane_beside_the_pixels_is_never_taken(write_film, stored, plane):
    path = write_film()
    film = dcmread(path)
    film.add_new(0x60000102, "US", 0)
    film.add_new(0x60003000, "OW", plane)
    film.save_as(path)
    assert np.array_equal(read_film(path).pixels, stored)


def test_one_sample_is_assumed_where_a_grey_film_does_not_say_it(write_film, stored):
    assert np.array_equal(read_film(write_film(SamplesPerPixel=None)).pixels, stored)
    assert code_of(write_film(SamplesPerPixel=None, PhotometricInterpretation="RGB")) in (
        "intake.not-greyscale", "intake.unreadable-dicom",
    )  # fmt: skip


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"])
@pytest.mark.parametrize("has_meta", [True, False])
def test_a_film_without_preamble_is_read(write_film, stored, syntax, has_meta):
    path = write_film(syntax=syntax)
    data = path.read_bytes()
    meta_end = 144 + int.from_bytes(data[140:144], "little")  # preamble, DICM, group length
    path.write_bytes(data[132:] if has_meta else data[meta_end:])
    film = read_film(path)
    assert np.array_equal(film.pixels, stored)
    assert film.transfer_syntax == syntax


def test_a_text_that_begins_like_a_data_set_is_no_film(write_film):
    path = write_film()
    for start in (b"\x08\x00\x05\x00", b"\x02\x00", b"\x08\x00\x05\x00CS\xff\xff" + b"x" * 99, b""):
        path.write_bytes(start)
        assert code_of(path) == "intake.unreadable-dicom"


def test_the_patient_of_a_refused_film_is_known_where_its_header_can_be_read(write_film):
    path = write_film(SOPClassUID="1.2.840.10008.5.1.4.1.1.7", PatientID="CANARY-7 ")
    assert read_patient_id(path) == "CANARY-7"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 9 // 10])
    assert read_patient_id(path) == "CANARY-7"
    path.write_bytes(data[:150])
    assert read_patient_id(path) == ""
    assert read_patient_id(path.with_name("gone")) == ""


def test_syntax_without_decoder_is_told_from_damage(write_film):
    from pydicom.encaps import encapsulate

    path = write_film()
    film = dcmread(path)
    film.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.51"  # JPEG Extended, 12 bit
    film.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
    film["PixelData"].VR = "OB"
    film.save_as(path)
    assert code_of(path) == "intake.unsupported-syntax"


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.9])
def test_truncated_file_is_unreadable_and_keeps_its_values_to_itself(write_film, share):
    path = write_film()
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert code_of(path) == "intake.unreadable-dicom"


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


def test_only_allowed_attributes_are_read_and_identity_stays_out_of_repr(write_film):
    film = read_film(write_film())
    assert film.patient_id == "CANARY-7"
    assert "CANARY^NAME" not in str(vars(film))
    assert "CANARY" not in repr(film)
    assert "2020" not in repr(film)


def test_signed_values_end_at_their_highest_stored_bit(write_film):
    values = np.array([[-2048, -1, 0, 2047]] * 4, dtype=np.int16)
    signed = {"PixelRepresentation": 1}
    for unused in (values, values & 0x0FFF):  # the sign again, or nothing
        film = read_film(write_film(pixels=unused.astype(np.uint16), **signed))
        assert film.pixels[0].tolist() == [-2048, -1, 0, 2047]
    stray = ((values & 0x0FFF) | np.int16(0x5000)).astype(np.uint16)
    assert code_of(write_film(pixels=stray, **signed)) == "intake.stray-bits"
    film = read_film(write_with_overlays(write_film, 12, 14, pixels=stray, **signed))
    assert film.pixels[0].tolist() == [-2048, -1, 0, 2047]


def test_eight_bits_are_a_film_too(write_film):
    pixels = np.arange(48 * 40, dtype=np.uint8).reshape(48, 40)
    film = read_film(
        write_film(pixels=pixels, BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=pixels.tobytes())
    )
    assert (film.pixels == pixels).all()


def test_a_film_says_its_words_as_they_were_written(write_film):
    def coded(value: str, scheme: str) -> list[Dataset]:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, "x"
        return [item]

    film = read_film(
        write_film(
            BodyPartExamined="BECKEN",
            ViewPosition=None,
            AnatomicRegionSequence=coded("T-15710", "SRT"),
            ViewCodeSequence=coded("399067008", "SCT"),
            SeriesDescription="Hip Axial",
        )
    )
    assert film.words == {
        "BodyPartExamined": "BECKEN",
        "AnatomicRegionSequence": "SRT T-15710",
        "ViewCodeSequence": "SCT 399067008",
        "SeriesDescription": "HIP AXIAL",
    }


def test_a_deflated_bomb_is_refused_before_it_is_inflated(write_film, monkeypatch):
    path = write_film(syntax="1.2.840.10008.1.2.1.99", ImageComments="\0" * 9000)
    assert read_film(path).pixels.shape == (48, 40)
    monkeypatch.setattr(dicom, "_SMALL_BYTES", 5000)
    monkeypatch.setattr(dicom, "MAX_INFLATION", 1)
    monkeypatch.setattr(dicom, "dcmread", None)  # must not come so far
    assert code_of(path) == "intake.too-large"
