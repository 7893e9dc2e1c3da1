"""The clinical table: raw rows in, rows in the schema's units and words out, each loss with a code.

Reading (``read_table``) and interpreting (``interpret_rows``) are separate, so that another source
gives the same ``RawRow`` and meets the same rules. Imports errors, schema, profile, label and
quarantine only.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

from client.cohort.label import (
    ExamLabel,
    check_declaration,
    label_bmd,
    label_class,
    match_category,
)
from client.cohort.quarantine import Quarantined
from client.cohort.split import SPLITS, SplitCase
from client.intake.header import (
    require_columns,
    require_dates,
    require_one_vendor,
    require_profile,
)
from client.intake.tree_place import STUDY_COLUMN, UNDATED, study_day
from client.intake.unreadable import unreadable_table
from client.site.linkage import PatientKey
from client.site.profile import SiteProfile
from shared.errors import IntakeError
from shared.exam.schema import ClinicalField, CohortSchema, NumberField, Split
from shared.exam.time_to_event import TimeToEventLabel
from shared.signing.canonical import hash_of

Value = float | str | None

AGE_CAP_YEARS = 90.0
OLDEST_YEARS = 120.0
MAX_TABLE_BYTES = 256 * 2**20


@dataclass(frozen=True)
class RawRow:
    """One line of a table, as text. ``number`` counts data rows from 1; None cells: malformed.

    ``place``: where it stands, for people at the site; empty: in the table, by its number.
    """

    number: int
    cells: Mapping[str, str] | None = field(repr=False)
    place: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True)
class ClinicalRow:
    """One usable row: values in canonical units, None where missing."""

    number: int
    patient_id: str = field(repr=False)
    day: date = field(repr=False)
    values: Mapping[str, Value] = field(repr=False)
    label: ExamLabel | None = field(repr=False)
    split: Split | None = field(default=None, repr=False)


@dataclass(frozen=True)
class ClinicalTable:
    """Rows that can be used, and what could not; ``n_rows`` = used + quarantined of kind row.

    ``rejected`` maps a patient's number to the code of a row of theirs that was quarantined.
    """

    n_rows: int
    rows: tuple[ClinicalRow, ...] = field(repr=False)
    quarantined: tuple[Quarantined, ...]
    rejected: Mapping[str, str] = field(repr=False)


class _Unusable(Exception):  # noqa: N818 - a signal inside this module, never an error for users
    """A cell has no usable value; carries the code, and the column where it is known."""

    def __init__(self, code: str, column: str = "") -> None:
        super().__init__(code)
        self.code, self.column = code, column


def read_table(path: Path, profile: SiteProfile) -> tuple[tuple[str, ...], list[RawRow]]:
    """Header and rows of a CSV file, every cell as stripped text.

    Raises:
        IntakeError: the file is absent, not text in the declared encoding, or empty.
    """
    try:
        if path.stat().st_size > MAX_TABLE_BYTES:
            raise IntakeError(
                "table-too-large",
                f"a clinical table must be smaller than {MAX_TABLE_BYTES} bytes",
                hint="select the rows of the patients that are to be taken in",
            )
        with path.open(newline="", encoding=profile.encoding) as stream:
            lines = list(csv.reader(stream, delimiter=profile.separator))
    except (OSError, ValueError, csv.Error) as error:
        raise unreadable_table(path, error, encoding=profile.encoding) from None
    if not any(lines):
        raise IntakeError(
            "unreadable-table",
            f"the clinical table {path.name} is empty",
            hint="export it with a header line",
        )
    header = tuple(name.strip() for name in lines[0])
    rows = [
        RawRow(
            number,
            {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
            if len(cells) == len(header)
            else None,
        )
        for number, cells in enumerate(filter(None, lines[1:]), start=1)
    ]
    return header, rows


def interpret_rows(
    header: Sequence[str],
    raw_rows: Sequence[RawRow],
    *,
    schema: CohortSchema,
    profile: SiteProfile,
    today: date,
    item_of: Callable[[int], str] = "row-{}".format,
) -> ClinicalTable:
    """Every row in the schema's words, or in quarantine with a code.

    A value that is merely missing stays missing. An unusable value (unit, range, category) of a field
    that may be missing becomes missing and is counted with kind ``value``; of any other field it
    quarantines the row.

    Args:
        header: column names found.
        raw_rows: from ``read_table``.
        schema: what is expected.
        profile: the site's own names, units and DXA vendor.
        today: rows after this date are refused.
        item_of: row number → keyed item for the quarantine.

    Raises:
        IntakeError: a column is missing, no date is written as declared, or the DXA
            vendor is undeclared or mixed.
    """
    check_declaration(schema.label, profile)
    require_profile(schema, profile)
    require_columns(header, schema, profile)
    require_dates(raw_rows, schema, profile)
    require_one_vendor(raw_rows, schema, profile)
    rows: list[ClinicalRow] = []
    quarantined: list[Quarantined] = []
    rejected: dict[str, str] = {}
    for raw in raw_rows:
        item = item_of(raw.number)
        notes: list[Quarantined] = []
        try:
            rows.append(_interpret(raw, schema, profile, today, item, notes))
            quarantined += notes
        except _Unusable as unusable:
            quarantined.append(Quarantined("row", unusable.code, item, unusable.column))
            if raw.cells is not None:
                rejected[_patient_of(raw.cells, schema, profile)] = unusable.code
    kept, duplicates = _drop_duplicates(rows, rejected, item_of)
    kept, torn = _drop_torn(kept, rejected, item_of)
    return ClinicalTable(
        n_rows=len(raw_rows),
        rows=tuple(kept),
        quarantined=tuple(quarantined + duplicates + torn),
        rejected=rejected,
    )


def _interpret(
    raw: RawRow,
    schema: CohortSchema,
    profile: SiteProfile,
    today: date,
    item: str,
    notes: list[Quarantined],
) -> ClinicalRow:
    if raw.cells is None:
        raise _Unusable("intake.malformed-row")
    patient_id = _patient_of(raw.cells, schema, profile)
    if profile.is_missing(patient_id):
        raise _Unusable("intake.missing-patient")
    day = _day(raw.cells, schema, profile, today)
    values: dict[str, Value] = {}
    for clinical in schema.fields:
        try:
            values[clinical.name] = _value(raw.cells, clinical, schema, profile)
        except _Unusable as unusable:
            if not clinical.may_be_missing:
                raise _Unusable(unusable.code, clinical.name) from None
            values[clinical.name] = None
            notes.append(Quarantined("value", unusable.code, item, clinical.name))
        if values[clinical.name] is None and not clinical.may_be_missing:
            raise _Unusable("intake.missing-required-field", clinical.name)
    age = values.get(schema.age_field)
    if isinstance(age, float) and age < schema.minimum_age_years:
        raise _Unusable("intake.under-age")
    try:
        label = _label(raw.cells, schema, profile)
    except _Unusable as unusable:
        raise _Unusable(unusable.code, unusable.column or schema.label.column) from None
    if label is None and profile.has_labels:
        notes.append(Quarantined("value", "intake.missing-label", item, schema.label.column))
    return ClinicalRow(
        number=raw.number,
        patient_id=patient_id,
        day=day,
        values=values,
        label=label,
        split=_given_split(raw.cells, schema, profile),
    )


def _patient_of(cells: Mapping[str, str], schema: CohortSchema, profile: SiteProfile) -> str:
    """The number of a row's patient; without numbers, a name made of all that the row says."""
    if schema.patient_column is not None:
        return cells[profile.column(schema.patient_column)]
    return f"row-{hash_of(dict(sorted(cells.items())))[:32]}"


