"""A sweep of two learners over tables, planned by command at a coordinator with three hospitals."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import yaml
from late_hospital import Hospital
from practice_commands import FAST, ROWS, Coordinator
from table_federation import HERE, found_tables, write_table

from client.gate.ledger import find_ledger
from client.site.folder import open_site
from shared.contract.sweep import SignedSweep, read_sweep
from shared.privacy.ledger_format import LedgerRow

ARMS = {"odds": ["learner=logistic"], "bayes": ["learner=naive_bayes"]}
SETTINGS = [
    *("encoder=none", "fusion=clinical_only", "task=classification", "validation=probability"),
    *("task.endpoint=malignancy", "task.positive_class=malignant", "federation.poll_s=0.01"),
]
NAME = "trial"


def found_coordinator(folder: Path) -> Coordinator:
    """A coordinator with two training sites and an external one, in a folder of its own."""
    for name, rows in ROWS.items():
        write_table(folder / "archives" / name / "clinical.csv", rows)
    archives = {name: folder / "archives" / name for name in ROWS}
    store, folders = found_tables(folder, archives, external=["hop"], overrides=FAST)
    return Coordinator(store.home, folders)


def copy_coordinator(made: Coordinator, folder: Path) -> Coordinator:
    """The same federation in another folder, free to be changed."""
    shutil.copytree(made.home.parent, folder, dirs_exist_ok=True)
    sites = {name: folder / "sites" / name for name in made.sites}
    return replace(made, home=folder / made.home.name, sites=sites)


def plan_sweep(own: Coordinator, folder: Path, *overrides: str) -> Path:
    """Write the sweep's YAML and plan it; its signed file."""
    file = folder / "sweep.yaml"
    file.write_text(yaml.safe_dump({"settings": SETTINGS, "arms": ARMS}, sort_keys=False))
    cohort = str(HERE / "cohort.yaml")
    done = own.type("sweep", "plan", NAME, str(file), *overrides, "--cohort", cohort)
    if done.exit_code:
        raise ValueError(done.output)
    if "of one arm: " not in done.output:
        raise ValueError("what an arm's tables are expected to show is not told")
    return own.home / "sweeps" / NAME / "sweep.json"


def allow(folder: Path, **changes: object) -> None:
    """A hospital changes its policy."""
    path = folder / "policy.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))


def signed_of(own: Coordinator) -> SignedSweep:
    """The planned sweep."""
    return read_sweep(own.home / "sweeps" / NAME / "sweep.json")


def hospitals_of(own: Coordinator) -> dict[str, Hospital]:
    """The hospitals, whose commands are typed."""
    return {name: Hospital(folder) for name, folder in own.sites.items()}


def charges_of(folder: Path) -> list[LedgerRow]:
    """Every charge in a hospital's ledger."""
    ledger = find_ledger(open_site(folder))
    return [] if ledger is None else [row for row in ledger.show() if row.kind == "charge"]
