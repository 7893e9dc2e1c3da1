"""Exams of a synthetic site: reproducible, recorded as a clinic records, and a ceiling that is one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from server.synthetic.exams import (
    FIELDS,
    _regression_r2,
    draw_exam,
    draw_exams,
    draw_record,
    draw_second_visit,
    draw_sides,
    measure_ceiling,
    record_patient,
    site_anatomy,
    site_generator,
)
from server.synthetic.hospitals import ASTER, BIRCH, Missingness
from server.synthetic.population import Patient, draw_anatomy, draw_patient

WHOLE = replace(ASTER, missing=())


@pytest.fixture
def patient() -> Patient:
    return draw_patient(WHOLE.population, np.random.default_rng(1))


def test_site_seed_and_stream_each_make_another_generator() -> None:
    def first(*arguments: object) -> float:
        return site_generator(*arguments).random()

    assert first(ASTER, 1, 2) == first(ASTER, 1, 2)
    seen = {first(ASTER, 1, 2), first(BIRCH, 1, 2), first(ASTER, 2, 2), first(ASTER, 1, 3)}
    assert len(seen) == 4


def test_exams_are_those_of_their_seed_one_per_fresh_patient() -> None:
    one, two = (draw_exams(ASTER, 3, np.random.default_rng(5)) for _ in range(2))
    assert [exam.bmd_g_cm2 for exam in one] == [exam.bmd_g_cm2 for exam in two]
    assert [exam.number for exam in one] == [0, 1, 2]
    assert len({exam.patient.age_years for exam in one}) == 3
    assert all(
        np.array_equal(a.pixels, b.pixels) for a, b in zip(one[0].films, two[0].films, strict=True)
    )


def test_what_is_recorded_is_rounded_as_a_clinic_rounds(patient: Patient) -> None:
    exact = replace(
        patient,
        age_years=71.9,
        height_cm=160.3,
        weight_kg=60.04,
        alcohol_g_day=9.6,
        activity_h_week=3.3,
        prior_fracture=True,
    )
    record = record_patient(WHOLE, exact, np.random.default_rng(0))
    assert tuple(record) == FIELDS
    assert (record["age"], record["height"], record["weight"]) == (71.0, 160.5, 60.0)
    assert (record["alcohol"], record["activity"]) == (10.0, 3.5)
    assert record["bmi"] == round(exact.bmi, 1)
    assert record["prior_fracture"] == "yes"


def test_gaps_come_at_their_rate_and_more_often_above_75(patient: Patient) -> None:
    site = replace(ASTER, missing=(Missingness("alcohol", 0.2, 0.4),))
    for age, share in ((75.0, 0.2), (75.1, 0.6)):
        rng = np.random.default_rng(3)
        aged = replace(patient, age_years=age)
        gaps = sum(record_patient(site, aged, rng)["alcohol"] is None for _ in range(4000))
        assert gaps / 4000 == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("field", ["height", "weight"])
def test_nobody_computes_a_bmi_without_height_and_weight(patient: Patient, field: str) -> None:
    site = replace(ASTER, missing=(Missingness(field, 1.0),))
    assert record_patient(site, patient, np.random.default_rng(0))["bmi"] is None


def test_a_second_visit_is_the_same_person_with_the_same_hips_later(patient: Patient) -> None:
    rng = np.random.default_rng(8)
    first = draw_exam(WHOLE, patient, 4, rng, anatomy_seed=99)
    second = draw_second_visit(WHOLE, first, 2.0, rng, anatomy_seed=99)
    assert (second.number, second.visit) == (4, 1)
    assert second.patient.age_years == pytest.approx(patient.age_years + 2)
    assert [film.side for film in second.films] == [film.side for film in first.films]


def test_sides_are_filmed_at_their_shares() -> None:
    rng = np.random.default_rng(4)
    drawn = [draw_sides(replace(ASTER, both_hips_share=0.3), rng) for _ in range(4000)]
    assert drawn.count(("left", "right")) / 4000 == pytest.approx(0.3, abs=0.03)
    assert drawn.count(("left",)) / 4000 == pytest.approx(0.35, abs=0.03)


def test_a_population_has_its_own_cortex_at_equal_bmd(patient: Patient) -> None:
    thick = replace(ASTER, bone_offset=np.log(1.5))
    [own] = draw_anatomy(patient, ("left",), 7)
    [found] = site_anatomy(thick, patient, ("left",), 7)
    assert found.cortical_mm == pytest.approx(1.5 * own.cortical_mm)
    assert replace(found, cortical_mm=own.cortical_mm) == own


def test_a_dxa_errs_by_its_precision(patient: Patient) -> None:
    site = replace(WHOLE, dxa_precision=0.02)
    rng = np.random.default_rng(6)
    read = [
        draw_exam(site, patient, 0, rng, anatomy_seed=1, sides=("left",)).bmd_g_cm2 for _ in range(60)
    ]
    assert np.mean(read) == pytest.approx(patient.bmd_g_cm2, rel=0.01)
    assert np.std(read) / patient.bmd_g_cm2 == pytest.approx(0.02, rel=0.4)


def test_a_regression_is_judged_on_patients_it_has_not_seen() -> None:
    rng = np.random.default_rng(0)
    target = rng.normal(size=400)
    assert _regression_r2(target[:, None], target) == pytest.approx(1.0)
    # noise alone: with half as many columns as patients it fits the first half and fails the second
    assert _regression_r2(rng.normal(size=(400, 100)), target) < 0.0


def test_a_ceiling_grows_with_what_is_known() -> None:
    found = measure_ceiling(WHOLE, np.random.default_rng(2), n_patients=1500)
    assert 0.1 < found.clinical_r2 < found.image_r2 < found.r2 < 1.0


def test_a_record_is_an_exam_without_a_film(patient: Patient) -> None:
    exam = draw_record(WHOLE, patient, 7, np.random.default_rng(2))
    assert (exam.number, exam.films, exam.patient) == (7, (), patient)
    assert exam.clinical["sex"] == patient.sex
    assert exam.bmd_g_cm2 == pytest.approx(patient.bmd_g_cm2, rel=0.1)


def test_wide_films_come_at_their_share() -> None:
    rng = np.random.default_rng(21)
    for share in (0.0, 0.5, 1.0):
        site = replace(ASTER, wide_share=share, both_hips_share=0.0)
        exams = draw_exams(site, 60, rng)
        is_wide = [max(film.pixels.shape) > 200 for exam in exams for film in exam.films]
        assert abs(np.mean(is_wide) - share) < 0.2
        assert all(exam.films[0].pixels.shape[0] == exam.scanner.rows for exam in exams)
