"""Films of a PACS, which name people, leave a site when their cohort is frozen, and not before."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from leak_search import Haystack
from practice_pacs_federation import NUMBER_CANARY, ROOT, plant, site_command
from practice_services import LOGIN, Pacs

from client.cohort.folder import open_cohort
from client.intake.sources.choose import discard_staged
from client.intake.sources.staging import (
    FilmNotSent,
    FilmQuery,
    FilmSource,
    FilmWriter,
    ListedFilm,
    stage,
)
from client.site.folder import Site, create_site, open_site
from client.site.profile import SiteProfile
from server.synthetic.folder import write_hospital
from server.synthetic.hospitals import BIRCH, Defects, intake_profile
from shared.errors import IntakeError
from shared.exam.schema import read_schema

pytestmark = pytest.mark.services

BURNED_IN = replace(
    BIRCH, n_patients=8, repeat_share=0.0, defects=Defects(burned_in=1, missing_label=1)
)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    write_hospital(folder, BURNED_IN, 3)
    return folder


@pytest.fixture(scope="module")
def planted(archive: Path, pacs: Pacs) -> set[str]:
    """Words in every film and row, which the PACS now has."""
    words = plant(archive)
    assert pacs.push(archive / "films") == len(list((archive / "films").iterdir())) >= 9
    return {word for word in words if Haystack(contents(archive)).has(word)}


def contents(folder: Path) -> bytes:
    """Names and bytes of all files below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [str(path.relative_to(folder)).encode() for path in files]
    return b"\n".join([*names, *(path.read_bytes() for path in files)])


def make_site(folder: Path) -> Site:
    profile = SiteProfile.model_validate(intake_profile(BURNED_IN))
    create_site(folder, name="birch", declared_patients=8, profile=profile)
    return open_site(folder)


def ways_of(pacs: Pacs) -> dict[str, tuple[str, ...]]:
    dimse = ("--dimse", f"127.0.0.1:{pacs.dimse_port}", "--called-aet", pacs.called_aet)
    move = (*dimse, "--move", "--listen", f"127.0.0.1:{pacs.move_port}")
    return {"dicomweb": ("--dicomweb", pacs.url), "c-get": dimse, "c-move": move}


def ingest(site: Site, table: Path, way: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        site_command("ingest", *way, "--table", str(table), "--folder", str(site.folder), "--json"),
        cwd=ROOT, capture_output=True, text=True, timeout=300,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OSTEOFED_DICOMWEB_LOGIN": LOGIN},
    )  # fmt: skip


@pytest.mark.parametrize("name", ["dicomweb", "c-get", "c-move"])
def test_after_an_ingest_no_file_of_the_site_names_anybody(
    name: str, pacs: Pacs, archive: Path, planted: set[str], tmp_path: Path
) -> None:
    site = make_site(tmp_path / "site")
    done = ingest(site, archive / "clinical.csv", ways_of(pacs)[name])
    assert done.returncode == 0, done.stderr
    cohort = open_cohort(site.cohorts / "hip_bmd" / "v1")
    assert len(cohort.exams) >= 6
    assert len(planted) >= 13
    held = Haystack(contents(site.folder))
    assert held.has(cohort.fingerprint)
    assert {word for word in planted if held.has(word)} == set()
    assert list(site.staging.iterdir()) == []


def test_a_refused_ingest_keeps_its_films_and_the_next_one_fetches_none_of_them(
    pacs: Pacs, archive: Path, planted: set[str], tmp_path: Path
) -> None:
    site = make_site(tmp_path / "site")
    header, *rows = (archive / "clinical.csv").read_text().splitlines()
    strangers = tmp_path / "strangers.csv"
    strangers.write_text("\n".join([header, *(row.replace(NUMBER_CANARY, "OTHER") for row in rows)]))
    refused = ingest(site, strangers, ways_of(pacs)["c-get"])
    assert refused.returncode != 0
    kept = [path for path in site.staging.rglob("*.dcm")]
    assert len(kept) == len(list((archive / "films").iterdir()))
    assert {path.stat().st_mode & 0o077 for path in kept} == {0}

    # C-FIND and no C-GET: this PACS lists the films, and would send none again
    with pacs.http as http:
        modality = http.get("/modalities/osteofed/configuration").json()
        http.put("/modalities/osteofed", json=modality | {"AllowGet": False}).raise_for_status()
        try:
            done = ingest(site, archive / "clinical.csv", ways_of(pacs)["c-get"])
        finally:
            http.put("/modalities/osteofed", json=modality).raise_for_status()
    assert done.returncode == 0, done.stderr
    assert list(site.staging.iterdir()) == []
    assert len(open_cohort(site.cohorts / "hip_bmd" / "v1").exams) >= 6


def test_an_intake_from_a_folder_lets_go_of_what_a_pacs_sent_to_one_that_was_cut_off(
    archive: Path, planted: set[str], tmp_path: Path
) -> None:
    site = make_site(tmp_path / "site")
    left = site.staging / "hip_bmd" / ("a" * 32) / f"{'b' * 32}.dcm"
    left.parent.mkdir(parents=True)
    left.write_bytes(min((archive / "films").iterdir()).read_bytes())
    done = ingest(site, archive / "clinical.csv", ("--films", str(archive / "films")))
    assert done.returncode == 0, done.stderr
    held = Haystack(contents(site.folder))
    assert {word for word in planted if held.has(word)} == set()


def test_a_pacs_that_sends_none_of_what_it_lists_is_named_after_twenty_films(tmp_path: Path) -> None:
    asked = []

    class SendsNone(FilmSource):
        def list_films(self, query: FilmQuery) -> Iterator[ListedFilm]:
            return (ListedFilm("1", "2", f"3.{number}", "P") for number in range(500))

        def fetch(self, film: ListedFilm, out: FilmWriter) -> None:
            asked.append(film.instance)
            raise FilmNotSent

        def close(self) -> None:
            """Nothing is open."""

    site = make_site(tmp_path / "site")
    with pytest.raises(IntakeError, match="none of the first 20") as caught:
        stage(
            SendsNone(), FilmQuery(), site.staging / "hip_bmd", pseudonyms=site.pseudonyms,
            issuer="", is_withdrawn=lambda patient: False,
        )  # fmt: skip
    assert "--listen" in caught.value.hint
    assert len(asked) == 20


def test_only_the_films_of_the_schema_go(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    schema = read_schema(ROOT / "configs" / "cohort" / "hip_bmd.yaml")
    assert not discard_staged(site, schema)
    for name in (schema.name, "another"):
        film = site.staging / name / "patient" / "film.dcm"
        film.parent.mkdir(parents=True)
        film.write_bytes(b"film")
    assert discard_staged(site, schema)
    assert [path.name for path in site.staging.iterdir()] == ["another"]
