"""Cohorts of simulated hospitals without a run: taken in once, loaded as a plan's model takes them.

Arms that are trained in memory share them, so that a film is read once for all. A call that was cut off
goes on. Imports the rest of this room and the site.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from client.site.folder import open_site
from server.encoders.file import encoder_files
from server.federation.folder import Enrolled, create_home
from server.simulation.divide import Ward, load_ward
from server.simulation.hospitals import Folders, join, require_patients, take_in
from server.simulation.request import Request
from server.simulation.simulate import check
from shared.contract.plan import Plan
from shared.contract.stages import Role
from shared.signing.canonical import hash_file


@dataclass(frozen=True)
class TakenIn:
    """Hospitals whose cohorts are frozen, and what each declares."""

    folders: Folders
    roster: tuple[Enrolled, ...]

    def declared(self, role: Role) -> Mapping[str, int]:
        """The size that each hospital of a role declares."""
        return {entry.site: entry.declared_patients for entry in self.roster if entry.role == role}

    def wards(self, plan: Plan) -> dict[str, Ward]:
        """Everybody with a label at every hospital, as the plan's model takes them.

        What a frozen encoder makes of a film is computed once and kept at the hospital.

        Raises:
            IntakeError: exams without a film that the model reads.
            RunError: the encoder is not at hand.
        """
        files = {hash_file(path): path for path in encoder_files(plan.settings)}
        wards = {}
        for entry in self.roster:
            site = open_site(self.folders.site(entry.site).resolve())
            for sha256, file in files.items():
                kept = site.encoder_file(sha256)
                if not kept.exists():
                    kept.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(file, kept)
            wards[entry.site] = load_ward(site, plan)
        return wards


def take_in_all(folder: Path, request: Request) -> TakenIn:
    """Check a request, and freeze the cohort of each of its hospitals that has none yet.

    Args:
        folder: of a coordinator and its hospitals, as a simulation writes them.
        request: hospitals, cohort and settings; who is in which split follows its seed.

    Raises:
        SettingsError: with every mistake in the request; nothing is written.
        RunError: the intake has left a hospital too few patients.
    """
    settings, hospitals = check(request)
    folders = Folders(folder)
    home = create_home(folders.home)
    for hospital in hospitals:
        join(folders, home, hospital, settings, seed=request.seed)
        take_in(folders, hospital, settings.cohort, until=None)
    require_patients(folders, hospitals, settings.cohort)
    return TakenIn(folders, tuple(home.active_sites()))
