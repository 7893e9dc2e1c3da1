"""The cohort folder: the frozen set of exams at one site, written once, verified at every opening.

    cohort.json      format, name, version, schema by value, file hashes, previous version, fingerprint
    exams.jsonl      one exam per line: PatientKey, shifted day, split, films, values, label
    images.npy       [n_films, h, w] float16, memory-mapped; absent when there are no films
    overviews.npy    [n_films, n, n] uint8, each film whole, for the hospital's own page; may be absent
    masks.npy        [n_films, h, w] bool, bone of each image; all False: none given; absent without any
    quarantine.jsonl what was not used and why, as keyed items

It holds no identity and no absolute date. A format other than ``COHORT_FORMAT`` is refused.
Imports errors, canonical, files and the other modules of ``exam``.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from client.cohort.label import ExamLabel
from client.cohort.quarantine import Quarantined
from client.site.linkage import PatientKey
from shared.errors import IntakeError
from shared.exam.pixels import PREPROCESSING_VERSION, Framing, framing_of
from shared.exam.schema import CohortSchema, Split
from shared.machine.files import sync_folder, write_atomic
from shared.signing.canonical import canonical_json, hash_file, hash_of

# 2: a number and a category are two kinds of field in the schema. 3: a film's framing.
COHORT_FORMAT = 3
_EXAMS, _IMAGES, _OVERVIEWS, _MASKS, _QUARANTINE, _HEAD = (
    "exams.jsonl",
    "images.npy",
    "overviews.npy",
    "masks.npy",
    "quarantine.jsonl",
    "cohort.json",
)


@dataclass(frozen=True, kw_only=True)
class StoredFilm:
    """One image of an exam: ``image`` is its row in ``Cohort.images``, ``film`` a keyed pseudonym.

    ``framing``: what of the film that image is; ``pixel_mm``: (row, column) spacing of the film.
    """

    image: int
    film: str
    view: str
    laterality: str | None
    pixel_mm: tuple[float, float] | None
    framing: Framing
    manufacturer: str
    presentation_intent: str


@dataclass(frozen=True, kw_only=True)
class Exam:
    """One patient on one day; ``day`` counts from an origin shifted per patient.

    Values are in the schema's units and words, None where missing; ``label`` None: unlabelled.
    """

    exam: str
    patient: PatientKey
    day: int
    split: Split
    films: tuple[StoredFilm, ...]
    values: Mapping[str, float | str | None]
    label: ExamLabel | None


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """An opened, verified cohort.

    Shapes:
        images [n_films, h, w] float16 in [0, 1]; overviews [n_films, n, n] uint8, or [0, 1, 1]; masks
        as ``client.cohort.masks`` gives them, or None.
    """

    folder: Path
    name: str
    version: int
    schema: CohortSchema
    preprocessing: str
    exams: tuple[Exam, ...] = field(repr=False)
    images: NDArray[np.float16] = field(repr=False)
    overviews: NDArray[np.uint8] = field(repr=False)
    masks: NDArray[np.bool_] | None = field(repr=False, default=None)
    quarantined: tuple[Quarantined, ...] = field(repr=False)
    files: Mapping[str, str] = field(repr=False)
    previous: str | None
    shared_patients: frozenset[PatientKey] = field(repr=False)
    fingerprint: str

    @staticmethod
    def open(folder: Path) -> Cohort:
        """Open a cohort folder; see ``open_cohort``."""
        return open_cohort(folder)

    def patients(self, split: Split | None = None) -> tuple[PatientKey, ...]:
        """Pseudonyms in a split, or in all of them, in alphabetical order."""
        return tuple(
            sorted({exam.patient for exam in self.exams if split is None or exam.split == split})
        )

    def exams_of(self, patient: PatientKey) -> tuple[Exam, ...]:
        """Exams of a patient by rising day."""
        return self._by_patient.get(patient, ())

    @cached_property
    def _by_patient(self) -> dict[PatientKey, tuple[Exam, ...]]:
        groups: dict[PatientKey, list[Exam]] = defaultdict(list)
        for exam in self.exams:
            groups[exam.patient].append(exam)
        return {patient: tuple(exams) for patient, exams in groups.items()}

    def film_keys(self) -> tuple[str, ...]:
        """The keyed pseudonym of each row of ``images``: a secret, fixed order among films."""
        keys = [""] * len(self.images)
        for exam in self.exams:
            for film in exam.films:
                keys[film.image] = film.film
        return tuple(keys)

    def film_makers(self) -> tuple[str, ...]:
        """Who made the scanner of each row of ``images``, as its header says; empty: it does not."""
        makers = [""] * len(self.images)
        for exam in self.exams:
            for film in exam.films:
                makers[film.image] = film.manufacturer
        return tuple(makers)


def cohort_folder(store: Path, name: str, version: int) -> Path:
    """Where a version of a cohort lives under the site's cohorts folder."""
    return store / name / f"v{version}"


