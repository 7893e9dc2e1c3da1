"""The first commands of a hospital, and the one that connects it, as they are typed."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from client.command.app import app
from client.site.folder import open_site
from server.federation.folder import create_home, enrol
from shared.errors import OsteoFedError

run = CliRunner().invoke


def test_a_site_is_made_by_its_name_and_told_what_to_edit(tmp_path: Path) -> None:
    arguments = ["init", "elm", "--declared-patients", "120", "--folder", str(tmp_path)]
    told = json.loads(run(app, [*arguments, "--json"]).stdout)
    request = json.loads(Path(told["join request"]).read_bytes())
    assert "elm" in json.dumps(request)
    assert "120" in json.dumps(request)
    for name in ("site.yaml", "policy.yaml"):
        assert str(tmp_path / name) in told["edit next"]
        assert (tmp_path / name).is_file()
    assert yaml.safe_load((tmp_path / "site.yaml").read_text())["site"] == "elm"
    again = run(app, arguments)
    assert again.exit_code == 1, "a site is not made over another"


def test_what_a_verb_writes_is_for_this_user_alone_whatever_the_shell_allows(tmp_path: Path) -> None:
    before = os.umask(0o000)
    try:
        run(app, ["init", "elm", "--declared-patients", "120", "--folder", str(tmp_path / "elm")])
    finally:
        os.umask(before)
    written = [path for path in (tmp_path / "elm").rglob("*") if path.is_file()]
    assert {path.name for path in written} >= {"site.yaml", "policy.yaml", "join-request.json"}
    assert [path.name for path in written if path.stat().st_mode & 0o077] == []


def test_joining_trusts_the_key_in_the_coordinators_answer(tmp_path: Path) -> None:
    folder = str(tmp_path / "elm")
    made = run(app, ["init", "elm", "--declared-patients", "120", "--folder", folder, "--json"])
    home = create_home(tmp_path / "home")
    request = Path(json.loads(made.stdout)["join request"])
    answer = enrol(home, request, role="training", is_required=True, now=datetime.now(UTC))
    with pytest.raises(OsteoFedError):
        _ = open_site(tmp_path / "elm").coordinator_key
    words, key = ["join", str(answer), "--folder", folder, "--json"], home.key().public_hex
    for told, code in (
        (["--coordinator-key", key[:15]], "plan.short-key"),
        (["--coordinator-key", "0" * 64], "plan.untold-key"),
        ([], "policy.not-confirmed"),
    ):
        assert json.loads(run(app, [*words, *told], input="\n").stdout)["error"] == code
        assert not open_site(tmp_path / "elm").has_joined
    asked = run(app, words, input="y\n")
    assert key in asked.stderr, "a person compares what is shown"
    assert json.loads(asked.stdout) == {"site": "elm", "coordinator key": key}
    assert run(app, [*words, "--coordinator-key", key[:16]]).exit_code == 0
    assert open_site(tmp_path / "elm").coordinator_key == key


def test_a_size_that_is_none_of_the_public_list_is_answered_by_the_two_next_ones(
    tmp_path: Path,
) -> None:
    words = ["init", "elm", "--folder", str(tmp_path), "--json", "--declared-patients"]
    told = json.loads(run(app, [*words, "113"]).stdout)
    assert told["error"] == "policy.no-bucket"
    assert "100 or 120, not 113" in told["fact"]
    assert not (tmp_path / "site.yaml").exists()


def test_a_start_hands_on_where_the_coordinator_is_and_who_this_node_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[Path, dict[str, object]]] = []
    monkeypatch.setattr(
        "client.node.supernode.serve", lambda folder, **asked: given.append((folder, asked))
    )
    monkeypatch.chdir(tmp_path)
    words = ["start", "--superlink", "fl.example:9092", "--root-certificate", "ca.pem"]
    assert run(app, [*words, "--auth-key", "node.key"]).exit_code == 0
    assert run(app, [*words, "--auth-key", "node.key", "--health", "127.0.0.1:9"]).exit_code == 0
    folder, asked = given[0]
    assert folder == tmp_path.resolve(), "of the folder one stands in, by its whole path"
    assert asked == {
        "superlink": "fl.example:9092",
        "root_certificate": Path("ca.pem"),
        "auth_key": Path("node.key"),
        "health": "",
    }
    assert given[1][1]["health"] == "127.0.0.1:9"
    for missing in (words[:3], [words[0], *words[3:]]):
        assert run(app, missing).exit_code == 2


def test_an_unforeseen_failure_shows_no_local_variable_and_no_command_is_completed_in_a_shell() -> None:
    assert app.pretty_exceptions_enable is False
    shown = run(app, ["--help"]).output
    assert "completion" not in shown
    for command in (
        *("init", "join", "start", "ingest", "accrue", "cohort", "plan", "approve", "refuse"),
        *("doctor", "rehearse", "patient", "withdraw", "purge", "outbox", "ledger", "statement"),
        *("register", "rotate-key", "predict"),
    ):
        assert f" {command} " in shown, command
    assert run(app, []).output.startswith(shown[:40]), "no word at all is a question for help"
