"""Three small synthetic hospitals with real DICOM films, ingested, for runs of any learning."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from client.cohort.patients import SplitData, load_split
from client.gate.gate import Gate, open_gate
from client.site.folder import Site, open_site
from server.demo.loopback import small_sites
from server.demo.play import DemoFolders, found_federation, fresh_folders, generate, ingest_all
from server.engines.launch import launch_stage
from server.federation.compose import compose_settings
from server.federation.folder import Home
from server.federation.plan import draft_plan, save_plan
from server.run.folder import RunStore
from server.run.prepare import prepare
from server.run.release import make_release
from server.synthetic.hospitals import Defects, SyntheticSite
from shared.contract.settings import Settings
from shared.exam.schema import Split

SIZES = {"aster": 26, "birch": 20, "dune": 14}  # the last one is external
# So few patients need a hospital that wants it so, and so many runs one that allows them.
_SMALL = {
    "minimum_cohort_patients": 5,
    "minimum_cell": 2,
    "noise_multiplier_floor": 0.3,
    "epsilon_per_run": 30.0,
    "epsilon_lifetime": 200.0,
}


@dataclass(frozen=True)
class Hospitals:
    """Hospitals that have ingested, and the coordinator that they joined."""

    folders: DemoFolders
    sites: tuple[SyntheticSite, ...]

    @property
    def home(self) -> Home:
        """The coordinator."""
        return Home(self.folders.home)

    def site(self, name: str) -> Site:
        """A hospital, opened."""
        return open_site(self.folders.site(name))

    def copy(self, folder: Path) -> Hospitals:
        """The same ones in another folder, so that runs of one test file are none of another's."""
        shutil.copytree(self.folders.folder, folder)
        return Hospitals(DemoFolders(folder), self.sites)

    def approved_run(self, settings: Settings, run: str) -> RunStore:
        """A run whose plan every hospital has approved."""
        plan = draft_plan(
            settings,
            self.home.active_sites(),
            run=run,
            coordinator_key=self.home.key().public_hex,
            now=self.site("aster").clock(),
        )
        save_plan(self.home, plan)
        for name in SIZES:
            site = self.site(name)
            read = site.approvals.import_plan(self.home.run_folder(run) / "plan.json")
            site.approvals.decide(read, "approved", by="Ada Byron", now=site.clock())
        return prepare(self.home, run)

    def play(self, settings: Settings, run: str, *stages: str) -> RunStore:
        """A run that every hospital has approved, trained, released and measured by stages."""
        store = self.approved_run(settings, run)
        site_folders = {name: self.folders.site(name).resolve() for name in SIZES}
        launch_stage(store, "train", site_folders=site_folders)
        make_release(store, self.home.key())
        for stage in stages or ("internal", "external"):
            launch_stage(store, stage, site_folders=site_folders)
        return store

    def gate(self, name: str) -> Gate:
        """A hospital's gate, with its ledger."""
        site = self.site(name)
        return open_gate(site.folder, site=site.name, key=site.key, clock=site.clock)

    def spent(self, name: str) -> float:
        """ε that a hospital's patients of the training split have paid for life."""
        allowance = self.site(name).policy.allowance
        return self.gate(name).ledger.budget_of_everybody(allowance=allowance).epsilon_spent

    def patients(
        self, store: RunStore, name: str = "aster", split: Split | None = "train"
    ) -> SplitData:
        """A hospital's patients as the run's model takes them."""
        return load_split(self.site(name), store.plan, name="hip_bmd", split=split)


def found_hospitals(folder: Path) -> Hospitals:
    """Films and tables of three hospitals, a federation of them, and what they ingest."""
    known = {site.name: site for site in small_sites()}
    sites = tuple(
        replace(known[name], n_patients=size, defects=Defects()) for name, size in SIZES.items()
    )
    settings = compose_settings()
    folders = fresh_folders(folder)
    generate(folders, sites, seed=3)
    found_federation(folders, sites, settings)
    ingest_all(folders, sites, settings)
    for name in SIZES:
        path = folders.site(name) / "policy.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | _SMALL))
    return Hospitals(folders, sites)