def latest_version(store: Path, name: str) -> int:
    """The highest version written so far, 0 before the first."""
    folder = store / name
    entries = folder.iterdir() if folder.is_dir() else ()
    numbers = [entry.name[1:] for entry in entries if entry.name.startswith("v")]
    return max((int(number) for number in numbers if number.isdigit()), default=0)


def write_cohort(
    store: Path,
    *,
    name: str,
    schema: CohortSchema,
    exams: Sequence[Exam],
    images: Iterable[NDArray[np.float16]],
    overviews: Iterable[NDArray[np.uint8]] = (),
    masks: Iterable[NDArray[np.bool_]] = (),
    quarantined: Sequence[Quarantined],
) -> Cohort:
    """Freeze exams as the next version of a cohort; nothing new returns the version before.

    Args:
        store: the site's cohorts folder.
        name: the cohort's name.
        schema: stored by value.
        exams: their ``films[*].image`` number the images from 0 without gaps.
        images: [h, w] each, in that order; may be read lazily.
        overviews: [n, n] each, in that order too; none where nobody has them.
        masks: [h, w] each, likewise; all False for an image whose bone is not given.
        quarantined: what was not used.

    Raises:
        IntakeError: the version exists already, or the version before is damaged.
    """
    number = latest_version(store, name)
    previous = open_cohort(cohort_folder(store, name, number)) if number else None
    part = store / name / f".v{number + 1}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True, mode=0o700)
    _write_lines(part / _EXAMS, [asdict(exam) for exam in exams])
    _write_lines(part / _QUARANTINE, [asdict(entry) for entry in quarantined])
    n_films = sum(len(exam.films) for exam in exams)
    if n_films:
        _write_pictures(part / _IMAGES, images, n_films)
        _write_pictures(part / _OVERVIEWS, overviews, n_films)
        _write_pictures(part / _MASKS, masks, n_films)
    files = {path.name: hash_file(path) for path in sorted(part.iterdir())}
    if previous and previous.files == files and previous.schema == schema:
        shutil.rmtree(part)
        return previous
    known = set(previous.patients()) if previous else set()
    head: dict[str, object] = {
        "format": COHORT_FORMAT,
        "name": name,
        "version": number + 1,
        "preprocessing": PREPROCESSING_VERSION,
        "schema": schema.model_dump(mode="json"),
        "files": files,
        "previous": previous.fingerprint if previous else None,
        "shared_patients": sorted(known & {exam.patient for exam in exams}),
    }
    write_atomic(part / _HEAD, canonical_json({**head, "fingerprint": hash_of(head)}))
    return open_cohort(_publish(part, cohort_folder(store, name, number + 1)))


def _publish(part: Path, folder: Path) -> Path:
    """Give a finished folder its name, read-only; an existing version is never replaced."""
    for path in part.iterdir():
        path.chmod(0o400)
    try:
        part.rename(folder)
    except OSError:
        raise IntakeError(
            "version-exists",
            f"cohort version {folder.name} exists already and is never changed",
            hint="run the intake again: it writes the next version",
        ) from None
    sync_folder(folder.parent)
    return folder


def _write_lines(path: Path, lines: Iterable[Mapping[str, object]]) -> None:
    write_atomic(path, b"".join(canonical_json(line) + b"\n" for line in lines), mode=0o600)


def _write_pictures(path: Path, pictures: Iterable[NDArray[Any]], n_films: int) -> None:
    """One array of ``n_films`` pictures of a shape; without a first one there is no file."""
    rest = iter(pictures)
    first = next(rest, None)
    if first is None:
        return
    kind = first.dtype.newbyteorder("<")
    head = {"descr": kind.str, "fortran_order": False, "shape": (n_films, *first.shape)}
    with path.open("wb") as stream:  # written through: a mapped file would count as our memory
        np.lib.format.write_array_header_1_0(stream, head)
        for _, picture in zip(range(n_films), chain([first], rest), strict=True):
            stream.write(np.ascontiguousarray(picture, dtype=kind).tobytes())
        stream.flush()
        os.fsync(stream.fileno())


