"""What tags say of a picture: however a film was stored, the same picture comes out."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset

from client.intake.picture import make_picture, read_spacing

SHAPE = (40, 60)
VALUES = np.random.default_rng(0).integers(100, 3000, SHAPE).astype(np.float32)
# How a film can be stored: PatientOrientation → from how it hangs (L\F) to how it is stored.
STORED = {
    ("L", "F"): lambda hung: hung,
    ("R", "F"): np.fliplr,
    ("L", "H"): np.flipud,
    ("R", "H"): lambda hung: np.rot90(hung, 2),
    ("F", "L"): np.transpose,
    ("H", "L"): lambda hung: np.fliplr(hung.T),
    ("F", "R"): lambda hung: np.flipud(hung.T),
    ("H", "R"): lambda hung: np.rot90(hung.T, 2),
}


def film(**attributes: object) -> Dataset:
    dataset = Dataset()
    dataset.Rows, dataset.Columns = SHAPE
    dataset.BitsStored, dataset.PixelRepresentation = 12, 0
    for name, value in attributes.items():
        setattr(dataset, name, value)
    return dataset


def picture_of(values: np.ndarray = VALUES, *, is_inverted: bool = False, **attributes: object):
    return make_picture(film(**attributes), values, is_inverted=is_inverted)


@pytest.mark.parametrize("orientation", STORED, ids="-".join)
def test_a_turned_or_flipped_film_hangs_as_its_orientation_says(orientation):
    stored = STORED[orientation](VALUES)
    spacing = ["0.2", "0.1"] if orientation[0] in ("L", "R") else ["0.1", "0.2"]
    picture = picture_of(
        stored,
        PatientOrientation=list(orientation),
        ImagerPixelSpacing=spacing,
        **collimated(orientation, stored.shape),
    )
    assert np.array_equal(picture.pixels, VALUES)
    assert picture.pixel_mm == (0.2, 0.1)
    # the upper third was not exposed, however it was stored
    assert picture.told is not None
    assert not picture.told[:9].any()
    assert picture.told[11:-1, 1:-1].all()


def collimated(orientation: tuple[str, str], shape: tuple[int, ...]) -> dict[str, object]:
    mask = np.ones(SHAPE, bool)
    mask[:10] = False
    rows, columns = np.nonzero(STORED[orientation](mask))
    return {
        "CollimatorShape": "RECTANGULAR",
        "CollimatorUpperHorizontalEdge": int(rows.min()),
        "CollimatorLowerHorizontalEdge": int(rows.max()) + 2,
        "CollimatorLeftVerticalEdge": int(columns.min()),
        "CollimatorRightVerticalEdge": int(columns.max()) + 2,
    }


@pytest.mark.parametrize(
    ("orientation", "changes"),
    [
        (("L", "F"), ()), (("R", "F"), ("flipped",)), (("L", "H"), ("flipped",)),
        (("R", "H"), ("turned",)), (("H", "L"), ("turned",)), (("F", "R"), ("turned",)),
        (("F", "L"), ("turned", "flipped")), (("H", "R"), ("turned", "flipped")),
    ],
)  # fmt: skip
def test_what_tags_made_of_a_film_is_told(orientation, changes):
    stored, told = STORED[orientation](VALUES), {"PatientOrientation": list(orientation)}
    assert picture_of(stored, **told).changes == changes
    assert picture_of(stored, is_inverted=True, **told).changes == (*changes, "inverted")
    raw = {"PresentationIntentType": "FOR PROCESSING", "PixelIntensityRelationshipSign": -1}
    assert picture_of(is_inverted=True, **raw).changes == ()


@pytest.mark.parametrize("words", [None, "L", ["", ""], ["L", "R"], ["X", "F"], ["L", "F", "H"]])
def test_an_orientation_that_says_nothing_leaves_a_film_as_it_is(words):
    given = {} if words is None else {"PatientOrientation": words}
    assert np.array_equal(picture_of(**given).pixels, VALUES)


def test_a_lateral_view_looks_to_the_front():
    front = picture_of(PatientOrientation=["A", "F"]).pixels
    assert np.array_equal(picture_of(np.fliplr(VALUES), PatientOrientation=["P", "F"]).pixels, front)


@pytest.mark.parametrize(
    ("attributes", "mm", "source"),
    [
        (
            {"PixelSpacing": ["0.1", "0.2"], "PixelSpacingCalibrationType": "GEOMETRY"},
            (0.1, 0.2),
            "cal",
        ),
        ({"PixelSpacing": ["0.1", "0.1"], "ImagerPixelSpacing": ["0.3", "0.4"]}, (0.1, 0.1), "cal"),
        (
            {
                "PixelSpacing": ["0.3", "0.3"],
                "ImagerPixelSpacing": ["0.3", "0.3"],
                "EstimatedRadiographicMagnificationFactor": "1.2",
            },
            (0.25, 0.25),
            "det",
        ),
        (
            {
                "ImagerPixelSpacing": ["0.3", "0.3"],
                "EstimatedRadiographicMagnificationFactor": "1.2",
            },
            (0.25, 0.25),
            "det",
        ),
        (
            {"ImagerPixelSpacing": ["0.3", "0.3"], "EstimatedRadiographicMagnificationFactor": "0"},
            (0.3, 0.3),
            "det",
        ),
        ({"NominalScannedPixelSpacing": ["0.17", "0.17"]}, (0.17, 0.17), "scan"),
        ({"PixelSpacing": ["0.1", "0.2"]}, (0.1, 0.2), "uncal"),
        ({"ImagerPixelSpacing": ["0.000", "0.000"]}, None, ""),
        ({"PixelSpacing": ["-1", "1"]}, None, ""),
        ({"FieldOfViewShape": "RECTANGLE", "FieldOfViewDimensions": [400, 600]}, (10, 10), "field"),
        ({"FieldOfViewShape": "RECTANGLE", "FieldOfViewDimensions": [600, 400]}, (10, 10), "field"),
        ({"FieldOfViewShape": "RECTANGLE", "FieldOfViewDimensions": [400, 400]}, None, ""),
        ({}, None, ""),
    ],
)
def test_the_spacing_comes_from_the_tag_that_knows_most(attributes, mm, source):
    spacing = read_spacing(film(**attributes))
    assert spacing.mm == (None if mm is None else pytest.approx(mm))
    assert spacing.source.startswith(source)
    assert bool(spacing.source) == bool(source)


def test_pixels_that_are_not_square_are_known_by_their_aspect_where_the_spacing_is_not():
    assert picture_of(PixelAspectRatio=["2", "1"]).aspect == 2
    turned = picture_of(PixelAspectRatio=["2", "1"], PatientOrientation=["F", "L"])
    assert turned.aspect == 0.5


def test_padding_is_not_exposed_also_when_it_is_a_range_or_rescaled():
    padded = VALUES.copy()
    padded[:, :6] = 4000
    padded[:, 6:9] = 4005
    one = picture_of(padded, PixelPaddingValue=4000).told
    assert one is not None
    assert not one[:, :6].any()
    assert one[:, 6:].all()
    both = picture_of(padded, PixelPaddingValue=4005, PixelPaddingRangeLimit=4000).told
    assert both is not None
    assert not both[:, :9].any()
    rescaled = picture_of(
        padded * np.float32(0.5) + np.float32(-7),
        PixelPaddingValue=4000,
        RescaleSlope="0.5",
        RescaleIntercept="-7",
    ).told
    assert rescaled is not None
    assert np.array_equal(rescaled, one)
    assert picture_of(PixelPaddingValue=4000).told is None  # there is none


@pytest.mark.parametrize("kind", ["Shutter", "Collimator"])
def test_round_and_many_sided_apertures_are_read_with_rows_and_columns_from_one(kind):
    round_ = picture_of(
        **{
            f"{kind}Shape": "CIRCULAR",
            f"CenterOfCircular{kind}": [20, 30],
            f"RadiusOfCircular{kind}": 10,
        }
    ).told
    assert round_ is not None
    assert np.argwhere(round_).min(axis=0).tolist() == [9, 19]
    assert np.argwhere(round_).max(axis=0).tolist() == [29, 39]
    triangle = picture_of(
        **{f"{kind}Shape": "POLYGONAL", f"VerticesOfThePolygonal{kind}": [1, 1, 1, 60, 40, 1]}
    ).told
    assert triangle is not None
    assert triangle[1, 1]
    assert not triangle[39, 59]
    assert 0.45 < triangle.mean() < 0.55


def test_several_apertures_leave_what_all_of_them_leave():
    told = picture_of(
        ShutterShape=["RECTANGULAR", "CIRCULAR"],
        ShutterLeftVerticalEdge=20,
        ShutterRightVerticalEdge=61,
        ShutterUpperHorizontalEdge=0,
        ShutterLowerHorizontalEdge=41,
        CenterOfCircularShutter=[20, 30],
        RadiusOfCircularShutter=15,
    ).told
    assert told is not None
    assert not told[:, :20].any()
    assert told[20, 30]
    assert not told[0, 59]


@pytest.mark.parametrize(
    "attributes",
    [
        {"ShutterShape": "RECTANGULAR"},
        {
            "CollimatorShape": "RECTANGULAR",
            "CollimatorLeftVerticalEdge": 0,
            "CollimatorRightVerticalEdge": 0,
            "CollimatorUpperHorizontalEdge": 0,
            "CollimatorLowerHorizontalEdge": 0,
        },
        {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [1, 1], "RadiusOfCircularShutter": 1},
        {"ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [1, 1, 1]},
        {"ShutterShape": "BITMAP"},
    ],
)
def test_an_aperture_that_cannot_be_true_is_taken_as_not_written(attributes):
    assert picture_of(**attributes).told is None


def test_what_is_for_presentation_is_bright_as_a_screen_shows_it():
    plain = picture_of(PresentationIntentType="FOR PRESENTATION", PixelIntensityRelationshipSign=1)
    assert np.array_equal(plain.pixels, VALUES)
    inverted = picture_of(is_inverted=True)
    assert np.allclose(inverted.pixels, VALUES.min() + VALUES.max() - VALUES)


def test_raw_values_say_themselves_which_way_intensity_goes():
    less = picture_of(PresentationIntentType="FOR PROCESSING", PixelIntensityRelationshipSign=-1)
    assert np.array_equal(less.pixels, VALUES)
    more = picture_of(PresentationIntentType="FOR PROCESSING", PixelIntensityRelationshipSign=1)
    assert np.allclose(more.pixels, VALUES.min() + VALUES.max() - VALUES)


@pytest.mark.parametrize("intent", ["FOR PROCESSING", "FOR PRESENTATION"])
def test_linear_intensity_becomes_attenuation(intent):
    thickness = np.linspace(0, 5, 2400, dtype=np.float32).reshape(SHAPE)
    picture = picture_of(
        (3000 * np.exp(-thickness)).astype(np.float32),
        is_inverted=intent == "FOR PRESENTATION",
        PresentationIntentType=intent,
        PixelIntensityRelationship="LIN",
        PixelIntensityRelationshipSign=1,
    )
    assert np.corrcoef(picture.pixels.ravel(), thickness.ravel())[0, 1] > 0.9999
