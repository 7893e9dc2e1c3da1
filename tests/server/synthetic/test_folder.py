"""A written hospital: its truth file agrees with its files, and its defects are found by intake."""

import csv
import hashlib
import json
from collections import Counter
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
import yaml
from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from client.intake.clinical import interpret_rows, read_table
from client.site.profile import SiteProfile
from server.synthetic.folder import plan_defects, write_hospital, write_later_films
from server.synthetic.hospitals import BIRCH, DEFECT_CODES, Defects, intake_profile
from shared.exam.schema import CohortSchema

SCHEMA = CohortSchema.model_validate(
    yaml.safe_load(Path("configs/cohort/hip_bmd.yaml").read_text(encoding="utf-8"))
)
# one patient per defect, two of some, in a site of 60
SITE = replace(
    BIRCH,
    n_patients=60,
    pounds_share=0.3,
    metres_share=0.3,
    defects=replace(Defects(**dict.fromkeys(DEFECT_CODES, 1)), truncated_films=2, missing_label=2),
)
SEED = 4


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hospital")
    return folder, write_hospital(folder, SITE, SEED)


def headers(folder):
    """Readable headers of the films folder."""
    found = []
    for path in sorted((folder / "films").iterdir()):
        try:
            found.append(dcmread(path, stop_before_pixels=True))
        except InvalidDicomError:
            continue
    return found


