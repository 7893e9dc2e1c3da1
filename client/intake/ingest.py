"""Intake: a folder of films and a clinical table become a frozen cohort, every loss with a code.

Order: table → films one by one (only small normalised images are kept, on disk) → links → lost
patients → comparison with the version before → cohort. Nothing that names a patient enters the cohort
folder, a report or an error; the sealed linkage file remembers people, and where quarantined items
came from.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from pathlib import Path

from client.cohort.folder import (
    Cohort,
    Exam,
    StoredFilm,
    write_cohort,
)
from client.cohort.framing import count_framing
from client.cohort.quarantine import CodeCount, Quarantined, count_codes
from client.cohort.split import SPLITS, splits_of
from client.intake.caps import cap_patients
from client.intake.changes import Changes, compare_exams, refuse_moved, version_before
from client.intake.clinical import ClinicalRow, ClinicalTable, interpret_rows, split_cases
from client.intake.films import WITHDRAWN, AdmissionRule, FilmScan
from client.intake.films import Progress as Progress
from client.intake.folder_inputs import folder_inputs
from client.intake.found_words import FoundWord, keep_words
from client.intake.inputs import Inputs, RawTable
from client.intake.journal import JOURNAL_FOLDER, FilmJournal
from client.intake.link import FilmRecord, LinkedExam, Links, Reconciliation, link_films, reconcile
from client.intake.losses import Losses, find_losses, mark_costs
from client.intake.refusal import (
    WOULD_SHRINK,
    forget_refused,
    keep_refused,
    refuse_fewer,
    refuse_loss,
    refuse_repeated,
    refuse_unread,
)
from client.intake.regions import Regions
from client.intake.workers import ReadingRule
from client.site.folder import Site
from client.site.linkage import Identity, Linkage, PatientKey, Pseudonyms
from client.site.profile import SiteProfile
from shared.errors import IntakeError
from shared.exam.schema import CohortSchema

Clock = Callable[[], datetime]


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
    losses: Losses = field(repr=False)
    words: tuple[FoundWord, ...]
    changes: Changes

    @property
    def lost_fraction(self) -> float:
        """Share of patients who should have an exam, and have none."""
        return self.losses.fraction

    @property
    def links(self) -> Reconciliation:
        """How films and rows met."""
        return reconcile(len(self.cohort.exams), self.counts)

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
            "changes": asdict(self.changes),
            "patients": {split: len(cohort.patients(split)) for split in SPLITS},
            "lost_fraction": self.lost_fraction,
            "lost_patients": self.losses.by_code,
            "film_words": [asdict(word) for word in self.words],
            "films_framed": count_framing(cohort),
            "links": asdict(self.links),
            "quarantined": [
                {"kind": count.kind, "code": count.code, "n": count.n, "fields": self._fields(count)}
                for count in self.counts
            ],
        }

    def _fields(self, count: CodeCount) -> dict[str, int]:
        """How many values of each field have a code."""
        return Counter(
            entry.field
            for entry in self.cohort.quarantined
            if entry.field and (entry.kind, entry.code) == (count.kind, count.code)
        )


@dataclass(frozen=True, kw_only=True)
class IntakeSite:
    """What an intake needs of a hospital.

    Attributes:
        store: the cohorts folder; a cohort goes to ``store/name/v<k>``.
        profile: the site's names, units, DXA vendor.
        pseudonyms: its keyed names.
        linkage: where people and places are remembered.
        clock: now, in the site's time; later dates are refused.
    """

    store: Path
    profile: SiteProfile
    pseudonyms: Pseudonyms
    linkage: Linkage
    clock: Clock


def intake_site(site: Site) -> IntakeSite:
    """An opened site as an intake needs it."""
    return IntakeSite(
        store=site.cohorts,
        profile=site.settings.profile,
        pseudonyms=site.pseudonyms,
        linkage=site.linkage,
        clock=site.clock,
    )


def ingest(
    source: Path | Inputs,
    at: IntakeSite,
    *,
    schema: CohortSchema,
    name: str | None = None,
    progress: Progress | None = None,
    acquired_after: date | None = None,
    acquired_until: date | None = None,
    exclude_patients: Set[PatientKey] = frozenset(),
    workers: int = 1,
    allows_fewer: bool = False,
) -> IntakeReport:
    """Freeze what ``source`` holds as the next version of a cohort.

    Args:
        source: folder with ``films/`` (any depth; not looked at when the schema has no views) and
            ``clinical.csv``; or other films and rows.
        at: the hospital.
        schema: what an exam is.
        name: the cohort's name, by default the schema's.
        progress: called with (files done, files in all).
        acquired_after: prospective intake: only exams acquired after this day.
        acquired_until: a release will be locked on this day, and what is later is kept for it.
        exclude_patients: prospective intake: patients who took part in training.
        workers: processes that read films; their number changes nothing but the time.
        allows_fewer: exams of the version before, or films of them, may be missing.

    Raises:
        IntakeError: a column is missing, the DXA vendor is undeclared, the issuer of patient numbers
            changed, several films bear one UID, more than the schema's share of patients is lost, the
            split differs from the version before, no exam is left, or exams of the version before would
            be missing (of people who did not withdraw). Then no cohort is written; ``read_refused``
            gives the quarantine.
    """
    rule = AdmissionRule(
        is_withdrawn=at.linkage.is_withdrawn,
        acquired_after=acquired_after,
        acquired_until=acquired_until,
        exclude_patients=exclude_patients,
    )
    inputs = folder_inputs(source, schema, at.profile) if isinstance(source, Path) else source
    today = at.clock().date()
    # Rows: the table in the schema's words, each unusable one with a code.
    raw = inputs.table()
    table = _read_rows(raw, schema, at, today)
    folder = at.store / (name or schema.name)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with at.linkage.held(), contextlib.ExitStack() as stack:
        before = version_before(at.store, folder.name, schema)
        # Films and their regions: each region says which film it lies on.
        films = inputs.films() if schema.views else ()
        regions = Regions.of(
            inputs.regions() if schema.views else (), ((film.place, film.path) for film in films)
        )
        reading = ReadingRule.of(schema, at.profile, regions)
        journal = stack.enter_context(_journal_of(folder / JOURNAL_FOLDER, reading, at.pseudonyms))
        named = at.profile.model_copy(update={"issuer": at.linkage.issuer_for(at.profile.issuer)})
        # Reading: one by one, and of each only the small normalised image, which the journal keeps.
        scan = FilmScan(
            journal,
            issuer=named.issuer,
            declared_issuer=at.profile.issuer,
            pseudonyms=at.pseudonyms,
            today=today,
            rule=rule,
            films=schema.films,
        )
        records = scan.run(films, reading, workers, progress)
        # Links: films meet rows by patient and date; what found no partner has a code too.
        links, unlinked = _link(records, table, schema, named, at.pseudonyms, rule)
        # Losses: who has no exam, and by what; a film that is the cause says so.
        patients = scan.patients | _row_patients(table, at.pseudonyms)
        rejected = {
            number: code
            for number, code in table.rejected.items()
            if not rule.leaves_out(at.pseudonyms.patient_key(named.issuer, number))
        }
        unused = [*unlinked, *scan.quarantined]
        kept = {linked.row.patient_id for linked in links.exams}
        losses = find_losses(kept, unused, patients, rejected)
        quarantined = sorted(
            mark_costs(unused, patients, losses),
            key=lambda entry: (entry.kind, entry.code, entry.item, entry.field),
        )
        _remember_places(at.linkage, quarantined, _row_places(raw, at.pseudonyms) | scan.places)
        exams, order = _exams(links.exams, schema, named, at.pseudonyms)
        # Loss and comparison: too much lost, or less than before, is refused before it is frozen.
        counts, words = count_codes(quarantined), scan.words.found()
        changes = compare_exams(before, exams, is_left_out=rule.leaves_out)
        refuse_moved(before, exams)
        try:
            refuse_repeated(folder.name, quarantined)
            refuse_loss(folder.name, schema, quarantined, losses, n_exams=len(exams))
            refuse_unread(schema, table.quarantined, table.n_rows)
            if not allows_fewer:
                refuse_fewer(before, changes)
        except IntakeError:
            keep_refused(folder, quarantined)
            keep_words(folder, words)
            raise
        has_masks = any(film.has_mask for linked in links.exams for film in linked.films)
        # Freeze: people are remembered first, so that no exam is of somebody whom nobody can find.
        at.linkage.add(_identities(links.exams, named, at.pseudonyms), {})
        cohort = write_cohort(
            at.store,
            name=folder.name,
            schema=schema,
            exams=exams,
            images=journal.images(order, schema.image_pixels),
            overviews=journal.overviews(order),
            masks=journal.masks(order, schema.image_pixels) if has_masks else (),
            quarantined=quarantined,
        )
        keep_words(folder, words)
        journal.keep_only(scan.lasting)
    forget_refused(folder)
    return IntakeReport(
        cohort=cohort,
        is_new=before is None or cohort.version > before.version,
        n_films_read=scan.n_read,
        n_films_used=len({film.item for linked in links.exams for film in linked.films}),
        n_rows_read=table.n_rows,
        n_rows_used=len({linked.row.number for linked in links.exams}),
        counts=counts,
        losses=losses,
        words=words,
        changes=changes,
    )


def _read_rows(raw: RawTable, schema: CohortSchema, at: IntakeSite, today: date) -> ClinicalTable:
    return interpret_rows(
        raw.header,
        raw.rows,
        schema=schema,
        profile=at.profile,
        today=today,
        item_of=lambda number: at.pseudonyms.item_key("row", str(number)),
    )


def _row_patients(table: ClinicalTable, pseudonyms: Pseudonyms) -> dict[str, str]:
    """Whose each usable row is, by the name that it has in the quarantine."""
    return {pseudonyms.item_key("row", str(row.number)): row.patient_id for row in table.rows}


def _row_places(raw: RawTable, pseudonyms: Pseudonyms) -> dict[str, str]:
    """Where each row stands, by the name that it has in the quarantine."""
    return {
        pseudonyms.item_key("row", str(row.number)): row.place or f"{raw.name} row {row.number}"
        for row in raw.rows
    }


def _remember_places(
    linkage: Linkage, quarantined: Sequence[Quarantined], places: Mapping[str, str]
) -> None:
    """Keep where quarantined items came from; of persons who withdrew nothing, a place can name one."""
    kept = [entry.item for entry in quarantined if entry.code != WITHDRAWN]
    linkage.add({}, {item: places[item] for item in kept})


@contextlib.contextmanager
def _journal_of(folder: Path, reading: ReadingRule, pseudonyms: Pseudonyms) -> Iterator[FilmJournal]:
    """The journal of an intake: kept unless that is refused for good."""
    journal = FilmJournal(folder, reading, pseudonyms)
    keep = True
    try:
        yield journal
    except IntakeError as error:
        keep = error.code == WOULD_SHRINK
        raise
    finally:
        journal.close(keep=keep)


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
        return rule.exclusion_code(pseudonyms.patient_key(profile.issuer, row.patient_id), row.day)

    def name_of(linked: LinkedExam) -> str:
        patient = pseudonyms.patient_key(profile.issuer, linked.row.patient_id)
        return pseudonyms.exam_key(patient, pseudonyms.day_of(patient, linked.day))

    if schema.views:
        links = link_films(
            films,
            table.rows,
            max_days=schema.max_days_between_film_and_row,
            rejected_rows=table.rejected,
        )
        links = cap_patients(links, name_of=name_of)
        by_number = {row.number: row for row in table.rows}
        # A row that the rule excludes is no row whose film got lost.
        row_codes = {
            number: code_of(by_number[number]) or code for number, code in links.row_codes.items()
        }
    else:
        codes = {row.number: code_of(row) for row in table.rows}
        excluded = {number: code for number, code in codes.items() if code}
        exams = tuple(LinkedExam(row, row.day, ()) for row in table.rows if row.number not in excluded)
        links = cap_patients(Links(exams, {}, excluded), name_of=name_of)
        row_codes = dict(links.row_codes)
    unused = {pseudonyms.item_key("row", str(number)) for number in row_codes}
    quarantined = [
        entry for entry in table.quarantined if entry.kind == "row" or entry.item not in unused
    ]
    quarantined += [Quarantined("film", code, item) for item, code in links.film_codes.items()]
    quarantined += [Quarantined("link", code, item) for item, code in links.choices]
    quarantined += [
        Quarantined("row", code, pseudonyms.item_key("row", str(number)))
        for number, code in row_codes.items()
    ]
    return links, quarantined


def _exams(
    linked_exams: Sequence[LinkedExam],
    schema: CohortSchema,
    profile: SiteProfile,
    pseudonyms: Pseudonyms,
) -> tuple[list[Exam], list[int]]:
    """Exams by patient and day with numbered images, and the scratch row of each image."""

    def name_of(row: ClinicalRow) -> PatientKey:
        return pseudonyms.patient_key(profile.issuer, row.patient_id)

    cases = split_cases((linked.row for linked in linked_exams), name_of)
    splits = splits_of(cases, key=pseudonyms.subkey("split"), rule=schema.split)
    keyed = []
    for linked in linked_exams:
        patient = name_of(linked.row)
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
                split=splits[patient],
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
        framing=film.framing,
        manufacturer=film.manufacturer,
        presentation_intent=film.presentation_intent,
        unit=film.unit,
    )


def _identities(
    linked_exams: Sequence[LinkedExam], profile: SiteProfile, pseudonyms: Pseudonyms
) -> dict[PatientKey, Identity]:
    numbers = {linked.row.patient_id for linked in linked_exams}
    return {
        pseudonyms.patient_key(profile.issuer, number): Identity(profile.issuer, number)
        for number in numbers
    }
