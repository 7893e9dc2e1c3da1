"""The hospitals of a simulation as they were given, read and looked at before anything is written.

A hospital is a table, a folder of films with its table, or the rows of one table that share a value.
Every mistake is found in one go and told together; no patient's value is repeated. Imports an
intake's own readers.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from client.cohort.split import splits_of
from client.intake.boxes import BOXES_FILE
from client.intake.clinical import ClinicalRow, ClinicalTable, RawRow, interpret_rows, split_cases
from client.intake.folder_inputs import crops_problem
from client.intake.inputs import FILMS_FOLDER, TABLE_FILE, RawTable
from client.intake.losses import find_losses
from client.intake.masks import MASKS_FOLDER
from client.intake.png_tree import tree_table
from client.intake.refusal import unread_fields
from client.intake.sources.tables import file_table
from client.intake.unreadable import table_problem
from client.site.linkage import PatientKey, Pseudonyms
from client.site.profile import SiteProfile
from server.simulation.names import name_problems, site_name, site_names
from server.simulation.request import Request
from shared.contract.stages import Role
from shared.errors import OsteoFedError, SettingsError
from shared.exam.schema import CohortSchema
from shared.machine.yaml_file import YamlMistakesError, read_yaml
from shared.signing.canonical import hash_file, hash_of
from shared.strict import nearest

PROFILE_FILE = "profile.yaml"
# As the policy that a new hospital begins with.
LEAST_TRAINING, LEAST_EXTERNAL = 50, 10


@dataclass(frozen=True, kw_only=True)
class Hospital:
    """One hospital's data, read.

    Attributes:
        name: of the site.
        role: whether it trains.
        table: its rows, as text.
        films: folder of its films, where it has any.
        profile: how its table is to be read.
        n_patients: with a usable, labelled row.
        n_training: of them, who falls into the training split.
    """

    name: str
    role: Role
    table: RawTable = field(repr=False)
    films: Path | None
    profile: SiteProfile
    n_patients: int
    n_training: int

    def content(self) -> dict[str, object]:
        """What it brings, by hash: its table, the names and sizes of its films, its profile."""
        rows = [[row.number, row.cells and dict(row.cells)] for row in self.table.rows]
        return {
            "role": self.role,
            "table": hash_of([list(self.table.header), rows]),
            "films": _listing(self.films),
            "profile": hash_of(self.profile.model_dump(mode="json")),
        } | self._regions()

    def _regions(self) -> dict[str, object]:
        """What it has beside its films, by hash; nothing where it has neither masks nor boxes."""
        beside = self.films.parent if self.films is not None else None
        if beside is None:
            return {}
        masks, boxes = _listing(beside / MASKS_FOLDER), beside / BOXES_FILE
        found = {"masks": masks, "boxes": hash_file(boxes) if boxes.is_file() else None}
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class _Given:
    """A hospital as it was named, before its rows were understood."""

    name: str
    role: Role
    place: str
    table: RawTable = field(repr=False)
    films: Path | None
    profile: SiteProfile


def pseudonym_secret(seed: int, site: str) -> bytes:
    """The secret of a played hospital: its patients' names, and with them the split, follow the seed.

    A real hospital's comes from its operating system and is known to nobody; here all data are one's
    own, and the same command is to divide them alike (D-074).
    """
    return hashlib.sha256(f"simulation {seed}, {site}".encode()).digest()


def read_hospitals(
    request: Request, schema: CohortSchema, *, today: date
) -> tuple[tuple[Hospital, ...], list[str]]:
    """The hospitals of a request, training ones first, and every mistake in them, a line each.

    Args:
        request: what was asked for.
        schema: the cohort's.
        today: rows after this day are refused.
    """
    problems: list[str] = []
    given = [*_named(request, schema, problems), *_split(request, schema, problems)]
    problems += _name_problems(request, given)
    hospitals = []
    for each in given:
        if not each.table.rows:
            problems.append(f"  {each.place}: the table has a header and no row")
            continue
        try:
            table = interpret_rows(
                each.table.header,
                each.table.rows,
                schema=schema,
                profile=each.profile,
                today=today,
            )
        except OsteoFedError as error:
            problems.append(_line(each.place, error))
            continue
        until = request.lock_date
        early = tuple(row for row in table.rows if until is None or row.day <= until)
        hospital = _counted(each, early, schema, seed=request.seed)
        problems += [*_loss_problems(each, table, schema), *size_problems(hospital)]
        hospitals.append(hospital)
    ordered = sorted(hospitals, key=lambda hospital: hospital.role == "external")
    return tuple(ordered), _told_once(problems)


def _told_once(problems: Sequence[str]) -> list[str]:
    """Lines ``place: fact`` with the places of an equal fact in one."""
    places: dict[str, list[str]] = defaultdict(list)
    for place, _, fact in (problem.strip().partition(": ") for problem in problems):
        places[fact].append(place)
    return [f"  {', '.join(dict.fromkeys(named))}: {fact}" for fact, named in places.items()]


def _named(request: Request, schema: CohortSchema, problems: list[str]) -> Iterator[_Given]:
    """Hospitals that were named with a file or a folder of their own."""
    roles: tuple[tuple[Role, tuple[tuple[str, Path], ...]], ...] = (
        ("training", request.training),
        ("external", request.external),
    )
    for role, name, path in ((role, *pair) for role, pairs in roles for pair in pairs):
        is_tree, file = schema.films == "png_tree", path / TABLE_FILE if path.is_dir() else path
        if not is_tree and (problem := table_problem(file)):
            problems.append(f"  {name}: {problem}")
            continue
        if schema.views and not (path / FILMS_FOLDER).is_dir():
            held = f"{FILMS_FOLDER}/" if is_tree else f"{TABLE_FILE} and {FILMS_FOLDER}/"
            problems.append(
                f"  {name}: cohort {schema.name} has films: must be a folder with {held}, not {path}"
            )
            if is_tree:
                continue
        if problem := crops_problem(path, schema):
            problems.append(f"  {name}: {problem}")
            continue
        try:
            profile = _profile(path / PROFILE_FILE if path.is_dir() else path)
            table = _own_table(path / FILMS_FOLDER if is_tree else file, schema, profile)
        except OsteoFedError as error:
            problems.append(_line(name, error))
            continue
        yield _Given(
            name=name,
            role=role,
            place=name,
            table=table,
            films=path / FILMS_FOLDER if schema.views else None,
            profile=profile,
        )


def _own_table(path: Path, schema: CohortSchema, profile: SiteProfile) -> RawTable:
    """The rows of a hospital: of its table, or of its tree of PNG files."""
    read = tree_table if schema.films == "png_tree" else file_table
    return read(path, schema, profile)


def _split(request: Request, schema: CohortSchema, problems: list[str]) -> list[_Given]:
    """Hospitals that are the rows of one table with one value; none of them has the column."""
    path, column = request.split_table, request.split_by
    if path is None or column is None:
        return []
    if problem := table_problem(path):
        problems.append(f"  --split-by: {problem}")
        return []
    if schema.views:
        problems.append(f"  {path}: cohort {schema.name} has films, a table alone cannot be split")
        return []
    try:
        profile = _profile(path)
        table = file_table(path, schema, profile)
    except OsteoFedError as error:
        problems.append(_line(path.name, error))
        return []
    if column not in table.header:
        problems.append(
            f"  --split-by: {path.name} has no column {column}; it has {', '.join(table.header)}"
            + nearest(column, table.header)
        )
        return []
    groups = _groups(table, column, profile, problems)
    names = site_names(list(groups))
    known = sorted(set(names.values()))
    external = {word: names.get(word) or site_name(word) for word in request.split_external}
    absent = sorted(word for word, name in external.items() if name not in known)
    if absent:
        guesses = "".join(nearest(external[word], known) for word in absent)
        problems.append(
            f"  --external: must be among the values of {column}, {', '.join(known)}, "
            f"not {', '.join(absent)}{guesses}"
        )
    header = tuple(name for name in table.header if name != column)
    return [
        _Given(
            name=names[value],
            role="external" if names[value] in external.values() else "training",
            place=f"{column} {value}",
            table=RawTable(path.name, header, rows),
            films=None,
            profile=profile,
        )
        for value, rows in sorted(groups.items())
    ]


def _groups(
    table: RawTable, column: str, profile: SiteProfile, problems: list[str]
) -> dict[str, list[RawRow]]:
    """Rows by the value of a column, without it; rows of no value belong to nobody."""
    groups: dict[str, list[RawRow]] = defaultdict(list)
    n_without = 0
    for row in table.rows:
        value = "" if row.cells is None else row.cells[column]
        if profile.is_missing(value):
            n_without += 1
        elif row.cells is not None:
            cells = {name: cell for name, cell in row.cells.items() if name != column}
            groups[value].append(RawRow(row.number, cells))
    if n_without:
        problems.append(f"  --split-by: {n_without} rows have no value in column {column}")
    return groups


def _profile(path: Path) -> SiteProfile:
    """How a table is to be read: what lies beside it as ``NAME.profile.yaml``, else as the schema says.

    Raises:
        SettingsError: the file is not valid.
    """
    file = path if path.name == PROFILE_FILE else path.with_name(f"{path.stem}.{PROFILE_FILE}")
    if not file.is_file():
        return SiteProfile()
    try:
        return read_yaml(file, SiteProfile, whole="profile")
    except YamlMistakesError as error:
        raise SettingsError(
            "invalid-profile",
            f"{file.name} is not valid:\n{error}",
            hint="it holds what `profile` of a site.yaml does: docs/reference/site.md",
        ) from None


def _counted(
    given: _Given, rows: Sequence[ClinicalRow], schema: CohortSchema, *, seed: int
) -> Hospital:
    """A hospital with its patients counted: usable, labelled, and how many of them would train."""
    pseudonyms = Pseudonyms(pseudonym_secret(seed, given.name))

    def name_of(row: ClinicalRow) -> PatientKey:
        return pseudonyms.patient_key(given.profile.issuer, row.patient_id)

    cases = split_cases((row for row in rows if row.label is not None), name_of)
    splits = Counter(splits_of(cases, key=pseudonyms.subkey("split"), rule=schema.split).values())
    return Hospital(
        name=given.name,
        role=given.role,
        table=given.table,
        films=given.films,
        profile=given.profile,
        n_patients=len(cases),
        n_training=splits["train"],
    )


def _loss_problems(given: _Given, table: ClinicalTable, schema: CohortSchema) -> list[str]:
    """An intake refuses a table of which too much is lost; beside films, it counts these too."""
    fields = [
        f"  {given.place}: {line.strip()}"
        for line in unread_fields(schema, table.quarantined, table.n_rows)
    ]
    losses = find_losses({row.patient_id for row in table.rows}, table.quarantined, {}, table.rejected)
    if schema.views or losses.fraction <= schema.max_lost_fraction:
        return fields
    codes = ", ".join(f"{code} {n}" for code, n in losses.by_code.items())
    return [
        *fields,
        f"  {given.place}: {losses.fraction:.1%} of patients are lost ({codes}), "
        f"more than the {schema.max_lost_fraction:.0%} that the cohort's file allows",
    ]


def repeated_patients(hospitals: Sequence[Hospital], schema: CohortSchema) -> int:
    """Patient numbers that occur at several hospitals; none where the tables have no numbers."""
    if schema.patient_column is None:
        return 0
    found = Counter(
        number
        for hospital in hospitals
        for number in {
            row.cells[hospital.profile.column(schema.patient_column)]
            for row in hospital.table.rows
            if row.cells is not None
        }
    )
    return sum(n > 1 for n in found.values())


def size_problems(hospital: Hospital) -> list[str]:
    """A line where a hospital has fewer patients than its own policy wants of its role."""
    if hospital.role == "training" and hospital.n_training < LEAST_TRAINING:
        return [
            f"  {hospital.name}: {hospital.n_training} patients with a label to train on, of "
            f"{hospital.n_patients}, are fewer than the {LEAST_TRAINING} that a hospital's policy wants"
        ]
    if hospital.role == "external" and hospital.n_patients < LEAST_EXTERNAL:
        return [
            f"  {hospital.name}: {hospital.n_patients} patients with a label are fewer than the "
            f"{LEAST_EXTERNAL} that a hospital's policy wants"
        ]
    return []


def _name_problems(request: Request, given: Sequence[_Given]) -> list[str]:
    named = [name for name, _ in (*request.training, *request.external)]
    problems = name_problems(
        named, [(each.name, each.place) for each in given if each.place != each.name]
    )
    is_unread = request.split_table is not None and not given
    if not request.training and not is_unread and all(each.role == "external" for each in given):
        problems.append("  no hospital trains: at least one must, as SITE=FILE or by --split-by")
    return problems


def _line(place: str, error: OsteoFedError) -> str:
    fact = "; ".join(line.strip() for line in error.fact.splitlines()).replace(":; ", ": ")
    return f"  {place}: {fact}" + (f" (hint: {error.hint})" if error.hint else "")


def _listing(folder: Path | None) -> str | None:
    """A hash of the names and sizes of a folder's files."""
    if folder is None or not folder.is_dir():
        return None
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return hash_of([[str(path.relative_to(folder)), path.stat().st_size] for path in files])
