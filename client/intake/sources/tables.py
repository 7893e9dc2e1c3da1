"""Clinical tables that are no CSV: Parquet, a SQL query, FHIR bundles; all become rows of text.

Typed values are written as the profile and the schema expect text, so that every source meets the
same rules. The one door to ``sqlalchemy`` and ``pyarrow``. No error shows a URL, a query or a value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

from client.intake.clinical import RawRow
from client.intake.inputs import RawTable, csv_table
from client.intake.sources.fhir import fhir_table
from client.intake.unreadable import FHIR_SUFFIXES, table_problem, unreadable_table
from client.site.profile import SiteProfile
from shared.errors import IntakeError
from shared.exam.schema import CohortSchema

MAX_ROWS = 500_000  # about 2 kB each as text
MAX_COLUMNS = 2_000
MAX_CELL = 10_000
_PAGE = 5_000


def file_table(path: Path, schema: CohortSchema, profile: SiteProfile) -> RawTable:
    """A table by the file's name: ``.parquet``; FHIR ``.json``, ``.ndjson`` or a folder; else CSV.

    Raises:
        IntakeError: it cannot be read.
    """
    problem = table_problem(path)
    if problem:
        raise IntakeError("no-input", problem, hint="check the path")
    if path.suffix.lower() == ".parquet":
        return parquet_table(path, schema, profile)
    if path.is_dir() or path.suffix.lower() in FHIR_SUFFIXES:
        return fhir_table(path, schema, profile)
    return csv_table(path, profile)


def parquet_table(path: Path, schema: CohortSchema, profile: SiteProfile) -> RawTable:
    """A Parquet file, read in pages.

    Raises:
        IntakeError: damaged, not Parquet, or larger than any clinical table.
    """
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            # The footer may promise anything: what is read is counted.
            header = tuple(str(name).strip() for name in file.schema_arrow.names)
            pages = (
                zip(*(column.to_pylist() for column in batch.columns), strict=True)
                for batch in file.iter_batches(batch_size=_PAGE)
            )
            return _as_text(path.name, header, (row for page in pages for row in page), schema, profile)
    except IntakeError:
        raise
    except Exception as error:  # noqa: BLE001 - a damaged file may raise anything, with values
        raise unreadable_table(path, error) from None


def sql_table(
    url: str, query: str, schema: CohortSchema, profile: SiteProfile, *, timeout_s: int = 600
) -> RawTable:
    """The answer to a query, fetched in pages inside a read-only transaction that is rolled back.

    Args:
        url: SQLAlchemy URL, with its password.
        query: one SELECT.
        schema: whose date format dates are written in.
        profile: the site's conventions.
        timeout_s: PostgreSQL gives up a statement after this time.

    Raises:
        IntakeError: the database or the query fails; only the exception's name is shown.
    """
    import sqlalchemy

    try:
        engine = sqlalchemy.create_engine(url, hide_parameters=True)
        is_postgres = engine.dialect.name == "postgresql"
        try:
            with engine.connect() as connection:
                if is_postgres:
                    connection = connection.execution_options(postgresql_readonly=True)
                    connection.exec_driver_sql(f"SET LOCAL statement_timeout = {1000 * timeout_s:d}")
                options = {"stream_results": True, "yield_per": _PAGE}
                # text as it stands: a colon in it is no parameter
                answer = connection.execution_options(**options).exec_driver_sql(query)
                header = tuple(str(name).strip() for name in answer.keys())  # noqa: SIM118 - no dict
                return _as_text("query", header, (tuple(row) for row in answer), schema, profile)
        finally:
            engine.dispose()
    except IntakeError:
        raise
    except Exception as error:  # noqa: BLE001 - drivers raise what they like, with the URL in it
        raise IntakeError(
            "unreadable-table",
            f"the database does not answer the query: {type(error).__name__}",
            hint="try the query with another program; see to address, login and permissions",
        ) from None


def _as_text(
    name: str,
    header: tuple[str, ...],
    rows: Iterable[Sequence[object]],
    schema: CohortSchema,
    profile: SiteProfile,
) -> RawTable:
    if len(header) > MAX_COLUMNS:
        raise _too_large()
    write = _writer(profile.date_format or schema.date_format)
    raw: list[RawRow] = []
    for number, values in enumerate(rows, start=1):
        if number > MAX_ROWS:
            raise _too_large()
        texts = [write(value) for value in values]
        is_sound = all(text is not None for text in texts)
        cells = {column: text or "" for column, text in zip(header, texts, strict=True)}
        raw.append(RawRow(number, cells if is_sound else None))
    return RawTable(name, header, raw)


def _writer(date_format: str) -> Callable[[object], str | None]:
    """Value → text; None for what no clinical table holds (bytes, lists, endless texts)."""

    def write(value: object) -> str | None:
        match value:
            case None:
                return ""
            case bool():
                return "yes" if value else "no"
            case float() if math.isnan(value):
                return ""
            case float() if value.is_integer() and abs(value) < 2**53:
                return str(int(value))  # a nullable whole number comes as a float
            case int() | float():
                return str(value)
            case Decimal():
                return "" if value.is_nan() else format(value.normalize(), "f")
            case datetime() | date():
                return value.strftime(date_format)
            case str():
                return value.strip() if len(value) <= MAX_CELL else None
            case _:
                return None

    return write


def _too_large() -> IntakeError:
    return IntakeError(
        "table-too-large",
        f"a clinical table must have at most {MAX_ROWS} rows and {MAX_COLUMNS} columns",
        hint="select the rows of the patients that are to be taken in",
    )
