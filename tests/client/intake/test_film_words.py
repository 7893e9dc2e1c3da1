"""What a film shows, in the words of scanners and radiographers, and why it may belong to no view."""

from __future__ import annotations

import pytest

from client.intake.film_words import Word, find_view, fold, part_of, understand, why_none
from client.site.profile import FilmWords
from shared.exam.schema import ViewRule

HIP_AP = ViewRule(name="hip_ap", body_parts=("HIP", "PELVIS"), positions=("AP",))
HIP_LATERAL = ViewRule(
    name="hip_lateral", body_parts=("HIP",), positions=("LATERAL",), allows_empty_position=False
)
CHEST_PA = ViewRule(name="chest_pa", body_parts=("CHEST",), positions=("PA",))
VIEWS = (HIP_AP, HIP_LATERAL, CHEST_PA)
NONE = FilmWords()


def placed(own: FilmWords = NONE, views: tuple[ViewRule, ...] = VIEWS, **words: str) -> str:
    """The view of a film, or the last part of the code that says why it has none."""
    shown = understand(words, own, views)
    return find_view(shown, views) or why_none(shown, views).removeprefix("intake.")


@pytest.mark.parametrize(
    "part",
    ["HIP", "hip", "Hip ", "HIPS", "HIP JOINT", "HÜFTE", "HU\u0308FTE", "Hufte re",
     "HANCHE G", "CADERA",
     "Anca dx", "LHIP", "HIPLT", "R HIP", "HIP_LT", "PELVIS", "PELVIS_HIP", "Becken", "BASSIN",
     "Beckenübersicht", "COXO-FEMORALE"],
)  # fmt: skip
def test_a_hip_is_a_hip_in_every_language_and_with_its_side_joined_to_it(part: str) -> None:
    assert placed(BodyPartExamined=part, ViewPosition="AP") == "hip_ap"


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        ("AP", "hip_ap"), ("A.P.", "hip_ap"), ("a-p", "hip_ap"), ("A/P", "hip_ap"), ("A P", "hip_ap"),
        ("ANTEROPOSTERIOR", "hip_ap"), ("Antéro-postérieur", "hip_ap"), ("", "hip_ap"),
        ("UNKNOWN", "hip_ap"), ("FRONTAL", "hip_ap"),
        ("LATERAL", "hip_lateral"), ("lat.", "hip_lateral"),
        ("seitlich", "hip_lateral"), ("LL", "hip_lateral"), ("RL", "hip_lateral"),
        ("PA", "wrong-view"), ("AP AXIAL", "wrong-view"), ("Lauenstein", "wrong-view"),
        ("OTHER", "wrong-view"), ("XYZ", "unknown-words"),
    ],
)  # fmt: skip
def test_a_position_is_known_by_its_ways_of_writing(position: str, expected: str) -> None:
    assert placed(BodyPartExamined="HIP", ViewPosition=position) == expected


def test_a_word_that_says_less_is_taken_only_where_a_silent_film_is() -> None:
    strict = (HIP_AP.model_copy(update={"allows_empty_position": False}),)
    for position in ("", "FRONTAL"):
        assert placed(views=strict, BodyPartExamined="HIP", ViewPosition=position) == "wrong-view"
    one_side = (HIP_LATERAL.model_copy(update={"positions": ("LL",)}),)
    assert placed(views=one_side, BodyPartExamined="HIP", ViewPosition="LATERAL") == "wrong-view"
    assert placed(views=one_side, BodyPartExamined="HIP", ViewPosition="LL") == "hip_lateral"
    assert placed(BodyPartExamined="CHEST", ViewPosition="AP") == "wrong-view"


@pytest.mark.parametrize("attribute", ["SeriesDescription", "ProtocolName"])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("HIP LATERAL", "hip_lateral"),
        ("HIP AXIAL / CROSS TABLE LATERAL", "hip_lateral"),
        ("Hüfte li. ap", "hip_ap"),
        ("hanche gauche de face", "hip_ap"),
        ("XR HIP FROG LEG", "wrong-view"),
        ("KNEE LAT", "wrong-view"),
    ],
)
def test_an_empty_part_or_position_is_looked_for_in_what_describes_the_series(
    attribute: str, text: str, expected: str
) -> None:
    assert placed(ViewPosition="", **{attribute: text}) == expected
    assert placed(NONE.model_copy(update={"descriptions": ()}), **{attribute: text}) == "unknown-words"