def _given_split(cells: Mapping[str, str], schema: CohortSchema, profile: SiteProfile) -> Split | None:
    """What the table says of a patient's split, where the schema goes by it."""
    if not schema.split.column:
        return None
    text = cells[profile.column(schema.split.column)]
    named = match_category(text, SPLITS, dict(schema.split.synonyms))
    found = next((split for split in SPLITS if split == named), None)
    if found is None:
        raise _Unusable("intake.unknown-split")
    return found


def _day(cells: Mapping[str, str], schema: CohortSchema, profile: SiteProfile, today: date) -> date:
    if schema.films == "png_tree":
        of_study = study_day(cells[STUDY_COLUMN])
        if of_study is None:
            raise _Unusable("intake.missing-date")
        return of_study
    if schema.date_column is None:
        return UNDATED
    text = cells[profile.column(schema.date_column)]
    try:
        day = datetime.strptime(text, profile.date_format or schema.date_format).date()
    except ValueError:
        raise _Unusable("intake.missing-date") from None
    if day > today:
        raise _Unusable("intake.future-date")
    return day


def _value(
    cells: Mapping[str, str], clinical: ClinicalField, schema: CohortSchema, profile: SiteProfile
) -> Value:
    text = cells.get(profile.column(clinical.name), "")
    if clinical.kind == "category":
        category = match_category(text, clinical.categories, clinical.synonyms)
        if category is None and not profile.is_missing(text):
            raise _Unusable("intake.unknown-category")
        return category
    if profile.is_missing(text):
        return None
    unit = cells.get(profile.column(f"{clinical.name}_unit"), "")
    number = _in_unit(_number(text, profile), unit, clinical, profile)
    is_age = clinical.name == schema.age_field
    high = max(clinical.high, OLDEST_YEARS) if is_age else clinical.high
    if not clinical.low <= number <= high:
        raise _Unusable("intake.out-of-range")
    # Very high ages identify people (45 CFR 164.514(b)(2)(i)(C)).
    return min(number, AGE_CAP_YEARS, clinical.high) if is_age else number


