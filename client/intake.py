"""Intake: a folder of films and a clinical table become a frozen cohort, every loss with a code.

Order: table → films one by one (only small normalised images are kept, on disk) → links → share of
loss → cohort. Nothing that names a patient enters the cohort folder, a report or an error; the sealed
linkage file remembers people, and where quarantined items came from.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from client.linkage import Identity, Linkage, Pseudonyms
from shared.canonical import canonical_json, sha256_hex
from shared.errors import IntakeError
from shared.exam.clinical import ClinicalRow, ClinicalTable, interpret_rows, read_table
from shared.exam.cohort import (
    Cohort,
    Exam,
    StoredFilm,
    cohort_folder,
    latest_version,
    open_cohort,
    write_cohort,
)
from shared.exam.dicom import Film, read_film
from shared.exam.link import FilmRecord, LinkedExam, Links, find_view, link_films
from shared.exam.pixels import is_mirrored, normalise
from shared.exam.profile import SiteProfile
from shared.exam.quarantine import CodeCount, Quarantined, count_codes
from shared.exam.schema import CohortSchema
from shared.exam.split import SPLITS, PatientKey, split_of
from shared.files import write_atomic

FILMS_FOLDER = "films"
TABLE_FILE = "clinical.csv"
REFUSED_FILE = "refused-quarantine.jsonl"
WITHDRAWN = "intake.withdrawn"
_DICOM_SUFFIXES = frozenset({"", ".dcm", ".dicom", ".dic", ".ima"})

Clock = Callable[[], datetime]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class IntakeReport:
    """What became of the inputs: read = used + quarantined, for films and for rows.

    ``cohort`` is the version written, or the version before when nothing was new.
    """

    cohort: Cohort
    is_new: bool
    n_films_read: int
    n_films_used: int
    n_rows_read: int
    n_rows_used: int
    counts: tuple[CodeCount, ...]
    lost_fraction: float

    def summary(self) -> dict[str, object]:
        """The report as JSON values, for ``--json`` at the site; it must not leave ungated."""
        cohort = self.cohort
        return {
            "cohort": cohort.name,
            "version": cohort.version,
            "is_new": self.is_new,
            "fingerprint": cohort.fingerprint,
            "films": {"read": self.n_films_read, "used": self.n_films_used},
            "rows": {"read": self.n_rows_read, "used": self.n_rows_used},
            "exams": len(cohort.exams),
            "patients": {split: len(cohort.patients(split)) for split in SPLITS},
            "lost_fraction": self.lost_fraction,
            "quarantined": [
                {"kind": count.kind, "code": count.code, "n": count.n} for count in self.counts
            ],
        }


@dataclass(frozen=True, kw_only=True)
class AdmissionRule:
    """Nobody who withdrew; prospectively only exams after a date, of patients not used before."""

    is_withdrawn: Callable[[PatientKey], bool]
    acquired_after: date | None = None
    exclude_patients: Set[PatientKey] = frozenset()


def ingest(
    source: Path,
    *,
    store: Path,
    schema: CohortSchema,
    profile: SiteProfile,
    pseudonyms: Pseudonyms,
    linkage: Linkage,
    clock: Clock,
    name: str | None = None,
    progress: Progress | None = None,
    acquired_after: date | None = None,
    exclude_patients: Set[PatientKey] = frozenset(),
) -> IntakeReport:
    """Freeze what ``source`` holds as the next version of a cohort.

    Args:
        source: folder with ``films/`` (any depth; not looked at when the schema has no views) and
            ``clinical.csv``.
        store: the site's cohorts folder; the cohort goes to ``store/name/v<k>``.
        schema: what an exam is.
        profile: the site's names, units, DXA vendor.
        pseudonyms: the site's keyed names.
        linkage: where people and places are remembered.
        clock: now, in the site's time; later dates are refused.
        name: the cohort's name, by default the schema's.
        progress: called with (files done, files in all).
        acquired_after: prospective intake: only exams acquired after this day.
        exclude_patients: prospective intake: patients who took part in training.

    Raises:
        IntakeError: a column is missing, the DXA vendor is undeclared, the issuer of patient numbers
            changed, more than the schema's share of the inputs is lost, the split differs from the
            version before, or no exam is left. Then no cohort is written; a quarantine is kept as
            ``refused-quarantine.jsonl`` beside the versions.
    """
    rule = AdmissionRule(
        is_withdrawn=linkage.is_withdrawn,
        acquired_after=acquired_after,
        exclude_patients=exclude_patients,
    )
    today = clock().date()
    places: dict[str, str] = {}
    table = _read_rows(source / TABLE_FILE, schema, profile, pseudonyms, today, places)
    folder = store / (name or schema.name)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _refuse_other_split(store, folder.name, schema)
    scratch_space = tempfile.TemporaryDirectory(dir=folder, prefix=".scratch-")
    with linkage.held(), scratch_space as scratch_folder:
        named = profile.model_copy(update={"issuer": linkage.issuer_for(profile.issuer)})
        scratch = Path(scratch_folder) / "films"
        scan = _FilmScan(scratch, schema, profile, named.issuer, pseudonyms, today, rule, places)
        films = scan.run(_film_files(source, schema), progress)
        links, quarantined = _link(films, table, schema, named, pseudonyms, rule)
        quarantined += scan.quarantined
        counts = count_codes(quarantined)
        n_inputs = scan.n_read + table.n_rows
        lost_fraction = sum(count.n for count in counts if count.is_loss) / max(n_inputs, 1)
        quarantined.sort(key=lambda entry: (entry.kind, entry.code, entry.item, entry.field))
        # A place can name a person: of who withdrew none is kept.
        places_kept = [entry.item for entry in quarantined if entry.code != WITHDRAWN]
        linkage.add({}, {item: places[item] for item in places_kept})
        _refuse_loss(folder, schema, quarantined, lost_fraction, n_exams=len(links.exams))
        exams, order = _exams(links.exams, schema, named, pseudonyms)
        linkage.add(_identities(links.exams, named, pseudonyms), {})
        before = {path.name for path in folder.glob("v*")}
        cohort = write_cohort(
            store,
            name=folder.name,
            schema=schema,
            exams=exams,
            images=_images(scratch, order, schema.image_pixels),
            quarantined=quarantined,
        )
    (folder / REFUSED_FILE).unlink(missing_ok=True)
    return IntakeReport(
        cohort=cohort,
        is_new=cohort.folder.name not in before,
        n_films_read=scan.n_read,
        n_films_used=len(order),
        n_rows_read=table.n_rows,
        n_rows_used=len({linked.row.number for linked in links.exams}),
        counts=counts,
        lost_fraction=lost_fraction,
    )


def _read_rows(
    path: Path,
    schema: CohortSchema,
    profile: SiteProfile,
    pseudonyms: Pseudonyms,
    today: date,
    places: dict[str, str],
) -> ClinicalTable:
    header, raw_rows = read_table(path, profile)
    for raw in raw_rows:
        places[pseudonyms.item_key("row", str(raw.number))] = f"{path.name} row {raw.number}"
    return interpret_rows(
        header,
        raw_rows,
        schema=schema,
        profile=profile,
        today=today,
        item_of=lambda number: pseudonyms.item_key("row", str(number)),
    )


def _film_files(source: Path, schema: CohortSchema) -> list[tuple[str, Path]]:
    """Every file under ``films/`` with its place, in a stable order."""
    if not schema.views:
        return []
    root = source / FILMS_FOLDER
    if not root.is_dir():
        raise IntakeError(
            "no-films-folder",
            f"the schema has {len(schema.views)} view(s), but there is no folder {FILMS_FOLDER}",
            hint=f"put the DICOM files into {FILMS_FOLDER}/ beside {TABLE_FILE}",
        )
    return sorted(
        (str((Path(folder) / file).relative_to(root)), Path(folder) / file)
        for folder, _, files in os.walk(root)
        for file in files
    )


class _FilmScan:
    """Reads films one after the other; keeps a record in memory and a small image on disk."""

    def __init__(
        self,
        scratch: Path,
        schema: CohortSchema,
        profile: SiteProfile,
        issuer: str,
        pseudonyms: Pseudonyms,
        today: date,
        rule: AdmissionRule,
        places: dict[str, str],
    ) -> None:
        self._scratch = scratch
        self._schema = schema
        self._profile = profile
        self._issuer = issuer
        self._pseudonyms = pseudonyms
        self._today = today
        self._rule = rule
        self._places = places
        self._seen: set[tuple[str, str]] = set()
        self._issuers: set[str] = set()
        self._records: list[FilmRecord] = []
        self.quarantined: list[Quarantined] = []
        self.n_read = 0

    def run(self, files: Sequence[tuple[str, Path]], progress: Progress | None) -> list[FilmRecord]:
        """Records of the usable films; the others are in ``quarantined``."""
        with self._scratch.open("wb") as stream:
            for place, path in files:
                item = self._pseudonyms.item_key("film", place)
                self._places[item] = f"{FILMS_FOLDER}/{place}"
                self.n_read += 1
                try:
                    self._take(path, item, stream)
                except IntakeError as error:
                    self.quarantined.append(Quarantined("film", error.code, item))
                if progress:
                    progress(self.n_read, len(files))
        if len(self._issuers) > 1 and not self._profile.issuer:
            raise IntakeError(
                "mixed-issuers",
                f"{len(self._issuers)} institutions issued the films' patient numbers",
                hint="name the one of the clinical table as issuer in the site profile",
            )
        return self._records

    def _take(self, path: Path, item: str, stream: IO[bytes]) -> None:
        film = self._read(path)
        if self._rule.is_withdrawn(self._patient(film)):
            raise _not_used("withdrawn")
        view = find_view(film.body_part, film.view_position, self._schema.views)
        if view is None:
            raise _not_used("wrong-view")
        day = self._admissible_day(film)
        image = normalise(
            film.pixels, self._schema.image_pixels, mirror=is_mirrored(film.laterality)
        ).astype(np.float16)
        if not image.any():
            raise _not_used("blank-film")
        data = image.tobytes()
        twins = {("uid", film.sop_instance_uid), (film.patient_id, sha256_hex(data))}
        if twins & self._seen:
            raise _not_used("duplicate-film")
        self._seen |= twins
        stream.write(data)
        self._records.append(
            FilmRecord(
                item=item,
                scratch=len(self._records),
                film=self._pseudonyms.film_key(film.sop_instance_uid),
                view=view,
                laterality=film.laterality,
                pixel_mm=film.pixel_mm,
                manufacturer=film.manufacturer,
                presentation_intent=film.presentation_intent,
                patient_id=film.patient_id,
                day=day,
            )
        )

    def _read(self, path: Path) -> Film:
        try:
            return read_film(path, default_laterality=self._profile.default_laterality)
        except IntakeError as error:
            is_other = path.suffix.lower() not in _DICOM_SUFFIXES or path.name == "DICOMDIR"
            if error.code == "intake.unreadable-dicom" and is_other:
                raise _not_used("not-dicom") from None
            raise

    def _admissible_day(self, film: Film) -> date:
        """The film's date, once patient and date are known to be admissible."""
        if not film.patient_id or not film.sop_instance_uid:
            raise _not_used("missing-patient")
        if film.issuer:
            self._issuers.add(film.issuer)
            if self._profile.issuer and film.issuer != self._profile.issuer:
                raise _not_used("foreign-issuer")
        if film.acquired is None:
            raise _not_used("missing-date")
        if film.acquired > self._today:
            raise _not_used("future-date")
        code = _exclusion_code(self._patient(film), film.acquired, self._rule)
        if code:
            raise _not_used(code.removeprefix("intake."))
        return film.acquired

    def _patient(self, film: Film) -> PatientKey:
        return self._pseudonyms.patient_key(self._issuer, film.patient_id)


