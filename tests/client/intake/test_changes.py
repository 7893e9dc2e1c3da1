"""What an intake would change, counted by hand; who asked to be left out is not a loss."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from types import SimpleNamespace

import pytest
from practice_framing import WHOLE

from client.cohort.folder import Exam, StoredFilm
from client.cohort.split import PatientKey
from client.intake.changes import Changes, compare_exams, refuse_moved
from client.intake.films import WITHDRAWN, AdmissionRule
from shared.errors import IntakeError

ANNA, BERT, CARL = PatientKey("anna"), PatientKey("bert"), PatientKey("carl")


def film(name: str, image: int = 0) -> StoredFilm:
    return StoredFilm(
        image=image,
        film=name,
        view="hip_ap",
        laterality="L",
        pixel_mm=None,
        framing=WHOLE,
        manufacturer="Acme",
        presentation_intent="",
    )


def exam(name: str, patient: PatientKey = ANNA, *films: StoredFilm, age: float = 70.0) -> Exam:
    return Exam(
        exam=name,
        patient=patient,
        day=1,
        split="train",
        films=films,
        values={"age": age},
        label=None,
    )


def compared(before: list[Exam], after: list[Exam], *, out: set[PatientKey] = frozenset()) -> Changes:
    version = SimpleNamespace(exams=tuple(before))
    return compare_exams(version, after, is_left_out=lambda patient: patient in out)


def test_a_first_version_only_adds() -> None:
    changes = compare_exams(None, [exam("a"), exam("b")], is_left_out=lambda _: True)
    assert changes == Changes(added=2, changed=0, unchanged=0, fewer_films=0, missing=0, left_out=0)


def test_every_exam_is_in_one_count() -> None:
    before = [
        exam("same", ANNA, film("f1", 0), film("f2", 1)),
        exam("value"),
        exam("more-films", ANNA, film("f3")),
        exam("fewer-films", ANNA, film("f4"), film("f5")),
        exam("gone"),
        exam("withdrew", BERT),
    ]
    after = [
        # the rows of the images, and their order, are no content
        exam("same", ANNA, film("f2", 9), film("f1", 8)),
        exam("value", age=71.0),
        exam("more-films", ANNA, film("f3"), film("f6")),
        exam("fewer-films", ANNA, film("f4")),
        exam("new"),
        exam("new too"),
    ]
    changes = compared(before, after, out={BERT})
    assert changes == Changes(added=2, changed=2, unchanged=1, fewer_films=1, missing=1, left_out=1)
    assert changes.n_lost == 2


def test_films_that_were_exchanged_one_for_one_are_a_change() -> None:
    changes = compared([exam("a", ANNA, film("f1"))], [exam("a", ANNA, film("f2"))])
    assert (changes.changed, changes.unchanged, changes.fewer_films) == (1, 0, 0)


def rule(**changes: object) -> AdmissionRule:
    return replace(AdmissionRule(is_withdrawn=lambda patient: patient == ANNA), **changes)


def test_withdrawn_and_excluded_patients_are_left_out_and_nobody_else() -> None:
    admission = rule(exclude_patients=frozenset({BERT}), acquired_after=date(2024, 1, 1))
    assert [admission.leaves_out(patient) for patient in (ANNA, BERT, CARL)] == [True, True, False]


def test_an_exam_is_admitted_only_after_the_day_of_a_lock_by_patients_unseen() -> None:
    admission = rule(exclude_patients=frozenset({BERT}), acquired_after=date(2024, 1, 1))
    late = date(2024, 1, 2)
    assert admission.exclusion_code(ANNA, late) == WITHDRAWN
    assert admission.exclusion_code(BERT, late) == "intake.seen-in-training"
    assert admission.exclusion_code(CARL, date(2024, 1, 1)) == "intake.before-lock"
    assert admission.exclusion_code(CARL, late) is None
    assert rule().exclusion_code(CARL, date(1990, 1, 1)) is None
    until = rule(acquired_until=late)
    assert until.exclusion_code(CARL, late) is None
    assert until.exclusion_code(CARL, late + timedelta(days=1)) == "intake.after-lock"


def test_a_withdrawn_patients_exams_are_no_loss_when_the_rule_itself_is_asked() -> None:
    changes = compare_exams(
        SimpleNamespace(exams=(exam("a", ANNA), exam("c", CARL))), [], is_left_out=rule().leaves_out
    )
    assert (changes.left_out, changes.missing, changes.n_lost) == (1, 1, 1)


def test_who_would_change_sides_stops_the_intake() -> None:
    before = SimpleNamespace(exams=(exam("a", ANNA), exam("b", BERT)))
    after = [exam("a", ANNA), replace(exam("b", BERT), split="internal"), exam("c", CARL)]
    with pytest.raises(IntakeError, match="1 patients would move") as caught:
        refuse_moved(before, after)  # type: ignore[arg-type]
    assert caught.value.code == "intake.split-moved"
    refuse_moved(before, [after[0], exam("b", BERT), after[2]])  # type: ignore[arg-type]
    refuse_moved(None, after)
