"""Parquet, SQL and FHIR give the rows that the CSV gives; damage and secrets do not get through."""

from __future__ import annotations

import json
import sqlite3
import ssl
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from client.intake.clinical import ClinicalTable, interpret_rows
from client.intake.inputs import RawTable
from client.intake.sources.credentials import read_secret, trust
from client.intake.sources.tables import file_table, sql_table
from client.site.profile import FhirMapping, SiteProfile
from shared.errors import IntakeError
from shared.exam.schema import CohortSchema, read_schema

HIP = Path(__file__).parents[3] / "configs" / "cohort" / "hip_bmd.yaml"
FIELDS = ("alcohol", "activity", "prior_fracture")
PROFILE = SiteProfile(
    dxa_vendor="hologic", dxa_skeletal_site="femoral_neck", not_collected=FIELDS,
    fhir=FhirMapping(
        codes={
            "height": "8302-2", "weight": "29463-7", "bmi": "39156-5", "smoking": "72166-2",
            "bmd_neck": "LOCAL-NECK",
        },
        from_patient={"age": "age", "sex": "gender"},
        identifier_system="urn:hospital",
    ),
)  # fmt: skip
ROWS = [
    {"patient_id": "P1", "exam_date": date(2020, 5, 4), "age": 71, "sex": "female", "height": 160.5,
     "weight": 61.0, "bmi": None, "smoking": "never", "bmd_neck": 0.612},
    {"patient_id": "P2", "exam_date": date(2020, 6, 4), "age": 66, "sex": "male", "height": None,
     "weight": 80.25, "bmi": 25.0, "smoking": None, "bmd_neck": 0.9},
]  # fmt: skip


@pytest.fixture(scope="module")
def schema() -> CohortSchema:
    return read_schema(HIP)


def understood(table: RawTable, schema: CohortSchema, profile: SiteProfile = PROFILE) -> ClinicalTable:
    return interpret_rows(
        table.header, table.rows, schema=schema, profile=profile, today=date(2024, 1, 1)
    )


def write_csv(path: Path) -> Path:
    lines = [",".join(ROWS[0])]
    lines += [",".join("" if cell is None else str(cell) for cell in row.values()) for row in ROWS]
    path.write_text("\n".join(lines) + "\n")
    return path


def quantity(value: float, unit: str) -> dict[str, object]:
    return {"value": value, "code": unit, "system": "http://unitsofmeasure.org"}


def observation(patient: str, code: str, day: str, **value: object) -> dict[str, object]:
    system = "http://loinc.org"
    return {
        "resourceType": "Observation", "status": "final",
        "subject": {"reference": f"Patient/{patient}"},
        "code": {"coding": [{"system": system, "code": code}]}, "effectiveDateTime": day, **value,
    }  # fmt: skip


def patient(name: str, number: str, birth: str, gender: str) -> dict[str, object]:
    return {
        "resourceType": "Patient", "id": name, "birthDate": birth, "gender": gender,
        "identifier": [
            {"system": "urn:other", "value": "X"}, {"system": "urn:hospital", "value": number},
        ],
    }  # fmt: skip


RESOURCES = [
    patient("a", "P1", "1948-12-31", "female"),
    patient("b", "P2", "1954-06-04", "male"),
    observation("a", "LOCAL-NECK", "2020-05-04T09:30:00+02:00", valueQuantity=quantity(0.612, "g/cm2")),
    observation("a", "8302-2", "2020-05-01", valueQuantity=quantity(160.5, "cm")),
    observation("a", "29463-7", "2020-03-01", valueQuantity=quantity(70, "kg")),
    observation("a", "29463-7", "2020-05-05", valueQuantity=quantity(61.0, "kg")),
    observation("a", "72166-2", "2020-05-04", valueCodeableConcept={"text": "never"}),
    observation("b", "LOCAL-NECK", "2020-06-04", valueQuantity=quantity(0.9, "g/cm2")),
    observation("b", "29463-7", "2020-06-04", valueQuantity=quantity(80.25, "kg")),
    observation("b", "39156-5", "2020-06-04", valueQuantity=quantity(25.0, "kg/m2")),
    observation("b", "8302-2", "2018-01-01", valueQuantity=quantity(180, "cm")),  # too long ago
]


def write_bundle(path: Path, resources: list[object]) -> Path:
    entries = [{"resource": resource} for resource in resources]
    path.write_text(json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}))
    return path


def test_parquet_and_fhir_rows_are_the_csv_rows(schema, tmp_path):
    wanted = understood(file_table(write_csv(tmp_path / "t.csv"), schema, PROFILE), schema).rows
    assert len(wanted) == 2
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "t.parquet")
    assert understood(file_table(tmp_path / "t.parquet", schema, PROFILE), schema).rows == wanted
    bundle = file_table(write_bundle(tmp_path / "t.json", RESOURCES), schema, PROFILE)
    assert understood(bundle, schema).rows == wanted
    bulk = tmp_path / "bulk"
    bulk.mkdir()
    for kind in ("Patient", "Observation"):
        lines = [json.dumps(one) for one in RESOURCES if one["resourceType"] == kind]
        (bulk / f"{kind}.ndjson").write_text("\n".join(lines) + "\n")
    assert understood(file_table(bulk, schema, PROFILE), schema).rows == wanted


