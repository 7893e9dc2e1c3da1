"""Which side a film names in words, and when its words and its tag contradict each other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from client.intake.film_sides import CONFLICTING_SIDE, contradicts, named_side, side_in
from client.intake.read_film import ReadFilm
from client.intake.workers import ReadingRule, read_one
from client.site.profile import FilmWords
from shared.exam.schema import ViewRule

NONE = FilmWords()
HIP = ViewRule(name="hip_ap", body_parts=("HIP", "PELVIS"), positions=("AP",))
RULE = ReadingRule((ViewRule(name="hip_ap", body_parts=("HIP",), positions=("AP",)),), 32, None)


@pytest.mark.parametrize(
    ("text", "side"),
    [
        ("LHIP", "L"), ("RHIP", "R"), ("HIPLT", "L"), ("HIP_RT", "R"), ("HIP LT", "L"), ("R HIP", "R"),
        ("LEFT HIP", "L"), ("XR HIP 2 VIEWS RIGHT", "R"), ("LINKE HÜFTE", "L"), ("Hüfte re.", "R"),
        ("Rechtes Hüftgelenk ap", "R"), ("HUEFTE LI AP", "L"), ("Beckenübersicht mit li. Hüfte", "L"),
        ("HANCHE G", "L"), ("Hanche D de face", "R"), ("hanche gauche", "L"), ("HANCHE DROITE", "R"),
        ("CADERA IZDA", "L"), ("Cadera dcha. AP", "R"), ("cadera izquierda", "L"),
        ("CADERA DERECHA", "R"),
        ("ANCA DX", "R"), ("Anca sx", "L"), ("anca destra", "R"), ("ANCA SINISTRA", "L"),
        ("HEUP LINKS", "L"), ("rechter heup", "R"), ("HEUP RE", "R"), ("RT HIP AP", "R"),
        ("BOTH HIPS", "B"), ("Hüfte beidseits", "B"), ("HIP BILATERAL", "B"), ("HÜFTE RE LI", "B"),
        ("LEFT AND RIGHT HIP", "B"), ("anche bilaterale", "B"),
        ("", None), ("HIP", None), ("DX HIP AP", None), ("L SPINE", None), ("HIP AND L SPINE", None),
        ("CHEST LEFT LATERAL", None), ("PLATE R 24 HIP", None), ("D 12 HIP", None), ("LIP", None),
        ("RX HIP", None), ("HIP LL", None), ("Dr. R Hipper", None),
        # positions stand between a part and its side
        ("HIP AP L", "L"), ("L AP HIP", "L"), ("HIP, LATERAL L", "L"), ("HIP UNILAT L", "L"),
        ("HIP AP VIEW RT", "R"),
        # a sign or another word makes an abbreviation mean something else
        ("HIP R/O FRACTURE", None), ("HIP RE-EXAM", None), ("HIP RE: FALL", None),
        ("HIP RE-TAKE", None), ("HIP DX OSTEOPOROSIS", None), ("HIP D/C", None),
        ("HIP RT PLANNING", None), ("HIP RE", None), ("C-R HIP", None), ("DX Hüfte ap", None),
        ("LT HIP R/O FX", "L"), ("R/O FX, L HIP", "L"), ("HIP R/L", "B"), ("Hüfte re.-li.", "B"),
        ("L-HIP", "L"), ("HIP-RT", "R"), ("HIP: R", "R"), ("HIP L/AP", "L"), ("HIP L - FALL", "L"),
        # another part's
        ("Hip W/ R KNEE", None), ("HIP, LEFT KNEE", None), ("RIGHT KNEE AND LEFT HIP", "L"),
        # letters beyond A to Z
        ("höger höft", "R"), ("Höft vänster", "L"), ("højre hofte", "R"),
    ],
)  # fmt: skip
def test_a_side_is_known_in_five_languages_and_an_abbreviation_beside_a_part_only(
    text: str, side: str | None
) -> None:
    assert side_in(text, NONE, HIP) == side


def test_the_attribute_nearest_to_the_film_that_names_a_side_wins() -> None:
    words = {
        "BodyPartExamined": "HIP",
        "SeriesDescription": "HIP LEFT",
        "StudyDescription": "HIP RIGHT",
    }
    assert named_side(words, NONE, HIP) == "L"
    assert named_side(words | {"BodyPartExamined": "RHIP"}, NONE, HIP) == "R"
    of_study = NONE.model_copy(update={"descriptions": ("StudyDescription",)})
    assert named_side(words, of_study, HIP) == "R"
    assert named_side({}, NONE, HIP) is None


def test_the_hospitals_own_words_name_a_side_too() -> None:
    own = FilmWords(body_parts={"Koxa": "HIP"}, sides={"Seite 1": "L", "Links": "R"})
    assert side_in("KOXA, seite 1", own, HIP) == "L"
    assert side_in("KOXA RE", own, HIP) == "R"
    assert side_in("HIP LINKS", own, HIP) == "R"
    # films that name no part are hips, and a letter alone is no side of them
    silent = FilmWords(body_parts={"": "HIP"})
    assert side_in("R/O FX", silent, HIP) is None
    assert side_in("PLATE R", silent, HIP) is None


@pytest.mark.parametrize(
    ("tagged", "words", "expected"),
    [
        ("L", {"BodyPartExamined": "RHIP"}, True),
        ("R", {"SeriesDescription": "Hüfte links"}, True),
        ("L", {"BodyPartExamined": "LHIP", "SeriesDescription": "HIP RIGHT"}, False),
        ("L", {"SeriesDescription": "BOTH HIPS"}, False),
        ("B", {"SeriesDescription": "LEFT HIP"}, False),
        (None, {"SeriesDescription": "LEFT HIP"}, False),
        ("L", {"StudyDescription": "RIGHT HIP"}, False),
        ("L", {}, False),
    ],
)
def test_a_tag_is_contradicted_by_the_words_of_film_or_series_alone(tagged, words, expected) -> None:
    assert contradicts(tagged, words, NONE, HIP) is expected


def read(path: Path, **rule: object) -> ReadFilm:
    return read_one(path, ReadingRule(RULE.views, RULE.image_pixels, **rule))


def test_a_film_whose_tag_is_empty_is_of_the_side_of_its_words_and_else_of_the_sites_rule(
    write_film,
) -> None:
    plain = read(write_film(), default_laterality=None)
    mirrored = read(write_film(ImageLaterality="R"), default_laterality=None)
    assert plain.image != mirrored.image
    for words, image, side in (
        ({"BodyPartExamined": "RHIP"}, mirrored.image, "R"),
        ({"SeriesDescription": "HANCHE G"}, plain.image, "L"),
        ({}, mirrored.image, "R"),
    ):
        found = read(write_film(ImageLaterality=None, **words), default_laterality="R")
        assert found.film is not None
        assert (found.film.laterality, found.image) == (side, image)


def test_a_film_whose_words_contradict_its_tag_is_put_aside_and_keeps_its_patient(write_film) -> None:
    found = read(write_film(BodyPartExamined="RHIP"), default_laterality=None)
    assert (found.code, found.view, found.image) == (CONFLICTING_SIDE, None, b"")
    assert found.film is not None
    assert found.film.patient_id == "CANARY-7"
    # a film of another view has that code
    path = write_film(BodyPartExamined="CHEST", SeriesDescription="R HIP")
    assert read(path, default_laterality=None).code == "intake.wrong-view"


@pytest.mark.parametrize("part", ["CHEST", "LSPINE", "SPINE", "ABDOMEN", "PELVIS", "SKULL"])
def test_what_there_is_one_of_is_never_mirrored_by_word_tag_or_rule(write_film, part: str) -> None:
    rule = ReadingRule((ViewRule(name="whole", body_parts=(part,), positions=("AP",)),), 32, None)
    plain = read_one(write_film(BodyPartExamined=part, ImageLaterality=None), rule)
    right = replace(rule, default_laterality="R")
    for path, asked in (
        (write_film(BodyPartExamined=part, ImageLaterality="R"), rule),
        (write_film(BodyPartExamined=part, ImageLaterality=None), right),
        (
            write_film(
                BodyPartExamined=part, ImageLaterality=None, SeriesDescription="R/O FX RIGHT LUNG"
            ),
            rule,
        ),
        # nor do words and tag contradict each other
        (write_film(BodyPartExamined=part, SeriesDescription="RIGHT LUNG"), rule),
    ):
        found = read_one(path, asked)
        assert (found.code, found.image) == ("", plain.image)
        assert found.film is not None
        assert found.film.laterality is None


def test_a_pelvis_film_of_a_hips_view_has_the_side_of_that_hip(write_film) -> None:
    view = ViewRule(name="hip_ap", body_parts=("HIP", "PELVIS"), positions=("AP",))
    rule = ReadingRule((view,), 32, None)
    left, right = (
        read_one(write_film(BodyPartExamined="PELVIS", ImageLaterality=side), rule) for side in "LR"
    )
    assert left.image != right.image


def test_a_film_whose_tags_name_opposite_sides_is_put_aside(write_film) -> None:
    for image, series in (("R", "L"), ("LEFT", "RT")):
        found = read(write_film(ImageLaterality=image, Laterality=series), default_laterality=None)
        assert (found.code, found.view) == (CONFLICTING_SIDE, None)
    for image, series in (("R", "RIGHT"), ("R", "B"), ("L", "U")):
        found = read(write_film(ImageLaterality=image, Laterality=series), default_laterality=None)
        assert found.code == ""


def test_a_lateral_film_that_was_turned_to_the_front_is_not_mirrored(write_film) -> None:
    view = ViewRule(name="hip_lateral", body_parts=("HIP",), positions=("LATERAL",))
    rule = ReadingRule((view,), 32, None)
    left, right = (
        read_one(
            write_film(ViewPosition="LATERAL", PatientOrientation=["A", "F"], ImageLaterality=side),
            rule,
        )
        for side in "LR"
    )
    assert left.view == right.view == "hip_lateral"
    assert left.image == right.image
