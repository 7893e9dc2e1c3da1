"""The scan of film files: each read once, kept as a record and a small image, or given a code.

What the journal holds is not read again, but judged afresh by the admission rule. Imports linkage,
inputs, the journal, workers and the exam package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from client.cohort.quarantine import Quarantined
from client.intake.dicom import Film
from client.intake.film_regions import UNUSED_FILM
from client.intake.found_words import WordTally
from client.intake.inputs import ABSENT, FilmFile
from client.intake.journal import FilmJournal
from client.intake.link import FilmRecord
from client.intake.read_film import ReadFilm
from client.intake.regions import Regions
from client.intake.workers import DECODER_FAILED, ReadingRule, read_films
from client.site.linkage import PatientKey, Pseudonyms
from shared.errors import IntakeError
from shared.exam.schema import CropRule, FilmFiles
from shared.signing.canonical import sha256_hex

WITHDRAWN = "intake.withdrawn"
NO_CROP = "intake.missing-crop"
REPEATED_UID = "intake.repeated-uid"
UNKNOWN_FILM = "intake.region-of-unknown-film"
_FILM_SUFFIXES: Mapping[FilmFiles, Set[str]] = {
    "dicom": frozenset({"", ".dcm", ".dicom", ".dic", ".ima"}),
    "png_tree": frozenset({".png"}),
}
# What viewers and file managers lay beside films; a hidden file that is no film belongs to them too.
_COMPANIONS = frozenset({"version", "lockfile", "autorun", "readme", "license", "thumbs.db"})

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class AdmissionRule:
    """Nobody who withdrew; prospectively only exams after a date, of patients not used before.

    ``acquired_until``: nothing later, where a release is going to be locked on that day.
    """

    is_withdrawn: Callable[[PatientKey], bool]
    acquired_after: date | None = None
    acquired_until: date | None = None
    exclude_patients: Set[PatientKey] = frozenset()

    def leaves_out(self, patient: PatientKey) -> bool:
        """Whether nothing of a patient is taken in, whatever the date."""
        return self.is_withdrawn(patient) or patient in self.exclude_patients

    def exclusion_code(self, patient: PatientKey, day: date) -> str | None:
        """Why a patient's exam of a day is not taken in, or None."""
        if self.is_withdrawn(patient):
            return WITHDRAWN
        if patient in self.exclude_patients:
            return "intake.seen-in-training"
        if self.acquired_after is not None and day <= self.acquired_after:
            return "intake.before-lock"
        if self.acquired_until is not None and day > self.acquired_until:
            return "intake.after-lock"
        return None


