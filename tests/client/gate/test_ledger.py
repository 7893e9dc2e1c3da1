"""The ledger charges before anything happens, binds patients for life, and shows every tampering."""

from __future__ import annotations

import gc
import json
import shutil
import weakref
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from practice_site import (
    ALLOWANCE,
    PATIENTS,
    SITE,
    coordinator_key,
    make_charge,
    open_ledger,
    site_key,
)

from client.gate.ledger import Ledger
from shared.errors import LedgerError, PrivacyError
from shared.privacy.accountant import epsilon_of, gaussian_epsilon
from shared.privacy.events import GaussianEvent
from shared.privacy.filter import Allowance
from shared.privacy.ledger_format import (
    LEDGER_VERSION,
    Countersignature,
    LedgerHead,
    LedgerRow,
    encode_row,
    verify_chain,
)
from shared.signing.canonical import canonical_json, sha256_hex
from shared.signing.countersign import countersign
from shared.signing.keys import SigningKey, create_key

COSTLY = GaussianEvent(noise_multiplier=2.0, steps=1)  # ε 1.99 at 1e-5 alone
LIFE_ONLY = Allowance(epsilon_lifetime=4.5, epsilon_per_run=50.0, delta=1e-5)


def charge(ledger: Ledger, number: int, members: list[str], **changes: object) -> LedgerHead:
    values: dict[str, object] = {"plan_sha256": f"plan-{number}", "event": COSTLY}
    return ledger.charge(
        make_charge(number, **(values | changes)), members=members, allowance=LIFE_ONLY
    ).head


def spent(ledger: Ledger, members: list[str]) -> float:
    return ledger.budget(members, allowance=LIFE_ONLY).epsilon_spent


