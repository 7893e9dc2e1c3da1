"""What may be shown of the words of films: known words, coded ones, and texts of many patients."""

from __future__ import annotations

from pathlib import Path

import pytest
from practice_intake import PROFILE, make_hospital, rewrite, take_in

from client.intake.film_words import Word
from client.intake.found_words import (
    FEWEST_PATIENTS,
    OTHERS,
    WORDS_FILE,
    FoundWord,
    WordTally,
    keep_words,
    read_words,
)
from client.site.profile import FilmWords
from shared.errors import IntakeError


def found(
    text: str, attribute: str = "SeriesDescription", *, patients: int, terms=()
) -> list[FoundWord]:
    tally = WordTally()
    for number in range(patients):
        tally.add([Word(attribute, text, terms)], f"P{number}", is_taken=number == 0)
    return list(tally.found())


def test_a_typed_text_is_shown_from_ten_patients_on() -> None:
    [few] = found("MRS DOE", patients=FEWEST_PATIENTS - 1)
    assert (few.text, few.n_films, few.n_taken) == (OTHERS, 9, 1)
    [many] = found("ROOM 3", patients=FEWEST_PATIENTS)
    assert (many.text, many.n_films) == ("ROOM 3", 10)


def test_ten_films_of_one_patient_are_one_patient() -> None:
    tally = WordTally()
    for _ in range(12):
        tally.add([Word("StudyDescription", "MRS DOE")], "P1", is_taken=False)
    assert [word.text for word in tally.found()] == [OTHERS]


@pytest.mark.parametrize("attribute", ["BodyPartExamined", "ViewPosition", "ImageType"])
def test_a_coded_word_is_shown_of_one_film(attribute: str) -> None:
    assert [word.text for word in found("UP_EXM", attribute, patients=1)] == ["UP_EXM"]


def test_a_known_word_is_shown_of_one_film_and_an_unknown_code_is_not() -> None:
    assert found("HIP", patients=1, terms=("HIP",))[0].text == "HIP"
    assert found("99X 123", "ViewCodeSequence", patients=1)[0].text == OTHERS


def test_words_are_listed_by_attribute_the_commonest_first_and_the_others_as_one() -> None:
    tally = WordTally()
    for patient, texts in enumerate([("HIP", "a"), ("HIP", "b"), ("KNEE", "c")]):
        part, note = texts
        words = [Word("BodyPartExamined", part, (part,)), Word("ProtocolName", note)]
        tally.add(words, str(patient), is_taken=part == "HIP")
    assert [(word.attribute, word.text, word.n_films, word.n_taken) for word in tally.found()] == [
        ("BodyPartExamined", "HIP", 2, 2),
        ("BodyPartExamined", "KNEE", 1, 0),
        ("ProtocolName", OTHERS, 3, 2),
    ]


def test_a_kept_list_is_read_as_it_was_by_its_owner_only(tmp_path: Path) -> None:
    assert read_words(tmp_path) == ()
    words = tuple(found("HIP", patients=3, terms=("HIP", "AP")))
    keep_words(tmp_path, words)
    assert read_words(tmp_path) == words
    assert (tmp_path / WORDS_FILE).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", ["{", "{}", '{"words": [{"text": 1}]}', "[]"])
def test_a_damaged_list_is_said(tmp_path: Path, content: str) -> None:
    (tmp_path / WORDS_FILE).write_text(content)
    with pytest.raises(IntakeError) as caught:
        read_words(tmp_path)
    assert caught.value.code == "intake.damaged-words"


def test_an_intake_finds_the_words_of_its_films_and_maps_those_of_the_profile(tmp_path: Path) -> None:
    source = tmp_path / "source"
    make_hospital(source, 12)
    films = sorted((source / "films").iterdir())
    for number, path in enumerate(films):
        words = ("BECKEN", "GELENK 4", "HIP")[number % 3]
        rewrite(path, BodyPartExamined=words, ViewPosition="AP", AnatomicRegionSequence=None)
        rewrite(path, StudyDescription=f"MRS DOE {number}")
    n_each = [len(films[start::3]) for start in range(3)]
    first = take_in(source, tmp_path / "a")
    kept = read_words(tmp_path / "a" / "cohorts" / "hip_bmd")
    assert kept == first.words
    parts = {each.text: each for each in kept if each.attribute == "BodyPartExamined"}
    assert [(parts[word].n_films, parts[word].n_taken) for word in ("BECKEN", "GELENK 4", "HIP")] == [
        (n_each[0], n_each[0]), (n_each[1], 0), (n_each[2], n_each[2]),
    ]  # fmt: skip
    assert parts["GELENK 4"].terms == ()
    assert [each.text for each in kept if each.attribute == "StudyDescription"] == [OTHERS]
    own = PROFILE.model_copy(update={"films": FilmWords(body_parts={"Gelenk 4": "HIP"})})
    second = take_in(source, tmp_path / "b", profile=own)
    assert second.n_films_used >= len(films) - 2  # a nail may lie on one
    assert {each.text: each.terms for each in second.words}["GELENK 4"] == ("HIP",)


def test_a_refused_intake_tells_its_words_too(tmp_path: Path) -> None:
    source = tmp_path / "source"
    make_hospital(source, 3)
    for path in (source / "films").iterdir():
        rewrite(path, BodyPartExamined="GELENK 4", AnatomicRegionSequence=None, StudyDescription=None)
    with pytest.raises(IntakeError):
        take_in(source, tmp_path / "site")
    words = read_words(tmp_path / "site" / "cohorts" / "hip_bmd")
    assert ("GELENK 4", ()) in {(each.text, each.terms) for each in words}


def test_derived_films_are_counted_apart(tmp_path: Path) -> None:
    source = tmp_path / "source"
    make_hospital(source, 4)
    films = sorted((source / "films").iterdir())
    for path in films[1:]:
        rewrite(path, ImageType=["DERIVED", "SECONDARY", "", "CSA RESAMPLED"])
    rewrite(films[0], ImageType=["ORIGINAL", "PRIMARY"])
    report = take_in(source, tmp_path / "site")
    assert report.n_films_used >= len(films) - 2  # a nail may lie on one
    [derived] = [each for each in report.words if each.attribute == "ImageType"]
    assert derived.text == "DERIVED\\SECONDARY\\\\CSA RESAMPLED"
    assert (derived.n_films, derived.n_taken) == (len(films) - 1, len(films) - 1)
