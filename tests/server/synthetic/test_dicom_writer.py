"""Written films are valid DX and CR objects whose pixels come back exactly."""

from dataclasses import fields, replace
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
from scipy import ndimage

from client.intake.dicom import read_film
from server.synthetic.beam import FULL_SCALE
from server.synthetic.dicom_writer import (
    SYNTAX_UIDS,
    FilmHeader,
    encode_film,
    encode_garbled_film,
    write_film,
)
from server.synthetic.hospitals import BIRCH_UNIT
from server.synthetic.look import FilmLook, FilmTags, Shutter
from server.synthetic.physics import draw_public_film
from server.synthetic.wear import wear
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
    tags=FilmTags(pixel_mm=(0.9, 0.9)),
)


def tagged(**tags):
    """The header with other tags."""
    return replace(HEADER, tags=replace(HEADER.tags, **tags))


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


def reread(header, pixels=PIXELS):
    return dcmread(BytesIO(encode_film(pixels, header)))


@pytest.mark.parametrize("syntax", SYNTAX_UIDS)
@pytest.mark.parametrize("is_monochrome1", [False, True])
def test_pixels_come_back_exactly_in_every_syntax(syntax, is_monochrome1):
    dataset = reread(replace(tagged(is_monochrome1=is_monochrome1), syntax=syntax))
    expected = FULL_SCALE - PIXELS if is_monochrome1 else PIXELS
    assert np.array_equal(dataset.pixel_array, expected)
    assert dataset.file_meta.TransferSyntaxUID == SYNTAX_UIDS[syntax]


@pytest.mark.parametrize("is_for_processing", [False, True])
def test_a_dx_object_carries_every_required_attribute(is_for_processing):
    dataset = reread(replace(tagged(spacing="calibrated"), is_for_processing=is_for_processing))
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
    dataset = reread(tagged(is_monochrome1=True))
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
    assert np.array_equal(film.picture.pixels, PIXELS)
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


@pytest.mark.parametrize("bits", [10, 14, 15, 16])
@pytest.mark.parametrize("syntax", SYNTAX_UIDS)
def test_every_depth_comes_back_exactly_in_every_syntax(bits, syntax):
    full = 2**bits - 1
    pixels = np.random.default_rng(bits).integers(0, full + 1, (37, 41)).astype(np.uint16)
    dataset = reread(replace(tagged(bits_stored=bits, is_monochrome1=True), syntax=syntax), pixels)
    assert np.array_equal(dataset.pixel_array, full - pixels)
    assert (dataset.BitsStored, dataset.HighBit, dataset.BitsAllocated) == (bits, bits - 1, 16)


def test_the_window_shows_the_same_greys_at_every_depth_and_polarity():
    plain, deep = reread(tagged()), reread(tagged(bits_stored=16))
    assert float(plain.WindowCenter) == BIRCH_UNIT.offset
    assert float(deep.WindowCenter) / 65535 == pytest.approx(BIRCH_UNIT.offset / 4095, abs=1e-4)
    assert float(deep.WindowWidth) / 65535 == pytest.approx(4 * BIRCH_UNIT.gain / 4095, abs=1e-4)
    inverted = reread(tagged(is_monochrome1=True))
    assert float(inverted.WindowCenter) == 4095 - BIRCH_UNIT.offset


def test_linear_values_are_for_processing_and_grow_with_exposure():
    dataset = reread(tagged(is_linear=True, is_monochrome1=True))
    assert dataset.PixelIntensityRelationship == "LIN"
    assert dataset.PixelIntensityRelationshipSign == 1
    assert dataset.PresentationIntentType == "FOR PROCESSING"
    assert "WindowCenter" not in dataset


def test_spacing_is_calibrated_or_the_detectors_or_none():
    unequal = (0.8, 0.9)
    calibrated = reread(tagged(pixel_mm=unequal, spacing="calibrated"))
    assert calibrated.PixelSpacing == calibrated.ImagerPixelSpacing == [0.8, 0.9]
    assert calibrated.PixelSpacingCalibrationType == "GEOMETRY"
    imager = reread(tagged(pixel_mm=unequal))
    assert imager.ImagerPixelSpacing == [0.8, 0.9]
    assert "PixelSpacing" not in imager
    none = reread(tagged(pixel_mm=unequal, spacing="none"))
    assert "PixelSpacing" not in none
    assert "ImagerPixelSpacing" not in none
    assert none.PixelAspectRatio == [889, 1000]


