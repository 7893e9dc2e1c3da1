"""Who is let into a round: nobody pays for one that cannot be."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import practice_federation as practice
import pytest
from faulty_grid import Fault, run_with_faults

from server.engines.local import run_local
from server.run.folder import RunStore, open_run
from shared.errors import RunError


def run(store: RunStore, folders: dict[str, Path], *, faults: Sequence[Fault] = ()) -> None:
    if faults:
        run_with_faults(store.folder, folders, client_app=practice.app, faults=faults)
    else:
        run_local(store.folder, folders, client_app=practice.app)


def test_a_paused_run_goes_on_without_a_required_site_as_it_would_by_itself(tmp_path: Path) -> None:
    settings = practice.practice_settings(rounds=4, federation={"liveness_s": 0.3})
    store, folders = practice.found_federation(tmp_path, settings=settings, is_required=True)
    faults = [Fault(site=f"site-{number}", round=2, kind="exception") for number in (0, 1, 2)]
    with pytest.raises(RunError):
        run(store, folders, faults=faults)
    there = {name: folder for name, folder in folders.items() if name != "site-3"}
    with pytest.raises(RunError) as caught:
        run(store, there)
    # rounds 2 and 3 have their quorum; the last one needs every required site, and is not asked for
    assert caught.value.code == "run.site-absent"
    assert store.training.last_committed().round == 3
    assert dict(store.training.committed(3).missing) == {"site-3": "run.site-absent"}
    trained = (folders["site-0"] / "trained.log").read_text().splitlines()
    assert [line.split()[0] for line in trained] == ["1", "2", "3"], "round 4 was paid for"
    assert ("site-3", 4, "run.site-absent") in {
        (event.site, event.round, event.code) for event in store.events()
    }
    run(store, folders)
    assert store.training.last_committed().round == 4


def test_an_older_copy_of_the_coordinators_home_asks_nobody(tmp_path: Path) -> None:
    settings = practice.practice_settings(rounds=4)
    store, folders = practice.found_federation(tmp_path, settings=settings)
    faults = [Fault(site=f"site-{number}", round=2, kind="exception") for number in (0, 1, 2)]
    with pytest.raises(RunError):
        run(store, folders, faults=faults)
    backup = tmp_path / "backup"
    shutil.copytree(store.folder, backup / "run")
    shutil.copy(tmp_path / "heads.json", backup)
    run(store, folders)
    asked = {site: (folder / "trained.log").read_text() for site, folder in folders.items()}
    shutil.rmtree(store.folder)
    shutil.copytree(backup / "run", store.folder)
    newer = (tmp_path / "heads.json").read_bytes()
    shutil.copy(backup / "heads.json", tmp_path)
    with pytest.raises(RunError, match=r"site-3'\] are ahead of this home") as caught:
        run(open_run(store.folder), folders)
    assert caught.value.code == "run.older-home"
    assert asked == {site: (folder / "trained.log").read_text() for site, folder in folders.items()}
    (tmp_path / "heads.json").write_bytes(newer)
    run(open_run(store.folder), folders)
    assert store.training.last_committed().round == 4