class FilmScan:
    """Reads films; keeps a record in memory and a small image on disk.

    ``lasting``: stamps of what may stay in the journal: all but films of who withdrew; ``patients``:
    whose film an item is, where that is known; ``words``: what films said of themselves;
    ``quarantined`` holds regions too, of which each is used by a film or has a code.
    """

    def __init__(
        self,
        journal: FilmJournal,
        *,
        issuer: str,
        declared_issuer: str,
        pseudonyms: Pseudonyms,
        today: date,
        rule: AdmissionRule,
        films: FilmFiles = "dicom",
    ) -> None:
        self._journal = journal
        self._issuer = issuer
        self._declared_issuer = declared_issuer
        self._pseudonyms = pseudonyms
        self._today = today
        self._rule = rule
        self._crops: CropRule | None = None
        self._suffixes = _FILM_SUFFIXES[films]
        # what is seen on which item, by the UID that a film bears: patient and image
        self._named: dict[str, tuple[str, str, str]] = {}
        self._shown: set[tuple[str, str]] = set()
        self._issuers: set[str] = set()
        self.places: dict[str, str] = {}
        self.patients: dict[str, str] = {}
        self.words = WordTally()
        self.quarantined: list[Quarantined] = []
        self._region_codes: dict[str, str] = {}
        self.lasting: set[str] = set()
        self.n_read = 0

    def run(
        self, files: Sequence[FilmFile], reading: ReadingRule, workers: int, progress: Progress | None
    ) -> list[FilmRecord]:
        """Records of the usable films, in the order of the files; the others are in ``quarantined``.

        Raises:
            IntakeError: several institutions issued the patient numbers, and none is declared.
        """
        records: list[FilmRecord] = []
        self._crops = reading.crops
        for film, stamp, read, row in self._read(files, reading, workers):
            item = self._pseudonyms.item_key("film", film.place)
            self.places[item] = film.place
            self.n_read += 1
            try:
                records += self._take(film, read, row, item)
                self.lasting.add(stamp)
                self._region_codes |= dict(read.regions)
            except _NotUsed as unused:
                self.quarantined.append(Quarantined("film", unused.code, item))
                for place, own in read.regions:
                    code = WITHDRAWN if unused.code == WITHDRAWN else own or UNUSED_FILM
                    self._region_codes.setdefault(place, code)
                if unused.code != WITHDRAWN:
                    self.lasting.add(stamp)
            if progress:
                progress(self.n_read, len(files))
        if len(self._issuers) > 1 and not self._declared_issuer:
            raise IntakeError(
                "mixed-issuers",
                f"{len(self._issuers)} institutions issued the films' patient numbers",
                hint="name the one of the clinical table as issuer in the site profile",
            )
        self._quarantine_regions(reading.regions)
        return records

    def _quarantine_regions(self, regions: Regions) -> None:
        """A code for each region that no film used."""
        codes = {place: own or UNKNOWN_FILM for place, own in regions.places.items()}
        for place, code in (codes | self._region_codes).items():
            if code:
                item = self._pseudonyms.item_key("region", place)
                self.places[item] = place
                self.quarantined.append(Quarantined("region", code, item))

    def _read(
        self, files: Sequence[FilmFile], reading: ReadingRule, workers: int
    ) -> Iterator[tuple[FilmFile, str, ReadFilm, int]]:
        """Each file with its stamp and what it was read to, now or by an intake before."""
        stamps = [self._stamp(film) for film in files]
        known = [bool(stamp) and self._journal.find(stamp) is not None for stamp in stamps]
        todo = [
            film.path
            for film, stamp, is_known in zip(files, stamps, known, strict=True)
            if stamp and not is_known
        ]
        reads = read_films(todo, reading, workers=workers)
        for film, stamp in zip(files, stamps, strict=True):
            found = self._journal.find(stamp) if stamp else (ReadFilm(code=film.code or ABSENT), 0)
            if found is None:
                read = next(reads)
                is_lasting = read.code != DECODER_FAILED  # a busy machine may do better next time
                found = read, self._journal.add(stamp, read) if is_lasting else 0
            yield film, stamp, *found

    def _stamp(self, film: FilmFile) -> str:
        """The journal's name of a file, empty when there is no file."""
        try:
            return "" if film.code else self._journal.stamp(film)
        except OSError:
            return ""

    def _take(self, file: FilmFile, read: ReadFilm, row: int, item: str) -> list[FilmRecord]:
        """The records of a film: of the whole, or of what the schema crops from it."""
        film = read.film
        patient_id = film.patient_id if film else read.patient_id
        if patient_id:
            if self._rule.is_withdrawn(self._patient(patient_id)):
                raise _NotUsed(WITHDRAWN)
            self.patients[item] = patient_id
        if film is None:
            is_damaged = read.code == "intake.unreadable-dicom"
            is_stray = is_damaged and _is_other(file.path, self._suffixes)
            raise _NotUsed("intake.not-dicom" if is_stray else read.code)
        self.words.add(read.words, patient_id, is_taken=read.view is not None)
        if read.view is None or read.framing is None:
            raise _NotUsed(read.code)
        day = self._admissible_day(film, item)
        if read.framing.flags:
            raise _NotUsed(read.framing.flags[0])
        self._refuse_second(film, sha256_hex(read.image), item)
        if self._crops is not None and not read.crops:
            raise _NotUsed(NO_CROP)
        whole = FilmRecord(
            item=item,
            scratch=row,
            has_mask=bool(read.mask),
            film=self._pseudonyms.film_key(film.sop_instance_uid),
            view=read.view,
            laterality=film.laterality,
            pixel_mm=film.pixel_mm,
            framing=read.framing,
            manufacturer=film.manufacturer,
            presentation_intent=film.presentation_intent,
            patient_id=film.patient_id,
            day=day,
        )
        if self._crops is None:
            return [whole]
        return [whole] * self._crops.keeps_film + [
            replace(
                whole,
                scratch=row + place,
                film=self._pseudonyms.film_key(f"{film.sop_instance_uid} {crop.unit}"),
                unit=crop.unit,
                framing=crop.framing,
                has_mask=bool(crop.mask),
            )
            for place, crop in enumerate(read.crops, start=1)
        ]

    def _refuse_second(self, film: Film, image_sha256: str, item: str) -> None:
        """A film that is there already is not used; of two under one UID nobody knows which is right.

        Both are named, and the intake stops (``refuse_repeated``): were either taken, the other file
        would decide about this one's patient.
        """
        shown = (film.patient_id, image_sha256)
        first, *named = self._named.setdefault(film.sop_instance_uid, (item, *shown))
        if shown != tuple(named):
            told = Quarantined("film", REPEATED_UID, first)
            self.quarantined += [] if told in self.quarantined else [told]
            raise _NotUsed(REPEATED_UID)
        if shown in self._shown:
            raise _NotUsed("intake.duplicate-film")
        self._shown.add(shown)

    def _admissible_day(self, film: Film, item: str) -> date:
        """The film's date, once patient and date are known to be admissible."""
        if not film.patient_id or not film.sop_instance_uid:
            raise _NotUsed("intake.missing-patient")
        if film.issuer:
            self._issuers.add(film.issuer)
            if self._declared_issuer and film.issuer != self._declared_issuer:
                del self.patients[item]  # another institution's number names nobody here
                raise _NotUsed("intake.foreign-issuer")
        if film.acquired is None:
            raise _NotUsed("intake.missing-date")
        if film.acquired > self._today:
            raise _NotUsed("intake.future-date")
        code = self._rule.exclusion_code(self._patient(film.patient_id), film.acquired)
        if code:
            raise _NotUsed(code)
        return film.acquired

    def _patient(self, patient_id: str) -> PatientKey:
        return self._pseudonyms.patient_key(self._issuer, patient_id)


class _NotUsed(Exception):  # noqa: N818 - a signal inside this module, never an error for users
    """A film is not used; carries the code."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def _is_other(path: Path, suffixes: Set[str]) -> bool:
    """Whether the name of a file that is no film says that it was never meant to be one."""
    name = path.name.lower()
    is_companion = name.startswith(".") or name in _COMPANIONS
    return is_companion or path.suffix.lower() not in suffixes
