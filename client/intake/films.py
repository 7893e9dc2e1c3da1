"""The scan of film files: each read once, kept as a record and a small image, or given a code.

A sealed journal holds what has been read, so that an intake that was cut off goes on where it was.
It lives until the intake ends; films and records in it are judged afresh by the admission rule.
Imports linkage, inputs, workers and the exam package.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.cohort.quarantine import Quarantined
from client.intake.dicom import Film
from client.intake.film_words import Word
from client.intake.found_words import WordTally
from client.intake.inputs import ABSENT, FilmFile
from client.intake.link import FilmRecord
from client.intake.workers import DECODER_FAILED, NO_PICTURE, ReadFilm, ReadingRule, read_films
from client.site.linkage import PatientKey, Pseudonyms
from shared.errors import IntakeError
from shared.exam.pixels import PREPROCESSING_VERSION, framing_of
from shared.signing.canonical import hash_of, sha256_hex
from shared.signing.keys import seal, unseal

WITHDRAWN = "intake.withdrawn"
_DICOM_SUFFIXES = frozenset({"", ".dcm", ".dicom", ".dic", ".ima"})
# What viewers and file managers lay beside films; a hidden file that is no film belongs to them too.
_COMPANIONS = frozenset({"version", "lockfile", "autorun", "readme", "license", "thumbs.db"})
_PURPOSE = "intake-journal"

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


class FilmJournal:
    """What films were read to, on disk: sealed lines, and the small images they point to.

    A line belongs to a file of one place, size and time under one reading rule; all else is read again.
    """

    def __init__(self, folder: Path, rule: ReadingRule, pseudonyms: Pseudonyms) -> None:
        self._folder = folder
        self._secret = pseudonyms.subkey("intake-journal")
        self._image_bytes = rule.image_pixels**2 * np.dtype(np.float16).itemsize
        self._rule = hash_of(
            {
                "preprocessing": PREPROCESSING_VERSION,
                "views": [view.model_dump(mode="json") for view in rule.views],
                "image_pixels": rule.image_pixels,
                "default_laterality": rule.default_laterality,
                "film_words": rule.film_words.model_dump(mode="json"),
            }
        )
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._known: dict[str, int] = {}  # stamp of a file → where its line begins
        self._lines = open(folder / "journal", "a+b", opener=_private)  # noqa: SIM115
        self._images = open(folder / "images", "a+b", opener=_private)  # noqa: SIM115
        self._recover()

    def close(self, *, keep: bool) -> None:
        """Let go of the files; forget everything unless the intake is to go on later."""
        self._lines.close()
        self._images.close()
        if not keep:
            shutil.rmtree(self._folder)

    def stamp(self, film: FilmFile) -> str:
        """What a line is found by: it changes with the file and with the way of reading."""
        state = film.path.stat()
        return hash_of([self._rule, film.place, state.st_size, str(state.st_mtime_ns)])

    def find(self, stamp: str) -> tuple[ReadFilm, int] | None:
        """What a file was read to, and the row of its image; None when it must be read."""
        at = self._known.get(stamp)
        if at is None:
            return None
        self._lines.seek(at)
        entry = self._open(self._lines.readline())
        image = self.image(entry["row"]) if entry["sha256"] else b""
        if image and sha256_hex(image) != entry["sha256"]:  # a power cut may leave a hole
            return None
        words = tuple(Word(name, text, tuple(terms)) for name, text, terms in entry["words"])
        read = ReadFilm(
            code=entry["code"],
            patient_id=entry["patient_id"],
            words=words,
            film=_film(entry),
            view=entry["view"],
            image=image,
            framing=framing_of(entry["framing"]),
        )
        return read, entry["row"]

    def add(self, stamp: str, read: ReadFilm) -> int:
        """Keep what a file was read to; returns the row of its image."""
        row = self._images.seek(0, os.SEEK_END) // self._image_bytes
        if read.image:
            self._images.write(read.image)
            self._images.flush()
        entry = {
            "stamp": stamp,
            "code": read.code,
            "patient_id": read.patient_id,
            "words": [(word.attribute, word.text, word.terms) for word in read.words],
            "view": read.view,
            "film": _plain(read.film) if read.film else None,
            "framing": asdict(read.framing) if read.framing else None,
            "row": row,
            "sha256": sha256_hex(read.image) if read.image else "",
        }
        self._known[stamp] = self._lines.seek(0, os.SEEK_END)
        sealed = seal(self._secret, json.dumps(entry).encode(), purpose=_PURPOSE)
        self._lines.write(base64.b64encode(sealed) + b"\n")
        self._lines.flush()
        return row

    def images(self, rows: Sequence[int], pixels: int) -> Iterator[NDArray[np.float16]]:
        """Images [h, w] of some rows, read one at a time."""
        for row in rows:
            yield np.frombuffer(self.image(row), np.float16).reshape(pixels, pixels)

    def image(self, row: int) -> bytes:
        """The bytes of one image."""
        self._images.seek(row * self._image_bytes)
        return self._images.read(self._image_bytes)

    def _recover(self) -> None:
        """Take what is whole; a torn end, in lines or images, is cut off and read again."""
        n_images = os.fstat(self._images.fileno()).st_size // self._image_bytes
        end = at = n_used = 0
        self._lines.seek(0)
        for line in self._lines:
            try:
                entry = self._open(line)
            except ValueError:
                break
            n_used = max(n_used, entry["row"] + bool(entry["sha256"]))
            if n_used > n_images:
                break
            self._known[entry["stamp"]] = at
            end = at = at + len(line)
        self._lines.truncate(end)
        self._images.truncate(min(n_used, n_images) * self._image_bytes)

    def _open(self, line: bytes) -> dict[str, Any]:
        plain = unseal(self._secret, base64.b64decode(line), purpose=_PURPOSE)
        entry: dict[str, Any] = json.loads(plain)
        return entry


class FilmScan:
    """Reads films; keeps a record in memory and a small image on disk.

    ``patients``: whose film an item is, where that is known; ``words``: what films said of themselves.
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
    ) -> None:
        self._journal = journal
        self._issuer = issuer
        self._declared_issuer = declared_issuer
        self._pseudonyms = pseudonyms
        self._today = today
        self._rule = rule
        self._seen: set[tuple[str, str]] = set()
        self._issuers: set[str] = set()
        self.places: dict[str, str] = {}
        self.patients: dict[str, str] = {}
        self.words = WordTally()
        self.quarantined: list[Quarantined] = []
        self.n_read = 0

    def run(
        self, files: Sequence[FilmFile], reading: ReadingRule, workers: int, progress: Progress | None
    ) -> list[FilmRecord]:
        """Records of the usable films, in the order of the files; the others are in ``quarantined``.

        Raises:
            IntakeError: several institutions issued the patient numbers, and none is declared.
        """
        records: list[FilmRecord] = []
        for film, read, row in self._read(files, reading, workers):
            item = self._pseudonyms.item_key("film", film.place)
            self.places[item] = film.place
            self.n_read += 1
            try:
                records.append(self._take(film, read, row, item))
            except _NotUsed as unused:
                self.quarantined.append(Quarantined("film", unused.code, item))
            if progress:
                progress(self.n_read, len(files))
        if len(self._issuers) > 1 and not self._declared_issuer:
            raise IntakeError(
                "mixed-issuers",
                f"{len(self._issuers)} institutions issued the films' patient numbers",
                hint="name the one of the clinical table as issuer in the site profile",
            )
        return records

    def _read(
        self, files: Sequence[FilmFile], reading: ReadingRule, workers: int
    ) -> Iterator[tuple[FilmFile, ReadFilm, int]]:
        """Each file with what it was read to, now or before the intake was cut off."""
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
            yield film, *found

    def _stamp(self, film: FilmFile) -> str:
        """The journal's name of a file, empty when there is no file."""
        try:
            return "" if film.code else self._journal.stamp(film)
        except OSError:
            return ""

    def _take(self, file: FilmFile, read: ReadFilm, row: int, item: str) -> FilmRecord:
        film = read.film
        patient_id = film.patient_id if film else read.patient_id
        if patient_id:
            if self._rule.is_withdrawn(self._patient(patient_id)):
                raise _NotUsed(WITHDRAWN)
            self.patients[item] = patient_id
        if film is None:
            is_damaged = read.code == "intake.unreadable-dicom"
            raise _NotUsed("intake.not-dicom" if is_damaged and _is_other(file.path) else read.code)
        self.words.add(read.words, patient_id, is_taken=read.view is not None)
        if read.view is None or read.framing is None:
            raise _NotUsed(read.code)
        day = self._admissible_day(film, item)
        if not read.image.strip(b"\0"):
            raise _NotUsed("intake.blank-film")
        if read.framing.flags:
            raise _NotUsed(read.framing.flags[0])
        twins = {("uid", film.sop_instance_uid), (film.patient_id, sha256_hex(read.image))}
        if twins & self._seen:
            raise _NotUsed("intake.duplicate-film")
        self._seen |= twins
        return FilmRecord(
            item=item,
            scratch=row,
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


def _is_other(path: Path) -> bool:
    """Whether the name of a file that is no film says that it was never meant to be one."""
    name = path.name.lower()
    is_companion = name.startswith(".") or name in _COMPANIONS
    return is_companion or path.suffix.lower() not in _DICOM_SUFFIXES


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _plain(film: Film) -> dict[str, object]:
    """A film as JSON values, without its pixels."""
    kept = {name: value for name, value in vars(film).items() if name != "picture"}
    return kept | {"acquired": film.acquired.isoformat() if film.acquired else None}


def _film(entry: dict[str, Any]) -> Film | None:
    kept = entry["film"]
    if kept is None:
        return None
    day, spacing = kept["acquired"], kept["pixel_mm"]
    return Film(
        **kept
        | {
            "picture": NO_PICTURE,
            "acquired": date.fromisoformat(day) if day else None,
            "pixel_mm": tuple(spacing) if spacing else None,
        }
    )
