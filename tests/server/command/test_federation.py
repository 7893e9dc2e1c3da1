"""Roles of enrolment, and what the server is started with (``test_app`` has the rest)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from practice_commands import Coordinator

import server.engines.superlink
from client.gate.key_rotation import rotate_key
from client.site.folder import create_site, open_site
from client.site.profile import SiteProfile
from server.federation.folder import Home


@pytest.fixture
def founded(tmp_path: Path) -> Coordinator:
    own = Coordinator(tmp_path / "home", {"fern": tmp_path / "fern"})
    assert own.type("init").exit_code == 0
    create_site(own.sites["fern"], name="fern", declared_patients=120, profile=SiteProfile())
    return own


def test_a_role_must_be_one_of_two(founded: Coordinator) -> None:
    request = str(founded.sites["fern"] / "join-request.json")
    assert founded.type("enrol", request, "--role", "observer").exit_code == 2


@pytest.mark.parametrize(("words", "is_required"), [((), True), (("--optional",), False)])
def test_a_run_must_have_a_site_unless_it_was_enrolled_as_optional(
    founded: Coordinator, words: tuple[str, ...], is_required: bool
) -> None:
    founded.told("enrol", str(founded.sites["fern"] / "join-request.json"), *words)
    [site] = json.loads(founded.type("sites", "--json").stdout)
    assert (site["site"], site["is_required"]) == ("fern", is_required)


def test_the_server_is_told_the_node_keys_of_active_sites(
    founded: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    founded.told("enrol", str(founded.sites["fern"] / "join-request.json"))
    seen: list[dict[str, object]] = []
    monkeypatch.setattr(server.engines.superlink, "serve", lambda _, **given: seen.append(given))
    served = founded.type("serve", "--port", "9555", "--name", "fl.example.org")
    assert served.exit_code == 0, served.output
    [given] = seen
    assert (given["port"], given["names"]) == (9555, ["fl.example.org"])
    assert "whoever has an account on this machine" in " ".join(served.stderr.split())
    assert list(given["node_keys"]) == ["fern"]
    founded.told("revoke", "fern")
    founded.type("serve")
    assert seen[1]["node_keys"] == {}


def test_sites_are_shown_to_people_with_role_size_and_the_days_they_came_and_went(
    founded: Coordinator,
) -> None:
    told = founded.told("enrol", str(founded.sites["fern"] / "join-request.json"))
    assert told["role"] == "training"
    assert Path(str(told["give to the site"])).is_file()

    def row() -> list[str]:
        shown = founded.type("sites").output
        [line] = [line for line in shown.splitlines() if "fern" in line]
        return line.replace("│", " ").split()

    assert row()[:4] == ["fern", "training", "yes", "120"]
    assert len(row()) == 5
    assert len(row()[4]) == len("2026-01-01")
    founded.told("revoke", "fern")
    assert len(row()) == 6
    assert row()[5] >= row()[4]


def test_the_key_of_a_rotation_takes_the_place_of_the_former(founded: Coordinator) -> None:
    founded.told("enrol", str(founded.sites["fern"] / "join-request.json"))
    before = Home(founded.home).sites()[0].public_key
    site = open_site(founded.sites["fern"])
    rotation, notice = rotate_key(site, by="Ada Lovelace")
    told = founded.told("accept-key", str(notice))
    assert told == {"site": "fern", "former key": before, "key": rotation.new_key}
    assert Home(founded.home).sites()[0].public_key == rotation.new_key != before


def test_a_server_listens_inside_unless_it_is_told_otherwise(
    founded: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, object]] = []
    monkeypatch.setattr(server.engines.superlink, "serve", lambda home, **given: seen.append(given))
    founded.type("serve")
    founded.type("serve", "--host", "10.0.0.5", "--name", "a.example", "--name", "b.example")
    assert seen == [
        {"host": "127.0.0.1", "port": 9092, "names": [], "node_keys": {}},
        {"host": "10.0.0.5", "port": 9092, "names": ["a.example", "b.example"], "node_keys": {}},
    ]
    (founded.home / "keys" / "coordinator.pem").unlink()
    assert founded.type("serve").exit_code == 1, "without its key a coordinator serves nobody"
    assert len(seen) == 2