def _not_used(reason: str) -> IntakeError:
    return IntakeError(reason, "the film is not used")


def _exclusion_code(patient: PatientKey, day: date, rule: AdmissionRule) -> str | None:
    if rule.is_withdrawn(patient):
        return WITHDRAWN
    if patient in rule.exclude_patients:
        return "intake.seen-in-training"
    if rule.acquired_after is not None and day <= rule.acquired_after:
        return "intake.before-lock"
    return None


def _link(
    films: Sequence[FilmRecord],
    table: ClinicalTable,
    schema: CohortSchema,
    profile: SiteProfile,
    pseudonyms: Pseudonyms,
    rule: AdmissionRule,
) -> tuple[Links, list[Quarantined]]:
    """Exams, and the quarantine entries of rows and of films that found no row."""

    def code_of(row: ClinicalRow) -> str | None:
        return _exclusion_code(pseudonyms.patient_key(profile.issuer, row.patient_id), row.day, rule)

    if schema.views:
        links = link_films(
            films,
            table.rows,
            max_days=schema.max_days_between_film_and_row,
            rejected_rows=table.rejected,
        )
        by_number = {row.number: row for row in table.rows}
        # A row that the rule excludes is no row whose film got lost.
        row_codes = {
            number: code_of(by_number[number]) or code for number, code in links.row_codes.items()
        }
    else:
        codes = {row.number: code_of(row) for row in table.rows}
        row_codes = {number: code for number, code in codes.items() if code}
        exams = tuple(LinkedExam(row, row.day, ()) for row in table.rows if row.number not in row_codes)
        links = Links(exams, {}, row_codes)
    unused = {pseudonyms.item_key("row", str(number)) for number in row_codes}
    quarantined = [
        entry for entry in table.quarantined if entry.kind == "row" or entry.item not in unused
    ]
    quarantined += [Quarantined("film", code, item) for item, code in links.film_codes.items()]
    quarantined += [
        Quarantined("row", code, pseudonyms.item_key("row", str(number)))
        for number, code in row_codes.items()
    ]
    return links, quarantined


