"""Invented people: reproducible, never two of one number, inside the site's period."""

from __future__ import annotations

from datetime import date

from server.synthetic.hospitals import ASTER, BIRCH
from server.synthetic.identity import FIRST_PARTS, GIVEN, draw_person


def test_a_person_is_fixed_by_site_seed_and_number() -> None:
    assert draw_person(ASTER, 3, 5) == draw_person(ASTER, 3, 5)
    others = [draw_person(BIRCH, 3, 5), draw_person(ASTER, 4, 5), draw_person(ASTER, 3, 6)]
    assert all(other.patient != draw_person(ASTER, 3, 5).patient for other in others)


def test_patient_numbers_are_distinct_and_show_no_order() -> None:
    numbers = [draw_person(ASTER, 1, number).patient_id for number in range(200)]
    assert len(set(numbers)) == 200
    assert numbers != sorted(numbers)
    assert all(number.startswith("AS-") and len(number) == 9 for number in numbers)


def test_birth_and_first_day_fit_age_and_period() -> None:
    for number in range(50):
        person = draw_person(ASTER, 1, number)
        assert ASTER.first_day <= person.first_day < ASTER.last_day
        # a second visit may follow within two years
        assert (ASTER.last_day - person.first_day).days >= 730
        age = (person.first_day - person.birth_day).days / 365.25
        assert abs(age - person.patient.age_years) < 0.01
    day = date(2022, 5, 6)
    assert draw_person(ASTER, 1, 0, first_day=day).first_day == day


def test_names_are_invented_and_fit_the_sex() -> None:
    for number in range(30):
        person = draw_person(ASTER, 1, number)
        family, given = person.name.split("^")
        assert given in GIVEN[person.patient.sex]
        assert family.startswith(FIRST_PARTS)
