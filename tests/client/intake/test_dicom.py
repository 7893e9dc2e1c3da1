"""Real DICOM bytes in, films out: spacing, side, refusals."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest
from pydicom import config, dcmread
from pydicom.dataset import Dataset

from client.cohort.quarantine import CODES
from client.intake import dicom
from client.intake.dicom import read_film, read_patient_id
from shared.errors import IntakeError


def code_of(path: Path) -> str:
    with pytest.raises(IntakeError) as refusal:
        read_film(path)
    assert "CANARY" not in str(refusal.value)
    assert refusal.value.code in CODES
    return refusal.value.code


@pytest.mark.parametrize(
    ("image_side", "series_side", "expected"),
    [
        ("R", "L", "R"),
        ("", "L", "L"),
        (None, "R", "R"),
        (None, None, None),
        ("U", None, None),
        ("U", "R", "R"),
        ("RIGHT", None, "R"),
        ("LT", None, "L"),
        (None, "LEFT", "L"),
        ("RT", "BOTH", "R"),
    ],
)
def test_side_is_that_of_the_image_then_that_of_the_series(
    write_film, image_side, series_side, expected
):
    more = {} if series_side is None else {"Laterality": series_side}
    assert read_film(write_film(ImageLaterality=image_side, **more)).laterality == expected


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"PixelSpacing": ["0.1", "0.2"]}, (0.1, 0.2)),  # uncalibrated, and nothing else is told
        (
            {"PixelSpacing": ["0.1", "0.2"], "PixelSpacingCalibrationType": "GEOMETRY"},
            (0.1, 0.2),
        ),
        ({"PixelSpacing": ["0.1", "0.1"], "ImagerPixelSpacing": ["0.3", "0.4"]}, (0.1, 0.1)),
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
def test_spacing_is_calibrated_or_the_detectors_or_what_there_is_and_zero_is_missing(
    write_film, attributes, expected
):
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
    assert np.array_equal(read_film(path).picture.pixels, stored)


def test_one_sample_is_assumed_where_a_grey_film_does_not_say_it(write_film, stored):
    assert np.array_equal(read_film(write_film(SamplesPerPixel=None)).picture.pixels, stored)
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
    assert np.array_equal(film.picture.pixels, stored)
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


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.9])
def test_truncated_file_is_unreadable_and_keeps_its_values_to_itself(write_film, share):
    path = write_film()
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert code_of(path) == "intake.unreadable-dicom"


def test_only_allowed_attributes_are_read_and_identity_stays_out_of_repr(write_film):
    film = read_film(write_film())
    assert film.patient_id == "CANARY-7"
    assert "CANARY^NAME" not in str(vars(film))
    assert "CANARY" not in repr(film)
    assert "2020" not in repr(film)


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
    assert read_film(path).picture.pixels.shape == (48, 40)
    monkeypatch.setattr(dicom, "_SMALL_BYTES", 5000)
    monkeypatch.setattr(dicom, "MAX_INFLATION", 1)
    monkeypatch.setattr(dicom, "dcmread", None)  # must not come so far
    assert code_of(path) == "intake.too-large"
