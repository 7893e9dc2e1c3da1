"""Stages that measure a release, in ``server.rounds.loop``: who is asked, what is kept, what is not."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import practice_federation as practice
import pytest
from practice_federation import N_CELLS

from server.engines.local import run_local
from server.federation.folder import Home
from server.run.amendments import drop_site
from server.run.folder import RunStore
from server.run.journal import RoundJournal
from server.run.release import lock_run
from shared.errors import OsteoFedError, RunError
from shared.measure.table.spec import table_spec
from shared.privacy.ledger_format import LedgerHead
from shared.signing.canonical import sha256_hex
from shared.signing.countersign import verify_countersignature
from shared.signing.keys import load_key

Released = tuple[RunStore, dict[str, Path]]
NOW = datetime(2026, 1, 5, tzinfo=UTC)


def play(store: RunStore, folders: dict[str, Path], stage: str) -> RoundJournal:
    run_local(store.folder, folders, stage=stage, client_app=practice.app)
    return store.results(stage)


def set_table(folder: Path, cells: list[float]) -> None:
    (folder / "table.json").write_text(json.dumps(cells))


def lacking_one(store: RunStore, folders: dict[str, Path], site: str) -> RoundJournal:
    """What is kept of an internal validation that ends without a required site."""
    with pytest.raises(RunError) as caught:
        play(store, folders, "internal")
    assert caught.value.code == "run.incomplete-stage"
    assert site in caught.value.fact
    return store.results("internal")


def tables(results: RoundJournal) -> dict[str, tuple[str, list[float]]]:
    """Status and total of each site that gave a result."""
    return {
        site: (entry.reply.status, entry.reply.total.tolist())
        for site, entry in results.accepted.items()
    }


def asked(folder: Path) -> list[str]:
    """Which stages asked a site, in order."""
    path = folder / "measured.log"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.split(" ")[0] for line in lines]


MEASURED = ("measured", [1.5] * N_CELLS)


def test_the_practice_table_has_the_length_that_the_plan_says(tmp_path: Path) -> None:
    plan = practice.found_federation(tmp_path)[0].plan
    assert {table_spec(plan.settings, stage).n_cells for stage in plan.tables} == {N_CELLS}


def test_internal_validation_asks_the_training_sites(released: Released) -> None:
    store, folders = released
    results = play(store, folders, "internal")
    assert tables(results) == {"site-0": MEASURED, "site-1": MEASURED}
    assert results.rejected == {}
    assert asked(folders["site-2"]) == []


def test_external_validation_asks_the_external_site(released: Released) -> None:
    store, folders = released
    assert tables(play(store, folders, "external")) == {"site-2": MEASURED}
    assert asked(folders["site-0"]) == asked(folders["site-1"]) == []


def test_a_result_names_the_release_and_is_one_round_that_changes_no_state(released: Released) -> None:
    store, folders = released
    before = store.training.last_committed()
    reply = play(store, folders, "internal").accepted["site-0"].reply
    assert (reply.stage, reply.round) == ("internal", 1)
    assert reply.release_sha256 == practice.release_of(store).sha256
    assert store.training.last_committed().round == before.round
    assert not (store.folder / "rounds" / "internal").exists()


def test_an_external_site_gets_the_encoder_before_it_measures(tmp_path: Path) -> None:
    settings = practice.practice_settings(federation={"liveness_s": 0.3})
    store, folders = practice.found_federation(
        tmp_path, settings=settings, n_sites=2, n_external=1, encoder=b"frozen weights"
    )
    run_local(store.folder, folders, client_app=practice.app)
    cached = folders["site-2"] / "cache" / str(store.plan.encoder_sha256)
    assert not cached.exists()
    practice.release_of(store)
    play(store, folders, "external")
    assert cached.read_bytes() == b"frozen weights"


def test_prospective_validation_needs_a_lock_and_then_asks_everybody(released: Released) -> None:
    store, folders = released
    with pytest.raises(RunError) as caught:
        play(store, folders, "prospective")
    assert caught.value.code == "run.not-locked"
    lock_run(store, Home(store.home).key(), now=NOW, days=30)
    assert list(play(store, folders, "prospective").accepted) == ["site-0", "site-1", "site-2"]


def test_each_stage_carries_the_countersigned_head_of_the_reply_before(released: Released) -> None:
    store, folders = released
    key = load_key(store.home / "keys" / "coordinator.pem")
    lock_run(store, key, now=NOW, days=30)
    for stage in ("internal", "external", "prospective"):
        play(store, folders, stage)
    internal, external = (sha256_hex(stage) for stage in (b"internal", b"external"))
    for site, heads in {
        "site-0": [("internal", f"{3:064x}"), ("prospective", internal)],
        "site-2": [("external", ""), ("prospective", external)],
    }.items():
        lines = (folders[site] / "measured.log").read_text().splitlines()
        assert [tuple(line.split(" ")[:2]) for line in lines] == heads
        *_, signature = lines[-1].split(" ")
        assert verify_countersignature(
            key.public_hex,
            signature,
            site=site,
            plan_sha256=store.plan.sha256,
            ledger_head=heads[-1][1],
        )


def test_without_a_release_nothing_is_measured(tmp_path: Path) -> None:
    store, folders = practice.found_federation(tmp_path)
    with pytest.raises(OsteoFedError) as caught:
        play(store, folders, "internal")
    assert caught.value.code == "weights.unreadable"


def test_a_site_without_labels_is_not_applicable_and_never_zero(released: Released) -> None:
    store, folders = released
    set_table(folders["site-1"], [])
    results = play(store, folders, "internal")
    assert tables(results) == {"site-0": MEASURED, "site-1": ("not-applicable", [])}


@pytest.mark.parametrize("status", ["not-applicable", "waiting"])
def test_a_site_that_had_nobody_to_measure_is_kept_and_asked_again(
    released: Released, status: str
) -> None:
    store, folders = released
    table = (folders["site-1"] / "table.json").read_text()
    (folders["site-1"] / "table.json").write_text("[]")
    (folders["site-1"] / "status.json").write_text(json.dumps(status))
    assert tables(play(store, folders, "internal"))["site-1"] == (status, [])
    (folders["site-1"] / "table.json").write_text(table)
    results = play(store, folders, "internal")
    assert tables(results) == {"site-0": MEASURED, "site-1": MEASURED}
    assert asked(folders["site-0"]) == ["internal"]
    assert asked(folders["site-1"]) == ["internal", "internal"]


def test_a_table_of_the_wrong_length_is_kept_as_a_refused_result(released: Released) -> None:
    store, folders = released
    set_table(folders["site-1"], [1.0])
    results = lacking_one(store, folders, "site-1 (protocol.wrong-shape)")
    assert results.rejected == {"site-1": "protocol.wrong-shape"}
    assert tables(results) == {"site-0": MEASURED}
    assert ("site-1", "protocol.wrong-shape") in {(event.site, event.code) for event in store.events()}


def test_a_table_beyond_every_honest_one_is_kept_as_a_refused_result(released: Released) -> None:
    store, folders = released
    set_table(folders["site-1"], [1e9] * N_CELLS)
    results = lacking_one(store, folders, "site-1 (protocol.norm-exceeded)")
    assert results.rejected == {"site-1": "protocol.norm-exceeded"}


def test_a_measured_site_is_not_asked_again_and_a_refused_one_is(released: Released) -> None:
    store, folders = released
    set_table(folders["site-1"], [1.0])
    lacking_one(store, folders, "site-1")
    set_table(folders["site-0"], [9.0] * N_CELLS)
    set_table(folders["site-1"], [2.0] * N_CELLS)
    results = play(store, folders, "internal")
    assert tables(results) == {"site-0": MEASURED, "site-1": ("measured", [2.0] * N_CELLS)}
    assert results.rejected == {}
    assert asked(folders["site-0"]) == ["internal"]


def test_a_site_that_refused_is_kept_with_its_code_and_asked_again(released: Released) -> None:
    store, folders = released
    refuses = folders["site-1"] / "refuse.json"
    refuses.write_text('"policy.purpose-forbidden"')
    results = lacking_one(store, folders, "site-1 (policy.purpose-forbidden)")
    assert results.rejected == {"site-1": "policy.purpose-forbidden"}
    assert tables(results) == {"site-0": MEASURED}
    refuses.unlink()
    assert tables(play(store, folders, "internal")) == {"site-0": MEASURED, "site-1": MEASURED}


def test_a_result_of_another_release_is_asked_again(released: Released) -> None:
    store, folders = released
    play(store, folders, "internal")
    journal = store.stage("internal").journal(N_CELLS)
    [entry] = [entry for site, entry in journal.read(1).accepted.items() if site == "site-0"]
    other = replace(entry.reply, release_sha256="0" * 64)
    journal.accept(1, other, site="site-0", total_sha256=entry.total_sha256)
    results = play(store, folders, "internal")
    assert {entry.reply.release_sha256 for entry in results.accepted.values()} == {
        practice.release_of(store).sha256
    }
    assert asked(folders["site-0"]) == ["internal", "internal"]
    assert asked(folders["site-1"]) == ["internal"]


def test_a_required_site_that_stays_silent_makes_the_validation_incomplete(released: Released) -> None:
    store, folders = released
    absent = {name: folder for name, folder in folders.items() if name != "site-1"}
    lacking_one(store, absent, "site-1 (run.site-absent)")
    assert tables(store.results("internal")) == {"site-0": MEASURED}
    assert store.results("internal").rejected == {"site-1": "run.site-absent"}
    assert tables(play(store, folders, "internal"))["site-1"] == MEASURED


def test_heads_of_results_are_known_even_when_a_required_site_stays_silent(released: Released) -> None:
    store, folders = released
    absent = {name: folder for name, folder in folders.items() if name != "site-1"}
    with pytest.raises(RunError):
        play(store, absent, "internal")
    heads = Home(store.home).heads_of(store.keys)
    assert (heads["site-0"], heads["site-1"]) == (sha256_hex(b"internal"), f"{3:064x}")


def test_an_optional_site_that_stays_silent_is_noted_and_stops_nothing(tmp_path: Path) -> None:
    settings = practice.practice_settings(federation={"liveness_s": 0.2})
    store, folders = practice.found_federation(tmp_path, settings=settings, n_sites=2)
    run_local(store.folder, folders, client_app=practice.app)
    practice.release_of(store)
    for folder in folders.values():
        set_table(folder, [1.5] * N_CELLS)
    results = play(store, {"site-0": folders["site-0"]}, "internal")
    assert tables(results) == {"site-0": MEASURED}
    assert results.rejected == {"site-1": "run.site-absent"}


def test_a_validation_goes_on_without_a_required_site_that_was_dropped(released: Released) -> None:
    store, folders = released
    drop_site(store, "site-1", reason="it left", key=Home(store.home).key(), now=NOW)
    results = play(store, folders, "internal")
    assert tables(results) == {"site-0": MEASURED}
    assert results.rejected == {"site-1": "run.site-dropped"}
    assert asked(folders["site-1"]) == []


def test_a_stage_that_the_plan_does_not_have_is_refused_with_those_it_has(released: Released) -> None:
    with pytest.raises(OsteoFedError) as caught:
        play(*released, "description")
    assert caught.value.code == "plan.no-such-stage"
    assert "internal" in caught.value.fact


def test_a_site_of_which_two_copies_have_answered_is_asked_no_more(released: Released) -> None:
    store, folders = released
    twice = [LedgerHead(index=8, sha256=digit * 64) for digit in "ab"]
    for head in twice:
        Home(store.home).record_heads({store.keys["site-1"]: head})
    lacking_one(store, folders, "site-1 (ledger.forked)")
    assert store.results("internal").rejected == {"site-1": "ledger.forked"}
    assert asked(folders["site-1"]) == []
    assert list(store.results("internal").accepted) == ["site-0"]
