"""A signing key is replaced with the old key's consent, and never are two keys in force."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from practice_site import ALLOWANCE, PATIENTS, SITE, clock, make_charge, open_ledger, site_key
from table_site import TableSites
from typer.testing import CliRunner

import client.gate.key_rotation
from client.command.app import app
from client.gate.key_rotation import rotate_key
from client.gate.ledger import Ledger
from client.site.approved import approved_plan
from server.federation.folder import Home, accept_key
from server.federation.plan import draft_plan, save_plan
from shared.errors import LedgerError, OsteoFedError, PolicyError
from shared.privacy.ledger_export import read_exports
from shared.privacy.ledger_format import encode_row, verify_chain
from shared.signing.key_rotation import KeyRotation, read_notice, write_notice
from shared.signing.keys import SigningKey, create_key

BY = "Grace Hopper"


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(OsteoFedError) as caught:
        call()
    return caught.value.code


def ledger_lines(folder: Path) -> list[bytes]:
    return (folder / "ledger" / "ledger.jsonl").read_bytes().splitlines()


def test_rows_before_are_of_the_old_key_and_rows_after_of_the_new(sites: TableSites) -> None:
    site = sites.site()
    sites.answer(sites.measure_request())
    spent = sites.gate().ledger.budget_of_everybody(allowance=site.policy.allowance)
    rotation, _ = rotate_key(site, by=BY)
    assert (rotation.old_key, rotation.new_key) == (site.key.public_hex, sites.site().key.public_hex)
    assert rotation.old_key != rotation.new_key
    ledger = sites.gate().ledger
    assert ledger.budget_of_everybody(allowance=site.policy.allowance) == spent
    ledger.charge(make_charge(7), members=["somebody"], allowance=ALLOWANCE)
    *before, last = ledger.show()
    assert [row.kind for row in (*before, last)][-2:] == ["rotated", "charge"]
    assert {row.public_key for row in before} == {rotation.old_key}
    assert last.public_key == rotation.new_key
    assert (before[-1].next_public_key, before[-1].approved_by) == (rotation.new_key, BY)
    ledger.verify()


def test_the_chain_verifies_from_any_key_of_the_site_and_from_no_other(tmp_path: Path) -> None:
    keys = [site_key(tmp_path), *(create_key(tmp_path / f"{n}.pem") for n in (1, 2))]
    ledger = open_ledger(tmp_path)
    for number, key in enumerate(keys[1:]):
        ledger.charge(make_charge(number), members=PATIENTS, allowance=ALLOWANCE)
        ledger.hand_over(key, by=BY)
    ledger.charge(make_charge(9), members=PATIENTS, allowance=ALLOWANCE)
    lines = ledger_lines(tmp_path)
    for key in keys:
        rows = verify_chain(lines, trusted_key=key.public_hex)
        assert [row.kind for row in rows] == ["opened", *["charge", "rotated"] * 2, "charge"]
    stranger = create_key(tmp_path / "stranger.pem")
    with pytest.raises(LedgerError, match="another key"):
        verify_chain(lines, trusted_key=stranger.public_hex)


def forged(rows_key: SigningKey, new: SigningKey, consent: SigningKey, folder: Path) -> list[bytes]:
    """A ledger's lines with a rotation to ``new``, the row signed by one key, consented by another."""
    last = open_ledger(folder).show()[-1]
    row = replace(
        last,
        index=last.index + 1,
        previous_sha256=last.sha256,
        kind="rotated",
        next_public_key=new.public_hex,
        approved_by=BY,
    )
    signed = replace(row, next_signature=consent.sign(row.rotation.content))
    return [*ledger_lines(folder), encode_row(signed, rows_key)]


def test_a_rotation_without_the_old_keys_or_the_new_keys_signature_is_refused(tmp_path: Path) -> None:
    own, new = site_key(tmp_path), create_key(tmp_path / "new.pem")
    open_ledger(tmp_path).charge(make_charge(1), members=PATIENTS, allowance=ALLOWANCE)
    assert verify_chain(forged(own, new, new, tmp_path), trusted_key=own.public_hex)
    for row_key, consent in ((new, new), (new, own), (own, own)):
        lines = forged(row_key, new, consent, tmp_path)
        assert code_of(lambda: verify_chain(lines, trusted_key=own.public_hex)) == "ledger.damaged"  # noqa: B023
        (tmp_path / "ledger" / "ledger.jsonl").write_bytes(b"\n".join([*lines[:-1], lines[-1]]))
        assert code_of(lambda: open_ledger(tmp_path)) == "ledger.damaged"
        (tmp_path / "ledger" / "ledger.jsonl").write_bytes(b"\n".join([*lines[:-1], b""]))