def _refuse_other_split(store: Path, name: str, schema: CohortSchema) -> None:
    """A patient never changes sides: who trained a model must not validate the next one."""
    version = latest_version(store, name)
    before = open_cohort(cohort_folder(store, name, version)).schema.split if version else schema.split
    if before != schema.split:
        raise IntakeError(
            "split-changed",
            f"cohort {name} v{version} was split by {before.model_dump()}, "
            f"the schema now says {schema.split.model_dump()}",
            hint="keep the split of the first version; training patients must not turn into held-out",
        )


def _refuse_loss(
    folder: Path,
    schema: CohortSchema,
    quarantined: Sequence[Quarantined],
    lost_fraction: float,
    *,
    n_exams: int,
) -> None:
    is_lossy = lost_fraction > schema.max_lost_fraction
    if n_exams and not is_lossy:
        return
    lines = [
        canonical_json({"kind": entry.kind, "code": entry.code, "item": entry.item}) + b"\n"
        for entry in quarantined
    ]
    write_atomic(folder / REFUSED_FILE, b"".join(lines), mode=0o600)
    losses = [count for count in count_codes(quarantined) if count.is_loss]
    worst = [count.code for count in sorted(losses, key=lambda count: -count.n)[:3]]
    if is_lossy:
        raise IntakeError(
            "too-much-lost",
            f"{lost_fraction:.1%} of films and rows are lost, "
            f"at most {schema.max_lost_fraction:.1%} may be; most by {worst}",
            hint="`osteofed-site cohort` lists what was quarantined and the remedy of each code",
        )
    raise IntakeError(
        "empty-cohort",
        f"no exam is left; most losses by {worst}",
        hint="`osteofed-site cohort` lists what was quarantined and the remedy of each code",
    )