def test_sql_rows_are_the_csv_rows_and_the_query_changes_nothing(schema, tmp_path):
    path = tmp_path / "ris.db"
    with sqlite3.connect(path) as database:
        database.execute(f"CREATE TABLE dxa ({', '.join(ROWS[0])})")
        marks = ", ".join("?" * len(ROWS[0]))
        rows = [
            tuple(map(lambda v: str(v) if isinstance(v, date) else v, row.values())) for row in ROWS
        ]
        database.executemany(f"INSERT INTO dxa VALUES ({marks})", rows)
    database.close()
    wanted = understood(file_table(write_csv(tmp_path / "t.csv"), schema, PROFILE), schema).rows
    found = sql_table(f"sqlite:///{path}", "SELECT * FROM dxa", schema, PROFILE)
    assert understood(found, schema).rows == wanted
    with pytest.raises(IntakeError):
        sql_table(f"sqlite:///{path}", "DELETE FROM dxa", schema, PROFILE)
    assert len(sql_table(f"sqlite:///{path}", "SELECT * FROM dxa", schema, PROFILE).rows) == 2


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""), (float("nan"), ""), (71.0, "71"), (0.1, "0.1"), (Decimal("0.6120"), "0.612"),
        (Decimal("100"), "100"), (True, "yes"), (" x ", "x"), (datetime(2020, 5, 4, 9), "2020-05-04"),
        (b"\xff", None), ([1], None), ("y" * 10_001, None),
    ],
)  # fmt: skip
def test_typed_values_become_the_text_that_the_schema_reads(schema, tmp_path, value, text):
    pq.write_table(pa.table({"patient_id": ["P"], "x": pa.array([value])}), tmp_path / "t.parquet")
    row = file_table(tmp_path / "t.parquet", schema, PROFILE).rows[0]
    assert (row.cells and row.cells["x"]) == text


def test_dates_are_written_in_the_format_of_the_profile(schema, tmp_path):
    profile = PROFILE.model_copy(update={"date_format": "%d.%m.%Y"})
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "t.parquet")
    table = file_table(tmp_path / "t.parquet", schema, profile)
    assert table.rows[0].cells["exam_date"] == "04.05.2020"
    assert [row.day for row in understood(table, schema, profile).rows] == [
        date(2020, 5, 4), date(2020, 6, 4),
    ]  # fmt: skip


def test_observations_that_say_no_usable_number_are_counted(schema, tmp_path):
    below = quantity(61, "kg") | {"comparator": "<"}
    bad = [
        observation("a", "29463-7", "2020-05-04", valueQuantity={"value": "61"}),
        observation("a", "29463-7", "2020-05-04", valueQuantity=below),
        observation("a", "29463-7", "2020", valueQuantity=quantity(61, "kg")),
        observation("a", "29463-7", "2020-05-04") | {"status": "preliminary"},
        observation("a", "29463-7", "2020-05-04") | {"subject": None},
        observation("a", "29463-7", "2020-05-04"),
        {"no": "type"}, None, 7,
    ]  # fmt: skip
    ignored = [
        observation("a", "29463-7", "2020-05-04", valueQuantity=quantity(99, "kg"))
        | {"status": "entered-in-error"},
        observation("a", "UNMAPPED", "2020-05-04"),
        {"resourceType": "Encounter"},
    ]
    table = file_table(write_bundle(tmp_path / "t.json", RESOURCES + bad + ignored), schema, PROFILE)
    found = understood(table, schema)
    assert found.n_rows == 2 + len(bad)
    assert [entry.code for entry in found.quarantined].count("intake.malformed-row") == len(bad)
    assert found.rows[0].values["weight"] == 61.0


def test_a_label_in_another_unit_is_refused_and_two_labels_of_a_day_conflict(schema, tmp_path):
    milli = observation("b", "LOCAL-NECK", "2021-06-04", valueQuantity=quantity(900, "mg/cm2"))
    twice = observation("a", "LOCAL-NECK", "2020-05-04", valueQuantity=quantity(0.7, "g/cm2"))
    table = file_table(write_bundle(tmp_path / "t.json", [*RESOURCES, milli, twice]), schema, PROFILE)
    found = understood(table, schema)
    codes = sorted(entry.code for entry in found.quarantined if entry.kind == "row")
    assert codes == ["intake.conflicting-rows"] * 2 + ["intake.unknown-unit"]
    assert [row.patient_id for row in found.rows] == ["P2"]


def test_observations_of_an_unknown_or_ambiguous_patient_name_nobody(schema, tmp_path):
    twins = patient("c", "P3", "1950-01-01", "female")
    twins["identifier"].append({"system": "urn:hospital", "value": "P4"})
    more = [
        twins,
        observation("c", "LOCAL-NECK", "2020-05-04", valueQuantity=quantity(0.6, "g/cm2")),
        observation("ghost", "LOCAL-NECK", "2020-05-04", valueQuantity=quantity(0.6, "g/cm2")),
    ]
    found = understood(
        file_table(write_bundle(tmp_path / "t.json", RESOURCES + more), schema, PROFILE), schema
    )
    assert [entry.code for entry in found.quarantined].count("intake.missing-patient") == 2


