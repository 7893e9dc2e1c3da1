"""An ingest killed while films come from the PACS goes on; no film is damaged, and none stays."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from practice_services import LOGIN, Pacs
from stalling_line import stalling_line

from client.cohort.folder import open_cohort
from client.intake.sources.dicomweb import DicomWeb
from client.intake.sources.staging import FilmQuery, stage
from client.site.folder import create_site, open_site
from client.site.profile import SiteProfile
from server.synthetic.folder import write_hospital
from server.synthetic.hospitals import BIRCH, Defects, intake_profile

pytestmark = pytest.mark.services

ROOT = Path(__file__).parents[2]
SITE = replace(BIRCH, n_patients=10, defects=Defects(wrong_view=1))


@pytest.fixture(scope="module")
def hospital(pacs: Pacs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hospital")
    write_hospital(folder, SITE, 3)
    assert pacs.push(folder / "films") == len(list((folder / "films").iterdir())) >= 12
    return folder


def make_site(folder: Path) -> Path:
    profile = SiteProfile.model_validate(intake_profile(SITE))
    create_site(folder, name="birch", declared_patients=10, profile=profile)
    return folder


def start_ingest(hospital: Path, site: Path, port: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [
            *(sys.executable, "-c", "from client.command.app import app; app()", "ingest"),
            *("--dicomweb", f"http://127.0.0.1:{port}/dicom-web", "--folder", str(site)),
            *("--table", str(hospital / "clinical.csv"), "--json"),
        ],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OSTEOFED_DICOMWEB_LOGIN": LOGIN},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def kill_in_film(hospital: Path, site: Path, pacs_port: int, nth_film: int, n_bytes: int) -> None:
    """Kill an ingest with what it started when so many bytes of its n-th film have come."""
    with stalling_line(pacs_port, nth_film=nth_film, n_bytes=n_bytes) as line:
        process = start_ingest(hospital, site, line.port)
        assert line.is_dead.wait(120)
        until = time.monotonic() + 5  # what has come may still be on its way to the disk
        while n_bytes and time.monotonic() < until:
            if any(path.stat().st_size for path in site.rglob("*.part")):
                break
            time.sleep(0.01)
        assert process.poll() is None
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def port_of(pacs: Pacs) -> int:
    return int(urlsplit(pacs.url).port or 0)


def expected_films(pacs: Pacs, folder: Path, aside: Path) -> dict[str, bytes]:
    """What a site stages when nothing cuts it off."""
    site = open_site(folder)
    with closing(DicomWeb(pacs.url, login=LOGIN)) as source:
        stage(
            source,
            FilmQuery(),
            aside,
            pseudonyms=site.pseudonyms,
            issuer=site.linkage.issuer_for(site.settings.profile.issuer),
            is_withdrawn=site.linkage.is_withdrawn,
        )
    return staged(aside)


def staged(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.dcm")}


def test_an_ingest_killed_while_films_come_goes_on_to_the_cohort_of_one_that_was_not(
    pacs: Pacs, hospital: Path, tmp_path: Path
) -> None:
    whole, cut = make_site(tmp_path / "whole"), tmp_path / "cut"
    shutil.copytree(whole, cut)  # one key, so that equal people and films have equal names
    port = port_of(pacs)
    expected = expected_films(pacs, whole, tmp_path / "aside")
    assert start_ingest(hospital, whole, port).wait(120) == 0
    assert len(expected) >= 12
    assert min(len(film) for film in expected.values()) > 13_000

    n_before = 0
    for nth_film, n_bytes in ((4, 0), (5, 12_000)):
        kill_in_film(hospital, cut, port, nth_film, n_bytes)
        come = staged(cut / "staging" / "hip_bmd")
        assert len(come) == n_before + nth_film - 1, "those before the film that was cut, and no other"
        assert come.items() <= expected.items(), "a film is whole or absent"
        [part] = (cut / "staging").rglob("*.part")
        assert part.stat().st_size <= n_bytes
        assert not list((cut / "cohorts").rglob("cohort.json"))
        n_before = len(come)

    assert start_ingest(hospital, cut, port).wait(120) == 0
    assert not [*(cut / "staging").iterdir(), *(whole / "staging").iterdir()]
    one, other = (open_cohort(site / "cohorts" / "hip_bmd" / "v1") for site in (whole, cut))
    assert one.fingerprint == other.fingerprint
    assert len(one.exams) >= 10


def test_what_was_cut_off_does_not_stay_when_the_pacs_has_that_film_no_more(
    pacs: Pacs, hospital: Path, tmp_path: Path
) -> None:
    site = open_site(make_site(tmp_path / "site"))
    kill_in_film(hospital, site.folder, port_of(pacs), 3, 12_000)
    [part] = (site.folder / "staging").rglob("*.part")
    with closing(DicomWeb(pacs.url, login=LOGIN)) as source, pacs.http as http:
        listed = list(source.list_films(FilmQuery()))
        [cut] = [film for film in listed if site.pseudonyms.film_key(film.instance) == part.stem]
        [found] = http.post("/tools/lookup", content=cut.instance).json()
        assert http.delete(f"/instances/{found['ID']}").status_code == 200
        films = stage(
            source,
            FilmQuery(),
            site.staging / "hip_bmd",
            pseudonyms=site.pseudonyms,
            issuer=site.settings.profile.issuer,
            is_withdrawn=site.linkage.is_withdrawn,
        )
    assert pacs.push(hospital / "films") == len(listed)  # the film that was taken away comes back
    assert len(films) == len(listed) - 1
    assert not part.exists()