def open_cohort(folder: Path) -> Cohort:
    """Open a cohort folder and check its format, fingerprint and every file's hash.

    Raises:
        IntakeError: not a cohort, of an unknown format, or changed since it was frozen.
    """
    try:
        head = json.loads((folder / _HEAD).read_bytes())
        if head.get("format") != COHORT_FORMAT:
            raise IntakeError(
                "unknown-cohort-format",
                f"cohort format must be {COHORT_FORMAT}, not {head.get('format')!r}",
                hint="install the release of OsteoFed that wrote this cohort, or ingest again",
            )
        claimed = head.pop("fingerprint")
        present = {path.name for path in folder.iterdir()} - {_HEAD}
        is_whole = (
            claimed == hash_of(head)
            and present == set(head["files"])
            and all(hash_file(folder / name) == value for name, value in head["files"].items())
        )
        if not is_whole:
            raise IntakeError(
                "changed-cohort",
                f"cohort {folder.name} differs from its fingerprint",
                hint="restore its folder from backup",
            )
        return _assembled(folder, head, claimed)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        raise IntakeError(
            "unreadable-cohort",
            f"{folder.name} is not a cohort folder: {type(error).__name__}",
            hint="name a folder v1, v2, … that `osteofed-site ingest` wrote",
        ) from None


def stored_fingerprint(folder: Path) -> str | None:
    """The fingerprint that a version's head names, also of a damaged one; None if it names none."""
    try:
        return str(json.loads((folder / _HEAD).read_bytes())["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep_head_only(folder: Path, *, besides: str) -> None:
    """Leave of a version its head without pseudonyms, so that its fingerprint can still be named.

    Args:
        folder: the version.
        besides: a file in it that stays too.
    """
    for path in folder.iterdir():
        if path.name not in (_HEAD, besides):
            path.unlink()
    head = json.loads((folder / _HEAD).read_bytes())
    if head.pop("shared_patients", None):
        write_atomic(folder / _HEAD, canonical_json(head), mode=0o400)


def _assembled(folder: Path, head: Mapping[str, object], fingerprint: str) -> Cohort:
    schema = CohortSchema.model_validate(head["schema"])
    files = head["files"]
    shared = head["shared_patients"]
    if not isinstance(files, dict) or not isinstance(shared, list):
        raise TypeError("files and shared_patients")
    images = (
        np.load(folder / _IMAGES, mmap_mode="r")
        if _IMAGES in files
        else np.zeros((0, schema.image_pixels, schema.image_pixels), dtype=np.float16)
    )
    overviews = (
        np.load(folder / _OVERVIEWS, mmap_mode="r")
        if _OVERVIEWS in files
        else np.zeros((0, 1, 1), dtype=np.uint8)
    )
    masks = np.load(folder / _MASKS, mmap_mode="r") if _MASKS in files else None
    previous = head["previous"]
    return Cohort(
        folder=folder,
        name=str(head["name"]),
        version=int(str(head["version"])),
        schema=schema,
        preprocessing=str(head["preprocessing"]),
        exams=tuple(_exam(line) for line in _lines(folder / _EXAMS)),
        images=images,
        overviews=overviews,
        masks=masks,
        quarantined=tuple(Quarantined(**line) for line in _lines(folder / _QUARANTINE)),
        files=files,
        previous=None if previous is None else str(previous),
        shared_patients=frozenset(PatientKey(key) for key in shared),
        fingerprint=fingerprint,
    )


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def _exam(line: dict[str, Any]) -> Exam:
    films = tuple(
        StoredFilm(
            **film
            | {
                "pixel_mm": film["pixel_mm"] and tuple(film["pixel_mm"]),
                "framing": framing_of(film["framing"]),
            }
        )
        for film in line["films"]
    )
    label = None if line["label"] is None else ExamLabel(**line["label"])
    # RFC 8785 writes 70.0 as 70.
    values = {
        name: float(value) if isinstance(value, int) else value
        for name, value in line["values"].items()
    }
    return Exam(**{**line, "films": films, "values": values, "label": label})
