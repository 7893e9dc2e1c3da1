"""Files that are handed over: each is in the outbox, byte for byte, before it lies outside."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from table_site import TableSites
from typer.testing import CliRunner

import client.gate.export
from client.command.app import app
from client.gate.outbox import Departure
from client.gate.statement import make_statement
from shared.privacy.ledger_export import read_exports
from shared.signing.canonical import hash_file


def do(sites: TableSites, *words: str) -> None:
    done = CliRunner().invoke(
        app, [*words, "--folder", str(sites.site().folder), "--json"], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output


def exported(sites: TableSites) -> list[Departure]:
    return [each for each in sites.gate().outbox.show() if each.channel.startswith("export.")]


def test_every_byte_of_a_handed_over_file_is_in_the_outbox(sites: TableSites, tmp_path: Path) -> None:
    sites.answer(sites.train_request())
    ledger, statement = tmp_path / "ledger.json", tmp_path / "statement.json"
    do(sites, "ledger", "export", str(ledger))
    do(sites, "statement", "cytology", "--out", str(statement))
    files = [ledger, statement, statement.with_suffix(".txt")]
    assert [
        (each.channel, each.release_class, each.message, each.plan_sha256) for each in exported(sites)
    ] == [
        ("export.ledger", "status", "LedgerExport", ""),
        ("export.statement", "status", "Statement", sites.plan_sha256),
        ("export.statement", "status", "StatementPage", sites.plan_sha256),
    ]
    assert [(each.n_bytes, each.payload_sha256) for each in exported(sites)] == [
        (path.stat().st_size, hash_file(path)) for path in files
    ]
    assert {each.epsilon for each in exported(sites)} == {0.0}
    shown = CliRunner().invoke(app, ["outbox", "--folder", str(sites.site().folder), "--json"])
    assert [row["channel"] for row in json.loads(shown.stdout)][1:] == [
        each.channel for each in exported(sites)
    ]
    key = sites.site().key.public_hex
    assert read_exports([ledger], trusted_keys={"elm": key})["elm"].site == "elm"


def test_nothing_that_is_handed_over_tells_a_finer_time_than_the_hour(
    sites: TableSites, tmp_path: Path
) -> None:
    sites.answer(sites.train_request())
    folder = sites.site().folder
    outbox = folder / "outbox" / "outbox.jsonl"
    [line] = outbox.read_text().splitlines()
    fine = json.loads(line)["utc"].replace(":00:00+", ":59:59.123456+")
    outbox.write_text(json.dumps(json.loads(line) | {"utc": fine}) + "\n")  # as earlier releases wrote
    do(sites, "ledger", "export", str(tmp_path / "ledger.json"))
    do(sites, "statement", "cytology", "--out", str(tmp_path / "statement.json"))
    text = (tmp_path / "ledger.json").read_text() + "".join(outbox.read_text().splitlines()[1:])
    text += make_statement(sites.site(), "cytology").predicate.model_dump_json()
    times = re.findall(r"\d{4}-\d\d-\d\dT[^\"]*", text)
    assert len(times) > 5
    assert {time[13:] for time in times} == {":00:00+00:00"}
    assert {json.loads(line)["utc"][13:] for line in outbox.read_text().splitlines()[1:]} == {
        ":00:00+00:00"
    }


def test_a_file_is_logged_before_it_lies_outside(
    sites: TableSites, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(client.gate.export, "write_atomic", fail)
    site, out = sites.site(), tmp_path / "ledger.json"
    with pytest.raises(OSError, match="disk full"):
        client.gate.export.export_ledger(site, sites.gate().ledger, out)
    assert [each.channel for each in exported(sites)] == ["export.ledger"]
    assert not out.exists()


def test_a_ledger_export_lists_no_patient(sites: TableSites, tmp_path: Path) -> None:
    sites.answer(sites.train_request())
    do(sites, "ledger", "export", str(tmp_path / "ledger.json"))
    text = (tmp_path / "ledger.json").read_text()
    for members in (sites.site().folder / "ledger" / "members").iterdir():
        patients = json.loads(members.read_text())
        assert patients
        assert not [patient for patient in patients if patient in text]


def test_a_statement_counts_the_files_of_its_run_that_left_before_it(
    sites: TableSites, tmp_path: Path
) -> None:
    sites.answer(sites.train_request())
    assert make_statement(sites.site(), "cytology").predicate.n_other_messages == {}
    do(sites, "ledger", "export", str(tmp_path / "ledger.json"))  # of all runs, so of none
    do(sites, "statement", "cytology", "--out", str(tmp_path / "statement.json"))
    predicate = make_statement(sites.site(), "cytology").predicate
    assert predicate.n_other_messages == {"status": 2}
    assert [each.channel for each in predicate.releases] == ["train"]
