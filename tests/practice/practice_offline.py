"""A release of the practice tables, made without training, and a hospital that measures it alone."""

from __future__ import annotations

from pathlib import Path

from late_hospital import BY, Hospital, ingest_rows, new_hospital
from table_site import TableSites

from server.run.folder import RunStore, open_run
from server.run.release import make_release
from server.run.stage_folder import Contribution, RoundState
from shared.contract.plan import Plan, RosterEntry, write_plan
from shared.contract.release import Release
from shared.contract.stages import Role
from shared.signing.keys import SigningKey, load_key
from shared.stages.stage_sum import StageState
from shared.stages.validation_plan import validation_plan


def store_of(sites: TableSites) -> RunStore:
    """The coordinator's run."""
    return open_run(sites.folder / "coordinator" / "runs" / "cytology")


def key_of(sites: TableSites) -> SigningKey:
    """The coordinator's key."""
    return load_key(sites.folder / "coordinator" / "keys" / "coordinator.pem")


def finish(sites: TableSites) -> Release:
    """The run's release, of weights that nobody trained."""
    store = store_of(sites)
    asked = store.plan.asked(store.training.stage)
    parts = [
        Contribution(site=entry.site, weight=entry.weight, total_sha256="", ledger_head="")
        for entry in asked
    ]
    for number in range(1, store.training.stage.rounds + 1):
        state = StageState(round=number, vector=sites.weights)
        store.training.commit(RoundState(state=state, contributions=tuple(parts)))
    store.write_averaged(sites.weights)
    return make_release(store, key_of(sites))


def stranger(folder: Path, rows: range = range(300, 420)) -> Hospital:
    """A hospital in no federation, with a cohort."""
    kay = new_hospital(folder / "kay")
    ingest_rows(kay, rows)
    return kay


def measure(kay: Hospital, sites: TableSites, out: Path, *more: str) -> dict[str, object]:
    """What `validate` tells the hospital."""
    release, key = str(store_of(sites).release_folder), key_of(sites).public_hex
    said = ("--by", BY, "--out", str(out), "--coordinator", key, "--yes")
    return kay.told("validate", release, *said, *more)


def approve_validation(
    sites: TableSites, release: Release, name: str, role: Role, **changes: object
) -> Plan:
    """A validation plan of a release that asks one site, approved there."""
    site = sites.site(name)
    entry = RosterEntry(
        site=name,
        role=role,
        public_key=site.key.public_hex,
        declared_patients=site.settings.declared_patients,
        weight=0.0,
    )
    key = key_of(sites)
    plan = validation_plan(
        release, [entry], run="later", coordinator_key=key.public_hex, written_utc="2026-01-05"
    ).model_copy(update=changes)
    path = sites.folder / "later.json"
    write_plan(path, plan, key)
    site.approvals.import_plan(path)
    site.approvals.decide(plan, "approved", by=BY, now=site.clock())
    return plan
