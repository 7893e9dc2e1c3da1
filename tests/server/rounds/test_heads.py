"""The heads that a request carries: each site's own, signed for this run's plan."""

from __future__ import annotations

import shutil
from pathlib import Path

import practice_federation as practice

from server.engines.local import run_local
from server.federation.folder import Home
from server.rounds.heads import CountersignedHead, countersign_heads
from server.run.folder import RunStore
from shared.privacy.ledger_format import LedgerHead
from shared.signing.countersign import verify_countersignature
from shared.signing.keys import load_key


def record_two(store: RunStore) -> None:
    digits = (("site-0", "a"), ("site-1", "b"))
    Home(store.home).record_heads(
        {store.keys[name]: LedgerHead(index=4, sha256=digit * 64) for name, digit in digits}
    )


def test_each_site_gets_its_own_head_signed_and_a_new_site_none(tmp_path: Path) -> None:
    store, _ = practice.found_federation(tmp_path, n_sites=3)
    key = load_key(store.home / "keys" / "coordinator.pem")
    record_two(store)
    heads = countersign_heads(store, store.plan.sites("training"), key=key)
    assert list(heads) == ["site-0", "site-1", "site-2"]
    assert heads["site-2"] == CountersignedHead("", "")
    for site, head in (("site-0", "a" * 64), ("site-1", "b" * 64)):
        assert heads[site].ledger_head == head
        signed = {"site": site, "plan_sha256": store.plan.sha256, "ledger_head": head}
        assert verify_countersignature(key.public_hex, heads[site].countersignature, **signed)


def test_only_the_sites_that_are_asked_get_one(tmp_path: Path) -> None:
    store, _ = practice.found_federation(tmp_path, n_sites=3)
    key = load_key(store.home / "keys" / "coordinator.pem")
    record_two(store)
    assert list(countersign_heads(store, [store.plan.entry("site-1")], key=key)) == ["site-1"]


def test_a_hospital_that_comes_back_under_its_old_name_is_not_held_to_its_old_ledger(
    tmp_path: Path,
) -> None:
    store, folders = practice.found_federation(tmp_path, n_sites=2)
    run_local(store.folder, folders, client_app=practice.app)
    for digit in "ab":  # two copies of the old one have answered, too
        head = LedgerHead(index=8, sha256=digit * 64)
        Home(store.home).record_heads({store.keys["site-1"]: head})
    shutil.rmtree(folders["site-1"])  # `init` in a new folder: new keys, a new ledger
    second, folders = practice.found_federation(tmp_path, n_sites=2, run="second")
    assert second.keys["site-1"] != store.keys["site-1"]
    run_local(second.folder, folders, client_app=practice.app)
    asked = {site: (folder / "trained.log").read_text() for site, folder in folders.items()}
    assert asked["site-1"].splitlines()[0].split(" ") == ["1", "", ""]
    assert asked["site-0"].splitlines()[3].split(" ")[:2] == ["1", f"{3:064x}"]
    assert practice.release_of(second).record.ledger_heads == dict.fromkeys(folders, f"{3:064x}")
