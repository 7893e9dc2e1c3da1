"""Headers of real radiographs, 7,469 of one archive, read under a schema of chest films.

What each should come to is counted here from its columns, by rules of a line each that know nothing of
the reader's table of words.
"""

from __future__ import annotations

from collections import Counter

import pytest
from practice_headers import Header, read_headers, write_films

from client.intake.film_words import find_view, understand, why_none
from client.intake.workers import ReadingRule, read_films
from client.site.profile import FilmWords
from shared.exam.schema import ViewRule

pytestmark = pytest.mark.slow

FRONTAL = ViewRule(name="frontal", body_parts=("CHEST",), positions=("AP", "PA"))
LATERAL = ViewRule(name="lateral", body_parts=("CHEST",), positions=("LATERAL",))
VIEWS = (FRONTAL, LATERAL)
# An archive of one department: what a hospital with nothing but chest films says in its profile.
OWN = FilmWords(body_parts={"": "CHEST"})
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@pytest.fixture(scope="module")
def headers() -> list[Header]:
    return read_headers()


def expected(header: Header) -> str:
    """The view, or the code, that a person gives a header."""
    if header["SOP Class UID"] == SECONDARY_CAPTURE:
        return "intake.secondary-capture"
    if header["Body Part Examined"] == "EXTREMETY":  # as it is spelt there
        return "intake.unknown-words"
    position = header["View Position"]
    if not position:
        return "lateral" if "left lateral" in header["View Code Sequence"] else "frontal"
    return {"AP": "frontal", "PA": "frontal"}.get(position, "lateral")


def shown_of(header: Header, own: FilmWords) -> str:
    words = {
        "BodyPartExamined": header["Body Part Examined"],
        "ViewPosition": header["View Position"],
        "AnatomicRegionSequence": "SNM3 T-D3000"
        if "T-D3000" in header["Anatomic Region Sequence"]
        else "",
    }
    shown = understand(words, own, VIEWS)
    return find_view(shown, VIEWS) or why_none(shown, VIEWS)


def test_the_archive_is_the_one_that_is_meant(headers: list[Header]) -> None:
    assert len(headers) == 7469
    assert {header["Manufacturer"] for header in headers} == {""}
    types = Counter("SECONDARY" in header["Image Type"] for header in headers)
    assert round(types[True] / len(headers), 2) == 0.31
    assert sum(header["SOP Class UID"] == SECONDARY_CAPTURE for header in headers) == 2


def test_without_a_word_of_the_hospital_who_names_no_part_is_told_apart_from_other_views(
    headers: list[Header],
) -> None:
    found = Counter(shown_of(header, FilmWords()) for header in headers)
    silent = sum(
        not header["Body Part Examined"] and "T-D3000" not in header["Anatomic Region Sequence"]
        for header in headers
    )
    misspelt = sum(header["Body Part Examined"] == "EXTREMETY" for header in headers)
    assert found["intake.unknown-words"] == silent + misspelt > 2000
    assert found["frontal"] + found["lateral"] == len(headers) - silent - misspelt
    assert set(found) == {"frontal", "lateral", "intake.unknown-words"}


def test_real_films_are_read_as_a_person_would_and_none_is_lost_by_its_words(
    headers: list[Header], tmp_path
) -> None:
    chosen = [headers[number * len(headers) // 1500] for number in range(1500)]
    # the two secondary captures and every film with codes, which are few, are among them
    rare = [h for h in headers if h["SOP Class UID"] == SECONDARY_CAPTURE or h["View Code Sequence"]]
    chosen += [header for header in rare if header not in chosen]
    rule = ReadingRule(VIEWS, 64, None, OWN)
    reads = list(read_films(write_films(chosen, tmp_path / "films"), rule, workers=2))
    wrong = [
        (expected(header), read.view or read.code, header["Image Type"], header["View Position"])
        for header, read in zip(chosen, reads, strict=True)
        if (read.view or read.code) != expected(header)
    ]
    assert wrong == []
    used = [(header, read.film) for header, read in zip(chosen, reads, strict=True) if read.view]
    assert len(used) > 1480
    for header, film in used:
        assert film.patient_id == header["Patient ID"]
        assert film.acquired is not None
    derived = [header for header, film in used if film.words.get("ImageType", "").startswith("DERIVED")]
    assert len(derived) == sum("DERIVED" in header["Image Type"] for header, _ in used) > 1000
    # of a film that is refused its patient is known, too
    captures = [
        read for header, read in zip(chosen, reads, strict=True) if header in rare and not read.film
    ]
    assert all(read.patient_id for read in captures)
    assert len(captures) == 2