def _exams(
    linked_exams: Sequence[LinkedExam],
    schema: CohortSchema,
    profile: SiteProfile,
    pseudonyms: Pseudonyms,
) -> tuple[list[Exam], list[int]]:
    """Exams by patient and day with numbered images, and the scratch row of each image."""
    split_key = pseudonyms.subkey("split")
    keyed = []
    for linked in linked_exams:
        patient = pseudonyms.patient_key(profile.issuer, linked.row.patient_id)
        keyed.append((patient, pseudonyms.day_of(patient, linked.day), linked))
    keyed.sort(key=lambda entry: entry[:2])
    order: list[int] = []
    exams: list[Exam] = []
    for patient, day, linked in keyed:
        first = len(order)
        order += [film.scratch for film in linked.films]
        exams.append(
            Exam(
                exam=pseudonyms.exam_key(patient, day),
                patient=patient,
                day=day,
                split=split_of(patient, key=split_key, rule=schema.split),
                films=tuple(
                    _stored(film, image=index) for index, film in enumerate(linked.films, first)
                ),
                values=linked.row.values,
                label=linked.row.label,
            )
        )
    return exams, order


def _stored(film: FilmRecord, *, image: int) -> StoredFilm:
    return StoredFilm(
        image=image,
        film=film.film,
        view=film.view,
        laterality=film.laterality,
        pixel_mm=film.pixel_mm,
        manufacturer=film.manufacturer,
        presentation_intent=film.presentation_intent,
    )


def _identities(
    linked_exams: Sequence[LinkedExam], profile: SiteProfile, pseudonyms: Pseudonyms
) -> dict[PatientKey, Identity]:
    numbers = {linked.row.patient_id for linked in linked_exams}
    return {
        pseudonyms.patient_key(profile.issuer, number): Identity(profile.issuer, number)
        for number in numbers
    }


def _images(scratch: Path, order: Sequence[int], pixels: int) -> Iterator[NDArray[np.float16]]:
    """Images [h, w] in the cohort's order, read from the scratch file one at a time."""
    with scratch.open("rb") as stream:
        for row in order:
            stream.seek(row * pixels * pixels * 2)
            yield np.frombuffer(stream.read(pixels * pixels * 2), np.float16).reshape(pixels, pixels)
