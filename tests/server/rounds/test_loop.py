"""The round engine against hand-computed weights, faults, a missed quorum, and a killed process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import numpy as np
import practice_federation as practice
import pytest
from faulty_grid import Fault, FaultKind, run_with_faults

from server.engines.local import run_local
from server.run.events import CHARGED_AGAIN
from server.run.folder import RunStore, open_run
from shared.contract.protocol import vector_sha256
from shared.errors import ProtocolError, RunError
from shared.signing.countersign import verify_countersignature

ROOT = Path(__file__).resolve().parents[3]


def run(store: RunStore, folders: dict[str, Path], *, faults: Sequence[Fault] = ()) -> None:
    if faults:
        run_with_faults(store.folder, folders, client_app=practice.app, faults=faults)
    else:
        run_local(store.folder, folders, client_app=practice.app)


def codes(store: RunStore, number: int) -> dict[str, str]:
    return dict(store.training.committed(number).missing)


def test_three_rounds_of_two_sites_give_the_weights_computed_by_hand(tmp_path: Path) -> None:
    store, folders = practice.found_federation(tmp_path, n_sites=2, weights_of_sites=(0.75, 0.25))
    run(store, folders)
    # targets 0 and 1, step 0.1: w ← w + 0.75·0.1·(0 − w) + 0.25·0.1·(1 − w) = 0.9·w + 0.025
    for number, expected in ((1, 0.025), (2, 0.0475), (3, 0.06775)):
        assert store.training.committed(number).vector[0] == pytest.approx(expected, rel=1e-6)
    # tail 0.5 of 3 rounds is the last two
    assert store.averaged()[0] == pytest.approx((0.0475 + 0.06775) / 2, rel=1e-6)
    state = store.training.committed(1)
    assert [(entry.site, entry.weight) for entry in state.contributions] == [
        ("site-0", 0.75),
        ("site-1", 0.25),
    ]
    assert json.loads((store.folder / "outcome-train.json").read_text())["status"] == "finished"


def test_the_first_round_lasts_from_when_it_was_asked(tmp_path: Path) -> None:
    store, folders = practice.found_federation(tmp_path, n_sites=2)
    before = datetime.now(UTC)
    run(store, folders)
    codes_logged = [event.code for event in store.events()]
    assert codes_logged == ["training-begun", *["round-committed"] * 3]
    began, committed = store.times()
    assert before - timedelta(milliseconds=1) <= began < committed[1] < committed[3]
    run(store, folders)
    assert len(store.events()) == 4, "what is finished is not begun again"


SIZES = (100, 200, 300)


@pytest.fixture
def summing(tmp_path: Path) -> tuple[RunStore, dict[str, Path]]:
    """Three sites of different size; their sums of gradients are folded at the coordinator."""
    settings = practice.practice_settings(federation={"fold": "coordinator"})
    return practice.found_federation(tmp_path, settings=settings, n_sites=3, declared=SIZES)


def test_sums_folded_at_the_coordinator_give_the_weights_computed_by_hand(
    summing: tuple[RunStore, dict[str, Path]],
) -> None:
    store, folders = summing
    run(store, folders)
    # w ← w − 0.1 · Σ_s n_s·(w − t_s) / 600; t is 0, 1, 2 in the first weight and 1, 2, 3 in the last:
    # w ← 0.9·w + 0.1·4/3 and w ← 0.9·w + 0.1·7/3
    for number, first, last in (
        (1, 0.1333333, 0.2333333),
        (2, 0.2533333, 0.4433333),
        (3, 0.3613333, 0.6323333),
    ):
        weights = store.training.committed(number).vector
        assert weights.dtype == np.float32
        assert (weights[0], weights[-1]) == pytest.approx((first, last), rel=1e-6)
    parts = store.training.committed(1).contributions
    assert [entry.weight for entry in parts] == pytest.approx([1 / 6, 2 / 6, 3 / 6])


def test_a_round_folded_at_the_coordinator_is_one_step_along_the_journalled_totals(
    summing: tuple[RunStore, dict[str, Path]],
) -> None:
    store, folders = summing
    run(store, folders)
    accepted = store.training.journal(practice.P).read(2).accepted
    totals = [entry.reply.total for entry in accepted.values()]
    assert {total.dtype.str for total in totals} == {"<f8"}
    before = store.training.committed(1).vector.astype("<f8")
    expected = before - 0.1 * np.sum(totals, axis=0) / sum(SIZES)
    np.testing.assert_allclose(store.training.committed(2).vector, expected, rtol=1e-7)


def test_a_missing_sites_declared_size_is_left_out_of_the_divisor(
    summing: tuple[RunStore, dict[str, Path]],
) -> None:
    store, folders = summing
    run(store, folders, faults=[Fault(site="site-2", round=2, kind="corrupt-nan")])
    assert codes(store, 2) == {"site-2": "protocol.not-finite"}
    before, after = (store.training.committed(number).vector[0] for number in (1, 2))
    # without the 300 of site-2: w ← w − 0.1 · (100·(w − 0) + 200·(w − 1)) / 300
    assert after == pytest.approx(0.9 * before + 0.1 * 2 / 3, rel=1e-6)
    parts = store.training.committed(2).contributions
    assert [entry.weight for entry in parts] == pytest.approx([1 / 3, 2 / 3])


def test_a_sum_of_sampled_patients_is_divided_by_the_share_that_is_drawn(tmp_path: Path) -> None:
    settings = practice.practice_settings(
        privacy={"mode": "patient_dp", "epsilon": 3.0, "clip_norm": 1e6, "sample_rate": 0.25},
        strategy={"name": "fedavg", "server_learning_rate": 0.5},
        federation={"fold": "coordinator"},
    )
    store, folders = practice.found_federation(tmp_path, settings=settings, n_sites=3, declared=SIZES)
    run(store, folders)
    # 0.5 · 0.1 · (100·0 + 200·1 + 300·2) / (0.25 · 600)
    assert store.training.committed(1).vector[0] == pytest.approx(0.05 * 800 / 150, rel=1e-6)


def test_a_first_round_of_sums_goes_on_without_an_optional_site(
    summing: tuple[RunStore, dict[str, Path]],
) -> None:
    store, folders = summing
    run(store, folders, faults=[Fault(site="site-0", round=1, kind="wrong-shape")])
    assert codes(store, 1) == {"site-0": "protocol.wrong-shape"}
    # 200 declared of target 1 and 300 of target 2: 0.1 · (200 + 600) / 500
    assert store.training.committed(1).vector[0] == pytest.approx(0.16, rel=1e-6)


FAULTS = [
    ("drop", "run.deadline-passed"),
    ("delay", "run.deadline-passed"),
    ("exception", "engine.flower-error-2"),
    ("corrupt-nan", "protocol.not-finite"),
    ("wrong-shape", "protocol.wrong-shape"),
    ("wrong-plan", "protocol.wrong-plan"),
    ("forged-signature", "protocol.bad-signature"),
    ("oversized", "protocol.norm-exceeded"),
    ("infinite", "protocol.not-finite"),
    # truly signed by the site, or by another one
    ("replayed", "protocol.wrong-round"),
    ("borrowed", "protocol.wrong-site"),
    ("stale", "protocol.wrong-weights"),
]


@pytest.mark.parametrize(("kind", "code"), FAULTS)
def test_a_fault_is_one_missing_update_with_its_reason(tmp_path: Path, kind: str, code: str) -> None:
    settings = practice.practice_settings(federation={"round_deadline_s": 0.4})
    store, folders = practice.found_federation(tmp_path, settings=settings)
    fault = Fault(site="site-3", round=2, kind=kind, delay_s=5.0 if kind == "delay" else 0.0)
    run(store, folders, faults=[fault])
    assert codes(store, 1) == {}
    assert codes(store, 2) == {"site-3": code}
    assert codes(store, 3) == {}
    present = store.training.committed(2).contributions
    assert [entry.weight for entry in present] == pytest.approx([1 / 3] * 3)
    # targets 0, 1, 2 pull with equal weight: w ← 0.9·w + 0.1·1
    before, after = store.training.committed(1).vector[0], store.training.committed(2).vector[0]
    assert after == pytest.approx(0.9 * before + 0.1, rel=1e-6)
    assert ("site-3", code) in {(event.site, event.code) for event in store.events()}


def test_a_duplicate_reply_counts_once_and_is_logged(tmp_path: Path) -> None:
    clean, folders = practice.found_federation(tmp_path / "clean")
    run(clean, folders)
    store, folders = practice.found_federation(tmp_path / "twice")
    run(store, folders, faults=[Fault(site="site-1", round=2, kind="duplicate")])
    assert codes(store, 2) == {}
    assert "protocol.duplicate" in {event.code for event in store.events()}
    np.testing.assert_array_equal(store.averaged(), clean.averaged())


def test_a_second_charge_is_an_event_of_a_round_that_goes_on(tmp_path: Path) -> None:
    store, folders = practice.found_federation(tmp_path)
    (folders["site-1"] / "charges.json").write_text("2")
    run(store, folders)
    assert codes(store, 2) == {}
    told = [(each.round, each.site) for each in store.events() if each.code == CHARGED_AGAIN]
    assert told == [(number, "site-1") for number in (1, 2, 3)]


def test_a_short_delay_is_waited_for(tmp_path: Path) -> None:
    store, folders = practice.found_federation(tmp_path)
    run(store, folders, faults=[Fault(site="site-1", round=2, kind="delay", delay_s=0.2)])
    assert codes(store, 2) == {}


def test_every_kind_of_fault_is_in_the_table() -> None:
    assert {kind for kind, _ in FAULTS} | {"duplicate", "scaled"} == set(get_args(FaultKind))


@pytest.mark.parametrize("rule", ["fedavg", "median", "trimmed_mean", "geometric_median"])
@pytest.mark.parametrize("fold", ["site", "coordinator"])
def test_a_scaled_update_within_its_bound_is_accepted_and_moves_only_a_mean(
    tmp_path: Path, rule: str, fold: str
) -> None:
    settings = practice.practice_settings(
        rounds=2, strategy={"name": rule}, federation={"fold": fold, "quorum": 1.0}
    )
    sizes = (100, 50, 400, 200, 100)
    store, folders = practice.found_federation(tmp_path, settings=settings, n_sites=5, declared=sizes)
    run(store, folders, faults=[Fault(site="site-4", round=2, kind="scaled")])
    assert codes(store, 2) == {}
    before, after = (store.training.committed(number).vector[0] for number in (1, 2))
    # site k pulls the first weight towards k by a tenth of the way, site-4 by ten tenths
    changes = [0.1 * (target - before) for target in range(4)] + [4 - before]
    expected = {
        "fedavg": np.dot(sizes, changes) / sum(sizes),
        "median": changes[2],
        "trimmed_mean": sum(changes[1:4]) / 3,
        "geometric_median": changes[2],  # all on one line
    }
    assert after - before == pytest.approx(expected[rule], rel=1e-3)


def test_a_refusal_is_a_missing_update_with_the_code_of_the_site(tmp_path: Path) -> None:
    store, folders = practice.found_federation(tmp_path)
    (folders["site-2"] / "refuse.json").write_text('"privacy.budget-exhausted"')
    run(store, folders)
    assert codes(store, 3) == {"site-2": "privacy.budget-exhausted"}


def test_a_refusal_with_free_text_never_reaches_the_log(tmp_path: Path) -> None:
    store, folders = practice.found_federation(tmp_path)
    (folders["site-2"] / "refuse.json").write_text('"Mrs Canary, born 1950"')
    run(store, folders)
    assert codes(store, 1) == {"site-2": "protocol.malformed"}
    written = b"".join(path.read_bytes() for path in store.folder.rglob("*") if path.is_file())
    assert b"Canary" not in written


def test_below_the_quorum_the_run_stops_and_resumes_to_the_same_weights(tmp_path: Path) -> None:
    clean, folders = practice.found_federation(tmp_path / "clean")
    run(clean, folders)
    store, folders = practice.found_federation(tmp_path / "broken")
    faults = [Fault(site=f"site-{number}", round=2, kind="exception") for number in (0, 1, 2)]
    with pytest.raises(RunError) as caught:
        run(store, folders, faults=faults)
    assert caught.value.code == "run.quorum-missed"
    assert store.training.last_committed().round == 1
    run(store, folders)
    np.testing.assert_array_equal(store.averaged(), clean.averaged())
    trained = (folders["site-3"] / "trained.log").read_text().splitlines()
    assert [line.split()[0] for line in trained] == ["1", "2", "3"], "its journalled reply counts"


@pytest.mark.parametrize(
    ("n_sites", "quorum", "needed"), [(3, 0.5, 2), (5, 0.5, 3), (4, 0.5, 2), (3, 0.34, 2), (3, 1.0, 3)]
)
def test_a_quorum_is_rounded_up_to_whole_sites(
    tmp_path: Path, n_sites: int, quorum: float, needed: int
) -> None:
    settings = practice.practice_settings(rounds=1, federation={"quorum": quorum})
    for n_present, is_enough in ((needed, True), (needed - 1, False)):
        store, folders = practice.found_federation(
            tmp_path / str(n_present), settings=settings, n_sites=n_sites
        )
        absent = list(folders)[n_present:]
        faults = [Fault(site=site, round=1, kind="exception") for site in absent]
        if is_enough:
            run(store, folders, faults=faults)
            assert store.training.last_committed().round == 1
        else:
            with pytest.raises(RunError, match=f"{n_present} of at least {needed} updates"):
                run(store, folders, faults=faults)


def test_sites_that_sent_garbage_are_asked_again_after_a_missed_quorum(tmp_path: Path) -> None:
    clean, folders = practice.found_federation(tmp_path / "clean")
    run(clean, folders)
    store, folders = practice.found_federation(tmp_path / "broken")
    faults = [Fault(site=f"site-{number}", round=2, kind="corrupt-nan") for number in (0, 1, 2)]
    with pytest.raises(RunError):
        run(store, folders, faults=faults)
    run(store, folders)
    np.testing.assert_array_equal(store.averaged(), clean.averaged())
    kept = sorted(path.name for path in (store.folder / "replies" / "train" / "0002").glob("*.aside"))
    assert kept == ["site-0.1.aside", "site-1.1.aside", "site-2.1.aside"]


def test_the_first_round_needs_every_required_site(tmp_path: Path) -> None:
    store, folders = practice.found_federation(tmp_path, is_required=True)
    with pytest.raises(RunError) as caught:
        run(store, folders, faults=[Fault(site="site-0", round=1, kind="exception")])
    assert caught.value.code == "run.quorum-missed"
    assert store.training.last_committed().round == 0
    assert "required sites ['site-0'] are missing in the first round" in caught.value.fact
    run(store, folders, faults=[Fault(site="site-0", round=2, kind="exception")])
    assert codes(store, 2) == {"site-0": "engine.flower-error-2"}


def test_a_pause_stops_before_the_next_round_and_resume_goes_on(tmp_path: Path) -> None:
    store, folders = practice.found_federation(tmp_path)
    store.pause()
    with pytest.raises(RunError) as caught:
        run(store, folders)
    assert caught.value.code == "run.paused"
    run(store, folders)
    assert store.training.last_committed().round == 3


def test_a_round_carries_each_site_its_own_countersigned_head(tmp_path: Path) -> None:
    store, folders = practice.found_federation(tmp_path)
    run(store, folders)
    lines = (folders["site-1"] / "trained.log").read_text().splitlines()
    assert lines[0].split(" ") == ["1", "", ""]
    number, head, signature = lines[1].split(" ")
    assert (number, head) == ("2", f"{1:064x}")
    good = {"site": "site-1", "plan_sha256": store.plan.sha256, "ledger_head": head}
    assert verify_countersignature(store.plan.coordinator_key, signature, **good)
    assert not verify_countersignature(
        store.plan.coordinator_key, signature, **(good | {"site": "site-0"})
    )


def test_heads_of_an_earlier_run_are_countersigned_in_the_first_round_of_the_next(
    tmp_path: Path,
) -> None:
    store, folders = practice.found_federation(tmp_path)
    run(store, folders)
    second, folders = practice.found_federation(tmp_path, run="second")
    run(second, folders)
    lines = (folders["site-1"] / "trained.log").read_text().splitlines()
    assert lines[3].split(" ")[:2] == ["1", f"{3:064x}"]


@pytest.mark.parametrize(
    ("strategy", "fold"), [("fedavg", "site"), ("fedadam", "site"), ("fedavg", "coordinator")]
)
def test_a_run_killed_in_any_round_and_resumed_equals_the_uninterrupted_one_bit_for_bit(
    tmp_path: Path, strategy: str, fold: str
) -> None:
    settings = practice.practice_settings(
        rounds=6, strategy={"name": strategy}, federation={"fold": fold}
    )
    clean, folders = practice.found_federation(tmp_path / "clean", settings=settings)
    run(clean, folders)
    store, folders = practice.found_federation(tmp_path / "killed", settings=settings)
    (folders["site-2"] / "pause_s.json").write_text("0.1")
    listed = tmp_path / "folders.json"
    listed.write_text(json.dumps({name: str(folder) for name, folder in folders.items()}))
    command = [sys.executable, practice.__file__, "local", str(store.folder), str(listed)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    kills = 0
    for wait_for in (1, 3, 4):
        process = subprocess.Popen(command, env=environment)
        while process.poll() is None and not in_round(store, wait_for):
            time.sleep(0.005)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills == 3
    assert store.training.last_committed().round < 6
    run(store, folders)
    for number in range(7):
        np.testing.assert_array_equal(
            store.training.committed(number).vector, clean.training.committed(number).vector
        )
    np.testing.assert_array_equal(store.averaged(), clean.averaged())


def in_round(store: RunStore, number: int) -> bool:
    """Whether two replies of a round are journalled: the third site is at work."""
    return len(list((store.folder / "replies" / "train" / f"{number:04d}").glob("*.safetensors"))) >= 2


@pytest.mark.parametrize("fold", ["site", "coordinator"])
def test_journalled_replies_replay_to_the_identical_round(tmp_path: Path, fold: str) -> None:
    settings = practice.practice_settings(federation={"fold": fold})
    store, folders = practice.found_federation(tmp_path, settings=settings)
    run(store, folders)
    expected = store.training.committed(3)
    for file in store.training.round_folder(3).iterdir():
        file.unlink()
    store.training.round_folder(3).rmdir()
    for folder in folders.values():
        (folder / "refuse.json").write_text('"policy.closed"')
    run(open_run(store.folder), folders)
    np.testing.assert_array_equal(store.training.committed(3).vector, expected.vector)
    assert store.training.committed(3).contributions == expected.contributions


@pytest.mark.parametrize(
    "torn",
    [
        lambda content: b"",
        lambda content: content[:100],
        lambda content: bytes(len(content)),
        lambda content: content[:-8] + bytes(8),
    ],
    ids=["empty", "cut", "zeros", "zeros at its end"],
)
def test_a_reply_that_a_power_cut_tore_is_set_aside_and_its_site_asked_again(
    tmp_path: Path, torn: Callable[[bytes], bytes]
) -> None:
    store, folders = practice.found_federation(tmp_path)
    run(store, folders)
    expected = store.training.committed(3)
    shutil.rmtree(store.training.round_folder(3))  # the cut came before the commit
    replies = store.folder / "replies" / "train"
    path = replies / "0003" / "site-1.safetensors"
    path.write_bytes(torn(path.read_bytes()))
    run(open_run(store.folder), folders)
    np.testing.assert_array_equal(store.training.committed(3).vector, expected.vector)
    assert store.training.committed(3).contributions == expected.contributions
    assert (replies / "0003" / "site-1.1.aside").exists()
    asked = {site: (folder / "trained.log").read_text() for site, folder in folders.items()}
    assert {site: len(log.splitlines()) for site, log in asked.items()} == {
        site: 3 + (site == "site-1") for site in folders
    }
    told = [(event.site, event.round) for event in store.events() if event.code == "run.torn-reply"]
    assert told == [("site-1", 3)]


def test_an_edited_journal_is_refused(tmp_path: Path) -> None:
    store, folders = practice.found_federation(tmp_path)
    with pytest.raises(RunError):
        run(
            store,
            folders,
            faults=[Fault(site=f"site-{n}", round=2, kind="exception") for n in (1, 2, 3)],
        )
    journal = store.training.journal(practice.P)
    kept = journal.read(2).accepted["site-0"].reply
    edited = replace(kept, total=kept.total + np.float32(1))
    journal.accept(2, edited, site="site-0", total_sha256=vector_sha256(edited.total))
    with pytest.raises(ProtocolError) as caught:
        run(store, folders)
    assert caught.value.code == "protocol.bad-signature"
