"""A tree of PNG files: the table that its folders are, and an intake of it with every code."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from practice_intake import PSEUDONYMS, check_sums, counts_of, take_in
from practice_png_tree import MURA_WRIST, write_png, write_tree

from client.intake.png_tree import tree_films, tree_table
from client.intake.workers import ReadingRule, read_one
from client.site.profile import SiteProfile
from shared.errors import IntakeError

PROFILE = SiteProfile()
LOSSY = MURA_WRIST.model_copy(update={"max_lost_fraction": 1.0})


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (40, 30))


def lay(root: Path, *places: str) -> Path:
    """A tree of different small pictures."""
    for place in places:
        write_png(root / "films" / place, picture(len(list(root.rglob("*.png")))))
    return root


def ingest(source: Path, home: Path, **changes: object):
    return take_in(source, home, LOSSY, **({"profile": PROFILE} | changes))


def test_a_row_is_a_study_of_the_schemas_part(tmp_path: Path) -> None:
    lay(
        tmp_path,
        "train/XR_WRIST/patient1/study1_positive/image1.png",
        "train/XR_WRIST/patient1/study1_positive/image2.png",
        "train/XR_WRIST/patient1/study2_negative/image1.png",
        "train/XR_ELBOW/patient2/study1_negative/image1.png",
        "valid/XR_WRIST/patient3/study1/image1.png",
    )
    table = tree_table(tmp_path / "films", MURA_WRIST, PROFILE)
    assert table.header == ("patient", "finding", "study")
    assert [(*row.cells.values(), row.place) for row in table.rows] == [
        ("patient1", "positive", "study1", "films/train/XR_WRIST/patient1/study1_positive"),
        ("patient1", "negative", "study2", "films/train/XR_WRIST/patient1/study2_negative"),
        ("patient3", "", "study1", "films/valid/XR_WRIST/patient3/study1"),
    ]


def test_a_hospitals_own_word_for_a_part_is_known(tmp_path: Path) -> None:
    lay(tmp_path, "HANDGELENK_X/p1/study1_positive/a.png")
    own = SiteProfile.model_validate({"films": {"body_parts": {"HANDGELENK X": "WRIST"}}})
    assert len(tree_table(tmp_path / "films", MURA_WRIST, own).rows) == 1
    report = ingest(tmp_path, tmp_path / "site", profile=own)
    assert report.n_films_used == 1


def test_a_tree_that_is_not_there_says_where_one_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(IntakeError) as caught:
        tree_films(tmp_path / "films")
    assert caught.value.code == "intake.no-films-folder"


def test_studies_of_a_patient_are_exams_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    lay(
        tmp_path,
        *(f"XR_WRIST/p1/study{n}_{word}/a.png" for n, word in ((10, "positive"), (2, "negative"))),
        "XR_WRIST/p1/study2_negative/b.png",
    )
    report = ingest(tmp_path, tmp_path / "site")
    assert [len(exam.films) for exam in report.cohort.exams] == [2, 1]
    labels = [exam.label.class_name for exam in report.cohort.exams if exam.label]
    assert labels == ["normal", "abnormal"]
    assert len(report.cohort.patients()) == 1
    assert {film.pixel_mm for exam in report.cohort.exams for film in exam.films} == {None}
    check_sums(report)


def test_every_input_that_is_not_used_has_the_code_that_a_dicom_film_would_have(tmp_path: Path) -> None:
    good = "XR_WRIST/good/study1_positive"
    lay(
        tmp_path,
        f"{good}/a.png",
        "XR_ELBOW/other/study1_positive/a.png",
        "XR_MYSTERY/other/study1_positive/a.png",
        "XR_WRIST/word/study1_maybe/a.png",
        "XR_WRIST/torn/study1_positive/a.png",
        "XR_WRIST/torn/study1_negative/a2.png",
        "XR_WRIST/undated/study20190304_positive/a.png",
        "XR_WRIST/damaged/study1_positive/a.png",
        "loose.png",
        "XR_WRIST/blank/study1_positive/a.png",
        "XR_WRIST/unlabelled/study1/a.png",
    )
    films = tmp_path / "films"
    shutil.copy(films / good / "a.png", films / good / "again.png")
    write_png(films / "XR_WRIST/blank/study1_positive/a.png", np.full((9, 9), 7))
    damaged = films / "XR_WRIST/damaged/study1_positive/a.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    for stray in ("labels.csv", f"{good}/._a.png"):
        (films / stray).write_bytes(b"x")
    report = ingest(tmp_path, tmp_path / "site")
    assert counts_of(report) == {
        ("film", "intake.wrong-view"): 1,
        ("film", "intake.unknown-words"): 1,
        ("film", "intake.unknown-category"): 1,
        ("film", "intake.conflicting-rows"): 2,
        ("film", "intake.missing-date"): 1,
        ("film", "intake.unreadable-dicom"): 1,
        ("film", "intake.missing-patient"): 1,
        ("film", "intake.blank-film"): 1,
        ("film", "intake.duplicate-film"): 1,
        ("film", "intake.not-dicom"): 2,
        ("row", "intake.unknown-category"): 1,
        ("row", "intake.conflicting-rows"): 2,
        ("row", "intake.missing-date"): 1,
        ("row", "intake.missing-film"): 2,
        ("value", "intake.missing-label"): 1,
    }
    assert len(report.cohort.exams) == 2
    check_sums(report)


def test_two_patients_with_the_same_picture_are_both_taken(tmp_path: Path) -> None:
    lay(tmp_path, "XR_WRIST/p1/study1_positive/a.png")
    second = tmp_path / "films/XR_WRIST/p2/study1_negative/a.png"
    second.parent.mkdir(parents=True)
    shutil.copy(tmp_path / "films/XR_WRIST/p1/study1_positive/a.png", second)
    report = ingest(tmp_path, tmp_path / "site")
    assert len(report.cohort.patients()) == 2


def test_what_a_patient_brings_depends_on_that_patients_files_alone(tmp_path: Path) -> None:
    write_tree(tmp_path / "all" / "films", "hazel", 3)
    shutil.copytree(tmp_path / "all", tmp_path / "one")
    kept, *others = sorted((tmp_path / "one/films/XR_WRIST").iterdir())
    for folder in others:
        shutil.rmtree(folder)
    many = ingest(tmp_path / "all", tmp_path / "site-all").cohort
    (exam,) = (alone := ingest(tmp_path / "one", tmp_path / "site-one").cohort).exams
    assert exam.patient == PSEUDONYMS.patient_key("", kept.name)
    (same,) = many.exams_of(exam.patient)
    assert [film.film for film in same.films] == [film.film for film in exam.films]
    assert (same.exam, same.day, same.label) == (exam.exam, exam.day, exam.label)
    assert np.array_equal(many.images[same.films[0].image], alone.images[exam.films[0].image])


def test_an_intake_and_a_reading_make_the_same_image_of_a_file(tmp_path: Path) -> None:
    write_tree(tmp_path / "films", "hazel", 1)
    cohort = ingest(tmp_path, tmp_path / "site").cohort
    (path,) = (tmp_path / "films").rglob("*.png")
    rule = ReadingRule.of(MURA_WRIST, PROFILE)
    assert np.array_equal(cohort.images[0], rule.image_of(read_one(path, rule).image))
    assert len(np.unique(cohort.images[0])) > 100