def test_consent_to_one_rotation_is_none_to_another(tmp_path: Path) -> None:
    # the new key signed for yesterday's head: rows that were added since are not what it vouches for
    own, new = site_key(tmp_path), create_key(tmp_path / "new.pem")
    ledger = open_ledger(tmp_path)
    consent = json.loads(forged(own, new, new, tmp_path)[-1])["row"]["next_signature"]
    ledger.charge(make_charge(1), members=PATIENTS, allowance=ALLOWANCE)
    last = ledger.show()[-1]
    row = replace(
        last,
        index=last.index + 1,
        previous_sha256=last.sha256,
        kind="rotated",
        next_public_key=new.public_hex,
        next_signature=consent,
    )
    lines = [*ledger_lines(tmp_path), encode_row(row, own)]
    assert code_of(lambda: verify_chain(lines, trusted_key=own.public_hex)) == "ledger.damaged"


def test_the_old_private_key_is_gone_and_whoever_kept_it_can_charge_nothing(sites: TableSites) -> None:
    site = sites.site()
    old, path = site.key, site.folder / "keys" / "signing.pem"
    secret = path.read_bytes()
    running = sites.gate().ledger  # a process that was answering meanwhile
    rotate_key(site, by=BY)
    assert sorted(each.name for each in path.parent.iterdir()) == [
        "node.key", "node.key.pub", "pseudonym.key", "signing.pem",
    ]  # fmt: skip
    assert path.stat().st_mode & 0o777 == 0o600
    assert not [
        each for each in site.folder.rglob("*") if each.is_file() and secret in each.read_bytes()
    ]
    before = ledger_lines(site.folder)
    for use in (
        lambda: running.charge(make_charge(8), members=["x"], allowance=ALLOWANCE),
        lambda: Ledger(site.folder / "ledger", site="elm", key=old, clock=clock),
    ):
        assert code_of(use) == "ledger.key-handed-over"
    assert ledger_lines(site.folder) == before


def test_an_approval_does_not_outlive_the_key_it_was_given_under(sites: TableSites) -> None:
    site, request = sites.site(), sites.train_request()
    rotate_key(site, by=BY)
    assert sites.refused(request) == "plan.not-approved"
    log = (site.folder / "approvals" / "log.jsonl").read_text().splitlines()
    decisions = [(json.loads(line)["decision"], json.loads(line)["by"]) for line in log]
    assert decisions == [("approved", "Grace Hopper"), ("refused", BY)]
    # even where somebody approves the old plan again: its roster names the old key
    fresh, own = sites.site(), sites.site().folder
    plan = fresh.approvals.import_plan(own / "plans" / f"{sites.plan_sha256}.json")
    assert fresh.approvals.last_approved(other_than="") is None
    fresh.approvals.decide(plan, "approved", by=BY, now=clock())
    assert sites.refused(request) == "plan.wrong-entry"


def test_a_new_plan_with_the_new_key_runs_and_the_charges_of_the_old_one_stand(
    sites: TableSites,
) -> None:
    plan, request = sites.plan, sites.train_request()
    sites.answer(request)
    rotation, notice = rotate_key(sites.site(), by=BY)
    home = Home(sites.folder / "coordinator")
    assert accept_key(home, notice) == rotation
    drafted = draft_plan(
        sites.asked,
        home.active_sites(),
        run="after",
        coordinator_key=plan.coordinator_key,
        now=clock(),
    )
    save_plan(home, drafted)
    approvals = sites.site().approvals
    approvals.decide(
        approvals.import_plan(home.run_folder("after") / "plan.json"), "approved", by=BY, now=clock()
    )
    assert approved_plan(sites.site(), drafted.sha256).plan == drafted
    sites.answer(replace(request, plan_sha256=drafted.sha256))
    assert sites.charges() == 2
    exported = sites.folder / "export.json"
    sites.gate().ledger.export(exported, allowance=sites.site().policy.allowance)
    for key in (rotation.old_key, rotation.new_key):  # an auditor with the first roster, or the second
        assert read_exports([exported], trusted_keys={"elm": key})["elm"].public_key == rotation.new_key


