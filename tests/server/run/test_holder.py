"""A run is played once at a time: the second is told who has it, and a dead one has nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import practice_federation as practice
import pytest

from server.engines.launch import launch_stage
from server.engines.local import run_local
from server.run.folder import RunStore
from server.run.holder import held, holder_of, require_free
from shared.errors import RunError
from shared.machine.files import PROJECT

HOLD = """
import sys, time
from pathlib import Path
from server.run.folder import open_run
from server.run.holder import held
with held(open_run(Path(sys.argv[1])), "stage", what="stage train"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return practice.found_federation(tmp_path, n_sites=1)[0]


def test_the_second_is_told_who_holds_the_run_and_since_when(store: RunStore) -> None:
    require_free(store, "command")
    with held(store, "command", what="launch train"):
        told = holder_of(store, "command")
        assert told.startswith(f"launch train, process {os.getpid()} on {socket.gethostname()} since 2")
        with pytest.raises(RunError) as caught, held(store, "command", what="resume"):
            raise AssertionError("two hold one run")
        assert caught.value.code == "run.being-played"
        assert told in caught.value.fact
        assert holder_of(store, "stage") == "", "the other part is free"
    assert holder_of(store, "command") == ""
    with held(store, "command", what="resume"):
        assert holder_of(store, "command").startswith("resume, ")


def test_what_a_killed_process_held_is_free(store: RunStore) -> None:
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    command = [sys.executable, "-c", HOLD, str(store.folder)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(RunError, match=f"stage train, process {process.pid} on"):
            require_free(store, "stage")
        process.send_signal(signal.SIGKILL)
        process.wait()
    require_free(store, "stage")


def test_nothing_is_begun_while_a_stage_is_played_without_its_command(
    tmp_path: Path, store: RunStore
) -> None:
    folders = {"site-0": tmp_path / "sites" / "site-0"}
    with held(store, "stage", what="stage train"):
        for begin in (
            lambda: launch_stage(store, "internal", site_folders=folders),
            lambda: run_local(store.folder, folders, client_app=practice.app),
        ):
            with pytest.raises(RunError) as caught:
                begin()
            assert caught.value.code == "run.being-played"
    assert store.events() == []
    assert not (store.folder / "outcome-train.json").exists(), "the first one's command would read it"
    run_local(store.folder, folders, client_app=practice.app)
    assert store.training.last_committed().round == 3


def test_a_second_command_is_refused_before_anything_is_started(store: RunStore) -> None:
    with (
        held(store, "command", what="launch train"),
        pytest.raises(RunError, match="launch train, process"),
    ):
        launch_stage(store, "train", site_folders={"site-0": Path("nowhere")})
