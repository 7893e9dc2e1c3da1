"""The demo's own steps: what it may empty, and what its hospitals' policies allow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from client.site.folder import create_site, open_site
from client.site.profile import SiteProfile
from server.demo import play
from server.demo.loopback import play_loopback
from server.demo.play import DemoFolders, found_federation, fresh_folders, play_demo
from server.federation.compose import compose_settings
from server.synthetic.hospitals import DEMO_SITES
from shared.errors import RunError, SettingsError


def test_a_folder_of_somebody_else_is_not_emptied(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError) as caught:
        fresh_folders(tmp_path)
    assert caught.value.code == "run.folder-in-use"
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_an_earlier_demo_makes_room_for_the_next(tmp_path: Path) -> None:
    first = fresh_folders(tmp_path / "demo")
    first.home.mkdir()
    assert fresh_folders(tmp_path / "demo") == first
    assert not first.home.exists()


@pytest.fixture
def template(tmp_path: Path) -> dict[str, object]:
    """The policy that a hospital begins with."""
    create_site(tmp_path / "any", name="any", declared_patients=100, profile=SiteProfile())
    policy: dict[str, object] = yaml.safe_load((tmp_path / "any" / "policy.yaml").read_text())
    return policy


APPROVED_BY = "Dana Example"


@pytest.mark.parametrize(
    ("overrides", "changed"),
    [
        ([], {}),
        (["privacy.epsilon=1", "validation.epsilon=1", "privacy.delta=1e-6"], {}),
        (["privacy.epsilon=7"], {"epsilon_per_run": 7.0, "epsilon_lifetime": 21.0}),
        (["validation.epsilon=5"], {"epsilon_per_run": 5.0, "epsilon_lifetime": 15.0}),
        (["privacy=off"], {"allows_privacy_off": True}),
        (
            ["validation.release_class=governed"],
            {"allows_governed": True, "governed_approved_by": APPROVED_BY},
        ),
    ],
)
def test_a_demos_policy_is_the_template_loosened_by_what_was_asked_for_and_no_more(
    tmp_path: Path, template: dict[str, object], overrides: list[str], changed: dict[str, object]
) -> None:
    folders, sites = DemoFolders(tmp_path), DEMO_SITES[-2:]
    found_federation(folders, sites, compose_settings(["is_synthetic=true", *overrides]))
    for site in sites:
        found = yaml.safe_load((folders.site(site.name) / "policy.yaml").read_text())
        assert found == template | changed


def test_the_last_hospital_is_the_external_one_and_all_are_required_by_their_declared_size(
    tmp_path: Path,
) -> None:
    folders, sites = DemoFolders(tmp_path), DEMO_SITES[-2:]
    home = found_federation(folders, sites, compose_settings(["is_synthetic=true"]))
    found = [(each.site, each.role, each.is_required) for each in home.active_sites()]
    assert found == [("cedar", "training", True), ("dune", "external", True)]
    assert [each.declared_patients for each in home.active_sites()] == [440, 280]
    assert all(each.enrolled_utc.startswith("2024-01-10") for each in home.active_sites())
    for site in sites:
        assert open_site(folders.site(site.name)).coordinator_key == home.key().public_hex


def test_a_hospital_of_no_demo_declares_seven_in_ten_of_its_patients(tmp_path: Path) -> None:
    sites = [replace(DEMO_SITES[0], name="elm", n_patients=30), replace(DEMO_SITES[1], n_patients=1)]
    sites[1] = replace(sites[1], name="fern")
    home = found_federation(DemoFolders(tmp_path), sites, compose_settings(["is_synthetic=true"]))
    assert [each.declared_patients for each in home.active_sites()] == [21, 1]


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What a demo does, by name and in order; nothing is done."""
    done: list[str] = []

    def note(name: str, answer: object = None) -> Callable[..., object]:
        return lambda *_, **__: done.append(name) or answer

    stages = [
        SimpleNamespace(name=name, patients=patients)
        for name, patients in (
            ("description", "everybody"),
            ("train", "train"),
            ("internal", "internal"),
            ("prospective", "accrued"),
            ("external", "internal"),
        )
    ]
    store = SimpleNamespace(
        plan=SimpleNamespace(stages=stages),
        training=SimpleNamespace(stage=stages[1]),
        folder=tmp_path,
        release_folder=tmp_path,
        lock_file=tmp_path / "lock.json",
    )
    release = SimpleNamespace(weights=SimpleNamespace(size=3), sha256="a" * 64)
    home = SimpleNamespace(key=lambda: None)
    for name, answer in {
        "generate": None,
        "found_federation": home,
        "ingest_all": None,
        "write_approved_plan": None,
        "prepare": store,
        "make_release": release,
        "write_release": "3 weights",
        "lock_run": None,
        "accrue_all": None,
        "read_new_film": None,
    }.items():
        monkeypatch.setattr(play, name, note(name, answer))
    monkeypatch.setattr(play, "launch_stage", lambda _, stage, **__: done.append(stage))
    monkeypatch.setattr(play, "purpose_of", lambda stage: stage.name)
    monkeypatch.setattr(play, "purposes_of", lambda stages: stages[0].name)
    monkeypatch.setattr(play, "_report", lambda *_: done.append("report") or (None, {"page": "p"}))
    monkeypatch.setattr("server.demo.audit.audit_demo", note("audit", {"audit": "a"}))
    return done


