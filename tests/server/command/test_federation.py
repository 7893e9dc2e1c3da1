"""Roles of enrolment, and what the server is started with (``test_app`` has the rest)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from practice_commands import Coordinator

import server.engines.superlink
from client.site.folder import create_site
from client.site.profile import SiteProfile


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
    assert list(given["node_keys"]) == ["fern"]
    founded.told("revoke", "fern")
    founded.type("serve")
    assert seen[1]["node_keys"] == {}
