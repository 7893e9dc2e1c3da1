"""Two hospitals whose films lie in a PACS, deployed: a SuperLink, and each site by its own command.

    <folder>/archives/SITE                  what the hospital's export would be, for comparison
    <folder>/sites/PATH_CANARY/SITE         the site's folder
    <folder>/coordinator                    everything that the coordinator has

In films, table and file names stand words that are found nowhere else in the world.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import yaml
from practice_services import LOGIN
from pydicom import dcmread

from client.gate.ledger import Ledger
from client.site.folder import Site, create_site, join_federation, open_site
from client.site.profile import SiteProfile
from server.engines.superlink import Deployment
from server.federation.compose import compose_settings
from server.federation.folder import Home, enrol
from server.federation.plan import draft_plan, save_plan
from server.run.folder import RunStore
from server.run.prepare import prepare
from server.synthetic.folder import write_hospital
from server.synthetic.hospitals import BIRCH, Defects, SyntheticSite, intake_profile
from shared.contract.plan import Plan
from shared.machine.processes import free_port

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 1, 5, tzinfo=UTC)
PATH_CANARY = "Straußenfeder-Akte"
NAME_CANARY = "Zaunkönigin^Adelgunde"
NUMBER_CANARY = "KLEIBER"
FILE_CANARY = "Rotschwänzchen"
UID_CANARY = "1.2.826.0.1.7300918"
FILM_DAY_CANARY, ROW_DAY_CANARY = "20190307", "2019-03-11"
BIRTH_CANARY = "1917-02-23"
WORDS = {
    "AccessionNumber": "GIRLITZ7301",
    "InstitutionName": "Klinik am Wiedehopfweg",
    "StudyDescription": "Zeisig, rechte Hüfte",
    "ReferringPhysicianName": "Stieglitz^Rosalinde",
    "PatientAddress": "Gimpelgasse 77",
}
SETTINGS = (
    *("engine=deployed", "fusion=linear", "privacy.epsilon=3"),
    *("federation.rounds=1", "federation.local_steps=1", "federation.learning_rate=0.5"),
    *("federation.poll_s=0.3", "federation.reply_quantum_s=0", "validation.epsilon=3"),
)


def hospital(name: str) -> SyntheticSite:
    """A small hospital with one film and one row that cannot be used."""
    defects = Defects(burned_in=1, missing_label=1)
    return replace(BIRCH, name=name, n_patients=14, repeat_share=0.0, defects=defects)


@dataclass
class Federation:
    """Who takes part and where; ``planted`` holds what must not leave any site."""

    folder: Path
    home: Home
    planted: set[str] = field(default_factory=set)

    def site_folder(self, name: str) -> Path:
        return self.folder / "sites" / PATH_CANARY / name

    def archive(self, name: str) -> Path:
        return self.folder / "archives" / name

    def site(self, name: str) -> Site:
        return open_site(self.site_folder(name))

    def ledger(self, name: str) -> Ledger:
        site = self.site(name)
        return Ledger(site.folder / "ledger", site=name, key=site.key, clock=site.clock)

    def found(self, *names: str) -> None:
        """Archives with planted words, keys, enrolments and policies for few patients."""
        for name in names:
            write_hospital(self.archive(name), hospital(name), 3)
            self.planted |= plant(self.archive(name))
            profile = SiteProfile.model_validate(intake_profile(hospital(name)))
            request = create_site(
                self.site_folder(name), name=name, declared_patients=12, profile=profile
            )
            answer = enrol(self.home, request, role="training", is_required=True, now=NOW)
            join_federation(self.site_folder(name), answer)
            policy = self.site_folder(name) / "policy.yaml"
            allowed = yaml.safe_load(policy.read_text()) | {
                "minimum_cohort_patients": 1,
                "minimum_cell": 1,
            }
            policy.write_text(yaml.safe_dump(allowed))

    def begin(self, run: str, *overrides: str, **changes: object) -> RunStore:
        """A signed plan that people at every site approve; ``changes`` are of the plan itself."""
        plan = draft_plan(
            compose_settings([*SETTINGS, *overrides]),
            self.home.active_sites(),
            run=run,
            coordinator_key=self.home.key().public_hex,
            now=NOW,
        )
        save_plan(self.home, Plan.model_validate(plan.model_dump() | changes))
        for entry in plan.roster:
            approvals = self.site(entry.site).approvals
            read = approvals.import_plan(self.home.run_folder(run) / "plan.json")
            approvals.decide(read, "approved", by="Grace Hopper", now=NOW)
        return prepare(self.home, run)


def plant(archive: Path) -> set[str]:
    """Put words into every film's header, name and row; returns all that must not leave."""
    films, numbers = archive / "films", {}
    for count, path in enumerate(sorted(films.iterdir())):
        film = dcmread(path)
        old = str(film.PatientID)
        numbers[old] = film.PatientID = f"{NUMBER_CANARY}-{old}"
        film.PatientName, film.PatientBirthDate = NAME_CANARY, BIRTH_CANARY.replace("-", "")
        film.StudyDate = film.AcquisitionDate = film.ContentDate = FILM_DAY_CANARY
        for keyword, word in WORDS.items():
            setattr(film, keyword, word)
        for level, keyword in enumerate(("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")):
            setattr(film, keyword, f"{UID_CANARY}.{count}.{level}")
        film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID
        path.unlink()
        film.save_as(films / f"{FILE_CANARY}-{count}.dcm")
    table = archive / "clinical.csv"
    header, *lines = [line.split(";") for line in table.read_text().splitlines()]
    day, number = header.index("exam_date"), header.index("patient_id")
    for cells in lines:
        cells[day], cells[number] = ROW_DAY_CANARY, numbers.get(cells[number], cells[number])
        cells += [NAME_CANARY, BIRTH_CANARY]
    written = [";".join(cells) for cells in ([*header, "name", "birth_date"], *lines)]
    table.write_text("\n".join(written) + "\n")
    return {
        *(NAME_CANARY, *NAME_CANARY.split("^"), *WORDS.values(), NUMBER_CANARY, FILE_CANARY),
        *(PATH_CANARY, UID_CANARY, BIRTH_CANARY, FILM_DAY_CANARY, ROW_DAY_CANARY),
    }


