"""A messy synthetic hospital becomes a frozen cohort, and nothing of a person gets into it."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import yaml
from practice_intake import ingest_with
from pydicom import dcmread

from client.cohort.folder import Cohort
from client.cohort.quarantine import CODES
from client.intake import films as intake_films
from client.intake.changes import Changes
from client.intake.clinical import read_table
from client.intake.found_words import WORDS_FILE
from client.intake.ingest import IntakeReport
from client.intake.refusal import REFUSED_FILE, read_refused
from client.site.linkage import Linkage, PatientKey, Pseudonyms
from client.site.profile import SiteProfile
from server.synthetic.folder import SyntheticTruth, write_hospital, write_later_films
from server.synthetic.hospitals import BIRCH, DEFECT_CODES, Defects
from shared.errors import IntakeError
from shared.exam.schema import CohortSchema

HIP = Path(__file__).parents[3] / "configs" / "cohort" / "hip_bmd.yaml"
SITE = replace(
    BIRCH,
    n_patients=50,
    defects=Defects(
        truncated_films=1, garbled_films=1, not_dicom=1, burned_in=1, wrong_view=1,
        duplicate_films=1, films_without_row=1, rows_without_film=1, duplicate_rows=1,
        missing_required=1, missing_label=1, unknown_unit=1, value_out_of_range=1, bmd_in_mg=1,
        under_age=1,
    ),
)  # fmt: skip
PROFILE = SiteProfile(dxa_vendor="lunar", dxa_skeletal_site="femoral_neck", separator=";", decimal=",")
PSEUDONYMS = Pseudonyms(b"\x07" * 32)
SEED, LOCK = 11, date(2024, 1, 15)
Ingest = Callable[..., IntakeReport]


@pytest.fixture(scope="module")
def schema() -> CohortSchema:
    return CohortSchema.model_validate(yaml.safe_load(HIP.read_text()))


def run(source: Path, home: Path, schema: CohortSchema, **changes: object) -> IntakeReport:
    arguments = {
        "store": home / "cohorts", "schema": schema, "profile": PROFILE,
        "pseudonyms": PSEUDONYMS, "linkage": Linkage(home / "linkage" / "linkage.bin", PSEUDONYMS),
        "clock": lambda: datetime(2024, 6, 30, tzinfo=UTC),
    }  # fmt: skip
    return ingest_with(source, **(arguments | changes))


@pytest.fixture(scope="module")
def hospital(tmp_path_factory) -> tuple[Path, SyntheticTruth]:
    source = tmp_path_factory.mktemp("hospital")
    return source, write_hospital(source, SITE, SEED)


@pytest.fixture(scope="module")
def done(hospital, tmp_path_factory, schema) -> tuple[IntakeReport, Path]:
    home = tmp_path_factory.mktemp("site")
    return run(hospital[0], home, schema), home


@pytest.fixture
def small(hospital, tmp_path) -> Path:
    """A folder with the films and rows of six sound patients, to be changed by a test."""
    source, truth = hospital
    sound = [person for person in truth.patients if not person.defect][:6]
    numbers = {person.patient_id for person in sound}
    folder = tmp_path / "small"
    (folder / "films").mkdir(parents=True)
    for path in (source / "films").iterdir():
        if path.name.split("_")[0] in numbers:
            shutil.copy(path, folder / "films")
    lines = (source / "clinical.csv").read_text(encoding="utf-8-sig").splitlines()
    kept = [line for line in lines[1:] if any(number in line for number in numbers)]
    (folder / "clinical.csv").write_text("\n".join([lines[0], *kept]) + "\n")
    return folder


def test_every_planted_defect_is_reported_under_its_code(hospital, done):
    found = Counter()
    for count in done[0].counts:
        found[count.kind, count.code] += count.n
    film_codes = ["unreadable-dicom", "burned-in-annotation", "wrong-view", "duplicate-film",
                  "unknown-patient"]  # fmt: skip
    planted = Counter()
    for defect, number in hospital[1].planted.items():
        planted[DEFECT_CODES[defect]] += number
    # A file named .dcm that is no DICOM file cannot be told from a damaged film.
    planted["intake.unreadable-dicom"] += planted.pop("intake.not-dicom")
    for code in film_codes:
        assert found["film", f"intake.{code}"] == planted[f"intake.{code}"], code
    for code in ("duplicate-exam", "missing-required-field", "under-age"):
        assert found["row", f"intake.{code}"] == 1
    assert found["row", "intake.out-of-range"] == 1  # the BMD in mg
    for code in ("missing-label", "unknown-unit", "out-of-range"):
        assert found["value", f"intake.{code}"] == 1
    # The row without film, and the rows of three unreadable, a burned-in and a lateral film.
    assert found["row", "intake.missing-film"] == 6


def test_counts_add_up_to_the_input(hospital, done):
    source, truth = hospital
    report = done[0]
    lost = Counter()
    for count in report.counts:
        assert count.code in CODES
        lost[count.kind] += count.n
    assert report.n_films_read == len(list((source / "films").iterdir())) == truth.n_files
    assert report.n_rows_read == truth.n_rows
    assert report.n_films_used + lost["film"] == report.n_films_read
    assert report.n_rows_used + lost["row"] == report.n_rows_read
    assert (
        report.n_films_used
        == len(report.cohort.images)
        == sum(len(exam.films) for exam in report.cohort.exams)
    )


def test_no_person_date_or_file_name_is_in_the_cohort(hospital, done):
    source, truth = hospital
    report, home = done
    stored = b"".join(path.read_bytes() for path in report.cohort.folder.iterdir())
    secrets: set[str] = set()
    for person in truth.patients:
        secrets |= {person.patient_id, person.name, *person.name.split("^"), person.birth_day}
        secrets |= {day for day in person.days} | {day.replace("-", "") for day in person.days}
        secrets |= {str(date.fromisoformat(day).toordinal()) for day in person.days}
    for path in (source / "films").iterdir():
        secrets |= {path.name, path.stem}
        if path.stat().st_size > 2000:
            film = dcmread(path, force=True, stop_before_pixels=True)
            secrets |= {str(film.get(name, "")) for name in (
                "SOPInstanceUID", "StudyInstanceUID", "AccessionNumber", "InstitutionName",
            )}  # fmt: skip
    secrets |= {row.cells["exam_date"] for row in read_table(source / "clinical.csv", PROFILE)[1]}
    texts = {secret.encode() for secret in secrets if len(secret) > 4}
    assert len(texts) > 300
    assert not [text for text in texts if text in stored]
    assert not [text for text in texts if text in json.dumps(report.summary()).encode()]
    sealed = (home / "linkage" / "linkage.bin").read_bytes()
    assert not [text for text in texts if text in sealed]


def test_linkage_leads_back_from_the_cohort_to_people_dates_and_files(hospital, done):
    source, truth = hospital
    report, home = done
    linkage = Linkage(home / "linkage" / "linkage.bin", PSEUDONYMS)
    days = {person.patient_id: set(person.days) for person in truth.patients}
    for exam in report.cohort.exams:
        person = linkage.identity_of(exam.patient)
        assert person is not None
        assert PSEUDONYMS.date_of(exam.patient, exam.day).isoformat() in days[person.patient_id]
    places = [linkage.place_of(entry.item) for entry in report.cohort.quarantined]
    assert all(
        place and (place.startswith("clinical.csv row ") or (source / place).is_file())
        for place in places
    )


def test_labels_come_back_on_the_reference_vendors_scale(hospital, done):
    linkage = Linkage(done[1] / "linkage" / "linkage.bin", PSEUDONYMS)
    truth = {person.patient_id: person for person in hospital[1].patients}
    for exam in done[0].cohort.exams:
        person = truth[linkage.identity_of(exam.patient).patient_id]
        if exam.label is None:
            assert person.defect == "missing_label"
            continue
        day = PSEUDONYMS.date_of(exam.patient, exam.day).isoformat()
        measured = person.measured_bmd[person.days.index(day)]
        assert exam.label.number == pytest.approx(measured, abs=6e-4)  # three decimals, Lunar
        assert exam.label.t_score == pytest.approx((measured - 0.858) / 0.12, abs=6e-3)


def test_both_hips_are_one_exam_and_visits_are_several(done):
    cohort = done[0].cohort
    assert {len(exam.films) for exam in cohort.exams} == {1, 2}
    sides = {tuple(sorted(film.laterality for film in exam.films)) for exam in cohort.exams}
    assert ("L", "R") in sides
    assert max(len(cohort.exams_of(patient)) for patient in cohort.patients()) == 2
    assert all(
        len({exam.split for exam in cohort.exams_of(patient)}) == 1 for patient in cohort.patients()
    )


def test_images_are_normalised_and_bones_lie_on_the_same_side(done):
    images = done[0].cohort.images
    assert images.dtype == np.float16
    assert images.min() == 0
    assert images.max() == 1
    sides = [film.laterality for exam in done[0].cohort.exams for film in exam.films]
    mean = {
        side: np.mean([image for image, own in zip(images, sides, strict=True) if own == side], 0)
        for side in "LR"
    }
    straight = np.corrcoef(mean["L"].ravel(), mean["R"].ravel())[0, 1]
    flipped = np.corrcoef(mean["L"].ravel(), mean["R"][:, ::-1].ravel())[0, 1]
    assert straight > 0.97
    assert straight > flipped + 0.1


def test_ingesting_again_adds_no_version_and_the_same_films_give_the_same_cohort(
    hospital, done, schema, tmp_path
):
    again = run(hospital[0], done[1], schema)
    assert not again.is_new
    assert again.cohort.folder == done[0].cohort.folder
    elsewhere = run(hospital[0], tmp_path, schema)
    assert elsewhere.is_new
    assert elsewhere.cohort.fingerprint == done[0].cohort.fingerprint


def test_new_films_make_a_new_version_in_which_nobody_changes_split(small, hospital, schema, tmp_path):
    first = run(small, tmp_path, schema).cohort
    second = run(hospital[0], tmp_path, schema).cohort
    assert (second.version, second.previous) == (2, first.fingerprint)
    assert second.shared_patients == set(first.patients())
    splits = {exam.patient: exam.split for exam in second.exams}
    assert all(splits[exam.patient] == exam.split for exam in first.exams)
    assert list(Cohort.open(first.folder).exams) == list(first.exams)


def take_films_away(source: Path, n_patients: int) -> list[Path]:
    """Move some patients' films and rows out of a source, as if half an archive were mounted."""
    away = source.with_name("away")
    away.mkdir()
    table = source / "clinical.csv"
    header, *rows = table.read_text().splitlines()
    films = sorted((source / "films").iterdir())
    numbers = sorted({path.name.split("_")[0] for path in films})[:n_patients]
    gone = [path for path in films if path.name.split("_")[0] in numbers]
    moved = [path.rename(away / path.name) for path in gone]
    kept = [row for row in rows if not any(number in row for number in numbers)]
    table.write_text("\n".join([header, *kept]) + "\n")
    return moved


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every film that is really read from now on."""
    seen: list[Path] = []
    real = intake_films.read_films

    def read(paths, rule, **more):
        seen.extend(paths)
        return real(paths, rule, **more)

    monkeypatch.setattr(intake_films, "read_films", read)
    return seen


def test_half_an_archive_is_refused_and_the_version_before_stays_the_newest(small, schema, tmp_path):
    first = run(small, tmp_path, schema)
    take_films_away(small, 2)
    with pytest.raises(IntakeError) as refusal:
        run(small, tmp_path, schema)
    assert refusal.value.code == "intake.would-shrink"
    gone = len(first.cohort.exams) - len(run(small, tmp_path / "elsewhere", schema).cohort.exams)
    assert gone >= 2
    assert f"{gone} would be missing" in refusal.value.fact
    assert "hip_bmd v1" in refusal.value.fact
    assert "--allow-fewer" in refusal.value.hint
    assert not (tmp_path / "cohorts" / "hip_bmd" / "v2").exists()
    assert read_refused(tmp_path / "cohorts" / "hip_bmd") is not None


def test_after_a_yes_to_fewer_exams_no_film_is_read_twice(small, schema, tmp_path, monkeypatch):
    run(small, tmp_path, schema)
    take_films_away(small, 2)
    with pytest.raises(IntakeError):
        run(small, tmp_path, schema)
    reads = count_reads(monkeypatch)
    report = run(small, tmp_path, schema, allows_fewer=True)
    assert reads == []
    assert report.is_new
    assert report.n_films_used == len(list((small / "films").iterdir())) == len(report.cohort.images)
    assert report.changes.missing >= 2
    assert report.changes.unchanged == len(report.cohort.exams)
    assert report.summary()["changes"]["missing"] == report.changes.missing
    assert read_refused(tmp_path / "cohorts" / "hip_bmd") is None
    run(small, tmp_path, schema)
    assert reads == []


def test_an_exam_that_would_lose_one_of_its_films_is_refused_too(small, schema, tmp_path):
    report = run(small, tmp_path, schema)
    pair = next(exam for exam in report.cohort.exams if len(exam.films) == 2)
    keys = {film.film for film in pair.films}
    films = sorted((small / "films").iterdir())
    path = next(path for path in films if PSEUDONYMS.film_key(dcmread(path).SOPInstanceUID) in keys)
    path.unlink()
    with pytest.raises(IntakeError, match="0 would be missing and 1 would have fewer films"):
        run(small, tmp_path, schema)
    assert run(small, tmp_path, schema, allows_fewer=True).changes.fewer_films == 1


def test_who_withdrew_is_not_missing(small, schema, tmp_path):
    first = run(small, tmp_path, schema).cohort
    patient = first.exams[0].patient
    linkage = Linkage(tmp_path / "linkage" / "linkage.bin", PSEUDONYMS)
    linkage.withdraw(patient, by="Ada Lovelace", now=datetime(2024, 6, 30, tzinfo=UTC))
    report = run(small, tmp_path, schema)
    gone = len(first.exams_of(patient))
    assert (report.changes.missing, report.changes.left_out) == (0, gone)
    assert report.changes.unchanged == len(first.exams) - gone


def test_new_changed_and_unchanged_exams_are_counted(small, schema, tmp_path):
    table = small / "clinical.csv"
    whole = table.read_text()
    away = take_films_away(small, 1)
    before = run(small, tmp_path, schema)
    n = len(before.cohort.exams)
    assert before.changes == Changes(
        added=n, changed=0, unchanged=0, fewer_films=0, missing=0, left_out=0
    )
    row = table.read_text().splitlines()[-1]
    assert not row.endswith("9")
    for path in away:
        path.rename(small / "films" / path.name)
    table.write_text(whole.replace(row, row[:-1] + "9"))  # another BMD
    after = run(small, tmp_path, schema)
    added = len(after.cohort.exams) - n
    assert added >= 1
    assert after.changes == Changes(
        added=added, changed=1, unchanged=n - 1, fewer_films=0, missing=0, left_out=0
    )


def test_another_split_of_the_same_cohort_is_refused(small, schema, tmp_path):
    first = run(small, tmp_path, schema)
    split = schema.split.model_copy(update={"train": 0.5, "tune": 0.0, "internal": 0.5})
    with pytest.raises(IntakeError) as caught:
        run(small, tmp_path, schema.model_copy(update={"split": split}))
    assert caught.value.code == "intake.split-changed"
    assert run(small, tmp_path, schema).cohort.fingerprint == first.cohort.fingerprint


def test_a_schema_that_changed_needs_another_version(small, schema, tmp_path):
    run(small, tmp_path, schema)
    changed = schema.model_copy(update={"max_lost_fraction": schema.max_lost_fraction + 0.01})
    with pytest.raises(IntakeError, match="now differs in max_lost_fraction") as caught:
        run(small, tmp_path, changed)
    assert caught.value.code == "intake.schema-changed"
    raised = changed.model_copy(update={"version": schema.version + 1})
    assert run(small, tmp_path, raised).cohort.schema.version == schema.version + 1


def test_prospective_intake_takes_later_exams_of_new_patients_only(done, schema, tmp_path):
    later = tmp_path / "later"
    truth = write_later_films(later, SITE, SEED, LOCK, n_new=8, n_seen=3)
    seen = frozenset(done[0].cohort.patients())
    rule = {"acquired_after": LOCK - timedelta(days=1), "exclude_patients": seen}
    report = run(later, tmp_path, schema, **rule)
    assert len(report.cohort.exams) == 8
    assert not seen & set(report.cohort.patients())
    counts = {(count.kind, count.code): count.n for count in report.counts}
    assert counts["film", "intake.seen-in-training"] == truth.n_seen_before == 3
    assert counts["row", "intake.seen-in-training"] == 3
    assert report.lost_fraction == 0
    days = sorted(day for person in truth.patients[:8] for day in person.days)
    cut = date.fromisoformat(days[3])
    rule |= {"acquired_after": cut, "allows_fewer": True}
    fewer = run(later, tmp_path, schema, **rule)
    assert len(fewer.cohort.exams) == sum(date.fromisoformat(day) > cut for day in days)


def test_an_intake_of_the_past_takes_no_exam_of_a_later_day(hospital, small, schema, tmp_path):
    numbers = {path.name.split("_")[0] for path in (small / "films").iterdir()}
    people = [person for person in hospital[1].patients if person.patient_id in numbers]
    days = sorted(date.fromisoformat(day) for person in people for day in person.days)
    report = run(small, tmp_path, schema, acquired_until=days[2])
    assert len(report.cohort.exams) == sum(day <= days[2] for day in days) < len(days)
    assert {count.code for count in report.counts if count.kind == "row"} == {"intake.after-lock"}
    assert report.lost_fraction == 0


def test_too_much_loss_refuses_but_keeps_the_quarantine(small, schema, tmp_path):
    for path in sorted((small / "films").iterdir())[:5]:
        path.write_bytes(b"damaged")
    with pytest.raises(IntakeError) as refusal:
        run(small, tmp_path, schema.model_copy(update={"max_lost_fraction": 0.1}))
    assert refusal.value.code == "intake.too-much-lost"
    assert "intake.unreadable-dicom" in refusal.value.fact
    folder = tmp_path / "cohorts" / "hip_bmd"
    assert {path.name for path in folder.iterdir()} == {REFUSED_FILE, WORDS_FILE}
    lines = [json.loads(line) for line in (folder / REFUSED_FILE).read_bytes().splitlines()]
    assert [line["code"] for line in lines].count("intake.unreadable-dicom") == 5
    linkage = Linkage(tmp_path / "linkage" / "linkage.bin", PSEUDONYMS)
    assert all(linkage.place_of(line["item"]) for line in lines)
    assert run(small, tmp_path, schema.model_copy(update={"max_lost_fraction": 1})).is_new
    assert not (folder / REFUSED_FILE).exists()


def test_nothing_usable_is_refused(small, schema, tmp_path):
    for path in (small / "films").iterdir():
        path.write_bytes(b"damaged")
    with pytest.raises(IntakeError) as refusal:
        run(small, tmp_path, schema.model_copy(update={"version": 2, "max_lost_fraction": 1}))
    assert refusal.value.code == "intake.empty-cohort"
    assert "not used, most by intake.unreadable-dicom (" in refusal.value.fact


def test_an_intake_that_withdrawals_have_emptied_says_so(small, schema, tmp_path):
    linkage = Linkage(tmp_path / "linkage" / "linkage.bin", PSEUDONYMS)
    for patient in run(small, tmp_path, schema).cohort.patients():
        linkage.withdraw(patient, by="Ada Lovelace", now=datetime(2024, 6, 30, tzinfo=UTC))
    with pytest.raises(IntakeError) as refusal:
        run(small, tmp_path, schema.model_copy(update={"version": 2, "max_lost_fraction": 1}))
    assert refusal.value.code == "intake.empty-cohort"
    assert "not used, most by intake.withdrawn (" in refusal.value.fact


def test_an_intake_of_an_empty_table_says_that_there_was_nothing_to_read(small, schema, tmp_path):
    table = small / "clinical.csv"
    table.write_text(table.read_text().splitlines()[0] + "\n")
    shutil.rmtree(small / "films")
    (small / "films").mkdir()
    with pytest.raises(IntakeError) as refusal:
        run(small, tmp_path, schema)
    assert refusal.value.code == "intake.empty-cohort"
    assert refusal.value.fact == "no exam is left: there was none to read"


def test_films_folder_is_needed_when_there_are_views(small, schema, tmp_path):
    shutil.rmtree(small / "films")
    with pytest.raises(IntakeError) as refusal:
        run(small, tmp_path, schema)
    assert refusal.value.code == "intake.no-films-folder"


def test_two_issuers_of_patient_numbers_need_a_declared_one(small, schema, tmp_path):
    path = sorted((small / "films").iterdir())[0]
    film = dcmread(path)
    film.IssuerOfPatientID = "ELSEWHERE"
    film.save_as(path)
    with pytest.raises(IntakeError) as refusal:
        run(small, tmp_path, schema)
    assert refusal.value.code == "intake.mixed-issuers"
    profile = PROFILE.model_copy(update={"issuer": "BIRCH-HOSPITAL"})
    report = run(small, tmp_path, schema, profile=profile)
    assert ("film", "intake.foreign-issuer", 1) in [
        (count.kind, count.code, count.n) for count in report.counts
    ]


def test_other_files_beside_the_films_are_counted_and_no_loss(small, schema, tmp_path):
    (small / "films" / "deep" / "er").mkdir(parents=True)
    (small / "films" / "deep" / "er" / "notes.txt").write_text("CANARY")
    report = run(small, tmp_path, schema)
    assert ("film", "intake.not-dicom", 1) in [
        (count.kind, count.code, count.n) for count in report.counts
    ]
    assert report.lost_fraction == 0


def test_film_from_the_future_is_not_used(small, schema, tmp_path):
    path = sorted((small / "films").iterdir())[0]
    film = dcmread(path)
    film.AcquisitionDate = "20240701"  # the clock says 30 June
    film.save_as(path)
    report = run(small, tmp_path, schema)
    assert ("film", "intake.future-date", 1) in [
        (count.kind, count.code, count.n) for count in report.counts
    ]


def test_progress_counts_every_file(small, schema, tmp_path):
    seen: list[tuple[int, int]] = []
    report = run(small, tmp_path, schema, progress=lambda done, total: seen.append((done, total)))
    total = report.n_films_read
    assert seen == [(number + 1, total) for number in range(total)]


def test_site_without_labels_gets_a_cohort_without_labels(small, schema, tmp_path):
    report = run(
        small, tmp_path, schema,
        profile=SiteProfile(has_labels=False, separator=";", decimal=","),
    )  # fmt: skip
    assert report.cohort.exams
    assert all(exam.label is None for exam in report.cohort.exams)


def test_table_without_films_and_with_classes_becomes_a_cohort(tmp_path):
    schema = CohortSchema.model_validate(
        {
            "name": "table", "version": 1,
            "fields": [{"name": "radius", "kind": "number", "low": 0, "high": 50}],
            "label": {"kind": "class", "column": "diagnosis", "classes": ["benign", "malignant"],
                      "synonyms": {"B": "benign", "M": "malignant"}},
        }
    )  # fmt: skip
    source = tmp_path / "source"
    source.mkdir()
    lines = ["patient_id,exam_date,radius,diagnosis"]
    lines += [f"P{number},2020-01-{number + 1:02d},{number},{'BM'[number % 2]}" for number in range(20)]
    (source / "clinical.csv").write_text("\n".join([*lines, "P99,2020-02-01,1,X"]) + "\n")
    report = run(source, tmp_path, schema, profile=SiteProfile())
    assert (report.n_films_read, report.n_rows_used) == (0, 20)
    assert Counter(exam.label.class_name for exam in report.cohort.exams) == {
        "benign": 10, "malignant": 10,
    }  # fmt: skip
    rule = {"acquired_after": date(2020, 1, 10), "exclude_patients": frozenset({
        PSEUDONYMS.patient_key("", "P15"), PatientKey("0" * 32)})}  # fmt: skip
    later = run(source, tmp_path, schema, profile=SiteProfile(), name="later", **rule)
    assert len(later.cohort.exams) == 9
