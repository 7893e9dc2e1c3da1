"""The ServerApp plays the stage it is told and writes down how it ended."""

from __future__ import annotations

import errno
import json
import os
import tomllib
from pathlib import Path
from types import SimpleNamespace

import practice_federation as practice
import pytest

import server.app
from server.app import main, play
from server.engines.local import LocalGrid
from server.run.folder import Event
from shared.errors import PlanError, RunError
from shared.machine.files import PROJECT as ROOT


def test_a_stage_that_is_none_is_refused_with_those_there_are(tmp_path: Path) -> None:
    store, folders = practice.found_federation(tmp_path, n_sites=1)
    with pytest.raises(PlanError, match=r"the plan has stages .*'train', 'internal'") as caught:
        play(LocalGrid(practice.app, folders), store, "guess")
    assert caught.value.code == "plan.no-such-stage"


def test_an_event_says_after_which_round_it_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, folders = practice.found_federation(tmp_path, n_sites=1)
    grid = LocalGrid(practice.app, folders)
    play(grid, store, "train")
    done = store.training.last_committed().round
    assert done > 0
    monkeypatch.setattr(server.app, "Exchange", lambda grid, plan, *, log: log)
    monkeypatch.setattr(
        server.app, "run_stage", lambda log, store, stage, *, key: log("aster", "run.late")
    )
    play(grid, store, "train")
    assert store.events()[-1] == Event(round=done, site="aster", code="run.late")


@pytest.mark.parametrize("stops", [False, True])
def test_how_a_stage_ended_is_written_with_code_fact_and_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stops: bool
) -> None:
    store, folders = practice.found_federation(tmp_path, n_sites=1)

    def played(grid: object, opened: object, stage: str) -> None:
        if stops:
            raise RunError("paused", "it was paused", hint="resume")

    monkeypatch.setattr(server.app, "play", played)
    context = SimpleNamespace(run_config={"run-folder": str(store.folder)})
    if stops:
        with pytest.raises(RunError):
            main(LocalGrid(practice.app, folders), context)
    else:
        main(LocalGrid(practice.app, folders), context)
    outcome = json.loads((store.folder / "outcome-train.json").read_text())
    assert outcome == {
        "stage": "train",
        "status": "stopped" if stops else "finished",
        "code": "run.paused" if stops else "",
        "fact": "it was paused" if stops else "",
        "hint": "resume" if stops else "",
    }


@pytest.mark.parametrize(("engine", "ends"), [("local", 0), ("deployed", 1)])
def test_a_process_of_flowers_ends_with_its_executor_and_a_command_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, ends: int
) -> None:
    settings = practice.practice_settings()
    named = settings.model_copy(update={"engine": settings.engine.model_copy(update={"name": engine})})
    store, folders = practice.found_federation(tmp_path, n_sites=1, settings=named)
    parents: list[int] = []
    monkeypatch.setattr(server.app, "end_with_parent", parents.append)
    monkeypatch.setattr(server.app, "play", lambda *_: None)
    context = SimpleNamespace(run_config={"run-folder": str(store.folder)})
    main(LocalGrid(practice.app, folders), context)
    assert parents == [os.getppid()] * ends


def test_what_flower_ships_holds_every_file_that_a_sum_reads() -> None:
    with (ROOT / "pyproject.toml").open("rb") as stream:
        patterns = tomllib.load(stream)["tool"]["flwr"]["app"]["fab-include"]
    shipped = {path for pattern in patterns for path in ROOT.glob(pattern)}
    # read where films are taken in, or by commands, which run from what is installed
    elsewhere = {".md", ".j2", ".safetensors"}
    kept = (path for path in (ROOT / "shared").rglob("*") if "__pycache__" not in path.parts)
    read = {path for path in kept if path.is_file() and path.suffix not in elsewhere}
    assert read <= shipped
    assert {".py", ".json"} == {path.suffix for path in read}
    assert [str(path.relative_to(ROOT)) for path in (ROOT / "shared").rglob("*.safetensors")] == [
        "shared/exam/landmarks/hip.safetensors"
    ]


def test_whatever_stops_a_stage_it_has_not_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, folders = practice.found_federation(tmp_path, n_sites=1)
    context = SimpleNamespace(run_config={"run-folder": str(store.folder)})
    for error, code in (
        (FileNotFoundError("Mrs Canary's file"), "osteofed.internal"),
        (OSError(errno.ENOSPC, "full"), "osteofed.disk-full"),
        (KeyboardInterrupt(), "osteofed.internal"),
    ):

        def played(grid: object, opened: object, stage: str, error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr(server.app, "play", played)
        with pytest.raises(type(error)):
            main(LocalGrid(practice.app, folders), context)
        outcome = json.loads((store.folder / "outcome-train.json").read_text())
        assert (outcome["status"], outcome["code"]) == ("stopped", code)
        assert "Canary" not in str(outcome)
    (store.folder / "outcome-train.json").unlink()

    def ended(*_: object) -> None:
        raise SystemExit

    monkeypatch.setattr(server.app, "play", ended)
    with pytest.raises(SystemExit):
        main(LocalGrid(practice.app, folders), context)
    assert not (store.folder / "outcome-train.json").exists(), (
        "Flower has ended it: a command says more"
    )
