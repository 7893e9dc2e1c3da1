"""Films from a real PACS, over DICOMweb and over DIMSE, become the cohort that the folder gives."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from practice_intake import ingest_with
from practice_services import LOGIN, Pacs, free_port

from client.intake.ingest import IntakeReport
from client.intake.inputs import ABSENT, Inputs, csv_table
from client.intake.sources.dicomweb import DicomWeb
from client.intake.sources.dimse import Dimse, DimseAddress
from client.intake.sources.staging import FilmQuery, FilmSource, ListedFilm, stage
from client.site.linkage import Linkage, Pseudonyms
from client.site.profile import SiteProfile
from server.synthetic.folder import write_hospital
from server.synthetic.hospitals import BIRCH, Defects
from shared.errors import IntakeError
from shared.exam.schema import CohortSchema, read_schema

pytestmark = pytest.mark.services

HIP = Path(__file__).parents[2] / "configs" / "cohort" / "hip_bmd.yaml"
PSEUDONYMS = Pseudonyms(b"\x07" * 32)
PROFILE = SiteProfile(dxa_vendor="lunar", dxa_skeletal_site="femoral_neck", separator=";", decimal=",")
SITE = replace(BIRCH, n_patients=14, defects=Defects(burned_in=1, wrong_view=1))
EVERYTHING = FilmQuery()
Open = Callable[[Pacs], FilmSource]


def open_web(pacs: Pacs) -> FilmSource:
    return DicomWeb(pacs.url, login=LOGIN)


def address_of(pacs: Pacs, retrieve: str) -> DimseAddress:
    return DimseAddress(
        host="127.0.0.1", port=pacs.dimse_port, called_aet=pacs.called_aet,
        calling_aet=pacs.calling_aet, retrieve=retrieve, listen_port=pacs.move_port,
    )  # fmt: skip


SOURCES: dict[str, Open] = {
    "dicomweb": open_web,
    "c-get": lambda pacs: Dimse(address_of(pacs, "get")),
    "c-move": lambda pacs: Dimse(address_of(pacs, "move")),
}


@pytest.fixture(scope="module")
def schema() -> CohortSchema:
    return read_schema(HIP)


@pytest.fixture(scope="module")
def hospital(pacs: Pacs, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hospital")
    write_hospital(folder, SITE, 3)
    assert pacs.push(folder / "films") == len(list((folder / "films").iterdir()))
    return folder


@pytest.fixture(params=SOURCES)
def source(request, pacs: Pacs) -> Iterator[FilmSource]:
    with closing(SOURCES[request.param](pacs)) as opened:
        yield opened


def bring(source: FilmSource, home: Path, query: FilmQuery = EVERYTHING):
    return stage(
        source, query, home / "staging", pseudonyms=PSEUDONYMS, issuer="",
        is_withdrawn=lambda patient: False,
    )  # fmt: skip


def take_in(inputs: Inputs | Path, home: Path, schema: CohortSchema) -> IntakeReport:
    return ingest_with(
        inputs, store=home / "cohorts", schema=schema, profile=PROFILE, pseudonyms=PSEUDONYMS,
        linkage=Linkage(home / "linkage" / "linkage.bin", PSEUDONYMS),
        clock=lambda: datetime(2024, 6, 30, tzinfo=UTC),
    )  # fmt: skip


def test_films_arrive_as_they_are_stored_whatever_the_protocol(source, hospital, tmp_path):
    sent = {path.read_bytes()[-4000:] for path in (hospital / "films").iterdir()}
    films = bring(source, tmp_path)
    came = [film.path.read_bytes() for film in films]
    assert [film.code for film in films] == [""] * len(sent)
    assert {data[-4000:] for data in came} == sent  # pixels, in their own transfer syntax
    assert all(data[128:132] == b"DICM" for data in came)


def test_cohort_from_the_pacs_is_the_cohort_from_the_folder(source, hospital, schema, tmp_path):
    straight = take_in(hospital, tmp_path / "a", schema)
    inputs = Inputs(
        table=lambda: csv_table(hospital / "clinical.csv", PROFILE),
        films=lambda: bring(source, tmp_path / "b"),
    )
    report = take_in(inputs, tmp_path / "b", schema)
    assert report.cohort.exams == straight.cohort.exams
    assert (report.cohort.images == straight.cohort.images).all()
    assert {(count.code, count.n) for count in report.counts} == {
        (count.code, count.n) for count in straight.counts
    }
    # a place leads back to the PACS, and only through the sealed file
    linkage = Linkage(tmp_path / "b" / "linkage" / "linkage.bin", PSEUDONYMS)
    places = [linkage.place_of(entry.item) for entry in report.cohort.quarantined]
    assert any(str(place).startswith("pacs 2.25.") for place in places)
    names = [path.name for path in (tmp_path / "b" / "staging").rglob("*")]
    numbers = [path.name.split("_")[0] for path in (hospital / "films").iterdir()]
    assert not [name for name in names for number in numbers if number in name]


def test_a_list_of_many_pages_is_whole(source, hospital, tmp_path, monkeypatch):
    whole = {film.place for film in source.list_films(EVERYTHING)}
    assert len(whole) >= len(list((hospital / "films").iterdir()))
    monkeypatch.setattr("client.intake.sources.dicomweb._PAGE", 3)
    assert {film.place for film in source.list_films(EVERYTHING)} == whole


def test_query_limits_hold(source, hospital, tmp_path):
    whole = bring(source, tmp_path / "whole")
    early = bring(source, tmp_path / "early", FilmQuery(last_day=date(2021, 6, 30)))
    late = bring(source, tmp_path / "late", FilmQuery(first_day=date(2021, 7, 1)))
    assert 0 < len(early) < len(whole)
    assert len(early) + len(late) == len(whole)
    assert not bring(source, tmp_path / "ct", FilmQuery(modalities=("CT",)))
    assert not bring(source, tmp_path / "knee", FilmQuery(body_parts=("KNEE",)))


def test_staging_again_fetches_only_what_is_new(source, pacs, hospital, tmp_path):
    first = bring(source, tmp_path)
    first[0].path.unlink()
    ages = {film.path: film.path.stat().st_mtime_ns for film in first[1:]}
    asked: list[ListedFilm] = []

    class Counting:
        def list_films(self, query):
            return source.list_films(query)

        def fetch(self, film, out):
            asked.append(film)
            source.fetch(film, out)

    again = bring(Counting(), tmp_path)
    assert [film.path for film in again] == [film.path for film in first]
    assert len(asked) == 1
    assert {path: path.stat().st_mtime_ns for path in ages} == ages


def test_a_film_that_the_pacs_lists_and_does_not_send_has_a_code(source, hospital, tmp_path):
    listed = list(source.list_films(EVERYTHING))

    class WithGhost:
        def list_films(self, query):
            yield replace(listed[0], instance="2.25.1")
            yield listed[1]

        def fetch(self, film, out):
            source.fetch(film, out)

    codes = sorted(film.code for film in bring(WithGhost(), tmp_path))
    assert codes == ["", ABSENT]
    assert not list(tmp_path.rglob("*.part"))


def test_of_who_withdrew_nothing_is_fetched_and_nothing_stays(source, hospital, tmp_path):
    films = bring(source, tmp_path)
    gone = films[0].path.parent.name
    listed = stage(
        source, EVERYTHING, tmp_path / "staging", pseudonyms=PSEUDONYMS, issuer="",
        is_withdrawn=lambda patient: patient == gone,
    )  # fmt: skip
    assert {film.code for film in listed if film.path.parent.name == gone} == {"intake.withdrawn"}
    assert not (tmp_path / "staging" / gone).exists()
    assert len(listed) == len(films)


def test_a_pacs_that_is_not_there_is_an_error_and_says_nothing_secret(tmp_path):
    port = free_port()
    nowhere = DimseAddress(host="127.0.0.1", port=port, called_aet="A", calling_aet="B")
    secret = "ada:CANARY-password"
    for source in (DicomWeb(f"http://127.0.0.1:{port}/x", login=secret, timeout_s=2), Dimse(nowhere)):
        with closing(source), pytest.raises(IntakeError) as refusal:
            bring(source, tmp_path)
        assert refusal.value.code == "intake.pacs-unreachable"
        assert "CANARY" not in str(refusal.value)


def test_wrong_credentials_and_wrong_titles_are_refused_by_the_pacs(pacs, hospital, tmp_path):
    wrong_title = replace(address_of(pacs, "get"), called_aet="OTHER")
    stranger = replace(address_of(pacs, "get"), calling_aet="STRANGER")
    strangers = [DicomWeb(pacs.url, login="osteofed:no"), DicomWeb(pacs.url), Dimse(wrong_title),
                 Dimse(stranger)]  # fmt: skip
    for source in strangers:
        with closing(source), pytest.raises(IntakeError) as refusal:
            bring(source, tmp_path)
        assert refusal.value.code == "intake.pacs-unreachable"
    assert not list(tmp_path.rglob("*.dcm"))


def test_a_secondary_capture_from_the_pacs_is_refused_with_its_code(pacs, hospital, schema, tmp_path):
    from pydicom import dcmread

    film = dcmread(sorted((hospital / "films").iterdir())[0])
    film.SOPClassUID = film.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    film.SOPInstanceUID = film.file_meta.MediaStorageSOPInstanceUID = "2.25.77"
    (tmp_path / "more").mkdir()
    film.save_as(tmp_path / "more" / "capture.dcm")
    assert pacs.push(tmp_path / "more") == 1
    try:
        inputs = Inputs(
            table=lambda: csv_table(hospital / "clinical.csv", PROFILE),
            films=lambda: bring(web, tmp_path),
        )
        with closing(open_web(pacs)) as web:
            report = take_in(inputs, tmp_path, schema)
        assert ("intake.secondary-capture", 1) in {(count.code, count.n) for count in report.counts}
    finally:
        with pacs.http as http:
            found = http.post("/tools/lookup", content="2.25.77").json()
            http.delete(f"/instances/{found[0]['ID']}")
        shutil.rmtree(tmp_path / "staging")
