"""What the place of a PNG file in a tree says, of that file alone."""

from datetime import timedelta
from pathlib import Path

import pytest

from client.intake.tree_place import UNDATED, place_in_tree, study_day


def test_the_last_four_parts_of_a_path_name_part_patient_study_and_image():
    place = place_in_tree(Path("/any/train/XR_WRIST/patient00011/study2_positive/image1.png"))
    assert (place.part, place.patient, place.study, place.label) == (
        "XR_WRIST", "patient00011", "study2", "positive",
    )  # fmt: skip
    assert place.name == "XR_WRIST/patient00011/study2/image1.png"


def test_a_film_keeps_its_name_when_its_study_is_labelled_otherwise():
    one, other, none = (
        place_in_tree(Path(f"XR_WRIST/p/study1{label}/image1.png"))
        for label in ("_positive", "_negative", "")
    )
    assert one.name == other.name == none.name
    assert none.label == ""


def test_a_file_that_lies_too_high_has_no_place():
    assert place_in_tree(Path("patient/study1_positive/image1.png")) is None


def test_neither_repr_names_the_patient():
    assert "patient7" not in repr(place_in_tree(Path("XR_WRIST/patient7/study1_x/patient7.png")))


@pytest.mark.parametrize(
    ("study", "days"), [("study", 0), ("study1", 1), ("study12", 12), ("999", 999), ("", 0)]
)
def test_studies_stand_in_the_order_of_their_numbers(study, days):
    assert study_day(study) == UNDATED + timedelta(days=days)


@pytest.mark.parametrize("study", ["study20190304", "study1b", "1-2"])
def test_a_study_whose_number_cannot_be_read_has_no_day(study):
    assert study_day(study) is None