def table(folder):
    with (folder / "clinical.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter=SITE.separator))


def digest_of(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_equal_seeds_give_equal_bytes_and_others_do_not(tmp_path):
    small = replace(SITE, n_patients=20)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_hospital(tmp_path / name, small, seed)
    assert digest_of(tmp_path / "a") == digest_of(tmp_path / "b")
    assert digest_of(tmp_path / "a") != digest_of(tmp_path / "c")


def test_truth_counts_what_lies_in_the_folder(hospital):
    folder, truth = hospital
    assert truth.n_files == len(list((folder / "films").iterdir()))
    assert truth.n_rows == len(table(folder))
    readable = [header for header in headers(folder) if "SOPClassUID" in header]
    # truncated and garbled films keep a readable header; the file that is no DICOM has none
    assert len(readable) == truth.n_files - 1
    assert json.loads((folder / "truth.json").read_text())["planted"] == truth.planted
    assert truth.planted == {**dict.fromkeys(sorted(DEFECT_CODES), 1)} | {
        "truncated_films": 2,
        "missing_label": 2,
    }
    assert sum(truth.syntaxes.values()) == truth.n_files - 4
    assert len(truth.syntaxes) >= 3


def test_planted_film_defects_are_in_the_films(hospital):
    folder, truth = hospital
    found = headers(folder)
    assert sum(header.BurnedInAnnotation == "YES" for header in found) == 1
    assert sum(header.ViewPosition == "LATERAL" for header in found) == 1
    uids = Counter(header.SOPInstanceUID for header in found)
    assert sorted(uids.values())[-2:] == [1, 2]
    filmed = {header.PatientID for header in found}
    named = {row["patient_id"] for row in table(folder)}
    by_defect = {patient.defect: patient.patient_id for patient in truth.patients}
    assert filmed - named == {by_defect["films_without_row"]}
    assert named - filmed == {by_defect["rows_without_film"], by_defect["not_dicom"]}


def test_intake_finds_every_planted_row_defect_under_its_code(hospital):
    folder, truth = hospital
    profile = SiteProfile.model_validate(intake_profile(SITE))
    header, raw = read_table(folder / "clinical.csv", profile)
    read = interpret_rows(header, raw, schema=SCHEMA, profile=profile, today=date(2024, 6, 1))
    found = Counter(entry.code for entry in read.quarantined)
    expected = Counter(
        {
            "intake.duplicate-exam": 1,
            "intake.missing-required-field": 1,
            "intake.missing-label": 2,
            "intake.unknown-unit": 1,
            "intake.out-of-range": 2,
            "intake.under-age": 1,
        }
    )
    assert found == expected
    assert {DEFECT_CODES[name] for name in truth.planted} >= set(expected)


def test_labels_and_units_come_back_as_they_were_measured(hospital):
    folder, truth = hospital
    profile = SiteProfile.model_validate(intake_profile(SITE))
    header, raw = read_table(folder / "clinical.csv", profile)
    units = Counter((row["height_unit"], row["weight_unit"]) for row in table(folder))
    assert {pair[0] for pair in units} == {"cm", "m"}
    assert {pair[1] for pair in units} == {"kg", "lb", "st"}
    read = interpret_rows(header, raw, schema=SCHEMA, profile=profile, today=date(2024, 6, 1))
    measured = {patient.patient_id: patient.measured_bmd for patient in truth.patients}
    n_compared = 0
    for row in read.rows:
        if row.label is not None:
            distance = min(abs(row.label.number - bmd) for bmd in measured[row.patient_id])
            assert distance < 0.0006  # a Lunar printout of three decimals
            n_compared += 1
        height, weight, bmi = (row.values[name] for name in ("height", "weight", "bmi"))
        if None not in (height, weight, bmi):
            assert weight / (height / 100) ** 2 == pytest.approx(bmi, abs=0.35)
    assert n_compared > 50


def test_repeat_exams_and_both_hips_exist_and_ages_agree_with_birth_days(hospital):
    folder, truth = hospital
    visits = [patient for patient in truth.patients if len(patient.days) == 2]
    assert 3 <= len(visits) <= 25
    assert all(second < first for first, second in (patient.true_bmd for patient in visits))
    sides = Counter(
        (header.PatientID, header.AcquisitionDate)
        for header in headers(folder)
        if "AcquisitionDate" in header
    )
    assert 2 in sides.values()
    births = {patient.patient_id: patient.birth_day for patient in truth.patients}
    assert len(births) == SITE.n_patients
    for row in table(folder):
        if row["age"]:
            years = (
                date.fromisoformat(row["exam_date"]) - date.fromisoformat(births[row["patient_id"]])
            ).days / 365.25
            assert years - 1.2 <= float(row["age"]) <= years + 0.1


def test_later_films_start_on_their_first_day_and_bring_some_known_patients(hospital, tmp_path):
    _, truth = hospital
    first_day = date(2024, 3, 1)
    later = write_later_films(tmp_path, SITE, SEED, first_day, n_new=8, n_seen=3)
    days = {header.AcquisitionDate for header in headers(tmp_path)}
    assert min(days) >= "20240301"
    assert max(days) < "20240530"
    known = {patient.patient_id: patient for patient in truth.patients}
    again = [patient for patient in later.patients if patient.patient_id in known]
    assert len(again) == later.n_seen_before == 3
    assert len(later.patients) == 11
    for patient in again:
        assert patient.name == known[patient.patient_id].name
        assert patient.birth_day == known[patient.patient_id].birth_day
        assert known[patient.patient_id].defect == ""
        assert patient.true_bmd[0] < known[patient.patient_id].true_bmd[0]


def test_every_defect_has_its_own_patients():
    plan = plan_defects(SITE, SEED)
    assert len(plan) == len(DEFECT_CODES) + 2
    assert Counter(plan.values())["truncated_films"] == 2


def test_films_wear_what_their_sites_look_says(hospital):
    folder, truth = hospital
    worn = [header for header in headers(folder) if "SOPClassUID" in header]
    n = len(worn)
    # three SD of a share among these films
    assert truth.n_monochrome1 / n == pytest.approx(SITE.look.monochrome1, abs=1.5 / n**0.5)
    assert {header.BitsStored for header in worn} == {bits for bits, _ in SITE.look.bits}
    assert any(header.get("PatientOrientation") not in (["L", "F"], None, []) for header in worn)
    assert any("CollimatorShape" in header for header in worn)
    lacking = [header for header in worn if "ImagerPixelSpacing" not in header]
    assert 0 < len(lacking) < 0.2 * n
    assert {header.Modality for header in lacking} == {"CR"}
    # what the coded region would not replace is never left out
    assert all(header.BodyPartExamined for header in worn if header.Modality == "CR")


def test_a_site_has_films_of_one_hip_and_wide_ones(hospital):
    folder, _ = hospital
    widths = [
        header.Columns * float(header.ImagerPixelSpacing[1])
        for header in headers(folder)
        if "ImagerPixelSpacing" in header
    ]
    assert 0.15 < sum(width > 200 for width in widths) / len(widths) < 0.55


def test_a_followed_hospital_has_an_end_of_each_exam_and_no_exam_after_it(tmp_path: Path) -> None:
    plain = replace(BIRCH, n_patients=40, repeat_share=0.5, defects=Defects(missing_label=2))
    followed = replace(plain, followed_until=date(2026, 1, 1), fracture_hazard_ratio=30.0)
    write_hospital(tmp_path / "plain", plain, seed=3)
    write_hospital(tmp_path / "followed", followed, seed=3)

    def rows(name: str) -> list[dict[str, str]]:
        text = (tmp_path / name / "clinical.csv").read_text()
        return list(csv.DictReader(text.splitlines(), delimiter=";"))

    assert not {"fracture_years", "fracture_status"} & set(rows("plain")[0])
    ends: dict[str, set[date]] = {}
    for row in rows("followed"):
        if row["bmd_neck"]:
            years = float(row["fracture_years"].replace(",", "."))
            assert years > 0 or row["fracture_status"] in ("alive", "0")
            day = date.fromisoformat(row["exam_date"]) + timedelta(days=round(years * 365.25))
            ends.setdefault(row["patient_id"], set()).add(day)
        else:
            assert row["fracture_years"] == row["fracture_status"] == ""
    assert all(len(days) == 1 for days in ends.values()), "two exams of a patient have one end"
    words = {row["fracture_status"] for row in rows("followed")}
    assert words & {"hip fracture", "fracture", "1"}
    assert words & {"alive", "0"}
    assert len(rows("followed")) < len(rows("plain")), "nobody comes again after the end"
