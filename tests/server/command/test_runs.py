"""A run by commands: planned, trained, paused, resumed, looked at, released."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import practice_federation as practice
import pytest
from practice_commands import Coordinator
from typer.testing import CliRunner

from client.site.folder import create_site
from client.site.profile import SiteProfile
from server.command.app import app
from server.command.runs import site_folders
from server.federation.compose import compose_settings
from server.federation.folder import Home, create_home, enrol
from server.report.expected import FIGURE_COLUMNS
from server.run.folder import Event
from shared.contract.decision import decision_of
from shared.contract.plan import read_plan
from shared.contract.release import ReleaseRecord
from shared.errors import RunError
from shared.learners.refused import refusal_of
from shared.signing.keys import SigningKey


def test_a_run_goes_from_its_plan_to_its_release(make_coordinator: Callable[..., Coordinator]) -> None:
    own = make_coordinator()
    assert own.told("status", own.run)["committed rounds"] == "0 of 2"
    shown = own.with_sites("launch", own.run, "--json")
    assert shown.exit_code == 0, shown.output
    facts = json.loads(shown.stdout)
    assert facts["rounds"] == 2
    status = own.told("status", own.run)
    assert (status["committed rounds"], status["release"]) == ("2 of 2", "made")
    assert (status["played by"], status["waits for"]) == ("nobody", "nobody")
    assert status["events"] == []
    assert status["locked"] == "no"  # a release is not yet a lock
    made = own.told("release", own.run)
    assert made["release"] == facts["release"]
    assert made["rounds"] == 2


def test_a_paused_run_stops_before_its_next_round_and_resumes(
    make_coordinator: Callable[..., Coordinator],
) -> None:
    own = make_coordinator()
    with own.typing_after_round(1, "pause", own.run) as told:
        stopped = own.with_sites("launch", own.run, "--json")
    assert told == [{"run": own.run, "stops": "before its next round"}]
    assert stopped.exit_code == 1
    assert json.loads(stopped.stdout)["error"] == "run.paused"
    assert own.told("status", own.run)["committed rounds"] == "1 of 2"
    resumed = own.with_sites("resume", own.run, "--json")
    assert resumed.exit_code == 0, resumed.output
    assert json.loads(resumed.stdout)["rounds"] == 2


def test_a_run_that_nobody_plays_is_not_paused_and_goes_on_when_it_is_resumed(
    make_coordinator: Callable[..., Coordinator],
) -> None:
    own = make_coordinator()
    refused = own.told("pause", own.run)
    assert refused["error"] == "run.not-played"
    assert f"stop {own.run} --reason" in str(refused["hint"])
    # one that was asked to pause and died before it obeyed
    (own.home / "runs" / own.run / "pause").touch()
    resumed = own.with_sites("resume", own.run, "--json")
    assert resumed.exit_code == 0, resumed.output


def test_a_run_that_was_stopped_is_played_no_more_and_status_says_why(
    make_coordinator: Callable[..., Coordinator],
) -> None:
    own, reason = make_coordinator(), "the cohort was frozen by mistake"
    assert own.told("status", own.run)["stopped"] == "no"
    with own.typing_after_round(1, "stop", own.run, "--reason", reason) as told:
        stopped = own.with_sites("launch", own.run, "--json")
    assert [each["reason"] for each in told] == [reason]
    assert stopped.exit_code == 1
    for shown in (stopped, own.with_sites("resume", own.run, "--json")):
        assert json.loads(shown.stdout)["error"] == "run.stopped"
        assert json.loads(shown.stdout)["fact"].endswith(reason)
    assert own.with_sites("validate", own.run, "internal", "--json").exit_code == 1
    status = own.told("status", own.run)
    assert str(status["stopped"]).endswith(f": {reason}")
    assert (status["committed rounds"], status["release"]) == ("1 of 2", "not yet")
    assert own.told("release", own.run)["error"] == "run.stopped"


def test_a_run_goes_on_without_a_site_that_a_person_dropped_and_release_and_report_say_so(
    make_coordinator: Callable[..., Coordinator],
) -> None:
    own = make_coordinator()
    with own.typing_after_round(1, "pause", own.run):
        own.with_sites("launch", own.run)
    elm = own.sites.pop("elm")
    alone = own.with_sites("resume", own.run, "--json")
    assert alone.exit_code == 1
    assert "elm: is required" in json.loads(alone.stdout)["fact"]
    told = own.told("drop-site", own.run, "elm", "--reason", "it has left the federation")
    assert (told["site"], told["reason"]) == ("elm", "it has left the federation")
    resumed = own.with_sites("resume", own.run, "--json")
    assert resumed.exit_code == 0, resumed.output
    assert own.told("release", own.run)["dropped"] == {"elm": "it has left the federation"}
    own.told("report", own.run)
    page = (own.home / "runs" / own.run / "report.html").read_text()
    assert "elm was dropped from this run" in page
    assert elm.exists()


def test_a_plan_shows_its_stages_and_what_each_group_of_patients_pays(
    make_coordinator: Callable[..., Coordinator],
) -> None:
    own = make_coordinator()
    asked = ("plan", "another", "fusion=clinical_only", "encoder=none", "federation.rounds=4")
    told = own.told(*asked)
    assert [stage["stage"] for stage in told["stages"]] == [
        *("train", "internal", "external", "prospective")
    ]
    assert told["stages"][0]["rounds × sums"] == "4 × 1"
    groups = {(group["site"], group["patients"]): group["pay for"] for group in told["groups"]}
    assert groups["training", "train"] == "training"
    written = read_plan(Path(str(told["file for the sites"])))
    assert written.sha256 == told["plan"]
    shown = own.type("plan", "a-third", *asked[2:]).output
    for words in ("stages", "what a patient pays", "roster", "prospective"):
        assert words in shown


@pytest.mark.parametrize(
    ("override", "word"),
    [
        ("learner=lightgbm", "lightgbm"),
        ("task.class_weights=[1,2]", "class_weights"),
        ("validation.tune_threshold=true", "tune_threshold"),
    ],
)
def test_what_cannot_be_private_is_told_with_its_code_and_what_to_use_before_a_plan_is_written(
    home: Path, override: str, word: str
) -> None:
    refusal = refusal_of(word)
    assert refusal is not None
    shown = CliRunner().invoke(app, ["plan", "another", override, "--home", str(home), "--json"])
    assert shown.exit_code == 1
    told = json.loads(shown.stdout)
    assert (told["error"], told["fact"], told["hint"]) == (refusal.code, refusal.fact, refusal.hint)
    for_people = CliRunner().invoke(app, ["plan", "another", override, "--home", str(home)])
    assert refusal.code in for_people.stderr
    assert refusal.hint in for_people.stderr


@pytest.mark.parametrize(
    "content", [None, "", "- a\n- b\n", "name: north\n", "site: [north\n", "just words\n"]
)
def test_a_folder_that_is_no_sites_is_refused_whatever_lies_in_it(
    tmp_path: Path, content: str | None
) -> None:
    sound, other = tmp_path / "sound", tmp_path / "other"
    for folder in (sound, other):
        folder.mkdir()
    (sound / "site.yaml").write_text("site: elm\n")
    assert site_folders([sound]) == {"elm": sound.resolve()}
    if content is not None:
        (other / "site.yaml").write_text(content)
    with pytest.raises(RunError) as caught:
        site_folders([sound, other])
    assert caught.value.code == "run.no-site"
    assert f"{other}/site.yaml" in caught.value.fact
    with pytest.raises(RunError, match="a second folder of site elm"):
        site_folders([sound, sound])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A coordinator with a required site of 100 patients, an optional one of 300, and an external."""
    own = create_home(tmp_path / "home")
    for name, size, role in (
        ("ash", 100, "training"),
        ("elm", 300, "training"),
        ("hop", 90, "external"),
    ):
        request = create_site(tmp_path / name, name=name, declared_patients=size, profile=SiteProfile())
        now = datetime(2026, 1, 1, tzinfo=UTC)
        enrol(own, request, role=role, is_required=name == "ash", now=now)
    return tmp_path / "home"


