"""Written films are valid DX and CR objects whose pixels come back exactly."""

from dataclasses import replace
from datetime import date
from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
)

from client.intake.dicom import read_film
from server.synthetic.dicom_writer import (
    SYNTAX_UIDS,
    FilmHeader,
    encode_film,
    encode_garbled_film,
    write_film,
)
from server.synthetic.hospitals import BIRCH_UNIT
from server.synthetic.physics import FULL_SCALE
from shared.errors import IntakeError

HEADER = FilmHeader(
    patient_name="Quillfeather^Odalys",
    patient_id="BI-123456",
    issuer="BIRCH-HOSPITAL",
    birth_day=date(1950, 2, 3),
    sex="female",
    day=date(2021, 4, 5),
    clock="101500",
    accession="X000000123",
    institution="Birch Hospital",
    side="left",
    view_position="AP",
    body_part="HIP",
    scanner=BIRCH_UNIT,
    syntax="explicit",
    uid_root=2**100,
)
# 0 and FULL_SCALE included, odd width: what encoders get wrong first
PIXELS = np.random.default_rng(1).integers(0, FULL_SCALE + 1, (37, 41)).astype(np.uint16)

# Type 1 attributes of the DX image IOD: PS3.3 A.26.3 with C.7.2.1, C.7.3.1, C.7.6.3, C.8.11.1-5, C.12.1
DX_TYPE_1 = [
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "PresentationIntentType",
    "ImageType",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelIntensityRelationship",
    "PixelIntensityRelationshipSign",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "PresentationLUTShape",
    "LossyImageCompression",
    "BurnedInAnnotation",
    "ImagerPixelSpacing",
    "ImageLaterality",
    "PixelData",
]
# Type 2: present, may be empty
DX_TYPE_2 = [
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "SeriesNumber",
    "InstanceNumber",
    "Manufacturer",
    "AnatomicRegionSequence",
    "DetectorType",
    "PositionerType",
    "AcquisitionContextSequence",
]


def reread(header):
    return dcmread(BytesIO(encode_film(PIXELS, header)))


@pytest.mark.parametrize("syntax", SYNTAX_UIDS)
@pytest.mark.parametrize("is_monochrome1", [False, True])
def test_pixels_come_back_exactly_in_every_syntax(syntax, is_monochrome1):
    dataset = reread(replace(HEADER, syntax=syntax, is_monochrome1=is_monochrome1))
    expected = FULL_SCALE - PIXELS if is_monochrome1 else PIXELS
    assert np.array_equal(dataset.pixel_array, expected)
    assert dataset.file_meta.TransferSyntaxUID == SYNTAX_UIDS[syntax]


@pytest.mark.parametrize("is_for_processing", [False, True])
def test_a_dx_object_carries_every_required_attribute(is_for_processing):
    dataset = reread(replace(HEADER, is_for_processing=is_for_processing, is_calibrated=True))
    for keyword in DX_TYPE_1:
        assert keyword in dataset
        assert dataset[keyword].value not in (None, "", [])
    for keyword in DX_TYPE_2:
        assert keyword in dataset
    expected = (
        DigitalXRayImageStorageForProcessing
        if is_for_processing
        else DigitalXRayImageStorageForPresentation
    )
    assert dataset.SOPClassUID == dataset.file_meta.MediaStorageSOPClassUID == expected
    # a window only where the image is meant to be shown (PS3.3 C.8.11.3)
    assert ("WindowCenter" in dataset) is not is_for_processing
    assert dataset.PixelSpacingCalibrationType == "GEOMETRY"


def test_inverted_storage_says_so_three_times_consistently():
    dataset = reread(replace(HEADER, is_monochrome1=True))
    assert dataset.PhotometricInterpretation == "MONOCHROME1"
    assert dataset.PresentationLUTShape == "INVERSE"
    assert dataset.PixelIntensityRelationshipSign == 1


def test_an_old_machine_writes_cr_with_the_side_in_the_series():
    dataset = reread(replace(HEADER, is_legacy=True, side="right"))
    assert dataset.SOPClassUID == ComputedRadiographyImageStorage
    assert dataset.Laterality == "R"
    assert "ImageLaterality" not in dataset


def test_the_header_identifies_a_person_so_that_leaks_can_be_searched():
    dataset = reread(HEADER)
    assert str(dataset.PatientName) == "Quillfeather^Odalys"
    assert dataset.PatientID == "BI-123456"
    assert dataset.PatientBirthDate == "19500203"
    assert dataset.AcquisitionDate == "20210405"


def test_intake_reads_what_was_written(tmp_path):
    path = tmp_path / "film.dcm"
    write_film(path, PIXELS, replace(HEADER, syntax="jpeg_ls"))
    film = read_film(path)
    assert np.array_equal(film.pixels, PIXELS)
    assert film.laterality == "L"
    assert film.pixel_mm == (0.9, 0.9)


def test_a_garbled_film_has_a_sound_header_and_no_readable_pixels(tmp_path):
    path = tmp_path / "film.dcm"
    header = replace(HEADER, syntax="jpeg_2000")
    path.write_bytes(encode_garbled_film(PIXELS, header, np.random.default_rng(2)))
    assert dcmread(path, stop_before_pixels=True).PatientID == "BI-123456"
    with pytest.raises(IntakeError) as caught:
        read_film(path)
    assert caught.value.code == "intake.unreadable-dicom"
