"""Roles of enrolment, and what the server is started with (``test_app`` has the rest)."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from practice_commands import Coordinator
from typer.testing import CliRunner

import server.engines.superlink
import server.run.folder
from client.command.app import app as site_app
from client.gate.key_rotation import rotate_key
from client.site.folder import create_site, declare_size, open_site
from client.site.profile import SiteProfile
from server.command.app import app
from server.federation.certificates import SERVER_DAYS, ensure_server_certificate
from server.federation.folder import Home
from shared.signing.keys import spoken


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
    founded.enrol(founded.sites["fern"] / "join-request.json", *words)
    [site] = json.loads(founded.type("sites", "--json").stdout)
    assert (site["site"], site["is_required"]) == ("fern", is_required)


def test_the_server_is_told_the_node_keys_of_active_sites(
    founded: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    founded.enrol(founded.sites["fern"] / "join-request.json")
    seen: list[dict[str, object]] = []
    monkeypatch.setattr(server.engines.superlink, "serve", lambda _, **given: seen.append(given))
    served = founded.type("serve", "--port", "9555", "--name", "fl.example.org")
    assert served.exit_code == 0, served.output
    [given] = seen
    assert (given["port"], given["names"]) == (9555, ["fl.example.org"])
    assert "whoever has an account on this machine" in " ".join(served.stderr.split())
    assert list(given["node_keys"]()) == ["fern"]
    told = founded.told("revoke", "fern")
    assert "none runs on this machine" in str(told["server"])
    assert given["node_keys"]() == {}, "a server that runs asks again"


@pytest.mark.parametrize("words", [("enrol",), ("enrol", "revoke")])
def test_a_change_of_the_registry_returns_once_the_server_that_runs_has_followed(
    founded: Coordinator, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    waited: list[list[str]] = []

    def wait(home: Path, keys: dict[str, str]) -> bool:
        assert home == founded.home
        waited.append(list(keys))
        return True

    monkeypatch.setattr(server.engines.superlink, "await_nodes", wait)
    told = founded.enrol(founded.sites["fern"] / "join-request.json")
    if "revoke" in words:
        told = founded.told("revoke", "fern")
    assert told["server"] == "the one that runs has followed"
    assert waited == [["fern"], []][: len(words)]


def test_a_revocation_names_the_runs_that_go_on_without_the_site_or_stop(
    make_coordinator: Callable[..., Coordinator],
) -> None:
    own = make_coordinator()
    with own.typing_after_round(1, "revoke", "elm", "--stop-runs") as typed:
        stopped = own.with_sites("launch", own.run, "--json")
    [told] = typed
    assert (told["runs"], told["they"]) == (own.run, "stop before their next round")
    assert "elm" not in {site.site for site in Home(own.home).active_sites()}
    own.sites.pop("elm")
    assert json.loads(stopped.stdout)["error"] == "run.paused"
    resumed = own.with_sites("resume", own.run, "--json")
    assert resumed.exit_code == 0, resumed.output
    assert list(own.told("release", own.run)["dropped"]) == ["elm"]
    own.told("revoke", "hop")
    assert own.told("revoke", "ash")["they"] == "go on without it"


def test_sites_are_shown_to_people_with_role_size_and_the_days_they_came_and_went(
    founded: Coordinator,
) -> None:
    told = founded.enrol(founded.sites["fern"] / "join-request.json")
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


def test_both_sides_read_out_the_same_groups_of_a_sites_key(tmp_path: Path) -> None:
    own = Coordinator(tmp_path / "home", {})
    assert own.type("init").exit_code == 0
    words = ["init", "fern", "--declared-patients", "120", "--folder", str(tmp_path / "fern")]
    made = json.loads(CliRunner().invoke(site_app, [*words, "--json"]).stdout)
    told = own.enrol(Path(made["join request"]))
    assert told["the site's key, by voice"] == made["this site's key, by voice"]


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        ("", "plan.uncompared-key"),
        ("\n", "plan.uncompared-key"),
        ("y\n", "plan.short-key"),
        ("{first} {second}\n", "plan.short-key"),
        ("0000 {second} {third} {fourth}\n", "plan.untold-key"),
        ("{second} {third} {fourth} {first}\n", "plan.untold-key"),
    ],
)
def test_a_site_whose_key_was_not_told_leaves_nothing_behind(
    founded: Coordinator, typed: str, code: str
) -> None:
    request = founded.sites["fern"] / "join-request.json"
    first, second, third, fourth, *_ = spoken(json.loads(request.read_bytes())["public_key"]).split()
    before = sorted(founded.home.rglob("*"))
    words = ["enrol", str(request), "--home", str(founded.home), "--json"]
    told = typed.format(first=first, second=second, third=third, fourth=fourth)
    refused = CliRunner().invoke(app, words, input=told)
    assert (refused.exit_code, json.loads(refused.stdout)["error"]) == (1, code)
    assert sorted(founded.home.rglob("*")) == before
    shown = refused.stderr.replace(told.strip() or "nothing", "")
    assert first not in shown, "who sees it need not be told it"


def test_a_site_is_enrolled_by_the_groups_that_it_reads_out(founded: Coordinator) -> None:
    request = founded.sites["fern"] / "join-request.json"
    groups = spoken(json.loads(request.read_bytes())["public_key"])
    words = ["enrol", str(request), "--home", str(founded.home)]
    done = CliRunner().invoke(app, words, input=f"{groups.upper()}\n")
    assert done.exit_code == 0, done.output
    assert "fern asks to be enrolled, with 120 declared patients" in done.stderr
    assert [site.site for site in Home(founded.home).sites()] == ["fern"]


def test_a_site_that_declares_another_size_was_compared_before(founded: Coordinator) -> None:
    request = founded.sites["fern"] / "join-request.json"
    founded.enrol(request, "--role", "external")
    founded.enrol(
        create_site(
            founded.sites["fern"].parent / "elm",
            name="elm",
            declared_patients=120,
            profile=SiteProfile(),
        )
    )
    declare_size(founded.sites["fern"], 200)
    told = founded.told("enrol", str(request))
    assert (Path(str(told["give to the site"])).stem, told["role"]) == ("fern", "external")
    assert told["the site's key, by voice"] == spoken(json.loads(request.read_bytes())["public_key"])
    assert Home(founded.home).sites()[0].declared_patients == 200


def test_a_coordinator_whose_key_others_may_read_signs_nothing(founded: Coordinator) -> None:
    (founded.home / "keys" / "coordinator.pem").chmod(0o644)
    refused = founded.type("enrol", str(founded.sites["fern"] / "join-request.json"))
    assert refused.exit_code == 1
    assert "must be open to its owner only (0600), not 0644" in refused.stderr


def test_the_key_of_a_rotation_takes_the_place_of_the_former(founded: Coordinator) -> None:
    founded.enrol(founded.sites["fern"] / "join-request.json")
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
    founded.type(
        "serve", "--host", "10.0.0.5", "--health", "", "--name", "a.example", "--name", "b.example"
    )
    assert [given.pop("warn") and given.pop("node_keys")() for given in seen] == [{}, {}]  # type: ignore[operator]
    assert seen == [
        {"host": "127.0.0.1", "port": 9092, "names": [], "health": "127.0.0.1:9095"},
        {"host": "10.0.0.5", "port": 9092, "names": ["a.example", "b.example"], "health": ""},
    ]
    (founded.home / "keys" / "coordinator.pem").unlink()
    assert founded.type("serve").exit_code == 1, "without its key a coordinator serves nobody"
    assert len(seen) == 2


def test_a_certificate_that_will_end_is_told_by_doctor_serve_and_status(
    founded: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates = founded.home / "deployment" / "certificates"
    past = datetime.now(UTC) - timedelta(days=SERVER_DAYS - 20)
    ensure_server_certificate(certificates, hosts=("localhost",), now=past)
    said = "server certificate: valid for 19 days; this week, `osteofed-coordinator renew"
    monkeypatch.setattr(server.engines.superlink, "serve", lambda _, **given: given["warn"]())
    assert said in founded.type("serve").stderr
    run = Home(founded.home).run_folder("spring")
    run.mkdir(parents=True)
    (run / "plan.json").write_text("{}")
    monkeypatch.setattr(server.run.folder, "open_run", lambda _: None)
    assert said in founded.type("status", "spring").stderr
    ill = founded.type("doctor", "--json")
    assert ill.exit_code == 1, "no server runs"
    told = {line["name"]: line["state"] for line in json.loads(ill.stdout)["lines"]}
    assert (told["server certificate"], told["server"]) == ("attention", "problem")
    renewed = founded.told("renew-certificate")
    assert renewed["ends"] > f"{datetime.now(UTC) + timedelta(days=SERVER_DAYS - 2):%Y-%m-%d}"  # type: ignore[operator]
    assert said not in founded.type("serve").stderr
