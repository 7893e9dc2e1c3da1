"""A round that the coordinator's disk cannot hold is not asked for, and the run says which disk."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import practice_federation as practice
import pytest

import server.run.room
from server.engines.local import run_local
from server.run.folder import Event
from server.run.room import FULL, MARGIN_BYTES, require_room
from shared.errors import RunError


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