@pytest.mark.parametrize("step", ["_hand_over", "write_notice", "_end_approvals", "sync_folder"])
def test_a_rotation_that_was_interrupted_is_finished_by_doing_it_again(
    sites: TableSites, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    old = sites.site().key.public_hex
    with monkeypatch.context() as patched:
        patched.setattr(client.gate.key_rotation, step, die)
        with pytest.raises(KeyboardInterrupt):
            rotate_key(sites.site(), by=BY)
    if step in ("write_notice", "_end_approvals"):  # the ledger belongs to a key that is not in force
        assert code_of(sites.gate) == "ledger.key-handed-over"
    if step != "sync_folder":  # there the rotation was complete
        rotate_key(sites.site(), by=BY)
    rows = sites.gate().ledger.show()
    [row] = [row for row in rows if row.kind == "rotated"]
    assert (row.public_key, row.next_public_key) == (old, sites.site().key.public_hex)
    [notice] = (sites.site().folder / "rotations").iterdir()
    assert read_notice(notice, enrolled_keys={"elm": old}).new_key == sites.site().key.public_hex
    assert not (sites.site().folder / "keys" / "signing.next.pem").exists()
    assert sites.site().approvals.decision(sites.plan_sha256) == "refused"


def test_a_notice_counts_only_with_both_signatures_for_the_enrolled_key(tmp_path: Path) -> None:
    old, new, stranger = (create_key(tmp_path / f"{name}.pem") for name in ("old", "new", "other"))
    rotation = KeyRotation(
        site=SITE, old_key=old.public_hex, new_key=new.public_hex, ledger_head="a" * 64
    )
    path = tmp_path / "notice.json"

    def read(**changes: object) -> KeyRotation:
        write_notice(path, rotation, old=old, new_signature=new.sign(rotation.content))
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
        return read_notice(path, enrolled_keys={SITE: old.public_hex})

    assert read() == rotation
    signed = rotation.content
    for changes, code in (
        ({"site": "south"}, "ledger.forged-rotation"),
        ({"new_key": stranger.public_hex}, "ledger.forged-rotation"),
        ({"old_key": stranger.public_hex}, "ledger.forged-rotation"),
        ({"ledger_head": "b" * 64}, "ledger.forged-rotation"),
        ({"old_signature": stranger.sign(signed)}, "ledger.forged-rotation"),
        ({"new_signature": stranger.sign(signed)}, "ledger.forged-rotation"),
        ({"new_signature": old.sign(signed)}, "ledger.forged-rotation"),
        ({"version": 2}, "ledger.unknown-version"),
        ({"note": "x"}, "ledger.unreadable-rotation"),
        ({"site": ["elm"]}, "ledger.forged-rotation"),
    ):
        assert code_of(lambda: read(**changes)) == code  # noqa: B023
    read()
    assert code_of(lambda: read_notice(path, enrolled_keys={SITE: new.public_hex})) == (
        "ledger.forged-rotation"
    )
    assert code_of(lambda: read_notice(tmp_path, enrolled_keys={SITE: old.public_hex})) == (
        "ledger.unreadable-rotation"
    )


def test_nobody_rotates_a_key_without_a_name_or_over_a_damaged_ledger(sites: TableSites) -> None:
    with pytest.raises(PolicyError, match="first and last name"):
        rotate_key(sites.site(), by="Grace")
    path = sites.gate().ledger and sites.site().folder / "ledger" / "ledger.jsonl"
    kept = path.read_bytes()
    path.write_bytes(b"{}\n" + kept)
    assert code_of(lambda: rotate_key(sites.site(), by=BY)) == "ledger.damaged"
    path.write_bytes(kept)
    assert [row.kind for row in sites.gate().ledger.show()] == ["opened"]


def test_the_command_replaces_the_key_and_names_the_notice(sites: TableSites) -> None:
    folder, before = sites.site().folder, sites.site().key.public_hex
    done = CliRunner().invoke(
        app, ["rotate-key", "--by", BY, "--folder", str(folder), "--json"], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert (facts["old key"], facts["new key"]) == (before, sites.site().key.public_hex)
    notice = Path(facts["notice for the coordinator"])
    assert read_notice(notice, enrolled_keys={"elm": before}).new_key == facts["new key"]
    shown = CliRunner().invoke(app, ["ledger", "verify", "--folder", str(folder), "--json"])
    assert json.loads(shown.stdout)["verdict"] == "intact"
