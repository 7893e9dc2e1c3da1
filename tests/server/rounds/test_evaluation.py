"""Validation stages: who is asked, what is kept, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import practice_federation as practice
import pytest
from practice_release import make_release

from server.engines.local import run_local
from server.rounds.replies import require_evaluation
from server.run.folder import RunStore
from shared.contract.protocol import EvaluateReply, signed_bytes
from shared.contract.release import lock_release, read_release, write_lock
from shared.errors import OsteoFedError, ProtocolError, RunError
from shared.measure.table.rows import table_spec
from shared.signing.canonical import sha256_hex
from shared.signing.countersign import verify_countersignature
from shared.signing.keys import load_key

N_CELLS = 24  # 12 bins for each class


@pytest.fixture
def released(tmp_path: Path) -> tuple[RunStore, dict[str, Path]]:
    settings = practice.practice_settings(federation={"round_deadline_s": 1.0, "liveness_s": 0.3})
    store, folders = practice.found_federation(
        tmp_path, settings=settings, n_sites=2, n_external=1, is_required=True
    )
    run_local(store.folder, folders, client_app=practice.app)
    make_release(store)
    for folder in folders.values():
        (folder / "table.json").write_text(json.dumps([1.5] * N_CELLS))
    return store, folders


def play(store: RunStore, folders: dict[str, Path], stage: str) -> dict[str, dict[str, object]]:
    run_local(store.folder, folders, stage=stage, client_app=practice.app)
    return store.evaluations(stage)


def test_the_practice_table_has_the_length_that_the_plan_says() -> None:
    assert table_spec(practice.practice_settings()).n_cells == N_CELLS


def test_internal_validation_asks_the_training_sites(
    released: tuple[RunStore, dict[str, Path]],
) -> None:
    store, folders = released
    results = play(store, folders, "internal")
    assert list(results) == ["site-0", "site-1"]
    assert results["site-0"]["status"] == "measured"
    assert results["site-0"]["table"] == [1.5] * N_CELLS


def test_external_validation_asks_the_external_site(
    released: tuple[RunStore, dict[str, Path]],
) -> None:
    assert list(play(*released, "external")) == ["site-2"]


def test_an_external_site_gets_the_encoder_before_it_measures(tmp_path: Path) -> None:
    settings = practice.practice_settings(federation={"liveness_s": 0.3})
    store, folders = practice.found_federation(
        tmp_path, settings=settings, n_sites=2, n_external=1, encoder=b"frozen weights"
    )
    run_local(store.folder, folders, client_app=practice.app)
    cached = folders["site-2"] / "cache" / str(store.plan.encoder_sha256)
    assert not cached.exists()
    make_release(store)
    play(store, folders, "external")
    assert cached.read_bytes() == b"frozen weights"


def test_prospective_validation_needs_a_lock_and_then_asks_everybody(
    released: tuple[RunStore, dict[str, Path]],
) -> None:
    store, folders = released
    with pytest.raises(RunError) as caught:
        play(store, folders, "prospective")
    assert caught.value.code == "run.not-locked"
    key = load_key(store.home / "keys" / "coordinator.pem")
    release = read_release(store.release_folder, coordinator_key=key.public_hex)
    write_lock(store.lock_file, lock_release(release, now=datetime.now(UTC)), key)
    assert list(play(store, folders, "prospective")) == ["site-0", "site-1", "site-2"]


def test_each_kind_carries_the_countersigned_head_of_the_reply_before(
    released: tuple[RunStore, dict[str, Path]],
) -> None:
    store, folders = released
    key = load_key(store.home / "keys" / "coordinator.pem")
    release = read_release(store.release_folder, coordinator_key=key.public_hex)
    write_lock(store.lock_file, lock_release(release, now=datetime.now(UTC)), key)
    for stage in ("internal", "external", "prospective"):
        play(store, folders, stage)
    internal, external = (sha256_hex(kind) for kind in (b"internal", b"external"))
    for site, asked in {
        "site-0": [("internal", f"{3:064x}"), ("prospective", internal)],
        "site-2": [("external", ""), ("prospective", external)],
    }.items():
        lines = (folders[site] / "measured.log").read_text().splitlines()
        assert [tuple(line.split(" ")[:2]) for line in lines] == asked
        *_, signature = lines[-1].split(" ")
        assert verify_countersignature(
            key.public_hex,
            signature,
            site=site,
            plan_sha256=store.plan.sha256,
            ledger_head=asked[-1][1],
        )


def test_without_a_release_nothing_is_measured(tmp_path: Path) -> None:
    store, folders = practice.found_federation(tmp_path)
    with pytest.raises(OsteoFedError) as caught:
        play(store, folders, "internal")
    assert caught.value.code == "weights.unreadable"


def test_a_site_without_labels_is_not_applicable_and_never_zero(
    released: tuple[RunStore, dict[str, Path]],
) -> None:
    store, folders = released
    (folders["site-1"] / "table.json").write_text("[]")
    results = play(store, folders, "internal")
    assert results["site-1"]["status"] == "not-applicable"
    assert results["site-1"]["table"] == []


def test_a_table_of_the_wrong_length_is_kept_as_a_refused_result(
    released: tuple[RunStore, dict[str, Path]],
) -> None:
    store, folders = released
    (folders["site-1"] / "table.json").write_text("[1.0]")
    results = play(store, folders, "internal")
    assert results["site-1"]["refused"] == "protocol.wrong-shape"
    assert results["site-0"]["status"] == "measured"


def test_a_measured_site_is_not_asked_again(
    released: tuple[RunStore, dict[str, Path]],
) -> None:
    store, folders = released
    (folders["site-1"] / "table.json").write_text("[1.0]")
    play(store, folders, "internal")
    (folders["site-0"] / "table.json").write_text(json.dumps([9.0] * N_CELLS))
    (folders["site-1"] / "table.json").write_text(json.dumps([2.0] * N_CELLS))
    results = play(store, folders, "internal")
    assert results["site-0"]["table"] == [1.5] * N_CELLS
    assert results["site-1"]["table"] == [2.0] * N_CELLS


def test_a_required_site_that_stays_silent_makes_the_validation_incomplete(
    released: tuple[RunStore, dict[str, Path]],
) -> None:
    store, folders = released
    absent = {name: folder for name, folder in folders.items() if name != "site-1"}
    with pytest.raises(RunError) as caught:
        play(store, absent, "internal")
    assert caught.value.code == "run.incomplete-validation"
    assert store.evaluations("internal")["site-0"]["status"] == "measured"
    assert play(store, folders, "internal")["site-1"]["status"] == "measured"


SPOILT = [
    ({"plan_sha256": "0" * 64}, "protocol.wrong-plan"),
    ({"site": "site-1"}, "protocol.wrong-site"),
    ({"kind": "external"}, "protocol.wrong-release"),
    ({"release_sha256": "0" * 64}, "protocol.wrong-release"),
    ({"status": "fine"}, "protocol.malformed"),
    ({"release_class": "governed"}, "protocol.wrong-release-class"),
    ({"ledger_head": "Mrs Canary"}, "protocol.malformed"),
    ({"table": np.zeros(3)}, "protocol.wrong-shape"),
    ({"table": np.full(N_CELLS, np.inf)}, "protocol.not-finite"),
    ({"status": "waiting"}, "protocol.wrong-shape"),
    ({"signature": "0" * 128}, "protocol.bad-signature"),
]


@pytest.mark.parametrize(("change", "code"), SPOILT)
def test_a_spoilt_result_is_refused_with_its_code(
    tmp_path: Path, change: dict[str, object], code: str
) -> None:
    store, folders = practice.found_federation(tmp_path)
    good = EvaluateReply(
        plan_sha256=store.plan.sha256,
        kind="internal",
        release_sha256="a" * 64,
        site="site-0",
        status="measured",
        release_class="dp",
        table=np.ones(N_CELLS),
        ledger_head="",
    )
    key = load_key(folders["site-0"] / "keys" / "site.pem")
    asked = {
        "plan": store.plan,
        "site": "site-0",
        "kind": "internal",
        "release_sha256": "a" * 64,
        "table_size": N_CELLS,
    }
    signed = replace(good, signature=key.sign(signed_bytes(good)))
    require_evaluation(signed, **asked)
    changed = replace(good, **change)
    if "signature" not in change:
        changed = replace(changed, signature=key.sign(signed_bytes(changed)))
    with pytest.raises(ProtocolError) as caught:
        require_evaluation(changed, **asked)
    assert caught.value.code == code