def parse_number(text: str, profile: SiteProfile) -> float | None:
    """A finite number in the site's notation; None where a text is none."""
    plain = text.replace(",", ".") if profile.decimal == "," and "." not in text else text
    try:
        number = float(plain) if "_" not in plain else math.nan
    except ValueError:
        number = math.nan
    return number if math.isfinite(number) else None


def _number(text: str, profile: SiteProfile) -> float:
    number = parse_number(text, profile)
    if number is None:
        raise _Unusable("intake.not-a-number")
    return number


def _in_unit(number: float, unit: str, clinical: NumberField, profile: SiteProfile) -> float:
    """The number in the field's canonical unit; an empty unit cell means the site's default."""
    named = profile.units.get(clinical.name, clinical.unit) if profile.is_missing(unit) else unit
    if named == clinical.unit and named not in clinical.units:
        return number
    if named not in clinical.units:
        raise _Unusable("intake.unknown-unit")
    factor, offset = clinical.units[named]
    return factor * number + offset


def _label(cells: Mapping[str, str], schema: CohortSchema, profile: SiteProfile) -> ExamLabel | None:
    label = schema.label
    text = cells.get(profile.column(label.column), "")
    if not profile.has_labels:
        return None
    if label.kind == "class":
        named = label_class(text, label)
        if named is None and not profile.is_missing(text):
            raise _Unusable("intake.unknown-category")
        return named
    if profile.is_missing(text):
        return None
    unit = cells.get(profile.column(f"{label.column}_unit"), "")
    if unit != label.unit and not profile.is_missing(unit):
        raise _Unusable("intake.unknown-unit")
    number = _number(text, profile)
    if not label.low <= number <= label.high:
        raise _Unusable("intake.out-of-range")
    if label.kind == "time_to_event":
        return _label_time(cells, number, label, profile)
    if label.kind == "bmd":
        return label_bmd(number, vendor=str(profile.dxa_vendor), label=label)
    return ExamLabel(number=number)


def _label_time(
    cells: Mapping[str, str], time: float, label: TimeToEventLabel, profile: SiteProfile
) -> ExamLabel | None:
    """The class of a time and of the word that says how it ended; None where that is missing."""
    status = cells.get(profile.column(label.status_column), "")
    if profile.is_missing(status):
        return None
    named = label.class_of(time, status)
    if named is None:
        raise _Unusable("intake.unknown-category", label.status_column)
    return ExamLabel(class_name=named)


def _drop_torn(
    rows: Sequence[ClinicalRow], rejected: dict[str, str], item_of: Callable[[int], str]
) -> tuple[list[ClinicalRow], list[Quarantined]]:
    """Rows of patients on one side; a patient whom the table puts on two is on none."""
    sides: dict[str, set[Split | None]] = defaultdict(set)
    for row in rows:
        sides[row.patient_id].add(row.split)
    torn = [row for row in rows if len(sides[row.patient_id]) > 1]
    for row in torn:
        rejected[row.patient_id] = "intake.conflicting-split"
    return (
        [row for row in rows if len(sides[row.patient_id]) == 1],
        [Quarantined("row", "intake.conflicting-split", item_of(row.number)) for row in torn],
    )


def split_cases(
    rows: Iterable[ClinicalRow], name_of: Callable[[ClinicalRow], PatientKey]
) -> dict[PatientKey, SplitCase]:
    """What each patient's split may go by: of the earliest row, an earliest labelled one first."""
    cases: dict[PatientKey, SplitCase] = {}
    for row in sorted(rows, key=lambda row: (row.label is None, row.day)):
        stratum = row.label.class_name if row.label is not None else None
        cases.setdefault(name_of(row), SplitCase(row.split, stratum or ""))
    return cases


def _drop_duplicates(
    rows: Sequence[ClinicalRow], rejected: dict[str, str], item_of: Callable[[int], str]
) -> tuple[list[ClinicalRow], list[Quarantined]]:
    """Of equal rows of a patient and date the first stays; of different ones none does."""
    groups: dict[tuple[str, date], list[ClinicalRow]] = defaultdict(list)
    for row in rows:
        groups[row.patient_id, row.day].append(row)
    kept: list[ClinicalRow] = []
    dropped: list[Quarantined] = []
    for first, *others in groups.values():
        is_same = all((row.values, row.label) == (first.values, first.label) for row in others)
        code = "intake.duplicate-exam" if is_same else "intake.conflicting-rows"
        lost = others if is_same else [first, *others]
        if is_same:
            kept.append(first)
        else:
            rejected[first.patient_id] = code
        dropped += [Quarantined("row", code, item_of(row.number)) for row in lost]
    return kept, dropped
