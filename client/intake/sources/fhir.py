"""FHIR R4 bundles of Patient and Observation become the rows of a clinical table.

One row per Observation of the label (or, for a site without labels, per day of any mapped
Observation); of each field the Observation nearest in time, the earlier of two equally near ones.
A resource that cannot be understood becomes a malformed row, so that nothing is lost in silence.
Imports the exam package.

Source: HL7 FHIR R4 (4.0.1), Bundle, Patient, Observation; Bulk Data NDJSON.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from client.intake.clinical import RawRow
from client.intake.inputs import RawTable
from client.intake.unreadable import unreadable_table
from client.site.profile import SiteProfile
from shared.errors import IntakeError
from shared.exam.schema import CohortSchema

MAX_BYTES = 256 * 2**20
# What stands for the columns of patient and date where the schema has none.
_NUMBER, _DAY = "patient", "day"
_USABLE = frozenset({"final", "amended", "corrected"})  # Observation.status
_RETRACTED = frozenset({"entered-in-error", "cancelled"})


class _Malformed(Exception):  # noqa: N818 - a signal inside this module
    """A resource is not what FHIR says."""


@dataclass(frozen=True)
class _Person:
    """A patient as a bundle has them."""

    number: str = field(repr=False)
    birth: date | None = field(repr=False)
    gender: str = field(repr=False)


@dataclass(frozen=True)
class _Reading:
    """One Observation of a name of the schema: the text of its value, and its unit."""

    subject: str = field(repr=False)
    name: str
    day: date = field(repr=False)
    value: str = field(repr=False)
    unit: str


def fhir_table(path: Path, schema: CohortSchema, profile: SiteProfile) -> RawTable:
    """Rows of a bundle, an NDJSON file, or every such file of a folder.

    Raises:
        IntakeError: a file is not JSON, too large, or the profile maps nothing.
    """
    if not profile.fhir.codes:
        raise IntakeError(
            "no-fhir-mapping",
            "the site profile maps no name of the schema to a LOINC code",
            hint="fill fhir.codes in site.yaml, for example {height: 8302-2}",
        )
    people: dict[str, _Person] = {}
    readings: list[_Reading] = []
    n_malformed = 0
    for resource in _resources(path):
        try:
            kind = resource.get("resourceType") if isinstance(resource, dict) else None
            if kind == "Patient":
                reference, person = _person(resource, profile)
                people[reference] = person
            elif kind == "Observation":
                readings += _readings(resource, profile)
            elif kind is None:
                raise _Malformed
        except (_Malformed, RecursionError):
            n_malformed += 1
    return RawTable(path.name, *_rows(people, readings, n_malformed, schema, profile))


def _resources(path: Path) -> Iterator[Any]:
    files = sorted(path.glob("*json")) if path.is_dir() else [path]
    for file in files:
        try:
            if file.stat().st_size > MAX_BYTES:
                raise IntakeError(
                    "table-too-large",
                    f"a FHIR file must be smaller than {MAX_BYTES} bytes",
                    hint="export in several files",
                )
            if file.suffix.lower() == ".ndjson":
                with file.open(encoding="utf-8-sig") as lines:
                    yield from (json.loads(line) for line in lines if line.strip())
                continue
            bundle = json.loads(file.read_text(encoding="utf-8-sig"))
            entries = bundle["entry"] if bundle["resourceType"] == "Bundle" else [{"resource": bundle}]
            yield from (
                entry.get("resource") if isinstance(entry, dict) else None for entry in list(entries)
            )
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            if isinstance(error, OSError):
                raise unreadable_table(file, error) from None
            raise IntakeError(
                "unreadable-table",
                f"{file.name} is no FHIR file",
                hint="it must be a Bundle (.json) or one resource per line (.ndjson), in UTF-8",
            ) from None


def _person(resource: Mapping[str, Any], profile: SiteProfile) -> tuple[str, _Person]:
    name = _string(resource.get("id"))
    system = profile.fhir.identifier_system
    number = name
    if system is not None:
        numbers = {
            _string(identifier.get("value"))
            for identifier in _objects(resource.get("identifier"))
            if identifier.get("system") == system
        }
        number = numbers.pop() if len(numbers) == 1 else ""  # none or several: nobody's row
    birth = resource.get("birthDate")
    gender = resource.get("gender")
    return f"Patient/{name}", _Person(
        number, _day(birth) if birth is not None else None, gender if isinstance(gender, str) else ""
    )


def _readings(resource: Mapping[str, Any], profile: SiteProfile) -> Iterator[_Reading]:
    """One reading per name of the schema that the Observation's code stands for."""
    status = str(resource.get("status"))
    if status in _RETRACTED:
        return
    concept = resource.get("code")
    codes = {
        coding.get("code")
        for coding in _objects(concept.get("coding") if isinstance(concept, dict) else None)
        if coding.get("system") == profile.fhir.code_system and isinstance(coding.get("code"), str)
    }
    names = [name for name, code in profile.fhir.codes.items() if code in codes]
    if not names:
        return
    if status not in _USABLE:
        raise _Malformed
    subject = resource.get("subject")
    reference = _string(subject.get("reference") if isinstance(subject, dict) else None)
    when = resource.get("effectiveDateTime")
    period = resource.get("effectivePeriod")
    day = _day(when if when is not None else period.get("start") if isinstance(period, dict) else None)
    value, unit = _value(resource)
    short = "/".join(reference.split("/")[-2:])  # an absolute reference ends like a relative one
    for name in names:
        yield _Reading(short, name, day, value, unit)


