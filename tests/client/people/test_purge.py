"""A purge deletes every trace of patients' data, keeps what proves the past, and signs what it did."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
from practice_intake import ingest_with
from table_site import TableSites
from typer.testing import CliRunner

import client.people.purge as purging
from client.cohort.versions import current_cohort
from client.cohort_page.page import write_cohort_page
from client.command.app import app
from client.gate.statement import make_statement
from client.people.identity import IDENTITY_LOG, find_patient
from client.people.purge import DELETED, KEPT, purge, read_purge
from client.people.withdrawal import withdraw
from client.site.folder import Site, open_site
from shared.errors import IntakeError, LedgerError, PolicyError

BY = "Grace Hopper"
NUMBER = "P00003"


@pytest.fixture
def ended(sites: TableSites) -> Site:
    """A site that trained, looked somebody up, wrote a page, and from which somebody withdrew."""
    sites.answer(sites.train_request())
    sites.gate().refuse(RuntimeError(f"film of {NUMBER}"), plan_sha256=sites.plan_sha256)
    withdraw(sites.site(), "P00007", by=BY)
    find_patient(sites.site(), NUMBER, by=BY)
    write_cohort_page(sites.site(), current_cohort(sites.site(), "breast_cytology"))
    return sites.site()


def pieces(folder: Path, *names: str) -> dict[str, bytes]:
    found = {}
    for name in names:
        paths = [folder / name, *(folder / name).rglob("*")]
        found |= {str(path.relative_to(folder)): path.read_bytes() for path in paths if path.is_file()}
    return found


def test_no_patients_data_is_left_and_no_identity(ended: Site) -> None:
    exam = current_cohort(ended, "breast_cytology").exams[0].exam.encode()
    number_of = ended.linkage.identity_of
    patient = current_cohort(ended, "breast_cytology").patients()[0]
    assert number_of(patient) is not None
    purge(ended, by=BY)
    remaining = {path: path.read_bytes() for path in ended.folder.rglob("*") if path.is_file()}
    assert not [path for path, data in remaining.items() if exam in data or NUMBER.encode() in data]
    assert open_site(ended.folder).linkage.identity_of(patient) is None
    for name in set(DELETED) - {"log"}:
        assert not (ended.folder / name).exists()


def test_what_proves_the_past_is_kept_to_the_byte(ended: Site) -> None:
    names = ("ledger", "ledger-witness.json", "approvals", "plans", "outbox", "keys", "policy.yaml")
    before = pieces(ended.folder, *names, str(IDENTITY_LOG))
    assert any("members" in name for name in before)
    assert str(IDENTITY_LOG) in before
    purge(ended, by=BY)
    assert pieces(ended.folder, *names, str(IDENTITY_LOG)) == before
    assert [path.name for path in (ended.folder / "log").iterdir()] == [IDENTITY_LOG.name]
    assert make_statement(open_site(ended.folder), "cytology").predicate.cost.run_epsilon


def test_who_withdrew_stays_out_and_budgets_stay_bound_after_a_new_intake(
    ended: Site, sites: TableSites
) -> None:
    purge(ended, by=BY)
    site = open_site(ended.folder)
    report = ingest_with(
        sites.folder / "archives" / "elm",
        store=site.cohorts,
        schema=sites.plan.settings.cohort,
        profile=site.settings.profile,
        pseudonyms=site.pseudonyms,
        linkage=site.linkage,
        clock=site.clock,
    )
    withdrawn = site.pseudonyms.patient_key("", "P00007")
    assert withdrawn not in report.cohort.patients()
    budget = sites.gate().ledger.budget(
        report.cohort.patients("train"), allowance=site.policy.allowance
    )
    assert budget.epsilon_spent > 0


def test_the_record_is_signed_and_names_what_went_what_stayed_and_what_it_cannot_reach(
    ended: Site,
) -> None:
    cohorts = {
        f"breast_cytology {path.name}": json.loads((path / "cohort.json").read_bytes())["fingerprint"]
        for path in (ended.cohorts / "breast_cytology").glob("v*")
    }
    (ended.folder / "notes.txt").write_text("of the data manager")
    done = purge(ended, by=BY)
    record = read_purge(done.record, site_key=ended.key.public_hex)
    assert (record["by"], record["site"]) == (BY, "elm")
    assert record["cohorts"] == cohorts
    assert len(cohorts) == 2
    assert record["left"] == ["notes.txt"]
    assert (ended.folder / "notes.txt").exists()
    assert "backups" in str(record["caveat"])
    assert record["ledger_head"]
    for name in ("P0", "patients_"):
        assert name not in done.record.read_text()


def test_the_record_lists_what_was_there_and_names_the_log_that_stays(ended: Site) -> None:
    (ended.folder / "readings").mkdir()
    (ended.folder / "readings" / "heat-map.png").write_bytes(b"film")
    before = {path.name for path in ended.folder.iterdir()}
    assert not before >= set(DELETED)
    done = purge(ended, by=BY)
    record = read_purge(done.record, site_key=ended.key.public_hex)
    assert record["deleted"] == [f"{name}: {DELETED[name]}" for name in DELETED if name in before]
    assert not (ended.folder / "readings").exists()
    assert [line for line in record["kept"] if line.startswith(str(IDENTITY_LOG))]
    again = purge(open_site(ended.folder), by=BY)
    assert again.deleted == ()
    assert again.left == ()


def test_a_link_is_deleted_and_named_and_what_it_leads_to_is_not_touched(
    ended: Site, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    for name in ("fetched", "second"):
        (disk / name).mkdir(parents=True)
        (disk / name / "film").write_bytes(b"film")
    (ended.folder / "staging").symlink_to(disk / "fetched")
    (ended.cohorts / "second").symlink_to(disk / "second")
    done = purge(ended, by=BY)
    assert (disk / "fetched" / "film").exists()
    assert (disk / "second" / "film").exists()
    assert not (ended.folder / "staging").is_symlink()
    assert not ended.cohorts.exists()
    assert "staging" not in {line.partition(":")[0] for line in done.deleted}
    assert [line.partition(":")[0] for line in done.left] == [
        f"cohorts/second -> {disk / 'second'}",
        f"staging -> {disk / 'fetched'}",
    ]


@pytest.mark.parametrize("name", ["cohorts", "cohorts/breast_cytology"])
def test_a_mount_point_is_emptied_and_named(
    ended: Site, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    mounted, rmdir = ended.folder / name, Path.rmdir

    def refuse_the_mount_point(path: Path) -> None:
        if path == mounted:
            raise OSError(errno.EBUSY, "Device or resource busy")
        rmdir(path)

    monkeypatch.setattr(Path, "rmdir", refuse_the_mount_point)
    done = purge(ended, by=BY)
    assert list(mounted.iterdir()) == []
    assert done.left == (f"{name}: a mount point, empty",)
    assert not (ended.folder / "replies").exists()


def test_a_changed_record_or_one_of_another_key_is_refused(ended: Site, sites: TableSites) -> None:
    path = purge(ended, by=BY).record
    with pytest.raises(IntakeError, match="another key"):
        read_purge(path, site_key=sites.site("hop").key.public_hex)
    path.write_text(path.read_text().replace(BY, "Somebody Else"))
    with pytest.raises(IntakeError):
        read_purge(path, site_key=ended.key.public_hex)
    path.write_text("{}")
    with pytest.raises(IntakeError):
        read_purge(path, site_key=ended.key.public_hex)


def test_a_purge_that_was_cut_off_is_finished_with_all_fingerprints(
    ended: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete = purging._delete

    def die_after_the_cohorts(path: Path, spared: Path) -> list[Path]:
        if path.name == "cache":
            raise OSError
        return delete(path, spared)

    (ended.folder / "cache").mkdir(exist_ok=True)
    monkeypatch.setattr(purging, "_delete", die_after_the_cohorts)
    with pytest.raises(OSError):
        purge(ended, by=BY)
    assert not ended.cohorts.exists()
    assert (ended.folder / "replies").exists()
    monkeypatch.undo()
    (ended.folder / "staging").mkdir()  # what came in between goes too
    done = purge(open_site(ended.folder), by=BY)
    assert not (ended.folder / "staging").exists()
    assert len(done.cohorts) == 2
    assert not [line for line in done.cohorts if "unreadable" in line]
    deleted = [line.partition(":")[0] for line in done.deleted]
    assert deleted == ["cohorts", "cache", "pages", "replies", "staging", "log"]
    assert sorted(path.name for path in (ended.folder / "purges").iterdir()) == [done.record.name]


def test_every_entry_of_a_site_is_either_deleted_or_kept(ended: Site) -> None:
    assert not set(DELETED) & set(KEPT)
    assert {path.name for path in ended.folder.iterdir()} <= set(DELETED) | set(KEPT)


def test_nothing_is_deleted_without_a_name_or_over_a_damaged_ledger(ended: Site) -> None:
    with pytest.raises(PolicyError):
        purge(ended, by="Grace")
    ledger = ended.folder / "ledger" / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes().replace(b"cytology", b"cytolog1"))
    with pytest.raises(LedgerError):
        purge(ended, by=BY)
    assert current_cohort(ended, "breast_cytology").exams


def test_the_command_does_nothing_without_an_explicit_yes(ended: Site) -> None:
    run, arguments = CliRunner().invoke, ["purge", "--by", BY, "--folder", str(ended.folder)]
    for answer in ("\n", "n\n", ""):
        refused = run(app, arguments, input=answer)
        assert refused.exit_code == 1
        assert "policy.not-confirmed" in refused.stderr
    assert current_cohort(ended, "breast_cytology").exams
    told = json.loads(run(app, [*arguments, "--yes", "--json"]).stdout)
    assert Path(told["record"]).exists()
    assert not ended.cohorts.exists()
