"""The ledger charges before anything happens, binds patients for life, and shows every tampering."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from practice_site import (
    ALLOWANCE,
    PATIENTS,
    SITE,
    clock,
    coordinator_key,
    make_charge,
    open_ledger,
    site_key,
)

from client.ledger import Ledger
from shared.countersign import countersign
from shared.errors import LedgerError, PrivacyError
from shared.keys import create_key
from shared.privacy.accountant import epsilon_of
from shared.privacy.events import GaussianEvent
from shared.privacy.filter import Allowance
from shared.privacy.ledger_format import (
    Countersignature,
    LedgerHead,
    encode_row,
    verify_chain,
)

COSTLY = GaussianEvent(noise_multiplier=2.0, steps=1)  # ε 1.99 at 1e-5 alone
LIFE_ONLY = Allowance(epsilon_lifetime=4.5, epsilon_per_run=50.0, delta=1e-5)


def charge(ledger: Ledger, number: int, members: list[str], **changes: object) -> LedgerHead:
    values: dict[str, object] = {"plan_sha256": f"plan-{number}", "event": COSTLY}
    return ledger.charge(
        make_charge(number, **(values | changes)), members=members, allowance=LIFE_ONLY
    )


def spent(ledger: Ledger, members: list[str]) -> float:
    return ledger.budget(members, allowance=LIFE_ONLY).epsilon_spent


def test_a_charge_is_on_disk_signed_and_linked_before_it_returns(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    head = ledger.charge(make_charge(), members=PATIENTS, allowance=ALLOWANCE)
    lines = (tmp_path / "ledger" / "ledger.jsonl").read_bytes().splitlines()
    rows = verify_chain(lines, trusted_key=site_key(tmp_path).public_hex)
    assert [row.kind for row in rows] == ["opened", "charge"]
    assert rows[-1].head == head == ledger.head()
    assert (rows[1].noise_multiplier, rows[1].steps, rows[1].utc) == (10.0, 5, clock().isoformat())


def test_spent_and_left_add_up_to_the_grant(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    for number in (1, 2):
        ledger.charge(make_charge(number), members=PATIENTS, allowance=ALLOWANCE)
    budget = ledger.budget(PATIENTS, allowance=ALLOWANCE)
    expected = epsilon_of([GaussianEvent(noise_multiplier=10.0, steps=10)], 1e-5)
    assert budget.epsilon_spent == pytest.approx(expected)
    assert budget.epsilon_left == pytest.approx(10.0 - expected)
    assert ledger.run_epsilon("a" * 64, PATIENTS, delta=1e-5) == pytest.approx(expected)
    assert ledger.run_epsilon("b" * 64, PATIENTS, delta=1e-5) == 0.0


def test_the_lifetime_cap_refuses_and_charges_nothing(tmp_path: Path) -> None:
    # Σ 1/2² ≤ μ², where μ² = 1.049 belongs to ε 4.5 at 1e-5: four charges fit, five do not
    ledger = open_ledger(tmp_path)
    for number in range(1, 5):
        head = charge(ledger, number, PATIENTS)
    with pytest.raises(PrivacyError) as caught:
        charge(ledger, 5, PATIENTS)
    assert caught.value.code == "privacy.budget-exhausted"
    assert ledger.head() == head
    assert spent(ledger, PATIENTS) <= 4.5


def test_the_cap_per_run_counts_one_plan_only(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    allowance = Allowance(epsilon_lifetime=50.0, epsilon_per_run=2.5, delta=1e-5)
    ledger.charge(make_charge(1, event=COSTLY), members=PATIENTS, allowance=allowance)
    with pytest.raises(PrivacyError, match=r"cap of 2\.5 per run"):
        ledger.charge(make_charge(2, event=COSTLY), members=PATIENTS, allowance=allowance)
    other = make_charge(2, event=COSTLY, plan_sha256="b" * 64)
    ledger.charge(other, members=PATIENTS, allowance=allowance)


def test_a_cohort_inherits_the_charges_of_every_cohort_it_shares_a_patient_with(
    tmp_path: Path,
) -> None:
    ledger = open_ledger(tmp_path)
    charge(ledger, 1, PATIENTS[:40])
    charge(ledger, 2, PATIENTS[30:60])
    once = epsilon_of([COSTLY], 1e-5)
    twice = epsilon_of([COSTLY, COSTLY], 1e-5)
    assert spent(ledger, PATIENTS[60:]) == 0.0
    assert spent(ledger, PATIENTS[:30]) == pytest.approx(once)
    assert spent(ledger, PATIENTS[40:60]) == pytest.approx(once)
    # one patient of the overlap is enough, also beside fresh ones, in any order, given twice
    assert spent(ledger, [*PATIENTS[60:], PATIENTS[35], PATIENTS[35]]) == pytest.approx(twice)


def test_ingesting_the_same_people_again_buys_nothing_and_disjoint_people_pay_alone(
    tmp_path: Path,
) -> None:
    ledger = open_ledger(tmp_path)
    for number in range(1, 5):
        charge(ledger, number, PATIENTS[:40])
    for again in (PATIENTS[:40], PATIENTS[:40][::-1], [*PATIENTS[:40], "a-new-patient"], PATIENTS[39:]):
        with pytest.raises(PrivacyError, match="lifetime cap"):
            charge(ledger, 9, again)
    charge(ledger, 9, PATIENTS[40:])


def test_charges_without_noise_are_counted_and_never_shown_as_an_epsilon(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    charge(ledger, 1, PATIENTS, event=None, charge_class="off")
    charge(ledger, 2, PATIENTS[:3], event=None, charge_class="governed", approved_by="Ada Byron")
    budget = ledger.budget(PATIENTS, allowance=LIFE_ONLY)
    assert (budget.n_unprotected, budget.epsilon_spent) == (2, 0.0)
    assert ledger.budget(PATIENTS[40:], allowance=LIFE_ONLY).n_unprotected == 1


def test_a_round_is_charged_for_one_request_only_but_a_retry_charges_afresh(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    first = ledger.charge(make_charge(1), members=PATIENTS, allowance=ALLOWANCE)
    second = ledger.charge(make_charge(1), members=PATIENTS, allowance=ALLOWANCE)
    assert second.index == first.index + 1
    with pytest.raises(PrivacyError) as caught:
        ledger.charge(make_charge(1, request_sha256="another"), members=PATIENTS, allowance=ALLOWANCE)
    assert caught.value.code == "privacy.round-repeated"


def test_one_charge_pays_for_one_release_and_an_outcome_gives_nothing_back(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    with pytest.raises(PrivacyError, match="nothing was charged"):
        ledger.record_outcome("request-1", status="released")
    charge(ledger, 1, PATIENTS)
    before = spent(ledger, PATIENTS)
    ledger.record_outcome("request-1", status="engine.failed")
    assert spent(ledger, PATIENTS) == before
    assert ledger.open_charge("request-1") is None
    with pytest.raises(PrivacyError, match="already paid"):
        ledger.record_outcome("request-1", status="released")


def test_two_open_ledgers_see_each_others_charges(tmp_path: Path) -> None:
    one, other = open_ledger(tmp_path), open_ledger(tmp_path)
    for number in range(1, 5):
        charge((one, other)[number % 2], number, PATIENTS)
    assert one.head() == other.head() == one.verify()
    with pytest.raises(PrivacyError):
        charge(one, 5, PATIENTS)


def test_a_torn_last_line_is_cut_off_and_the_next_row_follows_the_whole_ones(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    head = charge(ledger, 1, PATIENTS)
    path = tmp_path / "ledger" / "ledger.jsonl"
    whole = path.read_bytes()
    for torn in (whole.splitlines()[-1][:50], b"\0\0\0", b'{"row"'):
        path.write_bytes(path.read_bytes() + torn)
        reopened = open_ledger(tmp_path)
        assert reopened.head() == head
        assert path.read_bytes() == whole


def filled(folder: Path) -> tuple[Path, list[bytes]]:
    ledger = open_ledger(folder)
    for number in (1, 2, 3):
        charge(ledger, number, PATIENTS)
    path = folder / "ledger" / "ledger.jsonl"
    return path, path.read_bytes().splitlines(keepends=True)


def test_every_edit_of_every_row_is_noticed(tmp_path: Path) -> None:
    path, lines = filled(tmp_path)
    for position, line in enumerate(lines):
        content = json.loads(line)
        for name, value in content["row"].items():
            changed = json.loads(line)
            changed["row"][name] = value + 1 if isinstance(value, int | float) else "forged"
            path.write_bytes(
                b"".join(
                    [*lines[:position], json.dumps(changed).encode() + b"\n", *lines[position + 1 :]]
                )
            )
            with pytest.raises(LedgerError) as caught:
                open_ledger(tmp_path)
            assert caught.value.code in ("ledger.damaged", "ledger.unknown-version"), name


@pytest.mark.parametrize("order", [[0, 2, 1, 3], [1, 2, 3], [0, 1, 3], [0, 1, 1, 2, 3], [0, 3]])
def test_reordered_removed_or_repeated_rows_are_noticed(tmp_path: Path, order: list[int]) -> None:
    path, lines = filled(tmp_path)
    path.write_bytes(b"".join(lines[index] for index in order))
    with pytest.raises(LedgerError, match="does not follow"):
        open_ledger(tmp_path)


def test_rows_signed_by_another_key_are_foreign(tmp_path: Path) -> None:
    path, _ = filled(tmp_path / "theirs")
    (tmp_path / "ledger").mkdir()
    shutil.copy(path, tmp_path / "ledger" / "ledger.jsonl")
    with pytest.raises(LedgerError, match="another key"):
        open_ledger(tmp_path)


def test_a_consistent_rewrite_of_history_still_needs_the_sites_key(tmp_path: Path) -> None:
    path, _ = filled(tmp_path)
    rows = open_ledger(tmp_path).show()
    stranger = create_key(tmp_path / "stranger.pem")
    genuine = encode_row(rows[0], site_key(tmp_path))
    cheaper = replace(rows[1], noise_multiplier=100.0)  # hashes and links right, key wrong
    path.write_bytes(genuine + encode_row(cheaper, stranger))
    with pytest.raises(LedgerError, match="signed by another key"):
        open_ledger(tmp_path)
    path.write_bytes(genuine + encode_row(cheaper, site_key(tmp_path)))
    assert open_ledger(tmp_path).show()[1].noise_multiplier == 100.0


def test_a_changed_member_list_is_noticed(tmp_path: Path) -> None:
    filled(tmp_path)
    [members] = (tmp_path / "ledger" / "members").iterdir()
    assert members.stat().st_mode & 0o777 == 0o600
    members.write_text(json.dumps(PATIENTS[:-1]))
    with pytest.raises(LedgerError) as caught:
        charge(open_ledger(tmp_path), 4, PATIENTS)
    assert caught.value.code == "ledger.members-missing"
    members.unlink()
    with pytest.raises(LedgerError):
        open_ledger(tmp_path).verify()


def countersigned(folder: Path, ledger: Ledger, head: str) -> str:
    signature = countersign(coordinator_key(folder), site=SITE, plan_sha256="plan-9", ledger_head=head)
    ledger.record_countersignature(
        head,
        signature,
        plan_sha256="plan-9",
        coordinator_key=coordinator_key(folder).public_hex,
    )
    return signature


def test_a_ledger_cut_behind_its_countersigned_head_refuses_to_run(tmp_path: Path) -> None:
    path, lines = filled(tmp_path)
    ledger = open_ledger(tmp_path)
    countersigned(tmp_path, ledger, ledger.head().sha256)
    ledger.verify()
    path.write_bytes(b"".join(lines[:-1]))
    for use in (ledger.head, lambda: open_ledger(tmp_path)):
        with pytest.raises(LedgerError) as caught:
            use()
        assert caught.value.code == "ledger.behind"
    path.unlink()
    with pytest.raises(LedgerError, match="already seen"):
        open_ledger(tmp_path)


def test_a_restored_backup_is_noticed_by_the_head_that_the_coordinator_sends(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    charge(ledger, 1, PATIENTS)
    shutil.copytree(tmp_path / "ledger", tmp_path / "backup")
    newest = charge(ledger, 2, PATIENTS).sha256
    countersigned(tmp_path, ledger, newest)
    shutil.rmtree(tmp_path / "ledger")
    shutil.copytree(tmp_path / "backup", tmp_path / "ledger")
    with pytest.raises(LedgerError) as caught:
        countersigned(tmp_path, open_ledger(tmp_path), newest)
    assert caught.value.code == "ledger.behind"


def test_only_the_coordinator_of_the_plan_can_countersign(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    head = ledger.head().sha256
    stranger = create_key(tmp_path / "stranger.pem")
    forged = countersign(stranger, site=SITE, plan_sha256="plan-9", ledger_head=head)
    genuine = countersign(
        coordinator_key(tmp_path), site="south", plan_sha256="plan-9", ledger_head=head
    )
    for signature in (forged, genuine, "", "zz"):
        with pytest.raises(LedgerError) as caught:
            ledger.record_countersignature(
                head,
                signature,
                plan_sha256="plan-9",
                coordinator_key=coordinator_key(tmp_path).public_hex,
            )
        assert caught.value.code == "ledger.bad-countersignature"


def test_an_export_verifies_offline_and_names_no_patient(tmp_path: Path) -> None:
    filled(tmp_path)
    ledger = open_ledger(tmp_path)
    countersigned(tmp_path, ledger, ledger.head().sha256)
    ledger.export(tmp_path / "export.json", allowance=LIFE_ONLY)
    text = (tmp_path / "export.json").read_text()
    content = json.loads(text)
    rows = verify_chain(
        [json.dumps(line).encode() for line in content["lines"]],
        trusted_key=site_key(tmp_path).public_hex,
        countersignatures=[Countersignature(**each) for each in content["countersignatures"]],
        coordinator_key=coordinator_key(tmp_path).public_hex,
    )
    assert len(rows) == 4
    assert not any(patient in text for patient in PATIENTS)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    asked=st.lists(
        st.tuples(
            st.sets(st.sampled_from("abcdef"), min_size=1),
            st.floats(0.5, 20),
            st.integers(1, 20),
        ),
        max_size=10,
    )
)
def test_no_patient_ever_overspends_whatever_cohorts_are_asked_for(
    tmp_path_factory: pytest.TempPathFactory, asked: list[tuple[set[str], float, int]]
) -> None:
    ledger = open_ledger(tmp_path_factory.mktemp("site"))
    touched: dict[str, list[GaussianEvent]] = {patient: [] for patient in "abcdef"}
    for number, (members, noise, steps) in enumerate(asked):
        event = GaussianEvent(noise_multiplier=noise, steps=steps)
        before = ledger.head().index
        try:
            charge(ledger, number, sorted(members), event=event)
        except PrivacyError:
            assert ledger.head().index == before
            continue
        assert ledger.head().index == before + 1
        for patient in members:
            touched[patient].append(event)
    for patient, events in touched.items():
        assert epsilon_of(events, 1e-5) <= 4.5
        assert spent(ledger, [patient]) == pytest.approx(epsilon_of(events, 1e-5))


def test_killed_writers_leave_a_valid_chain_in_which_everything_trained_was_charged(
    tmp_path: Path,
) -> None:
    writer = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
from client.ledger import Charge, Ledger
from shared.keys import load_key
from shared.privacy.events import GaussianEvent
from shared.privacy.filter import Allowance
folder, name = Path(sys.argv[1]), sys.argv[2]
ledger = Ledger(folder / "ledger", site="north", key=load_key(folder / "signing.pem"),
                clock=lambda: datetime.now(UTC))
allowance = Allowance(epsilon_lifetime=1.5, epsilon_per_run=1.5, delta=1e-5)
trained = os.open(folder / f"trained-{name}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
event = GaussianEvent(noise_multiplier=30.0, steps=1)
for number in range(10_000):
    charge = Charge(charge_class="dp", event=event, purpose="train", plan_sha256=name, run="run",
                    round=number, request_sha256=f"{name}-{number}")
    ledger.charge(charge, members=["someone"], allowance=allowance)
    os.write(trained, b"1")
"""
    open_ledger(tmp_path)
    environment = dict(os.environ) | {"PYTHONPATH": str(Path(__file__).parents[2])}
    for kill in range(10):
        process = subprocess.Popen(
            [sys.executable, "-c", writer, str(tmp_path), f"writer-{kill}"],
            env=environment,
            stderr=subprocess.DEVNULL,
        )
        mark = tmp_path / f"trained-writer-{kill}"
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if mark.exists() and mark.stat().st_size >= 3:
                break
            time.sleep(0.001)
        time.sleep(0.003 * kill)
        process.send_signal(signal.SIGKILL)
        process.wait()
    ledger = open_ledger(tmp_path)
    ledger.verify()
    trained = sum(path.stat().st_size for path in tmp_path.glob("trained-*"))
    charged = sum(row.steps or 0 for row in ledger.show())
    assert 20 <= trained <= charged <= trained + 10
    cap = Allowance(epsilon_lifetime=1.5, epsilon_per_run=1.5, delta=1e-5)
    assert 0 < ledger.budget(["someone"], allowance=cap).epsilon_spent <= 1.5