@pytest.mark.parametrize("lacks", [{"spacing": "none"}, {"orientation": None}])
def test_what_lacks_an_attribute_that_dx_requires_is_a_cr_object(lacks):
    dataset = reread(tagged(**lacks))
    assert dataset.SOPClassUID == ComputedRadiographyImageStorage
    assert dataset.Laterality == "L"


def test_orientation_is_told_as_it_is_stored():
    assert reread(tagged(orientation=("F", "R"))).PatientOrientation == ["F", "R"]
    assert not reread(tagged(orientation=None)).PatientOrientation


def test_padding_is_told_in_stored_values_nearest_to_the_background_first():
    plain = reread(tagged(padding=(0, 40)))
    assert (plain.PixelPaddingValue, plain.PixelPaddingRangeLimit) == (0, 40)
    # PS3.3 C.7.5.1.1.2: of MONOCHROME1 the value is not below the limit
    inverted = reread(tagged(padding=(0, 40), is_monochrome1=True))
    assert (inverted.PixelPaddingValue, inverted.PixelPaddingRangeLimit) == (4095, 4055)
    single = reread(tagged(padding=(0, 0)))
    assert single.PixelPaddingValue == 0
    assert "PixelPaddingRangeLimit" not in single


def test_apertures_are_told_with_rows_and_columns_from_one():
    corners = ((2.0, 3.0), (30.0, 35.0))
    collimated = reread(tagged(collimator=corners))
    assert collimated.CollimatorShape == "RECTANGULAR"
    assert collimated.CollimatorUpperHorizontalEdge == 3
    assert collimated.CollimatorRightVerticalEdge == 36
    shut = reread(tagged(shutter=Shutter("RECTANGULAR", corners, is_white=True)))
    assert shut.ShutterLowerHorizontalEdge == 31
    assert shut.ShutterLeftVerticalEdge == 4
    assert shut.ShutterPresentationValue == 0xFFFF
    disc = reread(tagged(shutter=Shutter("CIRCULAR", ((20.0, 18.0), (20.0, 30.0)), is_white=False)))
    assert disc.CenterOfCircularShutter == [21, 19]
    assert disc.RadiusOfCircularShutter == 12
    assert disc.ShutterPresentationValue == 0
    triangle = ((0.0, 0.0), (0.0, 30.0), (20.0, 5.0))
    polygon = reread(tagged(shutter=Shutter("POLYGONAL", triangle, is_white=False)))
    assert polygon.VerticesOfThePolygonalShutter == [1, 1, 1, 31, 21, 6]


@pytest.mark.parametrize("seed", range(12))
def test_intake_hangs_a_worn_film_as_it_was_taken(tmp_path, seed):
    nothing = {field.name: 0.0 for field in fields(FilmLook)} | {"bits": ((12, 1.0),)}
    drawn = {"turned": 0.7, "flipped": 0.5, "monochrome1": 0.5, "calibrated": 0.5}
    stored = FilmLook(**nothing | drawn)
    rng = np.random.default_rng(seed)
    clean = draw_public_film(rng, is_usual=True)
    worn = wear(clean, stored, rng)
    path = tmp_path / "film.dcm"
    write_film(path, worn.pixels, replace(HEADER, tags=worn.tags, side=clean.side))
    film = read_film(path)
    lowest = film.picture.pixels.min() - clean.pixels.min()
    assert np.array_equal(film.picture.pixels - lowest, clean.pixels)
    assert film.pixel_mm == pytest.approx((clean.pixel_mm, clean.pixel_mm), abs=1e-4)


def test_intake_finds_shutter_and_padding_where_they_are_told(tmp_path):
    for seed in range(12):
        rng = np.random.default_rng(seed)
        look = replace(FilmLook(), shutter=1.0, shutter_told=1.0, padding=0.5, padding_told=1.0)
        worn = wear(draw_public_film(rng, is_usual=True), look, rng)
        path = tmp_path / f"{seed}.dcm"
        write_film(path, worn.pixels, replace(HEADER, tags=replace(worn.tags, orientation=("L", "F"))))
        told = read_film(path).picture.told
        assert told is not None
        row, column = (round(place) for place in worn.landmark)
        assert told[row, column]
        # what was shut has one even value; a rim of one pixel is a matter of counting
        within = ndimage.binary_erosion(told, iterations=2)
        shut = 2**worn.tags.bits_stored - 1 if worn.tags.shutter.is_white else 0
        assert np.mean(worn.pixels[within] == shut) < 0.05