def _value(resource: Mapping[str, Any]) -> tuple[str, str]:
    """Text and unit of value[x]; a missing value with a dataAbsentReason is an empty text."""
    quantity, concept = resource.get("valueQuantity"), resource.get("valueCodeableConcept")
    if isinstance(quantity, dict):
        number = quantity.get("value")
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise _Malformed
        unit = quantity.get("code") or quantity.get("unit") or ""
        is_exact = not quantity.get("comparator")  # "< 5" is no number
        if not is_exact or not isinstance(unit, str):
            raise _Malformed
        return str(number), unit
    if isinstance(concept, dict):
        coding = next(_objects(concept.get("coding")), {})
        return _string(concept.get("text") or coding.get("display") or coding.get("code")), ""
    for name in ("valueString", "valueInteger", "valueBoolean"):
        if name in resource:
            value = resource[name]
            if isinstance(value, bool):
                return ("yes" if value else "no"), ""
            if isinstance(value, int | str):
                return str(value).strip(), ""
            raise _Malformed
    if "dataAbsentReason" in resource:
        return "", ""
    raise _Malformed


def _rows(
    people: Mapping[str, _Person],
    readings: Sequence[_Reading],
    n_malformed: int,
    schema: CohortSchema,
    profile: SiteProfile,
) -> tuple[tuple[str, ...], list[RawRow]]:
    label, fields = schema.label.column, [item.name for item in schema.fields]
    columns = [schema.patient_column or _NUMBER, schema.date_column or _DAY]
    columns += [name for name in (*fields, *((label,) if profile.has_labels else ()))]
    columns += [f"{name}_unit" for name in columns[2:]]
    header = tuple(profile.column(name) for name in columns)
    groups: dict[str, list[_Reading]] = defaultdict(list)
    for reading in readings:
        groups[reading.subject].append(reading)
    rows: list[RawRow] = []
    for subject, own in groups.items():
        person = people.get(subject, _Person("", None, ""))
        for anchor in _anchors(own, label if profile.has_labels else None):
            cells = _cells(person, anchor, own, schema, profile)
            plain = {column: cells.get(name, "") for name, column in zip(columns, header, strict=True)}
            rows.append(RawRow(len(rows) + 1, plain))
    rows += [RawRow(len(rows) + 1 + extra, None) for extra in range(n_malformed)]
    return header, rows


def _anchors(own: Sequence[_Reading], label: str | None) -> list[_Reading]:
    """What makes a row: each label; without labels, the first reading of each day."""
    if label is not None:
        return [reading for reading in own if reading.name == label]
    return list({reading.day: reading for reading in reversed(own)}.values())


def _cells(
    person: _Person,
    anchor: _Reading,
    own: Sequence[_Reading],
    schema: CohortSchema,
    profile: SiteProfile,
) -> dict[str, str]:
    day = anchor.day
    cells = {
        schema.patient_column or _NUMBER: person.number,
        schema.date_column or _DAY: day.strftime(profile.date_format or schema.date_format),
    }
    for name, part in profile.fhir.from_patient.items():
        cells[name] = person.gender if part == "gender" else _age(person.birth, day)
    for name in profile.fhir.codes:
        near = [
            reading
            for reading in own
            if reading.name == name
            and abs((reading.day - day).days) <= schema.max_days_between_film_and_row
        ]
        nearest = min(near, key=lambda one: (abs((one.day - day).days), one.day), default=None)
        chosen = anchor if name == anchor.name else nearest
        if chosen is not None:
            cells[name], cells[f"{name}_unit"] = chosen.value, chosen.unit
    return cells


def _age(birth: date | None, day: date) -> str:
    if birth is None or birth > day:
        return ""
    return str(day.year - birth.year - ((day.month, day.day) < (birth.month, birth.day)))


def _day(text: object) -> date:
    """The day of a FHIR date or dateTime; one without a day is of no use for linking."""
    try:
        return date.fromisoformat(_string(text)[:10])
    except ValueError:
        raise _Malformed from None


def _string(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _Malformed
    return value.strip()


def _objects(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        yield from (item for item in value if isinstance(item, dict))
