"""A cohort holds no more of a patient than a plan can take: which exams, chance of the key decides."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import pytest
from practice_framing import WHOLE

from client.cohort.label import ExamLabel
from client.intake.caps import OVER, cap_patients
from client.intake.clinical import ClinicalRow
from client.intake.link import FilmRecord, LinkedExam, Links
from shared.exam.schema import MOST_EXAMS, MOST_FILMS
from shared.signing.canonical import hash_of

DAY = date(2026, 1, 1)


def film(patient: str, number: int, item: str = "") -> FilmRecord:
    return FilmRecord(
        item=item or f"item-{patient}-{number}",
        scratch=number,
        film=hash_of([patient, number]),
        view="hip AP",
        laterality=None,
        pixel_mm=None,
        framing=WHOLE,
        manufacturer="",
        presentation_intent="",
        patient_id=patient,
        day=DAY,
    )


def exam(
    patient: str, number: int, films: Sequence[FilmRecord] = (), *, labelled: bool = True
) -> LinkedExam:
    label = ExamLabel(number=1.0) if labelled else None
    row = ClinicalRow(number=number, patient_id=patient, day=DAY, values={}, label=label)
    return LinkedExam(row, DAY + timedelta(days=number), tuple(films))


def name_of(linked: LinkedExam) -> str:
    return hash_of([linked.row.patient_id, linked.row.number])


def capped(exams: Sequence[LinkedExam], **caps: int) -> Links:
    return cap_patients(Links(tuple(exams), {}, {}), name_of=name_of, **caps)


def test_of_a_patient_with_two_thousand_rows_as_many_are_kept_as_a_plan_can_take() -> None:
    exams = [exam("many", number) for number in range(2001)]
    others = [exam(f"p{number}", 3000 + number) for number in range(5)]
    found = capped([*exams, *others])
    kept = [each for each in found.exams if each.row.patient_id == "many"]
    first = {name_of(each) for each in sorted(exams, key=name_of)[:MOST_EXAMS]}
    assert kept == [each for each in exams if name_of(each) in first]
    assert len(found.row_codes) == 2001 - MOST_EXAMS
    assert set(found.row_codes.values()) == {OVER}
    assert [each for each in found.exams if each.row.patient_id != "many"] == others


def test_who_is_within_the_caps_stays_as_it_was_whoever_else_is_not() -> None:
    others = [exam("few", number, [film("few", number)]) for number in range(MOST_EXAMS)]
    many = [exam("many", 100 + number) for number in range(MOST_EXAMS + 1)]
    assert [each for each in capped([*others, *many]).exams if each.row.patient_id == "few"] == others
    assert capped(others).exams == tuple(others)
    assert capped(others).row_codes == {}


def test_exams_with_a_label_are_kept_first() -> None:
    exams = [exam("p", number, labelled=number % 2 == 1) for number in range(6)]
    assert {each.row.number for each in capped(exams, most_exams=3).exams} == {1, 3, 5}


def test_of_films_the_first_in_the_keyed_order_are_kept_and_each_other_one_is_told() -> None:
    films = [film("p", number) for number in range(MOST_FILMS + 3)]
    found = capped([exam("p", 1, films)])
    first = sorted(films, key=lambda each: each.film)[:MOST_FILMS]
    assert set(found.exams[0].films) == set(first)
    assert found.film_codes == {each.item: OVER for each in films if each not in first}
    assert not found.row_codes


def test_an_exam_that_loses_all_of_its_films_is_left_out_with_its_row() -> None:
    films = sorted((film("p", number) for number in range(3)), key=lambda each: each.film)
    found = capped([exam("p", 1, films[2:]), exam("p", 2, films[:2])], most_films=2)
    assert [each.row.number for each in found.exams] == [2]
    assert (found.row_codes, found.film_codes) == ({1: OVER}, {films[2].item: OVER})


def test_a_film_that_keeps_some_of_its_crops_only_is_told_as_a_choice() -> None:
    crops = [film("p", number, item="spine") for number in range(4)]
    found = capped([exam("p", 1, crops)], most_films=3)
    assert len(found.exams[0].films) == 3
    assert (found.film_codes, found.choices) == ({}, (("spine", OVER),))


@pytest.mark.parametrize("wanted", [1, 2, 5])
def test_what_a_plan_takes_of_all_exams_is_among_those_that_are_kept(wanted: int) -> None:
    exams = [exam("p", number) for number in range(9)]
    names = {name_of(each) for each in capped(exams, most_exams=5).exams}
    assert set(sorted(map(name_of, exams))[:wanted]) <= names
