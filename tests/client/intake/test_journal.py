"""What stays of an intake: nothing is read twice, nothing of who withdrew stays, nothing is legible."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from practice_intake import PSEUDONYMS, make_hospital, take_in
from practice_workers import spy_on_reading

from client.cohort.folder import Cohort
from client.intake import journal as intake_journal
from client.intake.inputs import film_files
from client.intake.journal import JOURNAL_FOLDER
from client.site.linkage import Linkage
from server.synthetic.hospitals import Defects


@pytest.fixture
def source(tmp_path) -> Path:
    folder = tmp_path / "source"
    make_hospital(folder, 10, Defects(truncated_films=1, films_without_row=1))
    return folder


def journal_of(home: Path) -> Path:
    return home / "cohorts" / "hip_bmd" / JOURNAL_FOLDER


def n_lines(home: Path) -> int:
    return len((journal_of(home) / "journal").read_bytes().splitlines())


def test_a_second_intake_of_an_unchanged_folder_reads_nothing(source, tmp_path, monkeypatch):
    first = take_in(source, tmp_path)
    read = spy_on_reading(monkeypatch)
    second = take_in(source, tmp_path)
    assert read == []
    assert not second.is_new
    assert second.cohort.fingerprint == first.cohort.fingerprint
    assert second.counts == first.counts


def test_only_what_is_new_or_changed_is_read(source, tmp_path, monkeypatch):
    films = [film.path for film in film_files(source / "films")]
    films[0].rename(tmp_path / "later.dcm")
    take_in(source, tmp_path)
    (tmp_path / "later.dcm").rename(films[0])
    films[1].write_bytes(films[1].read_bytes() + b"\0\0")
    read = spy_on_reading(monkeypatch)
    take_in(source, tmp_path)
    assert sorted(read) == sorted(films[:2])


def test_what_has_left_the_folder_leaves_the_journal(source, tmp_path):
    take_in(source, tmp_path)
    films = [film.path for film in film_files(source / "films")]
    before = n_lines(tmp_path), (journal_of(tmp_path) / "images").stat().st_size
    assert before[0] == len(films)
    films[0].unlink()
    report = take_in(source, tmp_path, allows_fewer=True)
    after = n_lines(tmp_path), (journal_of(tmp_path) / "images").stat().st_size
    assert after[0] == len(films) - 1
    assert after[1] < before[1]
    assert report.cohort.exams == take_in(source, tmp_path / "fresh").cohort.exams


def test_of_who_withdrew_nothing_stays_though_the_film_is_still_in_the_folder(
    source, tmp_path, monkeypatch
):
    cohort = take_in(source, tmp_path).cohort
    person = cohort.patients()[0]
    n_films = sum(len(exam.films) for exam in cohort.exams_of(person))
    linkage = Linkage(tmp_path / "linkage" / "linkage.bin", PSEUDONYMS)
    linkage.withdraw(person, by="Ada Lovelace", now=datetime(2024, 1, 1, tzinfo=UTC))
    n_before = n_lines(tmp_path)
    take_in(source, tmp_path, linkage=linkage)
    assert n_lines(tmp_path) == n_before - n_films
    read = spy_on_reading(monkeypatch)
    assert person not in take_in(source, tmp_path, linkage=linkage).cohort.patients()
    assert len(read) == n_films


def test_the_journal_names_nobody_and_shows_no_film(source, tmp_path):
    cohort = take_in(source, tmp_path).cohort
    stored = b"".join(path.read_bytes() for path in journal_of(tmp_path).iterdir())
    image = np.asarray(Cohort.open(cohort.folder).images[0])
    assert image.astype(np.float16).tobytes()[4000:4200] not in stored
    assert cohort.exams[0].patient.encode() not in stored
    numbers = {film.path.name.split("_")[0].encode() for film in film_files(source / "films")}
    assert not [number for number in numbers if number in stored]
    assert {path.stat().st_mode & 0o077 for path in journal_of(tmp_path).iterdir()} == {0}


def test_another_program_reads_every_film_again(source, tmp_path, monkeypatch):
    take_in(source, tmp_path)
    monkeypatch.setattr(intake_journal, "_program", lambda: "a later one")
    read = spy_on_reading(monkeypatch)
    take_in(source, tmp_path)
    assert len(read) == len(film_files(source / "films")) == n_lines(tmp_path)


def test_what_a_crash_left_while_lines_were_left_out_is_deleted(source, tmp_path):
    take_in(source, tmp_path)
    partial = journal_of(tmp_path).with_name(intake_journal.PARTIAL)
    shutil.copytree(journal_of(tmp_path), partial)
    take_in(source, tmp_path)
    assert not partial.exists()
