"""Films and rows become exams."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from practice_framing import WHOLE

from client.cohort.quarantine import CodeCount
from client.intake.clinical import ClinicalRow
from client.intake.link import FilmRecord, Reconciliation, link_films, reconcile
from shared.exam.schema import ViewRule

DAY = date(2020, 6, 1)
HIP = ViewRule(name="hip_ap", body_parts=("HIP", "PELVIS"), positions=("AP",))


def row(number: int, patient: str, offset: int) -> ClinicalRow:
    day = DAY + timedelta(days=offset)
    return ClinicalRow(number=number, patient_id=patient, day=day, values={}, label=None)


def film(name: str, patient: str, offset: int = 0) -> FilmRecord:
    return FilmRecord(
        item=name, scratch=0, film=name, view="hip_ap", laterality="L", pixel_mm=None,
        framing=WHOLE, manufacturer="", presentation_intent="", patient_id=patient,
        day=DAY + timedelta(days=offset),
    )  # fmt: skip


def links(films, rows, rejected=None):
    return link_films(films, rows, max_days=90, rejected_rows=rejected or {})


def test_both_hips_of_one_date_are_one_exam_in_the_order_of_their_keys():
    found = links([film("b", "P"), film("a", "P")], [row(1, "P", 3)])
    assert [[item.film for item in exam.films] for exam in found.exams] == [["a", "b"]]
    assert found.exams[0].day == DAY


def test_two_dates_are_two_exams_and_may_share_a_row():
    found = links([film("a", "P"), film("b", "P", 30)], [row(1, "P", 3)])
    assert [exam.row.number for exam in found.exams] == [1, 1]
    assert not found.row_codes


def test_nearest_row_wins_and_a_tie_takes_the_earlier():
    assert links([film("a", "P")], [row(1, "P", -20), row(2, "P", 10)]).exams[0].row.number == 2
    assert links([film("a", "P")], [row(1, "P", 10), row(2, "P", -10)]).exams[0].row.number == 2


@pytest.mark.parametrize(
    ("offset", "is_linked"), [(90, True), (-90, True), (91, False), (-91, False), (-4000, False)]
)
def test_window_includes_its_last_day_on_either_side(offset, is_linked):
    found = links([film("a", "P")], [row(1, "P", offset)])
    assert bool(found.exams) == is_linked
    assert found.film_codes == ({} if is_linked else {"a": "intake.missing-row"})
    assert found.row_codes == ({} if is_linked else {1: "intake.missing-film"})


def test_film_of_nobody_and_film_of_a_rejected_row_are_told_apart():
    found = links([film("a", "P"), film("b", "Q")], [], {"Q": "intake.under-age"})
    assert found.film_codes == {"a": "intake.unknown-patient", "b": "intake.under-age"}


def test_a_choice_between_rows_and_a_row_that_serves_twice_are_said_by_the_first_film():
    rows = [row(1, "P", 3), row(2, "P", 60), row(3, "Q", 0)]
    found = links([film("b", "P"), film("a", "P"), film("c", "P", 30), film("d", "Q")], rows)
    assert sorted(found.choices) == [
        ("a", "intake.several-rows"),
        ("a", "intake.shared-row"),
        ("c", "intake.several-rows"),
        ("c", "intake.shared-row"),
    ]
    # 27 days back or 30 on: row 1 serves both dates, row 2 none
    assert found.row_codes == {2: "intake.missing-film"}


def test_each_count_of_a_reconciliation_is_of_its_own_code():
    codes = {
        ("film", "intake.unknown-patient"): 1,
        ("film", "intake.missing-row"): 2,
        ("row", "intake.missing-film"): 3,
        ("link", "intake.several-rows"): 4,
        ("link", "intake.shared-row"): 5,
        # of other kinds, and of other codes
        ("row", "intake.unknown-patient"): 70,
        ("film", "intake.blank-film"): 80,
    }
    counts = [CodeCount(kind, code, n) for (kind, code), n in codes.items()]
    assert reconcile(9, counts) == Reconciliation(
        exams=9, films_of_nobody=1, films_too_far=2, rows_only=3, several_rows=4, shared_rows=5
    )
    assert reconcile(0, []).rows_only == 0


def test_what_was_not_counted_is_nobody():
    found = reconcile(3, [])
    assert found.exams == 3
    assert set(vars(found).values()) == {0, 3}
