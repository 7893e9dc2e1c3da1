"""A site's node key is replaced, a lost one too, and nothing else of the site changes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from client.command.app import app
from client.site.folder import create_site, join_federation, open_site
from client.site.node_key import rotate_node_key
from client.site.profile import SiteProfile
from server.command.app import app as coordinator_app
from server.federation.folder import Home, create_home, enrol
from shared.errors import PolicyError
from shared.signing.keys import SigningKey, ensure_node_key
from shared.signing.node_notice import NodeNotice, write_node_notice

BY = "Grace Hopper"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A coordinator, and the site elm in the folder beside it, which has joined."""
    home = create_home(tmp_path / "home")
    site = tmp_path / "elm"
    request = create_site(site, name="elm", declared_patients=90, profile=SiteProfile())
    now = datetime(2026, 1, 1, tzinfo=UTC)
    join_federation(site, enrol(home, request, role="training", is_required=True, now=now))
    return home


def key_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "keys").iterdir()}


def test_a_node_key_is_replaced_by_two_commands_and_no_other_key_is(home: Home, tmp_path: Path) -> None:
    before = key_files(tmp_path / "elm")
    words = ["rotate-node-key", "--by", BY, "--folder", str(tmp_path / "elm"), "--json"]
    told = json.loads(CliRunner().invoke(app, words).stdout)
    after = key_files(tmp_path / "elm")
    assert {name for name in before if before[name] != after[name]} == {"node.key", "node.key.pub"}
    assert set(after) == set(before)
    assert (tmp_path / "elm" / "keys" / "node.key").stat().st_mode & 0o777 == 0o600
    assert (
        ensure_node_key(tmp_path / "elm" / "keys" / "node.key").read_text().strip() == told["node key"]
    )
    words = ["accept-key", told["notice for the coordinator"], "--home", str(home.folder)]
    done = CliRunner().invoke(coordinator_app, words)
    assert done.exit_code == 0, done.output
    assert "follows by itself" in done.stdout
    [entry] = home.active_sites()
    assert entry.node_key == told["node key"]
    assert entry.former_node_keys == (before["node.key.pub"].decode().strip(),)
    assert entry.former_keys == ()


def test_a_lost_node_key_is_replaced_too(home: Home, tmp_path: Path) -> None:
    for name in ("node.key", "node.key.pub"):
        (tmp_path / "elm" / "keys" / name).unlink()
    notice, _ = rotate_node_key(open_site(tmp_path / "elm"), by=BY)
    public = ensure_node_key(tmp_path / "elm" / "keys" / "node.key")
    assert public.read_text().strip() == notice.node_key


def test_a_rotation_that_was_cut_off_is_finished_with_the_key_of_its_notice(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = open_site(tmp_path / "elm")
    told: list[str] = []

    def stop(path: Path, found: NodeNotice, **given: SigningKey) -> None:
        told.append(found.node_key)
        write_node_notice(path, found, **given)
        raise KeyboardInterrupt

    before = key_files(tmp_path / "elm")
    with monkeypatch.context() as patch:
        patch.setattr("client.site.node_key.write_node_notice", stop)
        with pytest.raises(KeyboardInterrupt):
            rotate_node_key(site, by=BY)
    assert before.items() <= key_files(tmp_path / "elm").items(), "the old key is still in force"
    notice, _ = rotate_node_key(site, by=BY)
    assert told == [notice.node_key]
    assert set(key_files(tmp_path / "elm")) == set(before)


def test_somebody_must_answer_for_it(home: Home, tmp_path: Path) -> None:
    before = key_files(tmp_path / "elm")
    with pytest.raises(PolicyError, match="first and last name"):
        rotate_node_key(open_site(tmp_path / "elm"), by="Grace")
    assert key_files(tmp_path / "elm") == before