SMALL = ("fusion=clinical_only", "encoder=none", "federation.rounds=2")


def test_a_plan_shows_who_is_in_it_with_what_weight_and_what_will_be_seen(home: Path) -> None:
    coordinator = Coordinator(home, {})
    told = coordinator.told("plan", "spring", *SMALL)
    schedules = {row["schedule"]: row for row in told["schedules"]}
    assert list(schedules) == ["chosen: standard", "few_messages", "one_message"]
    # two rounds were set by hand, which only few_messages has been measured with
    assert [row["messages per site"] for row in schedules.values()] == ["2", "2", "2"]
    told_r2 = {name: row["on synthetic films"] for name, row in schedules.items()}
    assert told_r2["few_messages"].endswith("(ε 3, 112 synthetic patients of 1 site)")
    assert {told_r2["chosen: standard"], told_r2["one_message"]} == {"not measured"}
    figures = {(row["stage"], row["site"]): row for row in told["figures"]}
    assert figures["internal", "ash"]["patients"] == "20"
    assert figures["internal", "all sites, pooled"]["patients"] == "80"
    assert set(told["figures"][0]) == set(FIGURE_COLUMNS)
    further = {(row["stage"], row["figure ±"]): row for row in told["further figures"]}
    assert further["internal", "accuracy"].keys() >= {"ash", "elm", "hop", "all sites, pooled"}
    assert further["internal", "accuracy"]["hop"] == "–"
    shown = coordinator.type("plan", "autumn", *SMALL).output
    lines = [line.replace("│", " ").split() for line in shown.splitlines()]
    roster = {tuple(words[:2]): words[2:] for words in lines if len(words) == 5}
    assert roster["ash", "training"] == ["yes", "100", "0.250"]
    assert roster["elm", "training"] == ["no", "300", "0.750"]
    assert roster["hop", "external"][:2] == ["no", "90"]


