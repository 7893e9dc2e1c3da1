"""Real DICOM bytes in, films out: spacing, side, refusals."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from client.cohort.quarantine import CODES
from client.intake import dicom
from client.intake.dicom import read_film
from shared.errors import IntakeError


def code_of(path: Path) -> str:
    with pytest.raises(IntakeError) as refusal:
        read_film(path)
    assert "CANARY" not in str(refusal.value)
    assert refusal.value.code in CODES
    return refusal.value.code


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


REFUSED = {
    "burned-in-annotation": {"BurnedInAnnotation": "YES"},
    "secondary-capture": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"},
    "secondary-capture by type": {"ImageType": ["DERIVED", "SECONDARY"]},
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


def test_overlay_plane_is_refused(write_film):
    from pydicom import dcmread

    path = write_film()
    film = dcmread(path)
    film.add_new(0x60003000, "OW", b"\1\0")
    film.save_as(path)
    assert code_of(path) == "intake.overlay-plane"


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


def test_coded_anatomy_and_projection_stand_in_for_empty_words(write_film):
    def coded(value: str, scheme: str = "SCT") -> list[Dataset]:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, "x"
        return [item]

    bare = {"BodyPartExamined": "", "ViewPosition": None}
    film = read_film(
        write_film(
            **bare, AnatomicRegionSequence=coded("24136001"), ViewCodeSequence=coded("399067008")
        )
    )
    assert (film.body_part, film.view_position) == ("HIP", "LATERAL")
    other = write_film(**bare, AnatomicRegionSequence=coded("24136001", "99LOCAL"))
    assert read_film(other).body_part == ""
    word = write_film(AnatomicRegionSequence=coded("816094009"))
    assert read_film(word).body_part == "HIP"


def test_a_deflated_bomb_is_refused_before_it_is_inflated(write_film, monkeypatch):
    path = write_film(syntax="1.2.840.10008.1.2.1.99", ImageComments="\0" * 9000)
    assert read_film(path).pixels.shape == (48, 40)
    monkeypatch.setattr(dicom, "_SMALL_BYTES", 5000)
    monkeypatch.setattr(dicom, "MAX_INFLATION", 1)
    monkeypatch.setattr(dicom, "dcmread", None)  # must not come so far
    assert code_of(path) == "intake.too-large"
