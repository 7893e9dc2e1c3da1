"""Pins beside known advisories: a hit is named, nothing is fetched, and a missing database is said."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import advisories
import pytest
from packaging.version import Version

PINS = {"certifi": Version("2026.1.4"), "my-lib": Version("1.5")}


def record(name: str = "certifi", **affected: object) -> dict[str, object]:
    package = {"ecosystem": "PyPI", "name": name}
    return {"id": "X-1", "summary": "bad", "affected": [{"package": package, **affected}]}


def events(*pairs: tuple[str, str]) -> list[dict[str, object]]:
    return [{"type": "ECOSYSTEM", "events": [{kind: version} for kind, version in pairs]}]


@pytest.mark.parametrize(
    ("told", "is_hit"),
    [
        (record(versions=["2026.01.04"]), True),
        (record(versions=["2026.1.5", "not a version"]), False),
        (record("My_Lib", ranges=events(("introduced", "0"), ("fixed", "1.6"))), True),
        (record("My_Lib", ranges=events(("introduced", "0"), ("fixed", "1.5"))), False),
        (record("my.lib", ranges=events(("introduced", "1.0"), ("last_affected", "1.5"))), True),
        (record("my.lib", ranges=events(("introduced", "1.0"), ("last_affected", "1.4"))), False),
        (
            record(
                "my-lib",
                ranges=events(("introduced", "0"), ("fixed", "1.1"), ("introduced", "1.4")),
            ),
            True,
        ),
        (record("my-lib", ranges=[{"type": "GIT", "events": [{"introduced": "0"}]}]), False),
        (record("another", versions=["1.5"]), False),
        (record(versions=["2026.1.4"]) | {"withdrawn": "2026-01-01"}, False),
    ],
)
def test_a_pinned_version_is_hit_by_what_lists_it_or_ranges_over_it(
    told: dict[str, object], is_hit: bool
) -> None:
    assert bool(advisories.advisories_for(PINS, iter([told]))) is is_hit


def test_every_pin_is_read() -> None:
    pins = advisories.read_pins(advisories.PINS.read_text())
    lines = [line for line in advisories.PINS.read_text().splitlines() if "==" in line]
    assert len(pins) == len([line for line in lines if not line.startswith("#")]) > 50
    assert {"torch", "flwr", "certifi"} <= set(pins)


def test_an_archive_is_read_and_a_missing_one_is_said_and_fails_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(advisories.PLACE, raising=False)
    assert advisories.main() == 0
    assert "not compared" in capsys.readouterr().out
    archive = tmp_path / "all.zip"
    monkeypatch.setenv(advisories.PLACE, str(archive))
    assert advisories.main() == 0
    for told, code, said in (
        (record(ranges=events(("introduced", "0"))), 1, "certifi"),
        (record("no-such-distribution", versions=["1"]), 0, "none of"),
    ):
        with zipfile.ZipFile(archive, "w") as files:
            files.writestr("X-1.json", json.dumps(told))
        capsys.readouterr()
        assert advisories.main() == code
        assert said in capsys.readouterr().out
