"""The demo's own steps: what it may empty, and what its hospitals' policies allow."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import yaml

from client.site.folder import create_site
from client.site.profile import SiteProfile
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


@pytest.mark.parametrize("play", [partial(play_demo, seed=1), play_loopback])
def test_a_cohort_that_no_generator_knows_is_refused_and_simulate_is_named(
    play: Callable[..., object], tmp_path: Path
) -> None:
    folder = tmp_path / "new"
    with pytest.raises(SettingsError) as caught:
        play(folder, overrides=["cohort.name=lungs"])
    assert caught.value.code == "settings.cohort-not-generated"
    assert "osteofed-coordinator simulate" in caught.value.hint
    assert not folder.exists()
