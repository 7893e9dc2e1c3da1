"""A release is measured at hospitals that enrolled later: planned, approved, measured, reported."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from late_hospital import BY, Hospital, approve_plan, enrol_late, ingest_rows
from practice_commands import Coordinator
from table_federation import write_table
from typer.testing import CliRunner

from client.gate.ledger import require_ledger
from client.intake.accrue import accept_lock, accrue
from client.site.folder import open_site
from server.federation.folder import Home
from server.run.prepare import prepare
from server.run.release import lock_run
from shared.audit.command import app as auditor
from shared.privacy.ledger_format import LedgerRow
from shared.signing.canonical import canonical_json

LOCKED = datetime(2020, 6, 1, tzinfo=UTC)


def validated(own: Coordinator, stage: str, hospital: Hospital) -> list[dict[str, object]]:
    """The rows that a validation tells, asked of one hospital's folder."""
    alone = replace(own, sites={"kay": hospital.folder})
    done = alone.with_sites("validate", "later", stage, "--json")
    assert done.exit_code == 0, done.output
    return list(json.loads(done.stdout))


def charges(hospital: Hospital) -> list[LedgerRow]:
    """What the hospital's ledger was charged."""
    rows = require_ledger(open_site(hospital.folder)).show()
    return [row for row in rows if row.kind == "charge"]


def accrue_rows(hospital: Hospital, lock_file: Path, rows: range) -> None:
    """Patients who came after the lock, and a clock that stands later still."""
    archive = hospital.folder.parent / "since"
    write_table(archive / "clinical.csv", rows)
    table = archive / "clinical.csv"
    table.write_text(table.read_text().replace("2020-03-01", "2020-09-01"))
    site = open_site(hospital.folder, clock=lambda: datetime(2021, 1, 1, tzinfo=UTC))
    then = open_site(hospital.folder, clock=lambda: LOCKED)
    accrue(site, accept_lock(then, lock_file, by=BY), archive)


def test_a_hospital_that_enrols_later_measures_an_earlier_release(
    make_coordinator: Callable[..., Coordinator], tmp_path: Path
) -> None:
    own = make_coordinator()
    assert own.with_sites("launch", own.run).exit_code == 0
    kay = enrol_late(own, tmp_path / "kay")
    asked = ("plan", "later", "--release", own.run, "--only")
    assert own.told(*asked, "nobody")["error"] == "plan.not-enrolled"
    assert own.told("plan", "other", "--epsilon", "2")["error"] == "plan.needs-release"
    assert own.told("plan", "other", "task=x", "--release", own.run)["error"] == (
        "plan.settings-of-release"
    )
    planned = own.told(*asked, "kay", "--epsilon", "2")
    assert [row["stage"] for row in planned["stages"]] == ["external", "prospective"]
    assert own.told("launch", "later")["error"] == "run.no-training"
    # Who is asked for a table of a cohort needs one before approving.
    ingest_rows(kay, range(460, 560))
    approve_plan(kay, Path(str(planned["file for the sites"])))

    # Prospective: everybody came after the lock, and nobody is in the cohort.
    store = prepare(Home(own.home), "later")
    lock_run(store, Home(own.home).key(), now=LOCKED, days=30)
    accrue_rows(kay, store.lock_file, range(350, 450))
    [row] = validated(own, "prospective", kay)
    assert (row["site"], row["kind"], row["status"]) == ("kay", "prospective", "measured")

    # External: the whole cohort, charged once however often it is asked.
    [row] = validated(own, "external", kay)
    assert (row["site"], row["kind"], row["status"]) == ("kay", "external", "measured")
    assert 1.9 < float(str(row["epsilon"])) <= 2.0
    assert validated(own, "external", kay) == [row]
    assert [(each.run, each.stage, each.purpose) for each in charges(kay)] == [
        ("later", "prospective", "evaluate.prospective"),
        ("later", "external", "evaluate.external"),
    ]

    report = own.told("report", "later")
    data = json.loads(Path(str(report["report.json"])).read_text())
    assert (data["training"], data["rounds"]) == (None, [])
    assert data["measured"]["run"] == own.run
    assert data["release_sha256"] == own.told("release", own.run)["release"]
    assert {(row["site"], row["kind"]) for row in data["validation"]} == {
        ("kay", "prospective"),
        ("kay", "external"),
    }
    assert f"of run “{own.run}”" in Path(str(report["report.html"])).read_text()
    assert own.told("status", "later")["committed rounds"] == "none: it only measures"

    # An auditor finds nothing wrong, and another run's release in its place.
    ledger = tmp_path / "ledger.json"
    kay.must("ledger", "export", str(ledger))
    assert "fail" not in recounted(own, ledger, "later", tmp_path)
    assert "fail" in recounted(own, ledger, "other", tmp_path)


def recounted(own: Coordinator, ledger: Path, release: str, out: Path) -> list[str]:
    """Verdicts of an auditor about the validation, with the release that lies in a run's folder."""
    runs = own.home / "runs"
    if release == "other":  # of the same run, under another record
        shutil.copytree(runs / "later" / "release", runs / "other")
        path = runs / "other" / "release.json"
        content = json.loads(path.read_bytes())["content"] | {"rounds": 9}
        key = Home(own.home).key()
        signed = {"content": content, "signature": key.sign(canonical_json(content))}
        path.write_text(json.dumps(signed))
    folder = runs / "other" if release == "other" else runs / "later" / "release"
    said = ("--ledger", str(ledger), "--run", str(runs / "later"), "--release", str(folder))
    words = ["recount", str(runs / "later" / "plan.json"), *said, "--out", str(out), "--json"]
    done = CliRunner().invoke(auditor, words)
    findings = json.loads(done.stdout)["findings"]
    return [str(each["verdict"]) for each in findings]