def site_command(*arguments: str) -> list[str]:
    """``osteofed-site`` of this checkout."""
    return [sys.executable, "-c", "from client.command.app import app; app()", *arguments]


def ingest_by_command(federation: Federation, name: str, *films: str) -> dict[str, object]:
    """What ``osteofed-site ingest`` reports, with rows from the archive's table."""
    table = str(federation.archive(name) / "clinical.csv")
    folder = str(federation.site_folder(name))
    done = subprocess.run(
        site_command("ingest", *films, "--table", table, "--folder", folder, "--json"),
        cwd=ROOT, capture_output=True, text=True, timeout=300,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OSTEOFED_DICOMWEB_LOGIN": LOGIN},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@contextmanager
def deployed(federation: Federation) -> Iterator[Deployment]:
    """The coordinator's processes, and ``osteofed-site start`` at each site; ended with the block."""
    deployment = Deployment(federation.home.folder)
    with ExitStack() as stack:
        processes = stack.enter_context(deployment.processes())
        port = free_port()
        deployment.start(processes, host="127.0.0.1", port=port, names=("127.0.0.1", "localhost"))
        for entry in federation.home.active_sites():
            deployment.nodes.register(entry.site, entry.node_key)
            stack.enter_context(started(federation.site_folder(entry.site), port, deployment.authority))
        yield deployment


@contextmanager
def started(folder: Path, port: int, authority: Path) -> Iterator[None]:
    """``osteofed-site start``, ended as an operator ends it."""
    shutil.copy(authority, folder / "keys" / "ca.pem")
    command = site_command(
        "start", "--superlink", f"127.0.0.1:{port}", "--folder", str(folder),
        "--root-certificate", str(folder / "keys" / "ca.pem"),
        "--auth-key", str(folder / "keys" / "node.key"),
    )  # fmt: skip
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=log, stderr=log, env=os.environ | {"PYTHONPATH": str(ROOT)}
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