def test_training_is_launched_on_the_sites_named_and_released_by_its_key(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = SimpleNamespace(name="learn")
    training = SimpleNamespace(stage=stage, last_committed=lambda: SimpleNamespace(round=7))
    store = SimpleNamespace(training=training, release_folder=home / "release")
    done: list[object] = []

    def launch(given: object, name: str, *, site_folders: dict[str, Path]) -> None:
        assert given is store
        done.append((name, site_folders))

    def release(given: object, key: SigningKey) -> SimpleNamespace:
        done.append(key.public_hex)
        return SimpleNamespace(sha256="a" * 64)

    monkeypatch.setattr("server.run.prepare.prepare", lambda *_: store)
    monkeypatch.setattr("server.engines.launch.launch_stage", launch)
    monkeypatch.setattr("server.run.release.make_release", release)
    folder = home.parent / "ash"
    for verb in ("launch", "resume"):
        done.clear()
        told = Coordinator(home, {"ash": folder}).with_sites(verb, "spring", "--json")
        assert json.loads(told.stdout) == {
            "rounds": 7,
            "release": "a" * 64,
            "folder": str(home / "release"),
        }
        assert done == [("learn", {"ash": folder.resolve()}), Home(home).key().public_hex]
    assert Coordinator(home, {}).type("launch", "spring").exit_code == 0
    assert done[-2] == ("learn", {})


def test_a_release_is_told_whole_but_for_the_heads_of_ledgers(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = ReleaseRecord(
        run="spring",
        plan_sha256="1" * 64,
        weights_sha256="2" * 64,
        layout_sha256="3" * 64,
        encoder_sha256="",
        preprocessing="p",
        decision=decision_of(compose_settings(list(SMALL))),
        code_sha256="4" * 64,
        ledger_heads={"ash": "5" * 64},
        rounds=2,
    )
    made = SimpleNamespace(sha256="a" * 64, record=record)
    coordinator = Coordinator(home, {})
    coordinator.told("plan", "spring", *SMALL)
    monkeypatch.setattr("server.run.folder.open_run", lambda _: SimpleNamespace(release_folder="f"))
    monkeypatch.setattr("server.run.release.make_release", lambda *_: made)
    told = coordinator.told("release", "spring")
    assert (told["release"], told["folder"], told["weights_sha256"]) == ("a" * 64, "f", "2" * 64)
    assert "ledger_heads" not in told
    assert "5" * 64 not in coordinator.type("release", "spring").output


def test_a_status_without_troubles_shows_no_table_of_them(tmp_path: Path) -> None:
    store, _ = practice.found_federation(tmp_path, n_sites=1)
    assert "events" not in Coordinator(tmp_path, {}).type("status", "practice").stdout
    store.log(Event(round=3, site="site-0", code="protocol.duplicate"))
    shown = Coordinator(tmp_path, {}).type("status", "practice").stdout
    [line] = [line for line in shown.splitlines() if "protocol.duplicate" in line]
    assert line.replace("│", " ").split() == ["3", "site-0", "protocol.duplicate"]
