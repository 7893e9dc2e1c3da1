"""Sites of this machine before a stage starts: who is missing or has not approved is named at once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from table_federation import found_tables, write_table

from client.site.folder import open_site
from server.engines.ready import require_ready
from server.run.folder import RunStore, open_run
from server.run.stage_folder import RoundState
from shared.errors import EngineError
from shared.stages.stage_sum import StageState

Sites = dict[str, Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rows = tmp_path_factory.mktemp("made"), iter(range(0, 480, 120))
    archives = {name: folder / "archives" / name for name in ("ash", "elm", "oak", "pine")}
    for archive, first in zip(archives.values(), rows, strict=True):
        write_table(archive / "clinical.csv", range(first, first + 120))
    found_tables(folder, archives, external=["pine"])
    return folder


@pytest.fixture
def federation(made: Path, tmp_path: Path) -> tuple[RunStore, Sites]:
    """A run of three training sites and an external one, of this test's own."""
    shutil.copytree(made, tmp_path / "own")
    sites = sorted((tmp_path / "own" / "sites").iterdir())
    store = open_run(tmp_path / "own" / "coordinator" / "runs" / "cytology")
    return store, {site.name: site for site in sites}


def problems(store: RunStore, folders: Sites, stage: str = "train") -> list[str]:
    with pytest.raises(EngineError) as caught:
        require_ready(store, store.plan.stage(stage), folders)
    assert caught.value.code == "engine.sites-not-ready"
    return caught.value.fact.splitlines()[1:]


def refuse(folder: Path, store: RunStore) -> None:
    site = open_site(folder)
    site.approvals.decide(store.plan, "refused", by="Ada Lovelace", now=site.clock())


def test_sites_that_are_there_and_have_approved_are_ready(federation: tuple[RunStore, Sites]) -> None:
    store, folders = federation
    for stage in store.plan.stages:
        require_ready(store, stage, folders)


def test_every_site_that_is_not_ready_is_named_with_the_reason(
    federation: tuple[RunStore, Sites],
) -> None:
    store, folders = federation
    names = sorted(folders)[:3]
    refuse(folders[names[0]], store)
    decided = folders[names[1]] / "approvals" / f"{store.plan.sha256}.json"
    decided.unlink()
    last = folders.pop(names[2])
    lines = problems(store, folders | {"stranger": last})
    assert lines[0].startswith("  stranger: is not on the roster")
    assert lines[1] == f"  {names[2]}: is required, and its folder was not named"
    assert f"  {names[0]}: has refused plan" in lines[2]
    assert f"  {names[1]}: has not approved plan" in lines[3]
    assert len(lines) == 4


def test_later_rounds_need_the_quorum_and_no_single_site(federation: tuple[RunStore, Sites]) -> None:
    store, folders = federation
    names = sorted(folders)[:3]
    two = {name: folders[name] for name in names[:2]}
    assert problems(store, two)
    weights = store.training.last_committed().vector
    store.training.commit(RoundState(state=StageState(round=1, vector=weights)))
    require_ready(store, store.plan.stage("train"), two)
    assert len(problems(store, {names[0]: folders[names[0]]})) == 2
