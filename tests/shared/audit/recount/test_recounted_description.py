"""A run that described its patients, read by an auditor: its charges are the plan's too."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from handed_over import ROWS, HandedOver
from table_federation import found_tables, write_table
from test_claims import WORDS, failed, recount

from server.engines.launch import launch_stage
from server.federation.folder import Home
from server.run.release import make_release


@pytest.fixture(scope="module")
def described_run(tmp_path_factory: pytest.TempPathFactory) -> HandedOver:
    """Described first, then trained and validated; to be looked at only."""
    folder = tmp_path_factory.mktemp("described")
    archives = {name: folder / "archives" / name for name in ROWS}
    for name, archive in archives.items():
        write_table(archive / "clinical.csv", ROWS[name])
    prices = ["privacy.epsilon=2", "validation.epsilon=2", "validation.description_epsilon=1"]
    chosen = ["federation.rounds=2", "federation.local_steps=1", "federation.learning_rate=0.5"]
    store, folders = found_tables(folder, archives, external=["hop"], overrides=[*chosen, *prices])
    launch_stage(store, "description", site_folders=folders)
    launch_stage(store, "train", site_folders=folders)
    make_release(store, Home(store.home).key())
    for stage in ("internal", "external"):
        launch_stage(store, stage, site_folders=folders)
    made = HandedOver(folder)
    for name in ROWS:
        made.hand_over(name)
    return made


@pytest.mark.parametrize("name", ["elm", "hop"])
def test_an_honest_run_with_a_description_passes_every_claim(
    described_run: HandedOver, name: str
) -> None:
    found = recount(described_run, name)
    assert failed(found) == set()
    assert {key for key in WORDS if found[key].verdict != "pass"} <= {"countersigned"}


def test_a_description_charged_with_less_noise_is_refuted(
    described_run: HandedOver, tmp_path: Path
) -> None:
    shutil.copytree(described_run.folder, tmp_path / "copy")
    handed = HandedOver(tmp_path / "copy")
    rows = [
        replace(row, noise_multiplier=row.noise_multiplier * 2)
        if row.kind == "charge" and row.purpose == "evaluate.description"
        else row
        for row in handed.rows()
    ]
    assert rows != list(handed.rows())
    handed.forge_ledger(rows)
    assert "charges" in failed(recount(handed, statements=[], outboxes={}, run_folder=None))
