"""A copy of a folder, here or on another machine, is told from the folder itself."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import client.gate.place
from client.gate.place import place_sha256

NONCE = "0" * 32


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    path = tmp_path / "ledger" / "lock"
    path.parent.mkdir()
    path.touch()
    return path


def test_a_folder_stays_in_its_place_when_it_is_read_used_and_renamed(marker: Path) -> None:
    before = place_sha256(marker, NONCE)
    marker.read_bytes()
    os.close(os.open(marker, os.O_RDWR | os.O_CREAT))
    (marker.parent / "ledger.jsonl").write_text("a row")
    moved = marker.parent.rename(marker.parent.with_name("renamed")) / marker.name
    assert place_sha256(moved, NONCE) == before


def test_a_copy_that_keeps_every_time_it_can_lies_elsewhere(marker: Path, tmp_path: Path) -> None:
    before = place_sha256(marker, NONCE)
    copy = shutil.copytree(marker.parent, tmp_path / "copy", copy_function=shutil.copy2) / marker.name
    assert copy.stat().st_mtime_ns == marker.stat().st_mtime_ns
    assert place_sha256(copy, NONCE) != before
    # restored in the first one's place
    shutil.rmtree(marker.parent)
    copy.parent.rename(marker.parent)
    assert place_sha256(marker, NONCE) != before


def test_another_machine_is_another_place_and_one_without_a_name_is_one(
    marker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = tmp_path / "machine-id"
    monkeypatch.setattr(client.gate.place, "MACHINE_ID", named)
    places = [place_sha256(marker, NONCE)]
    for name in ("one\n", "other\n"):
        named.write_text(name)
        places.append(place_sha256(marker, NONCE))
    assert len(set(places)) == 3
    assert place_sha256(marker, "1" * 32) != places[-1], "a place says nothing without its row"
