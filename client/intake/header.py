"""Whether a table's columns, the profile and the schema speak of the same, before any row is read.

Imports the schema and the profile only.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from client.site.profile import SiteProfile
from shared.errors import IntakeError
from shared.exam.schema import CohortSchema
from shared.strict import nearest

if TYPE_CHECKING:
    from client.intake.clinical import RawRow


_SEPARATORS = (",", ";", "\t", "|")
# As tables are found to write them; which of two that fit is meant, a person must say.
_DATE_FORMATS = (
    *("%Y-%m-%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%Y/%m/%d", "%Y%m%d"),
    *("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%y"),
)


def require_profile(schema: CohortSchema, profile: SiteProfile) -> None:
    """Refuse misspelt names and unknown units; a name that is like none may be of another schema.

    Raises:
        IntakeError: with every name and unit that does not fit.
    """
    names = {field.name for field in schema.fields}
    of_row = (schema.patient_column, schema.date_column, schema.split.column)
    known = {*names, *filter(None, of_row), *_label_columns(schema)}
    with_units = known | {f"{name}_unit" for name in known} | {f"{schema.label.column}_vendor"}
    problems = []
    for setting, given, allowed in (
        ("columns", profile.columns, with_units),
        ("units", profile.units, names),
        ("not_collected", profile.not_collected, names),
    ):
        for name in given:
            guess = nearest(name, sorted(allowed))
            if name not in allowed and guess:
                problems.append(f"  {setting}.{name}: is none of the schema's{guess}")
    for each in schema.fields:
        unit = profile.units.get(each.name)
        if unit is None:
            continue
        units = sorted({each.unit, *each.units}) if each.kind == "number" else []
        if unit not in units:
            problems.append(f"  units.{each.name}: must be one of {units}, not {unit}")
    if problems:
        raise IntakeError(
            "profile-and-schema",
            f"the profile does not fit schema {schema.name}:\n" + "\n".join(problems),
            hint="correct it in site.yaml, or NAME.profile.yaml beside a simulation's table",
        )


def require_columns(header: Sequence[str], schema: CohortSchema, profile: SiteProfile) -> None:
    """Refuse a table that lacks a column, or has one name twice.

    Raises:
        IntakeError: it does; nothing of a row is repeated.
    """
    of_row = (schema.patient_column, schema.date_column, schema.split.column)
    names = [name for name in of_row if name]
    names += [item.name for item in schema.fields if item.name not in profile.not_collected]
    names += _label_columns(schema) if profile.has_labels else []
    expected = [profile.column(name) for name in names]
    missing = [column for column in expected if column not in header]
    required = {item.name for item in schema.fields if not item.may_be_missing}
    refused = sorted(required & set(profile.not_collected))
    if refused:
        raise IntakeError(
            "missing-column",
            f"not_collected must not list {', '.join(refused)}: the schema requires them",
            hint="collect them, or ask the coordinator for another schema",
        )
    if missing:
        # A table without a header line would show a patient's values as its "columns".
        has_header = any(column in header for column in expected)
        found = ", ".join(header) if has_header else f"none of them among {len(header)} columns"
        spare = [column for column in header if column not in expected] if has_header else []
        guesses = [
            f"\n  {column}: is not there{guess}"
            for column in missing
            if (guess := nearest(column, spare))
        ]
        others = [sign for sign in _SEPARATORS if len(header) == 1 and sign in header[0]]
        if others and profile.separator not in header[0]:
            raise IntakeError(
                "one-column",
                f"the table has one column with separator {profile.separator!r}",
                hint=f"set separator in the site profile; the header line holds {others}",
            )
        raise IntakeError(
            "missing-column",
            f"the table lacks {', '.join(missing)}; expected {', '.join(expected)}; found {found}"
            + "".join(guesses),
            hint="map names under columns in the site profile, or list optional fields that "
            "the site does not collect under not_collected" + _without(missing, schema, profile),
        )
    named = [column for column in header if column]  # spreadsheets export empty ones
    if len(named) > len(set(named)):
        raise IntakeError(
            "repeated-column",
            f"{len(named) - len(set(named))} of {len(named)} columns have the name of another",
            hint="give every column a name of its own: one would hide the other",
        )


def _label_columns(schema: CohortSchema) -> list[str]:
    """The columns that a label is read from."""
    label = schema.label
    return [label.column, *([label.status_column] if label.kind == "time_to_event" else ())]


def _without(missing: Sequence[str], schema: CohortSchema, profile: SiteProfile) -> str:
    """What a schema says where tables have no patient numbers or dates; of those that are missing."""
    row_settings = {"patient_column": schema.patient_column, "date_column": schema.date_column}
    nulls = [
        f"{setting}: null"
        for setting, name in row_settings.items()
        if name is not None and profile.column(name) in missing
    ]
    return f"; a cohort whose rows have none says {' and '.join(nulls)} in its file" if nulls else ""


def require_dates(raw_rows: Sequence[RawRow], schema: CohortSchema, profile: SiteProfile) -> None:
    """Refuse a table none of whose dates can be read; formats that would read all of them are named.

    Raises:
        IntakeError: it is one; no date is repeated.
    """
    if schema.date_column is None:
        return
    column, declared = profile.column(schema.date_column), profile.date_format or schema.date_format
    dates = {row.cells[column] for row in raw_rows if row.cells}
    dates = {text for text in dates if not profile.is_missing(text)}
    if dates and not any(_is_written(text, declared) for text in dates):
        fitting = [each for each in _DATE_FORMATS if all(_is_written(text, each) for text in dates)]
        meant = f"; {' or '.join(fitting)} reads all of them" if fitting else ""
        raise IntakeError(
            "unreadable-dates",
            f"no date in column {column} is written as {declared}{meant}",
            hint="set date_format in the site profile",
        )


def _is_written(text: str, date_format: str) -> bool:
    try:
        datetime.strptime(text, date_format)
    except ValueError:
        return False
    return True


def require_one_vendor(raw_rows: Sequence[RawRow], schema: CohortSchema, profile: SiteProfile) -> None:
    """Refuse a table whose own ``<label>_vendor`` column names another scanner than declared.

    Raises:
        IntakeError: it does.
    """
    if schema.label.kind != "bmd" or not profile.has_labels:
        return
    column = profile.column(f"{schema.label.column}_vendor")
    named = {row.cells[column].lower() for row in raw_rows if row.cells and column in row.cells}
    others = {vendor for vendor in named if not profile.is_missing(vendor)} - {profile.dxa_vendor}
    if others:
        raise IntakeError(
            "mixed-vendors",
            f"{len(others)} vendor name(s) in the table differ from the declared "
            f"{profile.dxa_vendor}; allowed are {sorted(schema.label.conversions)}",
            hint="export the rows of one DXA vendor per intake",
        )