def test_a_demo_trains_measures_locks_and_only_then_measures_who_came_later(
    played: list[str], tmp_path: Path
) -> None:
    _, files = play_demo(tmp_path / "demo", overrides=[], seed=1)
    assert played == [
        *("generate", "found_federation", "ingest_all", "write_approved_plan", "prepare"),
        *("train", "make_release", "write_release"),
        *("description", "internal", "external", "lock_run", "accrue_all", "prospective"),
        *("read_new_film", "report"),
    ]
    assert files == {"page": "p"}


def test_a_demo_is_audited_and_has_a_heat_map_only_where_there_is_one(
    played: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(play, "read_new_film", lambda *_, **__: tmp_path / "map.png")
    _, files = play_demo(tmp_path / "demo", overrides=[], seed=1, is_audited=True)
    assert played[-1] == "audit"
    assert files == {
        "page": "p",
        "audit": "a",
        "heat map (stays at the site)": str(tmp_path / "map.png"),
    }


def test_an_encoder_that_learns_is_not_audited_and_nothing_is_written(
    played: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = compose_settings(["is_synthetic=true"])
    encoder = own.encoder.model_copy(update={"training": "adapters"})
    learns = own.model_copy(update={"encoder": encoder})
    monkeypatch.setattr(play, "compose_settings", lambda _: learns)
    with pytest.raises(SettingsError, match="frozen, not adapters") as caught:
        play_demo(tmp_path / "demo", overrides=[], seed=1, is_audited=True)
    assert caught.value.code == "settings.encoder-not-attacked"
    assert not (tmp_path / "demo").exists()
    play_demo(tmp_path / "demo", overrides=[], seed=1)
    assert "report" in played


def test_later_films_come_after_the_lock_as_many_as_the_hospital_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: dict[str, tuple[object, ...]] = {}
    accrued: list[tuple[object, Path]] = []

    def write(folder: Path, site: object, seed: int, first_day: object, **asked: object) -> None:
        written[site.name] = (folder.name, seed, first_day, asked["n_new"], asked["n_days"])

    def accrue(site: object, lock: object, source: Path, **_: object) -> None:
        accrued.append((lock, source))

    monkeypatch.setattr("server.synthetic.folder.write_later_films", write)
    monkeypatch.setattr("client.site.folder.open_site", lambda folder, clock: (folder.name, clock()))
    monkeypatch.setattr("client.intake.accrue.accept_lock", lambda site, lock, by: (*site, lock.name))
    monkeypatch.setattr("client.intake.accrue.accrue", accrue)
    folders = DemoFolders(tmp_path)
    sites = [DEMO_SITES[0], replace(DEMO_SITES[0], name="elm")]
    play.accrue_all(folders, sites, tmp_path / "lock.json", seed=4)
    day = (play.LOCK_DAY + play.timedelta(days=14)).date()
    assert written == {
        "aster": ("aster-later", 4, day, 45, 150),
        "elm": ("elm-later", 4, day, 60, 150),
    }
    assert [source.name for _, source in accrued] == ["aster-later", "elm-later"]
    assert accrued[0][0] == ("aster", play.LOCK_DAY, "lock.json"), "accepted before anybody came"
    # nothing is accrued that could not have been acquired yet
    assert play.LATER_FIRST_DAY + play.timedelta(days=play.LATER_DAYS) < play.ACCRUAL_DAY


def test_a_demo_in_a_folder_that_is_empty_or_new_marks_it_as_its_own(tmp_path: Path) -> None:
    for folder in (tmp_path / "new", tmp_path / "empty"):
        if folder.name == "empty":
            folder.mkdir()
        assert fresh_folders(folder).folder == folder
        assert [path.name for path in folder.iterdir()] == ["osteofed-demo.txt"]


@pytest.mark.parametrize("play", [partial(play_demo, seed=1), play_loopback])
def test_a_cohort_that_no_generator_knows_is_refused_and_simulate_is_named(
    play: Callable[..., object], tmp_path: Path
) -> None:
    folder = tmp_path / "new"
    for override, name in (("cohort.name=lungs", "lungs"), ("cohort=hip_table", "hip_table")):
        with pytest.raises(SettingsError) as caught:
            play(folder, overrides=[override])
        assert caught.value.code == "settings.cohort-not-generated"
        assert caught.value.fact.endswith(f"for cohort hip_bmd only, not {name}")
        assert "osteofed-coordinator simulate" in caught.value.hint
    assert not folder.exists()
