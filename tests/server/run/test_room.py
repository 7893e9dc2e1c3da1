"""A round that the coordinator's disk cannot hold is not asked for, and the run says which disk."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from types import SimpleNamespace

import practice_federation as practice
import pytest

import server.run.room
from server.engines.local import run_local
from server.run.folder import Event
from server.run.journal import Journal
from server.run.room import FULL, MARGIN_BYTES, RESERVE_BYTES, keep_reserve, require_room, told_if_full
from shared.errors import EngineError, RunError


def leave_free(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    usage = SimpleNamespace(disk_usage=lambda _: SimpleNamespace(free=free))
    monkeypatch.setattr(server.run.room, "shutil", usage)


def test_a_round_needs_what_it_writes_and_a_margin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = practice.found_federation(tmp_path, n_sites=1)
    leave_free(monkeypatch, MARGIN_BYTES + 1000)
    require_room(store, 1000, number=2)
    with pytest.raises(RunError) as caught:
        require_room(store, 3 << 20, number=2)
    assert caught.value.code == FULL
    assert f"needs 4.0 MiB on the disk of {store.folder}" in caught.value.fact
    assert "1.0 MiB are free" in caught.value.fact
    assert store.events() == [Event(round=2, site="", code=FULL)]


def test_nobody_is_asked_for_a_round_that_has_no_room_and_later_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, folders = practice.found_federation(tmp_path, n_sites=2)
    leave_free(monkeypatch, MARGIN_BYTES)
    with pytest.raises(RunError, match="round 1 needs"):
        run_local(store.folder, folders, client_app=practice.app)
    assert not any((folder / "trained.log").exists() for folder in folders.values())
    # two states of six float32, two totals of as many: 96 bytes
    leave_free(monkeypatch, MARGIN_BYTES + 95)
    with pytest.raises(RunError):
        run_local(store.folder, folders, client_app=practice.app)
    leave_free(monkeypatch, MARGIN_BYTES + 96)
    run_local(store.folder, folders, client_app=practice.app)
    assert store.training.last_committed().round == 3
    assert shutil.disk_usage(tmp_path).free > 0


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_disk_that_fills_in_a_round_is_named_with_what_is_needed_and_an_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, folders = practice.found_federation(tmp_path, n_sites=2)
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "accept", full)
        with pytest.raises(
            RunError, match=r"round 1 needs 1[.]0 MiB on the disk of .+ are free"
        ) as caught:
            run_local(store.folder, folders, client_app=practice.app)
    assert caught.value.code == FULL
    assert "without a charge" in caught.value.hint
    assert Event(round=1, site="", code=FULL) in store.events()
    assert not (store.folder / "reserve").exists(), "its room is for the event and the outcome"
    run_local(store.folder, folders, client_app=practice.app)
    assert store.training.last_committed().round == 3
    assert not (store.folder / "reserve").exists()


def test_room_for_what_is_to_be_said_is_kept_on_the_disk(tmp_path: Path) -> None:
    store, _ = practice.found_federation(tmp_path, n_sites=1)
    keep_reserve(store)
    kept = (store.folder / "reserve").read_bytes()
    assert len(kept) == RESERVE_BYTES
    assert len(set(kept)) > 200, "a file of zeros may take no room"


@pytest.mark.parametrize(
    ("error", "free", "code"),
    [
        (EngineError("command-failed", "flwr ended"), 0, FULL),
        (EngineError("command-failed", "flwr ended"), MARGIN_BYTES, "engine.command-failed"),
        (RunError("paused", "it was paused"), 0, "run.paused"),
    ],
)
def test_what_an_engine_says_on_a_full_disk_is_the_disks_doing_and_nothing_else_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: EngineError | RunError, free: int, code: str
) -> None:
    store, _ = practice.found_federation(tmp_path, n_sites=1)
    leave_free(monkeypatch, free)
    kind = type(error) if code == error.code else RunError
    with pytest.raises(kind) as caught, told_if_full(store, 0, number=2):
        raise error
    assert caught.value.code == code


def test_an_error_that_nobody_raised_on_purpose_stands_where_the_disk_has_room(tmp_path: Path) -> None:
    store, _ = practice.found_federation(tmp_path, n_sites=1)
    with pytest.raises(ZeroDivisionError), told_if_full(store, 0, number=2):
        raise ZeroDivisionError