def test_a_repeated_column_is_refused(schema, tmp_path):
    path = write_csv(tmp_path / "t.csv")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0] + ",age", *(line + ",20" for line in lines[1:])]))
    with pytest.raises(IntakeError) as refusal:
        understood(file_table(path, schema, PROFILE), schema)
    assert refusal.value.code == "intake.repeated-column"


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"\x00" * 300, b"{", b'{"resourceType":"Bundle"}', b"[1]"]
)
@pytest.mark.parametrize("name", ["t.parquet", "t.json", "t.ndjson"])
def test_damaged_tables_are_refused_without_their_content(schema, tmp_path, name, content):
    (tmp_path / name).write_bytes(content + b"CANARY")
    with pytest.raises(IntakeError) as refusal:
        understood(file_table(tmp_path / name, schema, PROFILE), schema)
    assert refusal.value.code == "intake.unreadable-table"
    assert "CANARY" not in str(refusal.value)
    assert refusal.value.__cause__ is None


def test_secrets_come_from_the_environment_or_a_file_that_nobody_else_can_read(tmp_path, monkeypatch):
    monkeypatch.delenv("OSTEOFED_TEST_SECRET", raising=False)
    assert read_secret("OSTEOFED_TEST_SECRET", None) is None
    monkeypatch.setenv("OSTEOFED_TEST_SECRET", "from-env")
    assert read_secret("OSTEOFED_TEST_SECRET", None) == "from-env"
    path = tmp_path / "secret"
    path.write_text("CANARY\n")
    path.chmod(0o640)
    with pytest.raises(IntakeError) as refusal:
        read_secret("OSTEOFED_TEST_SECRET", path)
    assert refusal.value.code == "intake.open-secret"
    assert "CANARY" not in str(refusal.value)
    path.chmod(0o600)
    assert read_secret("OSTEOFED_TEST_SECRET", path) == "CANARY"


class NotedConnection:
    """A connection to PostgreSQL that notes what it is asked for."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def __enter__(self) -> NotedConnection:
        return self

    def __exit__(self, *_: object) -> None:
        self.told.append("closed")

    def execution_options(self, **options: object) -> NotedConnection:
        self.told += [
            f"{name}={value}" for name, value in options.items() if name.startswith("postgresql")
        ]
        return self

    def exec_driver_sql(self, query: str) -> NotedConnection:
        self.told.append(query)
        return self

    def keys(self) -> list[str]:
        return ["patient_id"]

    def __iter__(self) -> Iterator[tuple[str]]:
        return iter([("P1",)])


def test_a_query_to_postgres_can_only_read_and_has_its_seconds(schema, monkeypatch):
    asked = NotedConnection()
    engine = SimpleNamespace(
        dialect=SimpleNamespace(name="postgresql"), connect=lambda: asked, dispose=lambda: None
    )
    monkeypatch.setattr("sqlalchemy.create_engine", lambda *_, **__: engine)
    found = sql_table("postgresql://any", "SELECT 1", schema, PROFILE, timeout_s=30)
    assert [row.cells for row in found.rows] == [{"patient_id": "P1"}]
    assert asked.told == [
        "postgresql_readonly=True",
        "SET LOCAL statement_timeout = 30000",  # milliseconds
        "SELECT 1",
        "closed",
    ]


def test_a_failing_database_shows_neither_password_nor_query(schema):
    for url in ("postgresql+psycopg://ada:CANARY@127.0.0.1:1/x", "nonsense CANARY", "sqlite://"):
        with pytest.raises(IntakeError) as refusal:
            sql_table(url, "SELECT 'CANARY' FROM nowhere", schema, PROFILE)
        assert "CANARY" not in str(refusal.value)
        assert refusal.value.code == "intake.unreadable-table"


def test_a_file_of_a_secret_that_is_not_there_or_no_text_is_refused(tmp_path):
    for content in (None, b"\xff\xfe\xfa"):
        path = tmp_path / "secret"
        if content is not None:
            path.write_bytes(content)
            path.chmod(0o600)
        with pytest.raises(IntakeError) as caught:
            read_secret("ANY", path)
        assert caught.value.code == "intake.unreadable-secret"


def test_an_authority_that_is_not_there_or_no_certificate_is_refused(tmp_path):
    (tmp_path / "ca.pem").write_text("no certificate")
    for name in ("ca.pem", "absent.pem"):
        with pytest.raises(IntakeError) as caught:
            trust(tmp_path / name)
        assert caught.value.code == "intake.unreadable-ca"
    context = trust(None)
    assert context.check_hostname
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_a_parquet_table_is_called_by_its_files_name(schema, tmp_path):
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table({name: [row[name] for row in ROWS] for name in ROWS[0]}), path)
    assert file_table(path, schema, PROFILE).name == "table.parquet"
    upper = path.rename(tmp_path / "TABLE.PARQUET")
    assert file_table(upper, schema, PROFILE).name == "TABLE.PARQUET"
