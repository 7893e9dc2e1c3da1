"""The coordinator's commands as they are typed: what they change, what they say, how they fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import practice_federation as practice
import pytest
from practice_release import finish_run
from typer.testing import CliRunner

from client.site.folder import create_site
from client.site.profile import SiteProfile
from server.command.app import app
from server.command.runs import site_folders
from server.run.folder import Event
from server.run.holder import held
from shared.errors import RunError

PLAN = ("encoder=none", "fusion=clinical_only", "federation.rounds=2", "federation.local_steps=1")


def do(home: Path, *words: str, code: int = 0) -> Any:
    done = CliRunner().invoke(app, [*words, "--home", str(home), "--json"], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "coordinator"
    do(folder, "init")
    return folder


def join(home: Path, name: str, *options: str) -> dict[str, Any]:
    site = home.parent / "sites" / name
    request = create_site(site, name=name, declared_patients=200, profile=SiteProfile())
    key = json.loads(request.read_bytes())["public_key"]
    return do(home, "enrol", str(request), "--site-key", key, *options)


def test_a_home_is_made_once(home: Path) -> None:
    key = (home / "keys" / "coordinator.pem").read_bytes()
    do(home, "init")
    assert (home / "keys" / "coordinator.pem").read_bytes() == key


def test_sites_are_enrolled_listed_and_revoked(home: Path) -> None:
    join(home, "north")
    answer = join(home, "south", "--role", "external", "--optional")
    assert Path(answer["give to the site"]).exists()
    listed = do(home, "sites")
    assert [(site["site"], site["role"], site["is_required"]) for site in listed] == [
        ("north", "training", True),
        ("south", "external", False),
    ]
    assert do(home, "revoke", "north")["revoked"] == "north"
    assert [site["revoked_utc"] is None for site in do(home, "sites")] == [False, True]
    failed = do(home, "revoke", "north", code=1)
    assert failed["error"] == "plan.unknown-site"


def test_a_plan_shows_its_price_and_starts_nothing(home: Path) -> None:
    join(home, "north")
    join(home, "south", "--role", "external")
    facts = do(home, "plan", "spring", *PLAN)
    assert facts["run"] == "spring"
    assert facts["rounds × steps"] == "2 × 1 = 2 steps"
    assert 2.9 < facts["epsilon, training patient"] <= 3.0
    assert Path(facts["file for the sites"]).exists()
    assert not (home / "runs" / "spring" / "run.json").exists()
    again = do(home, "plan", "spring", *PLAN, code=1)
    assert again["error"] == "plan.run-exists"
    assert do(home, "plan", "autumn", "privacy.delta=2", code=1)["error"] == "settings.invalid"


def test_a_revoked_site_is_in_no_new_plan(home: Path) -> None:
    for name in ("north", "south"):
        join(home, name)
    do(home, "revoke", "south")
    do(home, "plan", "spring", *PLAN)
    content = json.loads((home / "runs" / "spring" / "plan.json").read_bytes())
    assert [entry["site"] for entry in content["plan"]["roster"]] == ["north"]


def test_a_run_needs_the_folders_of_its_sites_and_a_name_that_exists(home: Path) -> None:
    assert do(home, "launch", "nothing", code=1)["error"] == "run.unknown-run"
    join(home, "north")
    do(home, "plan", "spring", *PLAN)
    assert do(home, "launch", "spring", code=1)["error"] == "engine.no-sites"


def test_a_pause_lasts_until_it_was_obeyed(tmp_path: Path) -> None:
    store, _ = practice.found_federation(tmp_path, n_sites=1)
    with held(store, "stage", what="stage train"):
        do(tmp_path, "pause", "practice")
    with pytest.raises(RunError, match="was paused"):
        store.require_not_paused()
    store.require_not_paused()


def test_a_status_tells_rounds_release_lock_and_troubles(tmp_path: Path) -> None:
    store, _ = practice.found_federation(tmp_path, n_sites=2)
    facts = do(tmp_path, "status", "practice")
    assert facts["committed rounds"] == "0 of 3"
    assert (facts["release"], facts["locked"], facts["events"]) == ("not yet", "no", [])
    store.log(Event(round=0, site="", code="training-begun"))
    store.log(Event(round=1, site="site-1", code="run.site-offline"))
    finish_run(store)
    do(tmp_path, "lock", "practice", "--days", "30")
    facts = do(tmp_path, "status", "practice")
    assert facts["committed rounds"] == "3 of 3"
    assert (facts["release"], facts["locked"]) == ("made", "yes")
    assert facts["events"] == [[1, "site-1", "run.site-offline"]]
    shown = CliRunner().invoke(app, ["status", "practice", "--home", str(tmp_path)])
    assert "run.site-offline" in shown.stdout
    assert "round-committed" not in shown.stdout
    assert "training-begun" not in shown.stdout


def test_a_report_is_written_beside_its_run(tmp_path: Path) -> None:
    store, _ = practice.found_federation(tmp_path, n_sites=2)
    assert do(tmp_path, "report", "practice", code=1)["error"] == "weights.unreadable"
    finish_run(store)
    facts = do(tmp_path, "report", "practice")
    assert Path(facts["report.html"]).is_relative_to(store.folder)
    assert json.loads(Path(facts["report.json"]).read_text())["run"] == "practice"


def test_site_folders_go_by_the_name_in_them(tmp_path: Path) -> None:
    for folder, name in (("a", "north"), ("b", "south")):
        create_site(tmp_path / folder, name=name, declared_patients=100, profile=SiteProfile())
    found = site_folders([tmp_path / "b", tmp_path / "a"])
    assert found == {"south": (tmp_path / "b").resolve(), "north": (tmp_path / "a").resolve()}
    assert site_folders([]) == {}
    with pytest.raises(RunError) as caught:
        site_folders([tmp_path])
    assert caught.value.code == "run.no-site"