def test_a_charge_is_on_disk_signed_and_linked_before_it_returns(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    head = ledger.charge(make_charge(), members=PATIENTS, allowance=ALLOWANCE).head
    lines = (tmp_path / "ledger" / "ledger.jsonl").read_bytes().splitlines()
    rows = verify_chain(lines, trusted_key=site_key(tmp_path).public_hex)
    assert [row.kind for row in rows] == ["opened", "charge"]
    assert rows[-1].head == head == ledger.head()
    assert (rows[1].noise_multiplier, rows[1].steps) == (10.0, 5)
    assert {row.utc for row in rows} == {"2026-01-02T03:00:00+00:00"}, "the hour, and no more"


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


def test_a_round_is_charged_once_for_one_request_however_many_attempts_it_takes(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    first = ledger.charge(make_charge(1), members=PATIENTS, allowance=ALLOWANCE)
    second = ledger.charge(make_charge(1), members=PATIENTS, allowance=ALLOWANCE)
    assert second == first
    assert [row.kind for row in ledger.show()] == ["opened", "charge", "attempt"]
    attempt = ledger.show()[-1]
    assert (attempt.charge_index, attempt.request_sha256) == (first.index, first.request_sha256)
    with pytest.raises(PrivacyError) as caught:
        ledger.charge(make_charge(1, request_sha256="another"), members=PATIENTS, allowance=ALLOWANCE)
    assert caught.value.code == "privacy.round-repeated"


def test_stages_of_a_plan_have_rounds_of_their_own(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.charge(make_charge(1), members=PATIENTS, allowance=ALLOWANCE)
    table = make_charge(1, stage="internal", purpose="evaluate.internal", request_sha256="a table")
    ledger.charge(table, members=PATIENTS, allowance=ALLOWANCE)
    assert [(row.stage, row.round) for row in ledger.show()[1:]] == [("train", 1), ("internal", 1)]
    with pytest.raises(PrivacyError, match="internal of round 1 was already charged"):
        ledger.charge(replace(table, request_sha256="another"), members=PATIENTS, allowance=ALLOWANCE)


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
    # whoever holds the key can rewrite rows, and is betrayed by what the rows were before
    path.write_bytes(genuine + encode_row(cheaper, site_key(tmp_path)))
    with pytest.raises(LedgerError) as caught:
        open_ledger(tmp_path)
    assert caught.value.code == "ledger.behind"


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


@dataclass(frozen=True)
class Tampered:
    """A ledger of four rows with two member lists; its head was countersigned by the coordinator."""

    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / "ledger" / "ledger.jsonl"

    @property
    def countersigned(self) -> Path:
        return self.folder / "ledger" / "countersigned.jsonl"

    @property
    def witness(self) -> Path:
        return self.folder / "ledger-witness.json"

    @property
    def members(self) -> list[Path]:
        return sorted((self.folder / "ledger" / "members").iterdir())

    def keep(self, *order: int) -> None:
        lines = self.path.read_bytes().splitlines(keepends=True)
        self.path.write_bytes(b"".join(lines[index] for index in order))

    def add(self, key: SigningKey, **changes: object) -> None:
        """A row that follows the last one in every respect but ``changes``."""
        last = open_ledger(self.folder).show()[-1]
        values = {"index": last.index + 1, "previous_sha256": last.sha256, "kind": "charge"}
        row = replace(last, **(values | {"public_key": key.public_hex} | changes))  # type: ignore[arg-type]
        with self.path.open("ab") as stream:
            stream.write(encode_row(row, key))

    def edit(self, path: Path, number: int = 0, **changes: object) -> None:
        lines = path.read_bytes().splitlines()
        content = json.loads(lines[number])
        part = content.get("witness", content)
        part |= changes
        lines[number] = json.dumps(content).encode()
        path.write_bytes(b"\n".join([*lines, b""]))


def put_back(ledger: Tampered, *, whole_folder: bool) -> None:
    """A copy of yesterday replaces what has been charged since."""
    shutil.copytree(ledger.folder / "ledger", ledger.folder / "copy")
    charge(open_ledger(ledger.folder), 9, PATIENTS)
    if whole_folder:
        shutil.rmtree(ledger.folder / "ledger")
        shutil.copytree(ledger.folder / "copy", ledger.folder / "ledger")
    else:
        shutil.copy(ledger.folder / "copy" / "ledger.jsonl", ledger.path)


def put_members_back(ledger: Tampered) -> None:
    shutil.copytree(ledger.folder / "ledger" / "members", ledger.folder / "copy")
    charge(open_ledger(ledger.folder), 9, PATIENTS[:7])
    shutil.rmtree(ledger.folder / "ledger" / "members")
    shutil.copytree(ledger.folder / "copy", ledger.folder / "ledger" / "members")


def swap_members(ledger: Tampered) -> None:
    one, other = ledger.members
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)


def cut_with_countersignatures(ledger: Tampered) -> None:
    ledger.keep(0, 1)
    ledger.countersigned.unlink()


def drop_witness_and_row(ledger: Tampered) -> None:
    ledger.countersigned.unlink()
    ledger.witness.unlink()
    ledger.keep(0, 1, 2)


def own(ledger: Tampered) -> SigningKey:
    return site_key(ledger.folder)


def stranger(ledger: Tampered) -> SigningKey:
    return create_key(ledger.folder / "stranger.pem")


def sign_witness(ledger: Tampered, key: SigningKey) -> None:
    content = json.loads(ledger.witness.read_bytes())
    statement = b"osteofed ledger witness\n" + canonical_json(content["witness"])
    content |= {"public_key": key.public_hex, "signature": key.sign(statement)}
    ledger.witness.write_bytes(canonical_json(content))


TAMPERINGS: dict[str, tuple[Callable[[Tampered], object], str]] = {
    "a middle row deleted": (lambda it: it.keep(0, 1, 3), "damaged"),
    "the first row deleted": (lambda it: it.keep(1, 2, 3), "damaged"),
    "two rows exchanged": (lambda it: it.keep(0, 2, 1, 3), "damaged"),
    "a row repeated": (lambda it: it.keep(0, 1, 1, 2, 3), "damaged"),
    "the last row repeated": (lambda it: it.keep(0, 1, 2, 3, 3), "damaged"),
    "cut behind the countersigned head": (lambda it: it.keep(0, 1, 2), "behind"),
    "cut, and the countersignatures deleted": (cut_with_countersignatures, "behind"),
    "cut, countersignatures and witness deleted": (drop_witness_and_row, "damaged"),
    "all rows deleted": (lambda it: it.path.write_bytes(b""), "behind"),
    "the file deleted": (lambda it: it.path.unlink(), "behind"),
    "the file put back from a copy": (lambda it: put_back(it, whole_folder=False), "behind"),
    "the folder put back from a copy": (lambda it: put_back(it, whole_folder=True), "behind"),
    "a row of another site": (lambda it: it.add(own(it), site="south"), "wrong-site"),
    "a row signed by another key": (lambda it: it.add(stranger(it)), "damaged"),
    "a row by another key in the site's name": (
        lambda it: it.add(stranger(it), public_key=own(it).public_hex),
        "damaged",
    ),
    "a handing over that the new key did not sign": (
        lambda it: it.add(own(it), kind="rotated", next_public_key="1" * 64, next_signature="2" * 128),
        "damaged",
    ),
    "a handing over hidden in a charge": (
        lambda it: it.add(own(it), next_public_key="1" * 64),
        "damaged",
    ),
    "a note beside a row": (lambda it: it.edit(it.path, 2, note="paid"), "damaged"),
    "a later format of row": (
        lambda it: it.edit(it.path, 2, row={"version": LEDGER_VERSION + 1}),
        "unknown-version",
    ),
    "no row at all": (lambda it: it.path.write_bytes(b"[]\n"), "damaged"),
    "a member list shortened": (
        lambda it: it.members[0].write_text(json.dumps(PATIENTS[:3])),
        "members-missing",
    ),
    "a member list of another shape": (
        lambda it: it.members[0].write_text("[[1]]"),
        "members-missing",
    ),
    "a member list deleted": (lambda it: it.members[1].unlink(), "members-missing"),
    "two member lists exchanged": (swap_members, "members-missing"),
    "member lists put back from a copy": (put_members_back, "members-missing"),
    "countersignatures deleted": (lambda it: it.countersigned.unlink(), "damaged"),
    "countersignatures emptied": (lambda it: it.countersigned.write_bytes(b""), "damaged"),
    "a countersignature torn": (lambda it: it.countersigned.write_bytes(b"{}"), "damaged"),
    "a countersignature of another plan": (
        lambda it: it.edit(it.countersigned, plan_sha256="plan-8"),
        "bad-countersignature",
    ),
    "a countersignature of another head": (
        lambda it: it.edit(it.countersigned, head_sha256="0" * 64),
        "bad-countersignature",
    ),
    "a countersignature that is none": (
        lambda it: it.countersigned.write_bytes(b"[1]\n"),
        "damaged",
    ),
    "the witness deleted": (lambda it: it.witness.unlink(), "damaged"),
    "the witness emptied": (lambda it: it.witness.write_bytes(b""), "damaged"),
    "the witness edited": (lambda it: it.edit(it.witness, n_countersigned_bytes=0), "damaged"),
    "the witness of a stranger": (lambda it: sign_witness(it, stranger(it)), "damaged"),
    "the witness of another site": (
        lambda it: (it.edit(it.witness, site="south"), sign_witness(it, own(it))),
        "damaged",
    ),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering_is_noticed_before_the_next_charge(tmp_path: Path, name: str) -> None:
    tamper, code = TAMPERINGS[name]
    ledger = open_ledger(tmp_path)
    for number, members in ((1, PATIENTS), (2, PATIENTS[:5]), (3, PATIENTS)):
        charge(ledger, number, members)
    countersigned(tmp_path, ledger, ledger.head().sha256)
    open_ledger(tmp_path).verify()
    tamper(Tampered(tmp_path))
    charged = [path.read_bytes() for path in (tmp_path / "ledger").glob("ledger.jsonl")]
    for use in (
        lambda: charge(open_ledger(tmp_path), 4, PATIENTS),
        lambda: open_ledger(tmp_path).verify(),
    ):
        with pytest.raises(LedgerError) as caught:
            use()
        assert caught.value.code == f"ledger.{code}"
    with pytest.raises(LedgerError):
        ledger.verify()  # in a process that had read the files before
    assert charged == [path.read_bytes() for path in (tmp_path / "ledger").glob("ledger.jsonl")]


def test_what_is_rolled_back_together_is_noticed_by_the_coordinators_next_head(tmp_path: Path) -> None:
    # a snapshot of the whole machine agrees with itself: only somebody outside can tell
    ledger = open_ledger(tmp_path)
    charge(ledger, 1, PATIENTS)
    shutil.copytree(tmp_path, tmp_path / "snapshot")
    newest = charge(ledger, 2, PATIENTS).sha256
    shutil.rmtree(tmp_path / "ledger")
    shutil.copytree(tmp_path / "snapshot", tmp_path, dirs_exist_ok=True)
    restored = open_ledger(tmp_path)
    with pytest.raises(LedgerError) as caught:
        countersigned(tmp_path, restored, newest)
    assert caught.value.code == "ledger.behind"


def test_an_older_witness_lets_nothing_through(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    charge(ledger, 1, PATIENTS)
    older = (tmp_path / "ledger-witness.json").read_bytes()
    head = charge(ledger, 2, PATIENTS)
    (tmp_path / "ledger-witness.json").write_bytes(
        older
    )  # as a crash between row and witness leaves it
    assert open_ledger(tmp_path).head() == head
    charge(open_ledger(tmp_path), 3, PATIENTS)
    assert (tmp_path / "ledger-witness.json").read_bytes() != older


def test_a_torn_countersignature_is_cut_and_the_next_one_is_whole(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    for number in (1, 2):
        countersigned(tmp_path, ledger, charge(ledger, number, PATIENTS).sha256)
        with (tmp_path / "ledger" / "countersigned.jsonl").open("ab") as stream:
            stream.write(b'{"coordinator_key":"12')
        ledger = open_ledger(tmp_path)
    assert len(ledger.countersignatures()) == 2
    ledger.verify()


_LATER = ("nonce", "place_sha256", "lock_sha256")
NEWER_FIELDS = {
    1: (*_LATER, "canaries_sha256", "next_public_key", "next_signature", "stage", "stage_kind"),
    2: (*_LATER, "stage", "stage_kind"),
    3: (*_LATER, "stage_kind"),
    4: _LATER,
}


def earlier_line(row: LedgerRow, key: SigningKey) -> bytes:
    """A row as its version wrote it: without what later versions added."""
    newer = NEWER_FIELDS[row.version]
    values = {name: value for name, value in asdict(row).items() if name not in newer}
    content = canonical_json(values)
    signature = key.sign(b"osteofed ledger row\n" + content)
    line = {"row": values, "sha256": sha256_hex(content), "signature": signature}
    return canonical_json(line) + b"\n"


@pytest.mark.parametrize("version", sorted(NEWER_FIELDS))
def test_rows_of_earlier_formats_keep_charging_and_new_rows_follow_them(
    tmp_path: Path, version: int
) -> None:
    charge(open_ledger(tmp_path), 1, PATIENTS)
    before, key = b"", site_key(tmp_path)
    rows = [replace(row, version=version) for row in open_ledger(tmp_path).show()]
    lines = [earlier_line(rows[0], key)]
    chained = replace(rows[1], previous_sha256=sha256_hex(canonical_json(json.loads(lines[0])["row"])))
    before = lines[0] + earlier_line(chained, key)
    (tmp_path / "ledger" / "ledger.jsonl").write_bytes(before)
    (tmp_path / "ledger-witness.json").unlink()  # there was none
    ledger = open_ledger(tmp_path)
    assert spent(ledger, PATIENTS) == pytest.approx(epsilon_of([COSTLY], 1e-5))
    charge(ledger, 2, PATIENTS)
    assert spent(open_ledger(tmp_path), PATIENTS) == pytest.approx(epsilon_of([COSTLY] * 2, 1e-5))
    assert (tmp_path / "ledger" / "ledger.jsonl").read_bytes().startswith(before)
    rows = list(open_ledger(tmp_path).show())
    assert [row.kind for row in rows] == ["opened", "charge", "moved", "charge"]
    assert [row.version for row in rows] == [version, version, LEDGER_VERSION, LEDGER_VERSION]
    open_ledger(tmp_path).verify()


def test_a_ledger_that_nobody_holds_is_gone_at_once_with_all_its_rows(tmp_path: Path) -> None:
    gc.collect()
    gc.disable()  # by its count of references alone: a run opens a ledger for each message
    try:
        gone = weakref.ref(open_ledger(tmp_path))
        assert gone() is None
    finally:
        gc.enable()


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


def test_a_budget_can_be_asked_as_if_more_had_been_charged(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.charge(make_charge(), members=PATIENTS[:40], allowance=ALLOWANCE)
    before = (tmp_path / "ledger" / "ledger.jsonl").read_bytes()
    further = GaussianEvent(noise_multiplier=10.0, steps=15)
    asked = ledger.budget(PATIENTS[:40], allowance=ALLOWANCE, further=[further])
    fresh = ledger.budget(PATIENTS[40:], allowance=ALLOWANCE, further=[further])
    assert (tmp_path / "ledger" / "ledger.jsonl").read_bytes() == before
    # mu is sqrt(steps)/noise multiplier: 5 + 15 steps, and 15 alone
    assert asked.epsilon_spent == pytest.approx(gaussian_epsilon(20**0.5 / 10, 1e-5))
    assert fresh.epsilon_spent == pytest.approx(gaussian_epsilon(15**0.5 / 10, 1e-5))
    assert ledger.budget(PATIENTS[40:], allowance=ALLOWANCE).epsilon_spent == 0


def test_the_charges_of_a_patient_are_those_whose_lists_name_the_patient(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.charge(make_charge(1), members=PATIENTS[:40], allowance=ALLOWANCE)
    ledger.charge(make_charge(2), members=PATIENTS[20:], allowance=ALLOWANCE)
    assert [row.round for row in ledger.charges_of(PATIENTS[0])] == [1]
    assert [row.round for row in ledger.charges_of(PATIENTS[30])] == [1, 2]
    assert ledger.charges_of("patient-999") == ()
