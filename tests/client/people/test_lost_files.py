"""A ledger or linkage file that is gone is not taken for one that never was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from table_federation import HERE, write_table
from table_site import TableSites
from typer.testing import CliRunner

from client.cohort.versions import current_cohort
from client.command.app import app
from client.doctor.examine import look_at_site
from client.gate.ledger import find_ledger
from client.people.purge import purge
from client.people.withdrawal import models_that_saw, withdraw
from client.rehearsal.price import price_plan
from client.site.folder import Site, create_site, open_site
from client.site.profile import SiteProfile
from shared.errors import IntakeError, LedgerError

BY = "Grace Hopper"
TRACES = ("ledger-witness.json", "ledger/countersigned.jsonl", "ledger/members", "outbox/outbox.jsonl")


@pytest.fixture
def trained(sites: TableSites) -> TableSites:
    """A site whose ledger holds a charge and whose coordinator has countersigned it."""
    sites.answer(sites.train_request())
    (sites.site().folder / "ledger" / "countersigned.jsonl").touch()
    return sites


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize("trace", TRACES)
@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"")])
def test_each_trace_of_a_ledger_shows_that_it_is_gone(
    trained: TableSites, trace: str, harm: Callable[[Path], object]
) -> None:
    folder = trained.site().folder
    for other in set(TRACES) - {trace}:
        remove(folder / other)
    rows = folder / "ledger" / "ledger.jsonl"
    harm(rows)
    with pytest.raises(LedgerError) as caught:
        find_ledger(trained.site())
    assert caught.value.code == "ledger.missing"
    with pytest.raises(LedgerError):
        trained.gate()  # begins no ledger anew, which would give every budget back
    assert not rows.exists() or not rows.read_bytes()


def test_where_nothing_was_charged_there_is_no_ledger_and_none_is_begun(
    sites: TableSites, tmp_path: Path
) -> None:
    create_site(tmp_path / "fern", name="fern", declared_patients=100, profile=SiteProfile())
    for folder in (
        tmp_path / "fern",
        sites.site("hop").folder,
    ):  # one approved a plan and trained never
        before = sorted(folder.rglob("*"))
        assert find_ledger(open_site(folder)) is None
        assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    "asked",
    [
        ("statement", "nope"),
        ("register", "nope"),
        ("ledger", "show"),
        ("ledger", "verify"),
        ("ledger", "export", "export.json"),
    ],
)
def test_a_look_at_a_site_where_nothing_was_charged_says_so_and_writes_nothing(
    tmp_path: Path, asked: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    create_site(tmp_path, name="fern", declared_patients=100, profile=SiteProfile())
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    done = CliRunner().invoke(app, [*asked, "--folder", str(tmp_path), "--json"])
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert told["error"] == "ledger.nothing-charged"
    assert "nothing was ever charged here" in told["fact"]
    assert sorted(tmp_path.rglob("*")) == before


def test_a_ledger_with_charges_is_verified_by_the_command(trained: TableSites) -> None:
    folder = str(trained.site().folder)
    done = CliRunner().invoke(app, ["ledger", "verify", "--folder", folder, "--json"])
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    rows = trained.gate().ledger.show()
    assert told == {"rows": len(rows), "head": rows[-1].sha256, "verdict": "intact"}


def test_a_look_into_the_outbox_of_a_site_that_sent_nothing_writes_nothing(tmp_path: Path) -> None:
    create_site(tmp_path, name="fern", declared_patients=100, profile=SiteProfile())
    before = sorted(tmp_path.rglob("*"))
    done = CliRunner().invoke(app, ["outbox", "--folder", str(tmp_path), "--json"])
    assert (done.exit_code, json.loads(done.stdout)) == (0, [])
    assert sorted(tmp_path.rglob("*")) == before


def test_stored_replies_are_closed_to_others(trained: TableSites) -> None:
    replies = trained.site().folder / "replies"
    assert any(replies.iterdir())
    assert replies.stat().st_mode & 0o077 == 0


def test_a_run_that_the_ledger_does_not_know_is_named_beside_those_it_does(
    trained: TableSites, tmp_path: Path
) -> None:
    folder = trained.site().folder
    for asked in (("statement", "nope"), ("register", "nope")):
        arguments = ["--folder", str(folder), "--out", str(tmp_path / "out"), "--json"]
        done = CliRunner().invoke(app, [*asked, *arguments])
        told = json.loads(done.stdout)
        assert told["error"] == "audit.no-such-run"
        assert "cytology" in told["fact"]


def test_nothing_goes_on_as_if_nobody_had_been_charged(trained: TableSites) -> None:
    site = trained.site()
    cohort = current_cohort(site, "breast_cytology")
    (site.folder / "ledger" / "ledger.jsonl").unlink()
    for use in (
        lambda: models_that_saw(site, cohort.patients()[0]),
        lambda: price_plan(site, trained.plan, cohort),
        lambda: purge(site, by=BY),
    ):
        with pytest.raises(LedgerError) as caught:
            use()
        assert caught.value.code == "ledger.missing"
    assert current_cohort(site, "breast_cytology").exams
    [line] = [line for line in look_at_site(site.folder, is_quick=True) if line.name == "ledger"]
    assert line.state == "problem"
    assert "restore" in line.remedy


def test_a_lost_ledger_does_not_keep_a_person_in(trained: TableSites) -> None:
    site = trained.site()
    member = current_cohort(site, "breast_cytology").patients()[0]
    identity = site.linkage.identity_of(member)
    assert identity is not None
    (site.folder / "ledger" / "ledger.jsonl").unlink()
    arguments = ["--by", BY, "--folder", str(site.folder), "--patient-id", identity.patient_id]
    done = CliRunner().invoke(app, ["withdraw", "--yes", *arguments])
    assert done.exit_code == 1
    assert "not known: ledger.jsonl is gone" in done.stderr
    assert "ledger.missing" in done.stderr
    assert member not in current_cohort(site, "breast_cytology").patients()
    assert open_site(site.folder).linkage.is_withdrawn(member)


def keep_cohorts(site: Site) -> None:
    shutil.rmtree(site.folder / "ledger", ignore_errors=True)


def keep_member_lists(site: Site) -> None:
    shutil.rmtree(site.cohorts)


@pytest.mark.parametrize("keep", [keep_cohorts, keep_member_lists])
def test_a_lost_linkage_file_stops_everything_that_would_forget_withdrawals(
    trained: TableSites, tmp_path: Path, keep: Callable[[Site], None]
) -> None:
    site = trained.site()
    withdraw(site, "P00003", by=BY)
    keep(site)
    (site.folder / "linkage" / "linkage.bin").unlink()
    with pytest.raises(IntakeError) as caught:
        _ = open_site(site.folder).linkage
    assert caught.value.code == "intake.linkage-missing"
    [line] = [line for line in look_at_site(site.folder, is_quick=True) if line.name == "linkage"]
    assert line.state == "problem"
    assert "restore" in line.remedy
    write_table(tmp_path / "again" / "clinical.csv", range(150))
    schema = HERE / "cohort.yaml"
    arguments = ["--folder", str(site.folder), "--schema", str(schema)]
    taken = CliRunner().invoke(app, ["ingest", str(tmp_path / "again"), *arguments])
    assert taken.exit_code == 1
    assert "intake.linkage-missing" in taken.stderr
    with pytest.raises(IntakeError):
        withdraw(open_site(site.folder), "P00004", by=BY)


def test_a_purge_keeps_the_linkage_file_and_its_loss_is_seen_afterwards(sites: TableSites) -> None:
    site = sites.site()
    withdraw(site, "P00003", by=BY)
    purge(site, by=BY)
    shutil.rmtree(site.folder / "ledger", ignore_errors=True)
    assert open_site(site.folder).linkage.is_withdrawn(site.pseudonyms.patient_key("", "P00003"))
    (site.folder / "linkage" / "linkage.bin").unlink()
    with pytest.raises(IntakeError) as caught:
        _ = open_site(site.folder).linkage
    assert caught.value.code == "intake.linkage-missing"


def test_a_new_site_has_an_empty_linkage_file(tmp_path: Path) -> None:
    create_site(tmp_path, name="fern", declared_patients=100, profile=SiteProfile())
    assert not open_site(tmp_path).linkage.is_withdrawn(
        open_site(tmp_path).pseudonyms.patient_key("", "1")
    )
    [line] = [line for line in look_at_site(tmp_path, is_quick=True) if line.name == "linkage"]
    assert line.state == "ok"