def test_a_description_that_names_several_positions_is_no_silence() -> None:
    words = {"BodyPartExamined": "HIP", "SeriesDescription": "HIP AP/LAT"}
    assert placed(**words) == "unknown-words"
    assert placed(**words, ViewPosition="AP") == "hip_ap"
    assert placed(BodyPartExamined="HIP", ViewCodeSequence="99LOCAL 7") == "unknown-words"
    assert placed(BodyPartExamined="HIP", ViewCodeSequence="99LOCAL 7", ViewPosition="AP") == "hip_ap"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hüfte 2. Ebene", "wrong-view"), ("HIP LATL", "hip_lateral"), ("HIP SIDE VIEW", "hip_lateral"),
        ("HIP HORIZONTAL BEAM", "hip_lateral"), ("HIP LATERALS", "hip_lateral"),
        ("HIP AX.", "wrong-view"), ("HIP SHOOT-THROUGH", "hip_lateral"), ("HIP HBL", "hip_lateral"),
        ("Hüfte Lauenstein1", "wrong-view"), ("HIP ALA", "wrong-view"),
        ("Hüfte Rippstein", "wrong-view"), ("HANCHE ARCELIN", "hip_lateral"),
    ],
)  # fmt: skip
def test_another_projection_is_not_taken_for_silence(text: str, expected: str) -> None:
    assert placed(BodyPartExamined="HIP", SeriesDescription=text) == expected


def test_a_film_seen_from_the_side_is_no_frontal_one() -> None:
    words = {"BodyPartExamined": "HIP", "ViewPosition": "AP"}
    for orientation in ("A\\F", "P\\F", "F\\A", "AF\\FR"):
        assert placed(**words, PatientOrientation=orientation) == "wrong-view"
    lateral = words | {"ViewPosition": "LATERAL"}
    assert placed(**lateral, PatientOrientation="A\\F") == "hip_lateral"
    for orientation in ("L\\F", "R\\H", "F\\L", "", "A\\P"):
        assert placed(**words, PatientOrientation=orientation) == "hip_ap"


def test_a_study_tells_the_part_and_never_the_position_of_a_film() -> None:
    assert placed(StudyDescription="XR HIP LEFT LATERAL", ViewPosition="") == "hip_ap"
    assert placed(StudyDescription="XR HIP LEFT LATERAL", ViewPosition="LATERAL") == "hip_lateral"
    # a vendor's plate menu is no body part, and its description is
    assert (
        placed(BodyPartExamined="UP_EXM", StudyDescription="X-RAY HIP", ViewPosition="AP") == "hip_ap"
    )


def test_what_a_film_says_itself_wins_over_its_description() -> None:
    assert placed(BodyPartExamined="FEMUR", StudyDescription="HIP", ViewPosition="AP") == "wrong-view"
    assert placed(BodyPartExamined="HIP", ViewPosition="AP", SeriesDescription="LATERAL") == "hip_ap"


def test_a_text_of_two_parts_means_the_narrower_one_and_else_nothing() -> None:
    assert understand({"BodyPartExamined": "PELVIS WITH HIPS"}, NONE, VIEWS).part == "HIP"
    assert understand({"BodyPartExamined": "KNEE PATELLA"}, NONE, VIEWS).part == "PATELLA"
    assert placed(BodyPartExamined="CHEST HIP", ViewPosition="AP") == "unknown-words"


