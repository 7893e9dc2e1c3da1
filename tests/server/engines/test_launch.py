"""Starting a stage: on the plan's engine, and nothing without the sites."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import practice_federation as practice
import pytest

import server.engines.launch
import server.engines.local
import server.engines.ray
import server.engines.superlink
from server.engines.launch import launch_stage
from server.run.folder import Event, RunStore
from server.run.holder import held
from server.run.room import FULL, keep_reserve
from shared.contract.plan import Plan
from shared.errors import EngineError, PlanError, RunError


def with_engine(home: Path, name: str) -> tuple[RunStore, dict[str, Path]]:
    store, folders = practice.found_federation(home, n_sites=2)
    content = store.plan.model_dump()
    content["settings"]["engine"]["name"] = name
    return RunStore(store.folder, Plan.model_validate(content)), folders


@pytest.fixture(autouse=True)
def checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the stages for which it was asked whether the sites are ready."""
    asked: list[str] = []
    monkeypatch.setattr(
        server.engines.launch, "require_ready", lambda _, stage, __: asked.append(stage.name)
    )
    return asked


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[object, ...], object]]:
    calls: list[tuple[str, tuple[object, ...], object]] = []

    def note(name: str):
        return lambda *arguments, stage=None: calls.append((name, arguments, stage))

    monkeypatch.setattr(server.engines.local, "run_local", note("local"))
    monkeypatch.setattr(server.engines.ray, "run_ray", note("ray"))
    monkeypatch.setattr(server.engines.superlink, "submit_stage", note("deployed"))
    return calls


@pytest.mark.parametrize("name", ["local", "ray"])
def test_an_engine_of_this_machine_gets_the_run_and_its_sites(
    tmp_path: Path,
    started: list[tuple[str, tuple[object, ...], object]],
    checked: list[str],
    name: str,
) -> None:
    store, folders = with_engine(tmp_path, name)
    launch_stage(store, "internal", site_folders=folders)
    assert started == [(name, (store.folder, folders), "internal")]
    assert checked == ["internal"]
    with pytest.raises(EngineError) as caught:
        launch_stage(store, "internal", site_folders={})
    assert caught.value.code == "engine.no-sites"


def test_a_deployed_run_needs_no_sites_here(
    tmp_path: Path, started: list[tuple[str, tuple[object, ...], object]]
) -> None:
    store, _ = with_engine(tmp_path, "deployed")
    launch_stage(store, "train", site_folders={})
    assert started == [("deployed", (store, "train"), None)]


def test_a_disk_that_is_full_before_anything_is_begun_is_named(
    tmp_path: Path,
    started: list[tuple[str, tuple[object, ...], object]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, folders = with_engine(tmp_path, "local")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    keep_reserve(store)
    monkeypatch.setattr(os, "pwrite", full)  # who holds the run is the first thing that is written
    with pytest.raises(RunError, match=rf"round 1 needs .+ on the disk of {store.folder}") as caught:
        launch_stage(store, "train", site_folders=folders)
    assert caught.value.code == FULL
    assert store.events() == [Event(round=1, site="", code=FULL)]
    assert started == []
    monkeypatch.undo()
    with held(store, "command", what="nothing"):
        pass


def test_a_stage_that_the_plan_does_not_have_starts_no_engine(
    tmp_path: Path, started: list[tuple[str, tuple[object, ...], object]]
) -> None:
    store, folders = with_engine(tmp_path, "local")
    with pytest.raises(PlanError) as caught:
        launch_stage(store, "guess", site_folders=folders)
    assert caught.value.code == "plan.no-such-stage"
    assert started == []
