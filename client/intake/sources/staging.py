"""Films of a PACS come one at a time into a staging folder, from which the intake reads them.

    <staging>/<patient>/<film>.dcm   both names keyed; a file is whole or absent

These are whole films, with names and numbers in clear: they lie there only until their cohort is frozen
(``choose.discard_staged``). An intake that is cut off or refused leaves them, and the next
one does not fetch them again. Of people who withdrew nothing stays and nothing is fetched.
Imports linkage, inputs, film words and errors.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Protocol

from client.intake.dicom import MAX_FILE_BYTES
from client.intake.film_words import named_part, part_of
from client.intake.films import WITHDRAWN
from client.intake.inputs import ABSENT, FilmFile
from client.site.linkage import PatientKey, Pseudonyms
from shared.errors import IntakeError
from shared.machine.files import sync_folder

Progress = Callable[[int, int], None]
_PART = ".part"  # of a film that is still on its way
_TRUST = 20  # so many films that do not come, and none that does, are no accident


@dataclass(frozen=True, kw_only=True)
class FilmQuery:
    """Which films to ask for: modalities, body parts (none: all), days of the study (inclusive)."""

    modalities: tuple[str, ...] = ("DX", "CR")
    body_parts: tuple[str, ...] = ()
    first_day: date | None = None
    last_day: date | None = None

    def day_range(self) -> str:
        """The days as a range matching key (PS3.4 C.2.2.2.5), empty for all."""
        ends = [day.strftime("%Y%m%d") if day else "" for day in (self.first_day, self.last_day)]
        return "-".join(ends) if any(ends) else ""

    def wants_series(self, modality: str, body_part: str) -> bool:
        """Whether a series is asked for; one that nobody here knows is, for its films may tell."""
        wanted, part = {part_of(each) for each in self.body_parts}, named_part(body_part)
        is_part = not wanted or not part or part in wanted
        return is_part and (not modality or modality.upper() in self.modalities)


@dataclass(frozen=True)
class ListedFilm:
    """A film that a PACS says it has; ``instance`` is empty for a study or series without films."""

    study: str = field(repr=False)
    series: str = field(repr=False)
    instance: str = field(repr=False)
    patient_id: str = field(repr=False)

    @property
    def place(self) -> str:
        """What leads back to it, for the sealed linkage file."""
        return f"pacs {self.study}/{self.series}/{self.instance}"


class FilmWriter(Protocol):
    """Takes the bytes of one film."""

    def write(self, data: bytes, /) -> int:
        """Take some bytes; returns how many."""
        ...


class FilmNotSent(Exception):  # noqa: N818 - a signal to ``stage``, never an error for users
    """The PACS has one film no more, or cannot send it; others may come."""


class FilmSource(Protocol):
    """A PACS: says what it has, and sends one film at a time."""

    def list_films(self, query: FilmQuery) -> Iterator[ListedFilm]:
        """What the PACS has. Raises IntakeError: it does not answer."""
        ...

    def fetch(self, film: ListedFilm, out: FilmWriter) -> None:
        """Write one film as a DICOM file. Raises FilmNotSent, or IntakeError: it does not answer."""
        ...

    def close(self) -> None:
        """End the connection."""
        ...


def stage(
    source: FilmSource,
    query: FilmQuery,
    folder: Path,
    *,
    pseudonyms: Pseudonyms,
    issuer: str,
    is_withdrawn: Callable[[PatientKey], bool],
    progress: Progress | None = None,
) -> list[FilmFile]:
    """Bring the films of a query into ``folder``; those that do not come are listed with a code.

    Args:
        source: the PACS.
        query: which films.
        folder: the staging folder; it holds people's films, for the owner only.
        pseudonyms: keyed names.
        issuer: who issues the patient numbers.
        is_withdrawn: whether a patient has withdrawn.
        progress: called with (films done, films in all).

    Raises:
        IntakeError: the PACS does not answer, or sends none of what it lists; what has come stays.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for kept in list(folder.iterdir()):
        if is_withdrawn(PatientKey(kept.name)):
            shutil.rmtree(kept)
    for torn in folder.glob(f"*/*{_PART}"):  # of a staging that was killed; its film may be gone by now
        torn.unlink()
    listed: dict[str, ListedFilm] = {}
    for film in source.list_films(query):
        listed[film.place] = film
        if progress:
            progress(0, len(listed))
    staged: list[FilmFile] = []
    for number, film in enumerate(listed.values(), start=1):
        patient = pseudonyms.patient_key(issuer, film.patient_id)
        path = folder / patient / f"{pseudonyms.film_key(film.instance)}.dcm"
        code = WITHDRAWN if is_withdrawn(patient) else _bring(source, film, path)
        staged.append(FilmFile(film.place, path, code))
        if [each.code for each in staged] == [ABSENT] * _TRUST:
            raise IntakeError(
                "pacs-unreachable",
                f"none of the first {_TRUST} films came that the PACS lists",
                hint="with --move the PACS must know --calling-aet and reach --listen; without it, ask "
                "who runs the PACS, or leave these films out with --from and --to",
            )
        if progress:
            progress(number, len(listed))
    return sorted(staged, key=lambda film: film.place)


def _bring(source: FilmSource, film: ListedFilm, path: Path) -> str:
    """Fetch a film unless it is there; the code if it does not come."""
    if not film.instance:
        return ABSENT
    if path.exists():
        return ""
    path.parent.mkdir(exist_ok=True, mode=0o700)
    part = path.with_suffix(_PART)
    try:
        with open(part, "wb", opener=_private) as out:
            source.fetch(film, _Bounded(out))
            out.flush()
            os.fsync(out.fileno())
        part.rename(path)
        sync_folder(path.parent)
    except FilmNotSent:
        return ABSENT
    except _TooLarge:
        return "intake.too-large"
    finally:
        part.unlink(missing_ok=True)
    return ""


class _TooLarge(Exception):  # noqa: N818 - a signal inside this module
    """More bytes than any film has."""


class _Bounded:
    """Passes bytes on, up to the size of a film."""

    def __init__(self, out: FilmWriter) -> None:
        self._out = out
        self._left = MAX_FILE_BYTES

    def write(self, data: bytes) -> int:
        self._left -= len(data)
        if self._left < 0:
            raise _TooLarge
        return self._out.write(data)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
