"""A revoked site is out of every run at once, and is told of in each as dropped."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import practice_federation as practice
import pytest

from server.engines.local import run_local
from server.federation.folder import Enrolled, Home
from server.run.amendments import dropped_sites
from server.run.folder import RunStore
from server.run.revoked import REASON, drop_from_runs
from shared.errors import RunError

NOW = datetime(2026, 1, 5, tzinfo=UTC)
Founded = tuple[RunStore, dict[str, Path]]


@pytest.fixture
def founded(tmp_path: Path) -> Founded:
    """A practice run whose sites are enrolled."""
    store, folders = practice.found_federation(tmp_path, n_sites=3, is_required=True)
    sites = [
        Enrolled(
            site=entry.site,
            public_key=entry.public_key,
            declared_patients=entry.declared_patients,
            role="training",
            enrolled_utc="",
        ).model_dump()
        for entry in store.plan.roster
    ]
    (tmp_path / "sites.json").write_text(json.dumps(sites))
    return store, folders


def revoke(store: RunStore, *, stops: bool = False) -> tuple[str, ...]:
    return drop_from_runs(Home(store.home), "site-1", now=NOW, stops=stops)


def test_a_revoked_site_gets_no_message_of_a_run_that_goes_on(founded: Founded) -> None:
    store, folders = founded
    assert revoke(store) == ("practice",)
    assert dropped_sites(store)["site-1"].reason == REASON
    run_local(store.folder, folders, client_app=practice.app)
    assert not (folders["site-1"] / "trained.log").exists()
    assert practice.release_of(store).record.dropped == {"site-1": REASON}


def test_runs_are_stopped_where_that_was_asked_for_and_not_twice(founded: Founded) -> None:
    store, folders = founded
    assert revoke(store, stops=True) == ("practice",)
    with pytest.raises(RunError) as caught:
        run_local(store.folder, folders, client_app=practice.app)
    assert caught.value.code == "run.paused"
    assert revoke(store, stops=True) == (), "it is dropped once"


def test_a_run_of_another_hospital_of_that_name_is_left_alone(founded: Founded) -> None:
    store, _ = founded
    sites = json.loads((store.home / "sites.json").read_text())
    sites[1]["public_key"] = "9" * 64
    (store.home / "sites.json").write_text(json.dumps(sites))
    assert revoke(store) == ()
    assert dropped_sites(store) == {}


def test_a_planned_run_that_nobody_has_launched_is_amended_too(founded: Founded) -> None:
    store, _ = founded
    (store.folder / "run.json").unlink()
    assert revoke(store) == ("practice",)