@pytest.mark.parametrize(
    ("part", "view", "expected"),
    [
        ("SCT 24136001", "SCT 399348003", "hip_ap"),
        ("SRT T-15710", "SRT R-10206", "hip_ap"),
        ("SNM3 T-D2500", "99SDM R-102CD", "hip_lateral"),
        ("SNM3 T-D3000", "SNM3 R-10214", "chest_pa"),
        ("99LOCAL 24136001", "", "unknown-words"),
        ("SCT 1", "", "unknown-words"),
    ],
)
def test_codes_of_old_and_new_snomed_stand_in_for_empty_words(
    part: str, view: str, expected: str
) -> None:
    assert placed(AnatomicRegionSequence=part, ViewCodeSequence=view) == expected


def test_the_hospitals_words_win_over_all_others() -> None:
    own = FilmWords(
        body_parts={"Becken tief a": "pelvis", "SCHULTER": "HIP", "": "CHEST"},
        positions={"stehend": "a.p.", "": "PA"},
        views={"Hüfte Spezial 3": "hip_lateral", "x": "no_such_view"},
    )
    assert placed(own, BodyPartExamined="BECKEN TIEF A", ViewPosition="STEHEND") == "hip_ap"
    assert placed(own, BodyPartExamined="SCHULTER", ViewPosition="AP") == "hip_ap"
    assert placed(own) == "chest_pa"
    assert placed(own, BodyPartExamined="CHEST", SeriesDescription="HUEFTE SPEZIAL 3") == "hip_lateral"
    assert placed(own, BodyPartExamined="HIP", ViewPosition="X") == "wrong-view"
    # an unknown word is no silence
    assert placed(own, BodyPartExamined="EXTREMETY", ViewPosition="PA") == "unknown-words"


def test_words_of_the_schema_are_known_even_where_no_table_has_them() -> None:
    jaw = (ViewRule(name="jaw", body_parts=("Mandibula left-half",), positions=("Panorama",)),)
    words = {"BodyPartExamined": "MANDIBULA LEFT HALF", "ViewPosition": "PANORAMA"}
    assert placed(views=jaw, **words) == "jaw"
    assert placed(**words) == "unknown-words"


@pytest.mark.parametrize(
    "image_type", ["DERIVED\\SECONDARY\\\\CSA RESAMPLED", "derived", "DERIVED\\PRIMARY"]
)
def test_a_derived_film_is_taken_unless_the_schema_says_no(image_type: str) -> None:
    words = {"BodyPartExamined": "HIP", "ViewPosition": "AP", "ImageType": image_type}
    assert placed(**words) == "hip_ap"
    originals = (HIP_AP.model_copy(update={"allows_derived": False}),)
    assert placed(views=originals, **words) == "derived-film"
    assert placed(views=originals, **words | {"BodyPartExamined": "KNEE"}) == "wrong-view"
    assert placed(views=originals, **words | {"ImageType": "ORIGINAL\\PRIMARY"}) == "hip_ap"


def test_what_was_looked_at_is_told_and_of_a_description_only_known_words() -> None:
    shown = understand(
        {"SeriesDescription": "MRS DOE HIP LAT.", "ImageType": "DERIVED", "StudyDescription": "HIP"},
        NONE,
        VIEWS,
    )
    assert shown.words == (
        Word("BodyPartExamined", ""),
        Word("SeriesDescription", "HIP … LAT", ("HIP", "LATERAL")),
        Word("ViewPosition", ""),
        Word("ImageType", "DERIVED", ("DERIVED",)),
    )
    clear = understand(
        {"BodyPartExamined": "HIP", "ViewPosition": "AP"} | {"ProtocolName": "x"}, NONE, VIEWS
    )
    assert [word.attribute for word in clear.words] == ["BodyPartExamined", "ViewPosition"]


def test_two_letters_in_a_description_are_no_position() -> None:
    assert understand({"SeriesDescription": "HIP LL"}, NONE, VIEWS).position == ""
    assert understand({"ViewPosition": "LL"}, NONE, VIEWS).position == "LL"


def test_folding_leaves_capitals_and_digits() -> None:
    assert fold("  Hüfte_re.  a.-p. 2 Ebenen ß ") == "HUEFTE RE AP 2 EBENEN SS"
    assert fold("L.L./P-A") == "LL PA"
    assert part_of("Brustwirbelsäule") == "TSPINE"
    assert part_of("Anything else") == "ANYTHING ELSE"
