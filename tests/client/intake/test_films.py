"""Reading many films: workers that may die, intakes that are cut off, media with an index."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from practice_intake import HIP, LOSSY, PSEUDONYMS, check_sums, counts_of, make_hospital, take_in
from practice_workers import hang, kill_itself, send_an_object, spy_on_reading
from pydicom import config, dcmread
from pydicom.fileset import FileSet

from client.cohort.folder import Cohort
from client.intake import workers as intake_workers
from client.intake.inputs import film_files
from client.intake.journal import JOURNAL_FOLDER, FilmJournal
from client.intake.read_film import ReadFilm
from client.intake.refusal import read_refused
from client.intake.workers import ReadingRule, read_films
from server.synthetic.hospitals import Defects
from shared.errors import IntakeError

PRACTICE = Path(__file__).parents[2] / "practice"
RULE = ReadingRule(HIP.views, 64, None)


@pytest.fixture(scope="module")
def hospital(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hospital")
    make_hospital(folder, 14, Defects(truncated_films=1, duplicate_films=1, films_without_row=1))
    return folder


@pytest.fixture
def few(hospital, tmp_path) -> list[Path]:
    return [film.path for film in film_files(hospital / "films")][:5]


def test_results_come_in_the_order_of_the_paths_whatever_the_number_of_workers(few):
    many = few * 6
    alone, crew = (
        [(read.code, read.view, read.image, read.film and read.film.sop_instance_uid) for read in reads]
        for reads in (read_films(many, RULE, workers=1), read_films(many, RULE, workers=3))
    )
    assert crew == alone == alone[:5] * 6
    assert len({read[-1] for read in alone}) == 5
    assert list(read_films([], RULE, workers=3)) == []


def test_the_number_of_workers_does_not_change_the_cohort(hospital, tmp_path):
    one = take_in(hospital, tmp_path / "1", workers=1)
    three = take_in(hospital, tmp_path / "3", workers=3)
    assert one.cohort.fingerprint == three.cohort.fingerprint
    check_sums(one)


@pytest.mark.parametrize("fail", [kill_itself, hang])
def test_a_film_that_kills_or_hangs_its_worker_costs_that_film_only(fail, monkeypatch):
    paths = [Path(name) for name in ("a", "bad", "b", "bad", "c")]
    monkeypatch.setattr(intake_workers, "_serve", fail)
    codes = [read.code for read in read_films(paths, RULE, workers=2, timeout_s=8)]
    assert codes == ["a", "intake.decoder-failed", "b", "intake.decoder-failed", "c"]


def test_a_worker_that_a_film_has_taken_over_can_send_data_and_no_object_that_acts(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(intake_workers, "_serve", send_an_object)
    paths = [tmp_path / name for name in ("a", "bad", "b")]
    codes = [read.code for read in read_films(paths, RULE, workers=1)]
    assert codes == ["a", "intake.decoder-failed", "b"]
    assert not (tmp_path / "acted").exists()


def test_a_worker_cannot_take_more_memory_than_it_may():
    code = (
        "import numpy as np; from client.intake import workers as w; w.MEMORY_BYTES = 2**28\n"
        "w._bound_memory(); np.ones(2**24)\n"
        "try: np.ones(2**26)\nexcept MemoryError: raise SystemExit(7)"
    )
    root = str(Path(__file__).parents[3])
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": root})
    assert done.returncode == 7


def test_what_is_no_regular_file_is_no_film(tmp_path):
    os.mkfifo(tmp_path / "pipe.dcm")
    (tmp_path / "loop.dcm").symlink_to(tmp_path / "loop.dcm")
    (tmp_path / "folder.dcm").mkdir()
    found = read_films(
        [tmp_path / name for name in ("pipe.dcm", "loop.dcm", "folder.dcm", "gone")], RULE
    )
    assert [read.code for read in found] == [
        "intake.not-dicom", "intake.unreadable-dicom", "intake.not-dicom", "intake.unreadable-dicom",
    ]  # fmt: skip


def kill_after(source: Path, home: Path, n_films: int) -> None:
    """Start an intake and kill it, with everything it started, once it has read some films."""
    command = [sys.executable, str(PRACTICE / "slow_ingest.py"), str(source), str(home)]
    path = os.pathsep.join([str(Path(__file__).parents[3]), str(PRACTICE)])
    with subprocess.Popen(
        [*command, "0.2"], stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path}
    ) as process:
        for line in process.stdout:
            if int(line) >= n_films:
                break
        process.send_signal(signal.SIGKILL)


def test_a_killed_intake_goes_on_where_it_was_and_gives_the_same_cohort(
    hospital, tmp_path, monkeypatch
):
    home = tmp_path / "site"
    n_files = len(film_files(hospital / "films"))
    kill_after(hospital, home, n_files - 3)
    journal = home / "cohorts" / "hip_bmd" / JOURNAL_FOLDER
    assert (journal / "journal").stat().st_mode & 0o077 == 0
    stored = b"".join(path.read_bytes() for path in journal.iterdir())
    numbers = {film.path.name.split("_")[0].encode() for film in film_files(hospital / "films")}
    assert not [number for number in numbers if number in stored]
    read = spy_on_reading(monkeypatch)
    report = take_in(hospital, home)
    assert 1 <= len(read) <= 3
    monkeypatch.undo()
    assert report.cohort.fingerprint == take_in(hospital, tmp_path / "other").cohort.fingerprint


@pytest.mark.parametrize("damage", ["cut lines", "cut images", "changed film", "other rule", "hole"])
def test_a_damaged_or_outdated_journal_is_read_again(hospital, tmp_path, monkeypatch, damage):
    source, home = tmp_path / "source", tmp_path / "site"
    shutil.copytree(hospital, source)
    kill_after(source, home, 8)
    journal = home / "cohorts" / "hip_bmd" / JOURNAL_FOLDER
    schema = LOSSY
    if damage == "cut lines":
        os.truncate(journal / "journal", (journal / "journal").stat().st_size - 5)
    elif damage == "cut images":
        os.truncate(journal / "images", 128 * 128 * 2 * 3 + 7)
    elif damage == "hole":
        with (journal / "images").open("r+b") as stream:
            stream.write(b"\0" * 128 * 128 * 2)
    elif damage == "other rule":
        schema = LOSSY.model_copy(update={"image_pixels": 64})
    else:
        first = film_files(source / "films")[0].path
        first.write_bytes(b"damaged")
    read = spy_on_reading(monkeypatch)
    report = take_in(source, home, schema)
    again = len(read)
    monkeypatch.undo()
    fresh = take_in(source, tmp_path / "fresh", schema)
    assert report.cohort.fingerprint == fresh.cohort.fingerprint
    n_files = len(film_files(source / "films"))
    assert again == n_files if damage == "other rule" else again < n_files


def test_an_intake_that_filled_the_disk_goes_on_where_it_was(hospital, tmp_path, monkeypatch):
    n_files = len(film_files(hospital / "films"))
    keep, kept = FilmJournal.add, []

    def add(journal: FilmJournal, stamp: str, read: ReadFilm) -> int:
        if len(kept) == 3:
            raise OSError(errno.ENOSPC, "full")
        kept.append(stamp)
        return keep(journal, stamp, read)

    monkeypatch.setattr(FilmJournal, "add", add)
    with pytest.raises(OSError, match="full"):
        take_in(hospital, tmp_path / "site")
    monkeypatch.undo()
    seen = spy_on_reading(monkeypatch)
    report = take_in(hospital, tmp_path / "site")
    assert len(seen) == n_files - 3
    monkeypatch.undo()
    fresh = take_in(hospital, tmp_path / "other")
    assert report.cohort.fingerprint == fresh.cohort.fingerprint
    # what films said comes from the journal as well
    assert report.words == fresh.words
    assert report.losses.by_code == fresh.losses.by_code


def test_a_killed_intake_of_who_then_withdrew_leaves_them_out(hospital, tmp_path):
    from datetime import UTC, datetime

    from practice_intake import PSEUDONYMS

    from client.site.linkage import Linkage

    whole = take_in(hospital, tmp_path / "whole").cohort
    home = tmp_path / "site"
    kill_after(hospital, home, 10)
    linkage = Linkage(home / "linkage" / "linkage.bin", PSEUDONYMS)
    person = whole.patients()[0]
    linkage.withdraw(person, by="Ada Lovelace", now=datetime(2024, 1, 1, tzinfo=UTC))
    rest = take_in(hospital, home, linkage=linkage).cohort
    assert set(rest.patients()) == set(whole.patients()) - {person}


def test_a_refused_intake_keeps_no_journal(hospital, tmp_path):
    strict = HIP.model_copy(update={"max_lost_fraction": 0.0})
    with pytest.raises(IntakeError):
        take_in(hospital, tmp_path, strict)
    assert not (tmp_path / "cohorts" / "hip_bmd" / JOURNAL_FOLDER).exists()


def test_new_films_make_a_new_version_and_the_old_one_stays_as_it_was(hospital, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(hospital, source)
    held_back = [film.path for film in film_files(source / "films")][:4]
    for path in held_back:
        path.rename(tmp_path / path.name)
    first = take_in(source, tmp_path).cohort
    frozen = {path.name: path.read_bytes() for path in first.folder.iterdir()}
    for path in held_back:
        (tmp_path / path.name).rename(path)
    second = take_in(source, tmp_path).cohort
    assert (first.version, second.version) == (1, 2)
    assert len(second.exams) > len(first.exams)
    assert {path.name: path.read_bytes() for path in first.folder.iterdir()} == frozen
    assert Cohort.open(first.folder).fingerprint == second.previous


@pytest.fixture
def medium(hospital, tmp_path) -> Path:
    """A CD: DICOMDIR, and films without suffix in folders."""
    films = FileSet()
    for film in film_files(hospital / "films"):
        try:
            films.add(dcmread(film.path))
        except Exception:  # noqa: BLE001 - the damaged ones cannot be put on a medium
            continue
    films.write(tmp_path / "cd")
    films._stage["t"].cleanup()  # pydicom leaves its folder to the garbage collector
    return tmp_path / "cd"


def test_a_dicomdir_and_its_folder_give_the_same_exams(medium, hospital, tmp_path):
    from practice_intake import PROFILE

    from client.intake.inputs import Inputs, csv_table

    def inputs(root: Path) -> Inputs:
        return Inputs(lambda: csv_table(hospital / "clinical.csv", PROFILE), lambda: film_files(root))

    tree = take_in(inputs(medium), tmp_path / "a")
    listed = take_in(inputs(medium / "DICOMDIR"), tmp_path / "b")
    assert tree.cohort.exams == listed.cohort.exams
    assert len(listed.cohort.exams) > 8
    assert tree.n_films_read == listed.n_films_read + 1  # the index itself
    assert counts_of(tree)["film", "intake.not-a-radiograph"] == 1
    gone = film_files(medium / "DICOMDIR")[0].path
    gone.unlink()
    for root in (medium, medium / "DICOMDIR"):
        again = take_in(inputs(root), tmp_path / root.name)
        assert counts_of(again)["film", "intake.absent-film"] == 1
        check_sums(again)


def test_what_lies_beside_films_is_no_film_and_no_loss(hospital, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(hospital, source)
    films = source / "films"
    beside = {
        ".DS_Store": b"\0\0\0\1Bud1", "VERSION": b"viewer 1.2\n",
        "LOCKFILE": b"", "Thumbs.db": b"\xd0\xcf",
        **{f"._{path.name}": b"\0\5\x16\7\0\2\0\0Mac OS X" for path in list(films.iterdir())},
    }  # fmt: skip
    for name, data in beside.items():
        (films / name).write_bytes(data)
    plain, report = take_in(hospital, tmp_path / "a"), take_in(source, tmp_path / "b")
    other = ("film", "intake.not-dicom")
    assert counts_of(report)[other] == counts_of(plain).get(other, 0) + len(beside)
    assert report.losses.nameless_films == plain.losses.nameless_films
    assert report.cohort.exams == plain.cohort.exams
    # a film keeps being one under any name
    shutil.copy(films / sorted(path.name for path in films.glob("*.dcm"))[-1], films / "VERSION")
    again = take_in(source, tmp_path / "c")
    assert counts_of(again)["film", "intake.duplicate-film"] == 1 + counts_of(report).get(
        ("film", "intake.duplicate-film"), 0
    )


def other_pixels(film):
    film.PixelData = np.roll(film.pixel_array, 8, axis=0).tobytes()


def other_patient(film):
    film.PatientID = f"{film.PatientID}-2"


def used_film(folder, report):
    """A film of a cohort that is stored without compression."""
    used = {film.film for exam in report.cohort.exams for film in exam.films}
    for path in sorted((folder / "films").glob("*.dcm")):
        film = dcmread(path, force=True)
        is_used = PSEUDONYMS.film_key(str(film.get("SOPInstanceUID"))) in used
        if is_used and not film.file_meta.TransferSyntaxUID.is_compressed:
            return film
    raise AssertionError("no such film")


@pytest.mark.parametrize("change", [other_pixels, other_patient])
def test_an_intake_in_which_one_uid_names_two_films_stops_until_a_person_takes_one_out(
    hospital, tmp_path, change
):
    source, store = tmp_path / "source", tmp_path / "b" / "cohorts" / LOSSY.name
    shutil.copytree(hospital, source)
    plain = take_in(hospital, tmp_path / "a")
    film, twin = used_film(source, plain), source / "films" / "twin.dcm"
    change(film)
    film.save_as(twin)
    with pytest.raises(IntakeError, match="2 films bear the UID of another film") as caught:
        take_in(source, tmp_path / "b")
    assert caught.value.code == "intake.repeated-uid"
    refused = read_refused(store)
    assert len([entry for entry in refused.quarantined if entry.code == "intake.repeated-uid"]) == 2
    assert not list(store.glob("v*"))
    twin.unlink()
    assert take_in(source, tmp_path / "b").cohort.exams == plain.cohort.exams


def test_a_linked_folder_is_entered_once_and_never_round_in_a_circle(hospital, tmp_path):
    archive = tmp_path / "archive"
    shutil.copytree(hospital / "films", archive / "2021")
    root = tmp_path / "films"
    root.mkdir()
    (root / "pacs").symlink_to(archive)
    (root / "the same").symlink_to(archive)
    (archive / "2021" / "back").symlink_to(root)
    (root / "gone").symlink_to(tmp_path / "nowhere")
    names = sorted(path.name for path in (hospital / "films").iterdir())
    found = film_files(root)
    assert sorted(film.path.name for film in found) == sorted([*names, "gone"])
    assert {film.place for film in found} >= {f"films/pacs/2021/{names[0]}"}


def test_a_dicomdir_that_leads_elsewhere_or_is_damaged_is_refused(medium):
    index = dcmread(medium / "DICOMDIR")
    record = next(r for r in index.DirectoryRecordSequence if "ReferencedFileID" in r)
    with config.disable_value_validation():
        record.ReferencedFileID = ["..", "..", "etc", "passwd"]
        index.save_as(medium / "DICOMDIR")
    with pytest.raises(IntakeError) as refusal:
        film_files(medium / "DICOMDIR")
    assert refusal.value.code == "intake.unreadable-dicomdir"
    (medium / "DICOMDIR").write_bytes(b"x" * 200)
    with pytest.raises(IntakeError):
        film_files(medium / "DICOMDIR")


def test_links_are_reported_films_only_rows_only_and_several_candidates(hospital, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(hospital, source)
    table = source / "clinical.csv"
    lines = table.read_text(encoding="utf-8-sig").splitlines()
    column = lines[0].split(";").index("exam_date")
    near = lines[1].split(";")
    near[column] = shift(near[column], 5)  # the same patient five days later: a second candidate
    far = lines[2].split(";")
    far[column] = shift(far[column], -900)  # nothing near: a row without film
    table.write_text("\n".join([*lines, ";".join(near), ";".join(far)]) + "\n")
    before, report = take_in(hospital, tmp_path / "a"), take_in(source, tmp_path / "b")
    assert before.links.several_rows == 0
    assert report.links.several_rows == 1
    assert report.links.rows_only == before.links.rows_only + 2
    assert report.links.films_of_nobody == before.links.films_of_nobody == 1
    assert report.summary()["links"]["several_rows"] == 1
    kinds = {entry.code for entry in report.cohort.quarantined if entry.kind == "link"}
    assert kinds == {"intake.several-rows"}
    check_sums(report)


def shift(text: str, days: int) -> str:
    from datetime import date, timedelta

    return (date.fromisoformat(text) + timedelta(days=days)).isoformat()
