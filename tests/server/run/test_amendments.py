"""A site that a person drops from a run: signed, once, of this run, and never a line that paints."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import practice_federation as practice
import pytest

from server.federation.folder import Home
from server.run.amendments import DROPPED, Amendment, drop_site, dropped_sites
from server.run.folder import RunStore
from shared.errors import PlanError, RunError, WeightsError

NOW = datetime(2026, 1, 5, tzinfo=UTC)
REASON = "its server was stolen"


def drop(store: RunStore, site: str, reason: str = REASON) -> Amendment:
    return drop_site(store, site, reason=reason, key=Home(store.home).key(), now=NOW)


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return practice.found_federation(tmp_path, n_sites=2)[0]


def test_a_dropped_site_is_read_back_with_the_reason_and_the_run_is_told(store: RunStore) -> None:
    assert dropped_sites(store) == {}
    made = drop(store, "site-1")
    assert dropped_sites(store) == {"site-1": made}
    assert (made.reason, made.dropped_utc) == (REASON, NOW)
    assert [(event.site, event.code) for event in store.events()] == [("site-1", DROPPED)]


def test_a_site_is_dropped_once_and_is_one_of_the_roster(store: RunStore) -> None:
    drop(store, "site-1")
    with pytest.raises(RunError, match=f"2026-01-05: {REASON}") as caught:
        drop(store, "site-1", "another reason")
    assert caught.value.code == "run.dropped-before"
    with pytest.raises(PlanError):
        drop(store, "site-7")
    assert list(dropped_sites(store)) == ["site-1"]


@pytest.mark.parametrize("reason", ["", "  ", "x" * 301, "fine\x1b[2J", "two\nlines"])
def test_a_reason_is_one_printable_line(store: RunStore, reason: str) -> None:
    with pytest.raises(RunError) as caught:
        drop(store, "site-1", reason)
    assert caught.value.code == "run.no-reason"
    assert dropped_sites(store) == {}


def test_an_amendment_that_was_edited_drops_nobody(store: RunStore) -> None:
    drop(store, "site-1")
    path = store.folder / "amendments" / "site-1.json"
    path.write_text(path.read_text().replace("stolen", "mended"))
    with pytest.raises(WeightsError, match="not signed"):
        dropped_sites(store)


def test_an_amendment_of_another_run_or_site_drops_nobody(store: RunStore, tmp_path: Path) -> None:
    second, _ = practice.found_federation(tmp_path, n_sites=2, run="second")
    drop(second, "site-1")
    folder = store.folder / "amendments"
    folder.mkdir()
    content = (second.folder / "amendments" / "site-1.json").read_bytes()
    assert json.loads(content)["content"]["site"] == "site-1"
    (folder / "site-1.json").write_bytes(content)
    with pytest.raises(RunError) as caught:
        dropped_sites(store)
    assert caught.value.code == "run.wrong-amendment"
    (second.folder / "amendments" / "site-0.json").write_bytes(content)
    with pytest.raises(RunError, match=r"site-0\.json"):
        dropped_sites(second)
