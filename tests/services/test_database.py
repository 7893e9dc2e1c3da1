"""Rows from a real PostgreSQL; and a cohort by the command alone, from a PACS and a database."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
import sqlalchemy
import yaml
from practice_services import LOGIN, Pacs

from client.intake.clinical import interpret_rows, read_table
from client.intake.sources.tables import sql_table
from client.site.profile import SiteProfile
from server.synthetic.folder import write_hospital
from server.synthetic.hospitals import BIRCH, Defects, intake_profile
from shared.errors import IntakeError
from shared.exam.schema import CohortSchema, read_schema

pytestmark = pytest.mark.services

ROOT = Path(__file__).parents[2]
PROFILE = SiteProfile(dxa_vendor="lunar", dxa_skeletal_site="femoral_neck", separator=";", decimal=",")


@pytest.fixture(scope="module")
def schema() -> CohortSchema:
    return read_schema(ROOT / "configs" / "cohort" / "hip_bmd.yaml")


@pytest.fixture(scope="module")
def hospital(database: str, tmp_path_factory) -> Path:
    """A hospital whose clinical table lies in the database, with typed columns."""
    from dataclasses import replace

    folder = tmp_path_factory.mktemp("hospital")
    write_hospital(folder, replace(BIRCH, n_patients=16, defects=Defects(missing_label=1)), 5)
    header, rows = read_table(folder / "clinical.csv", PROFILE)
    numbers = {"age", "height", "weight", "bmi", "alcohol", "activity", "bmd_neck"}
    kinds = [
        "date" if name == "exam_date" else "numeric" if name in numbers else "text" for name in header
    ]
    engine = sqlalchemy.create_engine(database)
    with engine.begin() as connection:
        columns = ", ".join(f'"{name}" {kind}' for name, kind in zip(header, kinds, strict=True))
        connection.exec_driver_sql(f"CREATE TABLE dxa ({columns})")
        for row in rows:
            cells = [
                None
                if PROFILE.is_missing(cell)
                else cell.replace(",", ".")
                if kind == "numeric"
                else cell
                for cell, kind in zip(row.cells.values(), kinds, strict=True)
            ]
            marks = ", ".join(["%s"] * len(cells))
            connection.exec_driver_sql(f"INSERT INTO dxa VALUES ({marks})", tuple(cells))
    engine.dispose()
    return folder


def test_postgres_rows_are_the_csv_rows(database, hospital, schema):
    def understand(header, rows):
        return interpret_rows(header, rows, schema=schema, profile=PROFILE, today=date(2030, 1, 1)).rows

    table = sql_table(database, "SELECT * FROM dxa", schema, PROFILE)
    rows = understand(table.header, table.rows)
    assert len(rows) >= 16
    key = lambda row: (row.patient_id, row.day)  # noqa: E731
    expected = understand(*read_table(hospital / "clinical.csv", PROFILE))
    strip = [(row.patient_id, row.day, row.values, row.label) for row in sorted(rows, key=key)]
    assert strip == [
        (row.patient_id, row.day, row.values, row.label) for row in sorted(expected, key=key)
    ]


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM dxa RETURNING *",
        "WITH gone AS (DELETE FROM dxa RETURNING *) SELECT * FROM gone",
        "SELECT 1; DROP TABLE dxa",
        "COMMIT; DELETE FROM dxa",
        "SELECT set_config('transaction_read_only', 'off', false); DELETE FROM dxa",
    ],
)
def test_a_query_cannot_write(database, hospital, schema, query):
    before = len(sql_table(database, "SELECT * FROM dxa", schema, PROFILE).rows)
    with pytest.raises(IntakeError) as refusal:
        sql_table(database, query, schema, PROFILE)
    assert refusal.value.code == "intake.unreadable-table"
    assert len(sql_table(database, "SELECT * FROM dxa", schema, PROFILE).rows) == before


def test_a_query_that_does_not_end_is_given_up(database, schema):
    with pytest.raises(IntakeError):
        sql_table(database, "SELECT pg_sleep(60)", schema, PROFILE, timeout_s=1)


def site(folder: Path) -> None:
    run("init", "birch", "--declared-patients", "20", "--folder", str(folder))
    path = folder / "site.yaml"
    content = yaml.safe_load(path.read_text())
    content["profile"] = intake_profile(BIRCH)
    path.write_text(yaml.safe_dump(content))


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-c", "from client.command.app import app; app()", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"} | environment,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done


def test_one_command_makes_a_cohort_from_a_pacs_and_a_database(
    pacs: Pacs, database, hospital, tmp_path
):
    assert pacs.push(hospital / "films")
    (tmp_path / "dxa.sql").write_text("SELECT * FROM dxa\n")
    rows = ["--sql", str(tmp_path / "dxa.sql")]
    secrets = {"OSTEOFED_TABLE_URL": database, "OSTEOFED_DICOMWEB_LOGIN": LOGIN}
    fingerprints = set()
    dimse = ["--dimse", f"127.0.0.1:{pacs.dimse_port}", "--called-aet", pacs.called_aet]
    for name, films in {
        "folder": ["--films", str(hospital / "films")],
        "web": ["--dicomweb", pacs.url],
        "get": [*dimse, "--workers", "2"],
        "move": [*dimse, "--move", "--listen", f"127.0.0.1:{pacs.move_port}"],
    }.items():
        site(tmp_path / name)
        done = run("ingest", *films, *rows, "--folder", str(tmp_path / name), "--json", **secrets)
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert report["is_new"]
        fingerprints.add((report["exams"], report["films"]["used"], report["rows"]["used"]))
        shown = done.stdout + done.stderr
        assert LOGIN.partition(":")[2] not in shown
        assert sqlalchemy.make_url(database).password not in shown
        again = run("ingest", *films, *rows, "--folder", str(tmp_path / name), "--json", **secrets)
        assert not json.loads(again.stdout)["is_new"]
    assert len(fingerprints) == 1
    assert fingerprints.pop()[0] >= 14


def test_missing_or_doubled_sources_and_secrets_are_named(pacs, tmp_path):
    home = tmp_path / "site"
    site(home)
    (tmp_path / "q.sql").write_text("SELECT 1")
    for arguments, code in {
        (): "intake.no-source",
        ("--films", "x"): "intake.no-source",
        ("--films", "x", "--dicomweb", "http://x", "--table", "t.csv"): "intake.several-sources",
        ("--films", "x", "--sql", str(tmp_path / "q.sql")): "intake.no-table-url",
        ("--dicomweb", "http://ada:pw@x/y", "--table", "t.csv"): "intake.invalid-pacs-url",
        ("--dimse", "nowhere", "--table", "t.csv"): "intake.invalid-address",
    }.items():
        done = run("ingest", *arguments, "--folder", str(home), "--json")
        assert json.loads(done.stdout)["error"] == code
        assert "ada:pw" not in done.stdout + done.stderr
    clear = run(
        "ingest", "--dicomweb", "http://pacs.example/dicom-web", "--table", "t.csv", "--folder",
        str(home), "--json", OSTEOFED_DICOMWEB_LOGIN="ada:CANARY",
    )  # fmt: skip
    assert json.loads(clear.stdout)["error"] == "intake.login-in-the-clear"
    assert "CANARY" not in clear.stdout + clear.stderr
