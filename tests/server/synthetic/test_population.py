"""Epidemiology of the synthetic patients, and how well their BMD can be told at best."""

import numpy as np
import pytest

from server.synthetic.exams import measure_ceiling, record_patient
from server.synthetic.hospitals import ASTER, CEDAR
from server.synthetic.population import (
    GENERAL,
    OSTEOPENIA_G_CM2,
    OSTEOPOROSIS_G_CM2,
    REFERRED,
    draw_anatomy,
    draw_patient,
    grow_older,
)


@pytest.fixture(scope="module")
def general():
    rng = np.random.default_rng(11)
    return [draw_patient(GENERAL, rng) for _ in range(12_000)]


# Looker et al., J Bone Miner Res 2010;25:64, femoral neck, NHANES 2005-06, age 50 and older.
@pytest.mark.parametrize(
    ("sex", "osteoporosis", "osteopenia"), [("female", 0.10, 0.49), ("male", 0.02, 0.30)]
)
def test_the_general_population_has_the_prevalences_of_nhanes(general, sex, osteoporosis, osteopenia):
    bmd = np.array([patient.bmd_g_cm2 for patient in general if patient.sex == sex])
    low = bmd <= OSTEOPOROSIS_G_CM2
    assert low.mean() == pytest.approx(osteoporosis, abs=0.02)
    assert ((bmd <= OSTEOPENIA_G_CM2) & ~low).mean() == pytest.approx(osteopenia, abs=0.02)


def test_thresholds_are_t_scores_of_the_young_reference():
    # 0.858 - 2.5 * 0.120 and 0.858 - 0.120, by hand
    assert pytest.approx(0.558) == OSTEOPOROSIS_G_CM2
    assert pytest.approx(0.738) == OSTEOPENIA_G_CM2


@pytest.mark.parametrize("profile", [REFERRED, ASTER.population, CEDAR.population])
def test_a_referred_population_has_its_declared_prevalence(profile):
    rng = np.random.default_rng(12)
    bmd = np.array([draw_patient(profile, rng).bmd_g_cm2 for _ in range(5_000)])
    share = (bmd <= OSTEOPOROSIS_G_CM2).mean()
    assert share == pytest.approx(profile.osteoporosis_prevalence, abs=0.02)
    assert 0.20 <= share <= 0.30


def test_risk_factors_point_the_way_medicine_knows(general):
    women = [patient for patient in general if patient.sex == "female"]
    bmd = np.array([patient.bmd_g_cm2 for patient in women])

    def correlation(values):
        return np.corrcoef(np.array(values, dtype=float), bmd)[0, 1]

    assert correlation([patient.age_years for patient in women]) < -0.4
    assert correlation([patient.weight_kg for patient in women]) > 0.1
    assert correlation([patient.activity_h_week for patient in women]) > 0.03
    assert correlation([patient.smoking == "current" for patient in women]) < -0.02
    assert correlation([patient.prior_fracture for patient in women]) < -0.05


def test_clinical_fields_alone_tell_a_fifth_to_a_third_and_bone_leaves_a_rest():
    ceiling = measure_ceiling(CEDAR, np.random.default_rng(13), n_patients=5_000)
    assert 0.20 <= ceiling.clinical_r2 <= 0.31
    assert 0.60 <= ceiling.image_r2 <= 0.75
    assert ceiling.image_r2 < ceiling.r2 < 0.80


def test_a_patient_keeps_the_same_bones_and_two_hips_are_alike():
    rng = np.random.default_rng(14)
    hips = []
    for seed in range(300):
        patient = draw_patient(REFERRED, rng)
        left, right = draw_anatomy(patient, ("left", "right"), seed)
        assert draw_anatomy(patient, ("right",), seed) == (right,)
        hips.append((left.cortical_mm, right.cortical_mm))
    assert np.corrcoef(np.array(hips).T)[0, 1] > 0.9


def test_years_take_bone():
    patient = draw_patient(REFERRED, np.random.default_rng(15))
    older = grow_older(patient, 10.0, np.random.default_rng(16))
    loss = {"female": 0.0077, "male": 0.0045}[patient.sex]
    assert older.bmd_g_cm2 == pytest.approx(patient.bmd_g_cm2 * np.exp(-10 * loss))
    assert older.age_years == patient.age_years + 10.0


def test_missing_fields_are_as_frequent_as_declared_and_more_so_in_the_old():
    site = CEDAR
    rng = np.random.default_rng(17)
    rule = next(rule for rule in site.missing if rule.field == "activity")
    patients = [draw_patient(site.population, rng) for _ in range(3_000)]
    records = [(patient.age_years, record_patient(site, patient, rng)) for patient in patients]

    def empty_share(is_old):
        return np.mean([rec["activity"] is None for age, rec in records if (age > 75) is is_old])

    assert empty_share(False) == pytest.approx(rule.share, abs=0.025)
    assert empty_share(True) == pytest.approx(rule.share + rule.share_above_75, abs=0.05)
    assert all(record["age"] is not None for _, record in records)
