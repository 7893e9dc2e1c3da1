"""A stage is complete with a result of every required site, and a release is made of no other."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import practice_federation as practice
import pytest
from faulty_grid import Fault, run_with_faults

from server.engines.local import run_local
from server.federation.folder import Home
from server.run.amendments import drop_site, required_sites
from server.run.complete import NO_ANSWER, lacking, require_complete
from server.run.folder import RunStore
from shared.contract.release import read_release
from shared.errors import RunError

Founded = tuple[RunStore, dict[str, Path]]


@pytest.fixture
def founded(tmp_path: Path) -> Founded:
    return practice.found_federation(tmp_path, is_required=True)


def without_in_last_round(founded: Founded, site: str) -> RunStore:
    store, folders = founded
    fault = Fault(site=site, round=3, kind="exception")
    with pytest.raises(RunError) as caught:
        run_with_faults(store.folder, folders, client_app=practice.app, faults=[fault])
    assert caught.value.code == "run.quorum-missed"
    assert f"required sites ['{site}'] are missing in the last round" in caught.value.fact
    return store


def drop(store: RunStore, site: str) -> None:
    key = Home(store.home).key()
    drop_site(store, site, reason="it burnt down", key=key, now=datetime(2026, 1, 5, tzinfo=UTC))


def test_a_run_does_not_finish_without_a_required_site_in_its_last_round(founded: Founded) -> None:
    store = without_in_last_round(founded, "site-2")
    assert store.training.last_committed().round == 2
    with pytest.raises(RunError) as caught:
        practice.release_of(store)
    assert caught.value.code == "run.not-finished"
    run_local(store.folder, founded[1], client_app=practice.app)
    assert lacking(store, store.training.stage) == {}
    assert practice.release_of(store).record.dropped == {}


def test_a_miss_in_an_earlier_round_is_a_missing_update_and_no_more(founded: Founded) -> None:
    store, folders = founded
    fault = Fault(site="site-2", round=2, kind="exception")
    run_with_faults(store.folder, folders, client_app=practice.app, faults=[fault])
    assert dict(store.training.committed(2).missing) == {"site-2": "engine.flower-error-2"}
    assert lacking(store, store.training.stage) == {}


def test_a_run_goes_on_without_a_dropped_site_and_the_release_says_so(founded: Founded) -> None:
    store, folders = without_in_last_round(founded, "site-2"), founded[1]
    drop(store, "site-2")
    assert "site-2" not in required_sites(store, store.training.stage)
    rounds_asked = (folders["site-2"] / "trained.log").read_text()
    run_local(store.folder, folders, client_app=practice.app)
    assert (folders["site-2"] / "trained.log").read_text() == rounds_asked, "it was asked again"
    assert dict(store.training.committed(3).missing) == {"site-2": "run.site-dropped"}
    made = practice.release_of(store)
    assert made.record.dropped == {"site-2": "it burnt down"}
    held = read_release(store.release_folder, coordinator_key=store.plan.coordinator_key)
    assert held.record == made.record


def test_a_dropped_site_still_counts_in_the_quorum(tmp_path: Path) -> None:
    settings = practice.practice_settings(federation={"quorum": 1.0})
    store, folders = practice.found_federation(tmp_path, settings=settings, n_sites=2)
    drop(store, "site-1")
    with pytest.raises(RunError, match="1 of at least 2 sites said hello"):
        run_local(store.folder, folders, client_app=practice.app)
    assert not (folders["site-0"] / "trained.log").exists(), "nobody pays for a round that cannot be"


def test_no_release_is_made_of_a_last_round_that_lacks_a_required_site(founded: Founded) -> None:
    store = without_in_last_round(founded, "site-2")
    store.training.commit(_without_site_2(store))
    store.write_averaged(store.training.committed(2).vector)  # as releases up to 0.2 did
    with pytest.raises(RunError) as caught:
        practice.release_of(store)
    assert caught.value.code == "run.incomplete-stage"
    assert "site-2 (run.site-offline)" in caught.value.fact


def _without_site_2(store: RunStore):
    from dataclasses import replace

    last = store.training.committed(2)
    parts = tuple(part for part in last.contributions if part.site != "site-2")
    state = replace(last.state, round=3)
    return replace(last, state=state, contributions=parts, missing={"site-2": "run.site-offline"})


def test_a_stage_that_nobody_answered_lacks_each_of_its_required_sites(founded: Founded) -> None:
    store, _ = founded
    stage = store.plan.stage("internal")
    assert lacking(store, stage) == dict.fromkeys([f"site-{n}" for n in range(4)], NO_ANSWER)
    with pytest.raises(RunError, match=r"internal lacks .* site-0 \(run\.no-answer\)"):
        require_complete(store, stage)
