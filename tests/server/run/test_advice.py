"""What to do next follows from the sites' own codes, and `resume` is advised where it can help only."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import practice_federation as practice
import pytest
from faulty_grid import Fault, run_with_faults

from server.engines.local import run_local
from server.federation.folder import Home
from server.run.advice import ADVICE, advice_of, awaited, away, codes_since_commit, next_step
from server.run.amendments import drop_site
from server.run.events import AWAY, BACK, OF_ANSWERED
from server.run.folder import Event, RunStore
from server.run.holder import held
from shared.errors import RunError
from shared.machine.files import PROJECT

SPENT = "privacy.budget-exhausted"


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return practice.found_federation(tmp_path, n_sites=3)[0]


def step(store: RunStore, codes: dict[str, str], *, needed: int = 2) -> str:
    return next_step(store, store.training.stage, codes, needed=needed)


def test_the_longest_beginning_of_a_code_says_what_to_do() -> None:
    assert advice_of(SPENT) is ADVICE[SPENT]
    assert advice_of("privacy.unreachable") is ADVICE["privacy."]
    assert advice_of("engine.flower-error-7") is ADVICE["engine."]
    assert advice_of("weights.missing") is ADVICE[""]


def test_every_code_of_the_table_is_one_that_can_come() -> None:
    page = (PROJECT / "docs" / "reference" / "codes.md").read_text()
    for start in ADVICE:
        assert f"| `{start}" in page, start


def test_what_is_told_of_a_site_that_has_answered_is_no_reason_why_it_is_missing(
    store: RunStore,
) -> None:
    store.log(Event(round=1, site="site-1", code=SPENT))
    for code in OF_ANSWERED:
        store.log(Event(round=1, site="site-1", code=code))
        store.log(Event(round=1, site="site-2", code=code))
    assert codes_since_commit(store) == {"site-1": SPENT}


def test_where_every_budget_is_spent_nobody_is_told_to_resume(store: RunStore) -> None:
    told = step(store, dict.fromkeys(("site-0", "site-1", "site-2"), SPENT))
    assert told.startswith("site-0, site-1, site-2: its patients' budget is spent")
    assert "goes on" not in told
    assert "`resume` would end the same" in told


def test_where_enough_sites_are_left_the_same_command_goes_on(store: RunStore) -> None:
    told = step(store, {"site-1": "run.deadline-passed", "site-2": "policy.purpose-forbidden"})
    assert "site-1: it may still be at work: wait" in told
    assert "site-2: a person there allows it in policy.yaml" in told
    assert told.endswith(". Then `osteofed-coordinator resume practice` goes on")
    one_spent = step(store, {"site-1": SPENT})
    assert one_spent.endswith("resume practice` goes on"), "two of three are a quorum"
    measured = next_step(store, store.plan.stage("internal"), {"site-1": "run.site-absent"})
    assert measured.endswith("Then `osteofed-coordinator validate practice internal` goes on")


def test_a_required_site_that_can_never_answer_can_be_dropped_only(tmp_path: Path) -> None:
    store, _ = practice.found_federation(tmp_path, n_sites=3, is_required=True)
    told = step(store, {"site-1": SPENT})
    assert "The same would come again; `osteofed-coordinator drop-site practice site-1" in told
    key = Home(store.home).key()
    drop_site(store, "site-1", reason="spent", key=key, now=datetime(2026, 1, 5, tzinfo=UTC))
    assert "drop-site" not in step(store, {"site-1": "run.site-dropped"})


def test_a_run_that_missed_its_quorum_says_what_its_sites_said(tmp_path: Path) -> None:
    store, folders = practice.found_federation(tmp_path, n_sites=2)
    for folder in folders.values():
        (folder / "refuse.json").write_text(json.dumps(SPENT))
    with pytest.raises(RunError) as caught:
        run_local(store.folder, folders, client_app=practice.app)
    assert caught.value.code == "run.quorum-missed"
    assert "budget is spent" in caught.value.hint
    assert "`resume` would end the same" in caught.value.hint


def test_a_release_of_a_run_that_is_played_is_waited_for(tmp_path: Path) -> None:
    quick = practice.practice_settings(federation={"round_deadline_s": 0.3})
    store, folders = practice.found_federation(tmp_path, settings=quick, n_sites=2)
    faults = [Fault(site=site, round=2, kind="drop") for site in folders]
    with pytest.raises(RunError):
        run_with_faults(store.folder, folders, client_app=practice.app, faults=faults)
    assert codes_since_commit(store) == dict.fromkeys(folders, "run.deadline-passed")
    assert "it may still be at work" in hint_of_release(store)
    with held(store, "stage", what="stage train"):
        assert hint_of_release(store).startswith("it is being played (stage train, process ")


def hint_of_release(store: RunStore) -> str:
    with pytest.raises(RunError) as caught:
        practice.release_of(store)
    assert caught.value.code == "run.not-finished"
    return caught.value.hint


def test_a_code_of_before_the_last_committed_round_is_over(store: RunStore) -> None:
    for site, code in (("site-0", SPENT), ("", "round-committed"), ("site-1", "run.site-offline")):
        store.log(Event(round=1, site=site, code=code))
    assert codes_since_commit(store) == {"site-1": "run.site-offline"}


def test_a_round_that_is_played_waits_for_who_has_not_answered(tmp_path: Path) -> None:
    store, folders = practice.found_federation(tmp_path, n_sites=3)
    faults = [Fault(site=site, round=2, kind="exception") for site in ("site-0", "site-2")]
    with pytest.raises(RunError):
        run_with_faults(store.folder, folders, client_app=practice.app, faults=faults)
    assert awaited(store) == (), "nobody plays it"
    with held(store, "stage", what="stage train"):
        assert awaited(store) == ("site-0", "site-2"), "the answer of site-1 is kept"
        for site, code in (("site-0", AWAY), ("site-1", AWAY), ("site-2", AWAY), ("site-2", BACK)):
            store.log(Event(round=1, site=site, code=code))
        assert away(store) == ("site-0",), "site-1 has answered, site-2 is back"
    run_local(store.folder, folders, client_app=practice.app)
    with held(store, "stage", what="stage internal"):
        assert awaited(store) == (), "the training is over"
